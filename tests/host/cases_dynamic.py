"""Inside ComfyUI's Python: MODELs, CLIPs and VAEs under dynamic VRAM loading, acted out on the CPU (`dynamic.py`)."""

from __future__ import annotations

from contextlib import contextmanager

import boot
import cases_lora_core as core
import comfy.model_management as mm
import comfy.sd
import comfy.utils
import dynamic
import torch
from boot import call, case, largest
from cases_lora import LORA, formats_of, ours, scratch

from opent2v.host import comfyui as side
from opent2v.loaders import load_pipeline, open_folder
from opent2v.tests.loaders.lora import files
from opent2v.tests.loaders.lora.files import FORMATS
from opent2v.tests.loaders.lora.models import FAMILIES, Loaded
from opent2v.tests.loaders.lora.table import CORE_CELLS, HOST_CELLS


class Dynamic(Loaded):
    """A tiny model whose MODEL and CLIP are dynamic; those that are changed by hand are plain."""

    def __init__(self, family: str, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(side, family, dtype)
        self.by_hand = side.model(self.by_hand.model.opent2v, True)

    def sampled_thrice(self, model) -> list[torch.Tensor]:
        """With its weights on their way for the first time, there already, and with no room for most of them."""
        made = [self.sampled(model), self.sampled(model)]
        mm.unload_all_models()
        with no_room():
            made.append(self.sampled(model))
        mm.unload_all_models()
        return made


@contextmanager
def no_room():
    dynamic.Pages.full_from = 1
    try:
        yield
    finally:
        dynamic.Pages.full_from = None


def core_cases() -> None:
    for family in ("wan", "ltx_video", "hunyuan_video"):

        def run(family: str = family) -> dict:
            one, found = core.Core(family), {}
            for name in formats_of(family, CORE_CELLS):
                merged = files.write(scratch / LORA, FORMATS[name].of(family), one.sites, one.state)
                wanted = one.merged(merged)
                patched = ours(one.model)[0]
                first, again = one.sampled(patched), one.sampled(patched)  # the second time its pages are there
                found[name] = {"off": max(largest(first, wanted), largest(again, wanted))}
                found[name] |= {"effect": largest(wanted, one.plain)}
                mm.unload_all_models()
            return {"formats": found, "untouched": one.is_untouched(), "dynamic": one.model.is_dynamic()}

        boot.CASES[f"dynamic core model {family}"] = run


def our_cases() -> None:
    for family in FAMILIES:

        def run(family: str = family) -> dict:
            one, found = Dynamic(family), {}
            plain, clip = side.model(one.model.model.opent2v.again(), True), side.clip(one.text.again(), True)
            found["dynamic"] = one.model.is_dynamic() and one.clip.patcher.is_dynamic()
            found["plain"] = not (plain.is_dynamic() or clip.patcher.is_dynamic())
            wanted = one.sampled(plain)
            found["off"] = max(largest(made, wanted) for made in one.sampled_thrice(one.model))
            found["prompt"] = max(map(largest, one.embedded(one.clip), one.embedded(clip)))
            found["formats"] = {}
            for name in formats_of(family, HOST_CELLS):
                merged = files.write(scratch / LORA, FORMATS[name].of(family), one.sites, one.state)
                wanted, patched = one.merged(merged), ours(one.model)[0]
                made = [one.sampled(patched), one.sampled(patched)]
                found["formats"][name] = {"off": max(largest(m, wanted) for m in made)}
                found["formats"][name]["effect"] = largest(wanted, one.plain)
            mm.unload_all_models()
            return found | {"untouched": one.is_untouched()}

        boot.CASES[f"dynamic ours {family}"] = run


core_cases()
our_cases()


@case
def small_storage():
    """A LoRA on fp8 weights: computed beside them each time, not rounded into them once they are there."""
    found = {}
    for family in ("wan", "videocrafter"):
        one = Dynamic(family, torch.float8_e4m3fn)
        merged = files.write(scratch / LORA, FORMATS["kohya"].of(family), one.sites, one.state)
        wanted, patched = one.merged(merged), ours(one.model)[0]
        rounded = {name: new.to(one.stored[name].dtype).float() for name, new in merged.items()}
        found[family] = {"off": [largest(made, wanted) for made in one.sampled_thrice(patched)]}
        found[family] |= {"rounded": largest(one.merged(rounded), wanted), "untouched": one.is_untouched()}
        mm.unload_all_models()
    return found


@case
def made_again():
    """What the host makes again of our MODEL with a LoRA: a plain one, one for another device, one to compile."""
    one = Dynamic("wan")
    merged = files.write(scratch / LORA, FORMATS["dora"].of("wan"), one.sites, one.state)
    wanted, patched = one.merged(merged), ours(one.model)[0]
    made = {"plain": patched.clone(disable_dynamic=True), "delegate": patched.get_non_dynamic_delegate()}
    made["cpu"] = call("SelectModelDevice", model=patched, device="cpu")
    made["default"] = call("SelectModelDevice", model=made["cpu"], device="default")
    made["another"] = patched.deepclone_multigpu(new_load_device=torch.device("cpu", 0))
    made["compiled"] = call("TorchCompileModel", model=patched, backend="eager")
    found = {}
    for name, model in made.items():
        found[name] = {"off": largest(one.sampled(model), wanted), "dynamic": model.is_dynamic()}
        found[name]["own"] = model.model is not patched.model
        found[name]["of"] = side.variant(model) == side.variant(patched)
    mm.unload_all_models()
    return found | {"untouched": one.is_untouched()}


@case
def hooks():
    """A LoRA hook of core's on the prompt: the host takes a plain MODEL in place of the dynamic one."""
    one = Dynamic("wan")
    merged = files.write(scratch / LORA, FORMATS["diffusers"].of("wan"), one.sites, one.state)
    hook = call("CreateHookLora", lora_name=LORA, strength_model=1.0, strength_clip=0.0)
    plain, wanted = one.prompt, one.merged(merged)
    one.prompt = call("ConditioningSetProperties", cond_NEW=plain, strength=1.0, set_cond_area="default", hooks=hook)
    hooked = one.sampled(one.model)
    one.prompt = plain
    mm.unload_all_models()
    return {"off": largest(hooked, wanted), "untouched": one.is_untouched()}


@case
def text_and_vae():
    """CLIP and VAE, made again and for another device."""
    one = Dynamic("hunyuan_video")
    wanted = one.embedded(one.clip)
    clips = {
        "cpu": call("SelectCLIPDevice", clip=one.clip, device="cpu"),
        "plain": one.clip.clone(disable_dynamic=True),
    }
    found = {name: max(map(largest, one.embedded(clip), wanted)) for name, clip in clips.items()}
    found |= {f"{name} dynamic": clip.patcher.is_dynamic() for name, clip in clips.items()}
    found |= {f"{name} own": clip.cond_stage_model is clip.patcher.model for name, clip in clips.items()}
    folder = open_folder(FAMILIES["hunyuan_video"].folder())
    dtypes = dict.fromkeys(("model_dtype", "text_dtype", "vae_dtype"), torch.float32)
    vae = side.vae(load_pipeline(folder, **dtypes).vae)
    other = vae.patcher.deepclone_multigpu(new_load_device=torch.device("cpu", 0))
    latent = torch.randn(1, vae.latent_channels, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    images = side.decode(vae, latent)
    moved = call("SelectVAEDevice", vae=vae, device="default")
    moved.patcher, moved.first_stage_model = other, other.model
    found["vae"] = largest(side.decode(moved, latent), images)
    found["vae own"] = other.model is not vae.first_stage_model
    return found


@case
def saved():
    """ModelSave of a dynamic MODEL with a LoRA writes what merging by hand gives."""
    import nodes

    one = Dynamic("cogvideox")
    merged = files.write(scratch / LORA, FORMATS["dora"].of("cogvideox"), one.sites, one.state)
    patched = ours(one.model)[0]
    nodes.NODE_CLASS_MAPPINGS["ModelSave"]().save(patched, "dynamic/model")
    file = next((scratch / "output" / "dynamic").glob("*.safetensors"))
    read = {k.removeprefix("model.diffusion_model."): v for k, v in comfy.utils.load_torch_file(str(file)).items()}
    wanted = one.state | merged
    found = {"apart": max(largest(read[name], tensor) for name, tensor in wanted.items())}
    mm.unload_all_models()
    return found | {"untouched": one.is_untouched()}


@case
def several_gpus():
    """Core's MultiGPU CFG Split with two devices pretended: both prompts at once, each on a model of its own."""
    one, ran = Dynamic("wan"), []
    merged = files.write(scratch / LORA, FORMATS["dora"].of("wan"), one.sites, one.state)
    kept = mm.get_all_torch_devices, mm.set_torch_device
    mm.get_all_torch_devices = lambda exclude_current=False: [torch.device("cpu"), torch.device("cpu", 0)]
    mm.set_torch_device = lambda _: None

    def told(function, *args, **kwargs):
        ran.append(str(kwargs["transformer_options"].get("multigpu_thread_device")))
        return function(*args, **kwargs)

    def sampled(model, **given):
        latent = {"samples": torch.zeros(1, 16, 3, 4, 4)}
        given = {"model": model, "positive": one.prompt, "negative": negative, "latent": latent, "steps": 2, **given}
        return call("OpenT2VSampler", cfg=3.0, seed=1, **given)[0]["samples"]

    try:
        negative = side.embed(one.clip, "a red circle")
        model = ours(one.model)[0]
        model.model_options["transformer_options"]["optimized_attention_override"] = told
        split = call("MultiGPU_WorkUnits", model=model, max_gpus=2)
        wanted = sampled(model)
        ran.clear()
        found = {"off": largest(sampled(split), wanted), "ran": {name: ran.count(name) for name in set(ran)}}
        try:
            sampled(split, step_cache=call("OpenT2VStepCache"), steps=12)
            found["cached"] = "sampled"
        except Exception as error:
            found["cached"] = f"{type(error).__name__}: {error}"
    finally:
        mm.get_all_torch_devices, mm.set_torch_device = kept
        mm.unload_all_models()
    return found | {"effect": largest(one.merged(merged), one.plain), "untouched": one.is_untouched()}
