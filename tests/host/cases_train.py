"""Inside ComfyUI's Python: Train Video LoRA as the host calls it, in inference mode, beside the embedded host."""

from __future__ import annotations

from pathlib import Path

import boot
import folder_paths
import torch
from boot import call, case, largest
from safetensors.torch import load_file, save_file

from opent2v import finetune
from opent2v.finetune.buckets import Bucket
from opent2v.finetune.clips import Clip
from opent2v.finetune.objective import Sample
from opent2v.finetune.prepare import Item, Prepared
from opent2v.host import comfyui as side
from opent2v.host import embedded
from opent2v.loaders import load_model, open_file
from opent2v.loaders.lora import load_patches, match, read_lora
from opent2v.sampling import make_run, make_schedule
from opent2v.tests.finetune import data
from opent2v.tests.tiny import wan

scratch = boot.scratch()
folder_paths.set_input_directory(str(scratch / "input"))
folder_paths.set_output_directory(str(scratch / "output"))
folder_paths.add_model_folder_path("loras", str(scratch / "output" / "loras"))
SETTINGS = {"steps": 3, "rank": 4, "rate": 1e-3, "batch": 2, "trigger": ""}
DEFAULTS = {"width": 0, "height": 0, "frames": 0}


def sampled(model, positive, negative) -> torch.Tensor:
    latent = {"samples": torch.zeros(1, 16, 3, 4, 4)}
    schedule = make_schedule({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, steps=2)
    return side.sample(model, positive, negative, latent, make_run(schedule, 3.0, seed=5))


@case
def node() -> dict:
    """Weights of the file against those trained on the embedded host; the ways to use the file against each other."""
    data.folder_of(scratch / "input" / "balls", 3)
    part, text, vae = wan.parts(wan.folder())
    model, clip = side.model(part), side.clip(text)
    inputs = {"model": model, "clip": clip, "vae": side.vae(vae), "data": "balls", "name": "host"}
    with torch.inference_mode():
        trained, file, report, *_ = call("OpenT2VTrainLora", **inputs, **SETTINGS, **DEFAULTS)
    prompts = [side.embed(clip, text) for text in ("a red triangle", "blurry")]
    plain = sampled(model, *prompts)
    at_once = sampled(trained, *prompts)
    ours = call("OpenT2VLoadLora", model=model, lora="host.safetensors", strength_model=1.0)[0]
    core = call("LoraLoaderModelOnly", model=model, lora_name="host.safetensors", strength_model=1.0)
    core = core[0] if isinstance(core, tuple) else core
    weights = load_file(file)
    return {
        "effect": largest(at_once, plain),
        "restored": largest(sampled(model, *prompts), plain),
        "ours": largest(sampled(ours, *prompts), at_once),
        "core": largest(sampled(core, *prompts), at_once),
        "embedded": max(largest(weights[name], tensor) for name, tensor in _embedded().items()),
        "report": report,
    }


def _embedded() -> dict[str, torch.Tensor]:
    """The file's tensors, trained on latents and prompts of this host by the embedded host's transformer."""
    model, clip, vae = wan.hosted(wan.folder())
    settings = finetune.Settings(**SETTINGS)
    encoders = finetune.Encoders(model.part.variant, side.clip(clip.part), side.vae(vae.part))
    prepared = finetune.prepare(encoders, Path(scratch / "input" / "balls"), scratch / "cache", settings)
    training = finetune.Training(embedded.training_model(model), prepared, settings, scratch / "embedded")
    try:
        training.run()
        return load_file(finetune.export(training, scratch / "embedded.safetensors"))
    finally:
        training.close()


def _core_file() -> str:
    """A transformer in the makers' names, in a file."""
    import original

    path = scratch / "core_wan.safetensors"
    if not path.exists():
        save_file({name: weight.contiguous() for name, weight in original.transformer()[1].items()}, path)
    return str(path)


class OneClip(Prepared):
    """A random clip and prompt of the width that the host's Wan reads."""

    def sample(self, item, with_picture):
        generator = torch.Generator().manual_seed(0)
        clean = torch.randn(1, 16, 3, 4, 4, generator=generator)
        return Sample((clean,), {"cross_attn": torch.randn(1, 8, 4096, generator=generator)})


def _lora_on(model, name: str) -> Path:
    """The file of a short training on a MODEL."""
    trained = side.training_model(model, lambda path: load_model(open_file(path), None))
    item = Item(Clip("a.mp4", scratch, "a ball"), Bucket(32, 32, 9), "latents", "prompt")
    settings = finetune.Settings(steps=2, rank=4, rate=1e-2, warmup=0, validation=0.0)
    ready = OneClip(trained.part.variant, (item,), (), None)  # pyright: ignore[reportArgumentType]
    training = finetune.Training(trained, ready, settings, scratch / name)
    try:
        training.run()
        return finetune.export(training, scratch / f"{name}.safetensors", torch.float32)
    finally:
        training.close()


@case
def core_model() -> dict:
    """A MODEL of the host's own loader is trained as one of ours from the same file, and wears the LoRA."""
    import comfy.sd

    core = comfy.sd.load_diffusion_model(_core_file())
    if getattr(core, "cached_patcher_init", None) is None:
        return {"refused": _refusal(core)}
    ours = side.model(load_model(open_file(Path(_core_file())), None))
    with torch.inference_mode():
        files = {name: _lora_on(model, name) for name, model in (("core", core), ("ours", ours))}
    weights, expected = (load_file(file) for file in files.values())
    context = [[torch.randn(1, 8, 4096, generator=torch.Generator().manual_seed(1)), {}]]
    plain, changed = {}, {}
    for name, model in (("core", core), ("ours", ours)):
        plain[name] = sampled(model, context, context)
        patches = load_patches(match(read_lora(files["core"]), side.patch_target(model)))
        changed[name] = sampled(side.apply_patches(model, patches, 1.0), context, context)
    return {
        "weights": max(largest(weights[name], tensor) for name, tensor in expected.items()),
        "effect": largest(changed["core"], plain["core"]),
        "difference": largest(changed["core"], changed["ours"]),
    }


@case
def core_model_without_a_file() -> str:
    """A MODEL whose file the host does not know is refused in words."""
    import comfy.sd
    import original

    return _refusal(comfy.sd.load_diffusion_model_state_dict(original.transformer()[1]))


def _refusal(model) -> str:
    try:
        side.training_model(model, lambda path: load_model(open_file(path), None))
    except ValueError as error:
        return str(error)
    return "taken"
