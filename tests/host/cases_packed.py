"""Inside ComfyUI's Python: MODELs from packed files of every format, beside the numbers that the files stand for."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import boot
import cases_lora_core
import comfy.model_management as mm
import comfy.sd
import rounding
import torch
from boot import call, case, off
from cases_lora import LORA, ours, partly, scratch
from safetensors import safe_open
from safetensors.torch import save_file

import nodes as core_nodes
from opent2v.host import comfyui as side
from opent2v.host.comfyui.quantised import HoldsPacked, PackedLinear, has_mixed_layers, stored_weights
from opent2v.host.fingerprint import of_weights
from opent2v.loaders import load_model, load_text, open_file, open_text_file
from opent2v.sampling import make_run, make_schedule
from opent2v.tests.loaders import text_files
from opent2v.tests.loaders.lora import files
from opent2v.tests.loaders.lora.files import FORMATS
from opent2v.tests.tiny import packed, packed_models

# What core's loader reads.
CORE_READS = (
    "fp8", "fp8_e5m2", "int8", "int8_tensor", "int8_convrot", "mxfp8", "nvfp4", "nvfp4_awq", "convrot_w4a4", "asym_w4a8"
)  # fmt: skip
# From these core takes a width, and nvfp4 and w4 store half of it: real files leave them plain.
MEASURED = {
    "wan": (),
    "ltx_video": ("transformer_blocks.0.attn2.to_k.weight",),
    "hunyuan_video": ("txt_in.input_embedder.weight",),
}
FAMILIES = ("wan", "ltx_video", "hunyuan_video")
PROMPT = "a red circle moves to the right"


class Packed:
    """A tiny model's file in one format: our MODEL of it, and one of the numbers that it stands for."""

    def __init__(self, family: str, kind: str) -> None:
        weights, self.sites, self.channels, further = cases_lora_core.CORE[family]()
        self.family, self.path = family, scratch / f"{family}-{kind}.safetensors"
        exact = packed.write(self.path, weights, lambda name: "" if name in MEASURED[family] else kind)
        save_file(exact, scratch / "exact.safetensors")
        self.part = load_model(open_file(self.path), torch.float32, keeps_packed=True)
        self.fingerprint = of_weights(dict(self.part.transformer.named_parameters()))
        self.model = side.model(self.part)
        plain = load_model(open_file(scratch / "exact.safetensors"), torch.float32)
        self.state = {name: tensor.clone() for name, tensor in plain.transformer.state_dict().items()}
        self.plain, self.variant = side.model(plain, True), plain.variant
        torch.manual_seed(2)
        self.prompt = [[torch.randn(1, 10, self.variant.context_width) * 0.3, dict(further)]]

    @torch.inference_mode()
    def sampled(self, model) -> torch.Tensor:
        """Two steps with every sampler's own way of loading."""
        shape = (1, self.channels, 3, 8, 6)
        schedule = make_schedule(
            self.variant.scheduler, steps=2, kind=self.variant.prediction,
            sigmas=lambda n: self.variant.family.sampling.sigmas(self.variant, n, None, shape),
        )  # fmt: skip
        made = side.sample(model, self.prompt, self.prompt, {"samples": torch.zeros(shape)}, make_run(schedule, 1.0, 3))
        return self.variant.normalise(made.cpu())

    def in_part(self, model) -> torch.Tensor:
        if getattr(model, "is_dynamic", bool)():
            mm.unload_all_models()
            import dynamic

            dynamic.Pages.full_from = 1
            try:
                return self.sampled(model)
            finally:
                dynamic.Pages.full_from = None
                mm.unload_all_models()
        with partly(0.9) as reached:
            sampled = self.sampled(model)
        assert reached[0] < 0.99, reached
        mm.unload_all_models()
        return sampled

    def merged(self) -> torch.Tensor:
        """Sampled with the LoRA's changes added to the numbers by hand; the LoRA is written."""
        changed = files.write(scratch / LORA, FORMATS["diffusers"].of(self.family), self.sites, self.state)
        mm.unload_all_models()
        self.plain.model.diffusion_model.load_state_dict({**self.state, **changed})
        try:
            return self.sampled(self.plain)
        finally:
            mm.unload_all_models()
            self.plain.model.diffusion_model.load_state_dict(self.state)

    def stored(self) -> dict[str, torch.Tensor]:
        """What the layers hold, byte by byte."""
        mm.unload_all_models()
        held = {}
        for name, weight in stored_weights(self.model.model.diffusion_model).items():
            parts = weight if isinstance(weight, dict) else {"": weight}
            parts = getattr(getattr(weight, "packed", None), "tensors", parts)
            held |= {f"{name} {role}": part.contiguous().reshape(-1).view(torch.uint8) for role, part in parts.items()}
        return {name: part.clone() for name, part in held.items()}

    def saved(self, model, name: str) -> torch.Tensor:
        """Sampled from what ModelSave has written."""
        with torch.inference_mode():
            _saver("ModelSave").save(model, name)
        return self.sampled(side.model(load_model(open_file(_written(name)), torch.float32, keeps_packed=True)))


def _saver(node: str):
    """A saving node of core."""
    saver = core_nodes.NODE_CLASS_MAPPINGS[node]()
    saver.output_dir = str(scratch / "output")
    return saver


def _written(name: str) -> Path:
    (path,) = (scratch / "output").glob(f"{name}_*.safetensors")
    return path


def tried(family: str, kind: str) -> dict:
    subject, is_mixed = Packed(family, kind), has_mixed_layers()
    model, plain = subject.model, subject.sampled(subject.plain)
    layers = [layer for layer in model.model.diffusion_model.modules() if isinstance(layer, HoldsPacked)]
    with safe_open(subject.path, "pt") as file:
        size = sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118  no mapping
    alone = subject.sampled(model)
    found = {
        "layers": len(layers),
        "core's": sum(not isinstance(layer, PackedLinear) for layer in layers),
        "alone": off(alone, plain),
        "in part": off(subject.in_part(model), plain),
        "size": model.model_size() / size,
        "fingerprint": side.fingerprint(model)[0] == subject.fingerprint,
        "dynamic": getattr(model, "is_dynamic", bool)(),
    }
    before = subject.stored()
    merged = subject.merged()
    patched, _, report, *_ = ours(model)
    cores = call("LoraLoaderModelOnly", model=model, lora_name=LORA, strength_model=1.0)
    found |= {
        "effect": off(merged, plain),
        "lora": off(subject.sampled(patched), merged),
        "lora again": off(subject.sampled(patched), merged),
        "lora in part": off(subject.in_part(patched), merged),
        "core's lora": off(subject.sampled(cores), merged),
        "core's lora in part": off(subject.in_part(cores), merged),
        "report": report.splitlines()[-1],
        "strength 0": torch.equal(subject.sampled(ours(model, strength=0.0)[0]), alone),
    }
    after = subject.stored()
    found["kept"] = before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    try:
        found["saved"] = off(subject.saved(model, f"{family}-{kind}"), alone)
        found["saved with lora"] = off(subject.saved(patched, f"{family}-{kind}-lora"), merged)
    except Exception as error:
        found["refused"] = f"{type(error).__name__}: {error}"
    mm.unload_all_models()
    if is_mixed and kind in CORE_READS:
        with torch.inference_mode():  # as nodes run: core's own layers cannot be moved in and out of it
            core = comfy.sd.load_diffusion_model(str(subject.path))
            found["core"] = off(subject.sampled(core), subject.sampled(model))
            # Dynamic loading packs weights while it samples, with the rounding that is taken out here.
            if kind in rounding.KINDS and not found["dynamic"]:
                found |= rounding.measured(subject, core)
            mm.unload_all_models()
    return found


def cases() -> None:
    for family in FAMILIES:

        def run(family: str = family) -> dict:
            return {kind: tried(family, kind) for kind in packed.KINDS}

        boot.CASES[f"packed {family}"] = run


cases()


def drawn(model, prompt, **given) -> torch.Tensor:
    """Two steps of core's KSampler."""
    empty = {"samples": torch.zeros(1, 16, 3, 8, 6)}
    given = {"steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, **given}
    with torch.inference_mode():
        made = call("KSampler", model=model, seed=3, positive=prompt, negative=prompt, latent_image=empty, **given)
        mm.unload_all_models()
    return made["samples"].cpu()


@case
def nodes_of_core():
    """Our MODEL of a packed file in core's nodes, beside the numbers that the file stands for."""
    found = {}
    for kind in ("fp8", "nvfp4_awq", "awq_w4a16", "int8_convrot"):
        subject = Packed("wan", kind)
        model, prompt = subject.model, subject.prompt
        exact = drawn(subject.plain, prompt)
        easy = {"reuse_threshold": 0.2, "start_percent": 0.0, "end_percent": 0.9, "verbose": False}
        found[kind] = {
            "KSampler": off(drawn(model, prompt), exact),
            "TorchCompileModel": off(drawn(call("TorchCompileModel", model=model, backend="eager"), prompt), exact),
            "EasyCache": off(
                drawn(call("EasyCache", model=model, **easy), prompt, steps=6),
                drawn(call("EasyCache", model=subject.plain, **easy), prompt, steps=6),
            ),
        }
        name = next(name for name, part in model.model.diffusion_model.named_modules() if isinstance(part, HoldsPacked))
        layer = model.model.diffusion_model.get_submodule(name)
        given = torch.randn(1, 3, layer.weight.shape[1])
        found[kind]["copy"] = torch.equal(copy.deepcopy(layer)(given), layer(given))
        subject.merged()  # writes the LoRA
        hook = call("CreateHookLora", lora_name=LORA, strength_model=1.0, strength_clip=0.0)
        hooked = call("ConditioningSetProperties", cond_NEW=prompt, strength=1.0, set_cond_area="default", hooks=hook)
        try:
            drawn(model, hooked)
            found[kind]["hook"] = "sampled"
        except Exception as error:
            found[kind]["hook"] = f"{type(error).__name__}: {error}"
    return found


@case
def cores_own_model():
    """Core's own MODEL of a packed file, with a LoRA of Load Video LoRA: sampled, and saved."""
    if not has_mixed_layers():
        return {}
    found = {}
    for kind in ("int8_convrot", "nvfp4_awq"):
        subject = Packed("wan", kind)
        merged = subject.merged()
        with torch.inference_mode():
            core = comfy.sd.load_diffusion_model(str(subject.path))
            patched = ours(core)[0]
            found[kind] = {"lora": off(subject.sampled(patched), merged)}
            found[kind]["lora in part"] = off(subject.in_part(patched), merged)
            found[kind]["saved"] = off(subject.saved(patched, f"core-{kind}"), merged)
            mm.unload_all_models()
            found[kind]["alone"] = off(subject.sampled(core), subject.sampled(subject.model))
            mm.unload_all_models()
    return found


@case
def text_encoders():
    """A CLIP of a packed T5 and UMT5: its prompts, its size, a LoRA, and saving."""
    found = {}
    for is_umt5 in (False, True):
        state = {**packed_models.text_state(is_umt5)}
        state["spiece_model"] = torch.tensor(list(text_files.spiece()), dtype=torch.uint8)
        variant = replace(Packed("wan" if is_umt5 else "ltx_video", "fp8").variant, context_width=packed_models.TEXT)
        for kind in ("fp8", "int8_convrot", "nvfp4", "awq_w4a16"):
            path = scratch / "text.safetensors"
            save_file(packed.write(path, state, kind), scratch / "exact_text.safetensors")
            clips = [
                side.clip(load_text([open_text_file(file)], variant, torch.float32, lambda _: None))
                for file in (path, scratch / "exact_text.safetensors")
            ]
            with torch.inference_mode():
                embedded = [side.embed(clip, PROMPT)[0][0] for clip in clips]
            one = found[f"{'umt5' if is_umt5 else 't5'} {kind}"] = {"off": off(*embedded)}
            held = [layer for layer in clips[0].cond_stage_model.modules() if isinstance(layer, HoldsPacked)]
            one["layers"] = len(held)
            one["size"] = clips[0].patcher.model_size() / clips[1].patcher.model_size()
            name = f"clip-{kind}-{is_umt5}"
            try:
                with torch.inference_mode():
                    _saver("CLIPSave").save(clips[0], name)
                    clip = side.clip(
                        load_text([open_text_file(_written(name))], variant, torch.float32, lambda _: None)
                    )
                    again = side.embed(clip, PROMPT)[0][0]
                one["saved"] = off(again, embedded[0])
            except Exception as error:
                one["refused"] = f"{type(error).__name__}: {error}"
            mm.unload_all_models()
    return found
