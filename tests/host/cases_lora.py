"""Inside ComfyUI's Python: every LoRA format on our MODELs and core's own, beside weights merged by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import boot
import comfy.model_management as mm
import comfy.sd
import comfy.utils
import folder_paths
import torch
from boot import call, case, largest

from opent2v.host import comfyui as side
from opent2v.tests.loaders.lora import files, text_files
from opent2v.tests.loaders.lora.files import FORMATS
from opent2v.tests.loaders.lora.models import FAMILIES, Loaded
from opent2v.tests.loaders.lora.table import CELLS, HOST_CELLS

scratch = boot.scratch()
folder_paths.add_model_folder_path("loras", str(scratch))
folder_paths.set_output_directory(str(scratch / "output"))
LORA = "any.safetensors"
CPU = torch.device("cpu")
# What core's own loader is given for our MODELs.
CORE_LOADS = ("diffusers", "original", "kohya", "kohya_diffusers", "peft", "bare", "lokr", "dora", "conv", "difference")
_models: dict[str, Loaded] = {}


def loaded(family: str) -> Loaded:
    if family not in _models:
        _models[family] = Loaded(side, family)
    return _models[family]


def ours(model, name=LORA, strength=1.0, **given):
    return call("OpenT2VLoadLora", model=model, lora=name, strength_model=strength, **given)


@contextmanager
def partly(share: float) -> Iterator[list[float]]:
    """Load every MODEL to so large a part only; the shares that were reached."""
    reached: list[float] = []
    whole = mm.load_models_gpu

    def load(patchers, *_args, **_kwargs):
        for patcher in patchers:
            patcher.partially_load(CPU, extra_memory=int(patcher.model_size() * share))
            reached.append(patcher.model.model_loaded_weight_memory / patcher.model_size())

    mm.unload_all_models()
    mm.load_models_gpu = load
    try:
        yield reached
    finally:
        mm.load_models_gpu = whole


def both_ways(model, sampled: Callable) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """(whole, partly loaded, the shares that were loaded); the weights are restored afterwards."""
    whole = sampled(model)
    mm.unload_all_models()
    with partly(0.9) as shares:
        part = sampled(model)
        model.detach()
    return whole, part, shares


def formats_of(family: str, cells: list[tuple[str, str]] = CELLS) -> list[str]:
    return [name for one, name in cells if one == family]


def tried(model, sampled: Callable, wanted: torch.Tensor) -> dict:
    whole, part, shares = both_ways(model, sampled)
    return {"whole": largest(whole, wanted), "partly": largest(part, wanted), "shares": shares}


def ours_cases() -> None:
    for family in FAMILIES:

        def run(family: str = family) -> dict:
            one, found = loaded(family), {}
            for name in formats_of(family, HOST_CELLS):
                merged = files.write(scratch / LORA, FORMATS[name].of(family), one.sites, one.state)
                wanted = one.merged(merged)
                found[name] = tried(ours(one.model)[0], one.sampled, wanted)
                found[name]["effect"] = largest(wanted, one.plain)
            mm.unload_all_models()
            return {"formats": found, "untouched": one.is_untouched()}

        boot.CASES[f"lora ours {family}"] = run


def core_loader_cases() -> None:
    for family in FAMILIES:

        def run(family: str = family) -> dict:
            one, found = loaded(family), {}
            for name in CORE_LOADS:
                if name not in formats_of(family):
                    continue
                merged = files.write(scratch / LORA, FORMATS[name].of(family), one.sites, one.state)
                model = call("LoraLoaderModelOnly", model=one.model, lora_name=LORA, strength_model=1.0)
                found[name] = tried(model, one.sampled, one.merged(merged))
            mm.unload_all_models()
            return {"formats": found, "untouched": one.is_untouched()}

        boot.CASES[f"lora core loader {family}"] = run


ours_cases()
core_loader_cases()


@case
def hooks():
    """A LoRA hook of core's on the prompt, with each kind of names."""
    one, found = loaded("hunyuan_video"), {}
    for name in ("diffusers", "original", "kohya"):
        merged = files.write(scratch / LORA, FORMATS[name].of("hunyuan_video"), one.sites, one.state)
        hook = call("CreateHookLora", lora_name=LORA, strength_model=1.0, strength_clip=0.0)
        plain = one.prompt
        one.prompt = call(
            "ConditioningSetProperties", cond_NEW=plain, strength=1.0, set_cond_area="default", hooks=hook
        )
        try:
            hooked = one.sampled(one.model)
        finally:
            one.prompt = plain
        found[name] = largest(hooked, one.merged(merged))
    mm.unload_all_models()
    return found | {"untouched": one.is_untouched()}


@case
def text():
    """Text encoders, through our node and through core's LoraLoader."""
    found = {}
    for family, slots in (("wan", ("text_encoder",)), ("hunyuan_video", ("text_encoder", "text_encoder_2"))):
        one = loaded(family)
        plain = one.embedded(one.clip)
        for style in text_files.STYLES:
            merged = text_files.write(scratch / LORA, style, one.text.encoders, slots)
            wanted = one.embedded_by_hand(merged)
            given = {"model": one.model, "clip": one.clip, "strength_model": 1.0, "strength_clip": 1.0}
            clips = {
                "ours": call("OpenT2VLoadLora", lora=LORA, **given)[1],
                "core": call("LoraLoader", lora_name=LORA, **given)[1],
            }
            for who, clip in clips.items():
                made = one.embedded(clip)
                found[f"{family} {style} {who}"] = max(map(largest, made, wanted))
                mm.unload_all_models()
            found[f"{family} {style} effect"] = max(map(largest, plain, wanted))
        found[f"{family} restored"] = max(map(largest, one.embedded(one.clip), plain))
    return found


@case
def strengths():
    """Any strength, two files one after the other, and a block filter; then nothing is left."""
    one, found = loaded("mochi"), {}
    merged = files.write(scratch / LORA, FORMATS["kohya"], one.sites, one.state)
    for strength in (0.0, 0.35, -1.0, 2.0):
        part = {k: one.state[k] + strength * (new - one.state[k]) for k, new in merged.items()}
        found[str(strength)] = largest(one.sampled(ours(one.model, strength=strength)[0]), one.merged(part))
    second = files.write(scratch / "b.safetensors", FORMATS["diffusers"], one.sites, one.state, seed=1)
    sums = {k: merged[k] + second[k] - one.state[k] for k in merged}
    found["two"] = largest(one.sampled(ours(ours(one.model)[0], "b.safetensors")[0]), one.merged(sums))
    stacked = call(
        "OpenT2VLoraStack", model=one.model, lora_1=LORA, strength_1=1.0, lora_2="b.safetensors", strength_2=1.0
    )
    found["stack"] = largest(one.sampled(stacked[0]), one.merged(sums))
    first = {k: new for k, new in merged.items() if k.startswith("transformer_blocks.0.")}
    found["first block"] = largest(one.sampled(ours(one.model, blocks="0")[0]), one.merged(first))
    mm.unload_all_models()
    return found | {"untouched": one.is_untouched()}


@case
def small_storage():
    """fp8 storage: the change is not rounded into it, whole or partly loaded; the bytes come back."""
    found = {}
    for family in FAMILIES:
        one = Loaded(side, family, torch.float8_e4m3fn)
        computes = one.model.model.manual_cast_dtype or one.model.model.get_dtype()
        name = next(iter(one.state))
        exact = one.merged({name: one.state[name]})
        found[family] = {"computes": str(computes), "floor": largest(one.plain, exact), "formats": {}}
        for name in ("kohya", "lokr", "dora"):
            merged = files.write(scratch / LORA, FORMATS[name].of(family), one.sites, one.state)
            wanted = one.merged(merged)
            rounded = {k: new.to(one.stored[k].dtype).float() for k, new in merged.items()}
            got = tried(ours(one.model)[0], one.sampled, wanted)
            found[family]["formats"][name] = got | {
                "rounded": largest(one.merged(rounded), wanted), "effect": largest(wanted, one.plain)
            }  # fmt: skip
        mm.unload_all_models()
        found[family]["untouched"] = one.is_untouched()
    return found


@case
def others():
    """What the host's loaders ask for MODELs and CLIPs of others, with an argument that only newer hosts have."""
    import comfy.lora

    names = ("model_lora_keys_unet", "model_lora_keys_clip", "load_lora")
    kept = {name: getattr(comfy.lora, name) for name in names}

    def asked(*args, **kwargs):
        return args, kwargs

    other, table, lora = object(), {}, {}
    try:
        for name in names:
            setattr(comfy.lora, name, asked)
        side.install(lambda *_: ())
        found = {}
        for name, args in (*((name, (other, table)) for name in names[:2]), ("load_lora", (lora, table, False))):
            got, named = getattr(comfy.lora, name)(*args, newer=1)
            found[name] = len(got) == len(args) and all(map(lambda a, b: a is b, got, args)) and named == {"newer": 1}
        found["twice"] = comfy.lora.load_lora
        side.install(lambda *_: ())
        found["twice"] = comfy.lora.load_lora is found["twice"]
    finally:
        for name, function in kept.items():
            setattr(comfy.lora, name, function)
    return found


@case
def bypassed():
    """What a newer host's bypass loader hears of a change that its adapters do not compute."""
    from opent2v.base import WeightChange
    from opent2v.host.comfyui.patches import host_patches

    tensors = {"up": torch.ones(2, 1), "down": torch.ones(1, 2), "dora": torch.ones(2, 1)}
    try:
        host_patches([WeightChange("a.weight", "lora", tensors)])["a.weight"].h(torch.ones(1, 2), torch.ones(1, 2))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@case
def partly_unloaded():
    """fp8 storage, loaded whole, then a part taken out by the host for another model, then run again."""
    one = Loaded(side, "wan", torch.float8_e4m3fn)
    merged = files.write(scratch / LORA, FORMATS["kohya"].of("wan"), one.sites, one.state)
    model, wanted = ours(one.model)[0], one.merged(merged)
    first = one.sampled(model)
    freed = model.partially_unload(CPU, model.model_size() // 2)
    found = {"freed": freed / model.model_size(), "first": largest(first, wanted)}
    found["again"] = largest(one.sampled(model), wanted)
    mm.unload_all_models()
    return found | {"untouched": one.is_untouched()}


@case
def profile():
    """A step cache's profile is of the MODEL with its LoRAs: what the sampler says of it with others."""
    one = loaded("wan")
    files.write(scratch / LORA, FORMATS["dora"], one.sites, one.state)  # the pack's own arithmetic
    files.write(scratch / "b.safetensors", FORMATS["diffusers"], one.sites, one.state)  # the host's
    latent = {"samples": torch.zeros(1, 16, 3, 4, 4)}

    def sampled(model, profile=None):
        given = {"model": model, "positive": one.prompt, "negative": one.prompt, "latent": latent, "steps": 12}
        if profile is None:
            return call("OpenT2VCalibrateCache", **given)[0]
        cache = call("OpenT2VStepCache", policy="auto", profile=profile)
        try:
            call("OpenT2VSampler", **given, step_cache=cache)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "sampled"

    plain, of_dora = sampled(one.model), sampled(ours(one.model)[0])
    cores = call("LoraLoaderModelOnly", model=one.model, lora_name="b.safetensors", strength_model=1.0)
    found = {
        "none": sampled(one.model, plain),
        "ours": sampled(ours(one.model)[0], plain),
        "ours, the host's arithmetic": sampled(ours(one.model, "b.safetensors")[0], plain),
        "core's loader": sampled(cores, plain),
        "the same": sampled(ours(one.model)[0], of_dora),
        "taken away": sampled(one.model, of_dora),
        "weaker": sampled(ours(one.model, strength=0.5)[0], of_dora),
    }
    mm.unload_all_models()
    return found | {"untouched": one.is_untouched()}


@case
def saved():
    """ModelSave after our node writes the merged weights."""
    one = loaded("cogvideox")
    merged = files.write(scratch / LORA, FORMATS["kohya"], one.sites, one.state)
    import nodes

    nodes.NODE_CLASS_MAPPINGS["ModelSave"]().save(ours(one.model)[0], "saved/model")
    mm.unload_all_models()
    file = next((scratch / "output" / "saved").glob("*.safetensors"))
    read = {k.removeprefix("model.diffusion_model."): v for k, v in comfy.utils.load_torch_file(str(file)).items()}
    wanted = one.state | merged
    return {"apart": max(largest(read[k], v) for k, v in wanted.items()), "untouched": one.is_untouched()}


@case
def bad_files():
    """What our node and core's loader say of files that cannot be used; the host goes on, the model is what it was."""
    one = loaded("wan")
    files.write(scratch / "good.safetensors", FORMATS["diffusers"], one.sites, one.state)
    whole = (scratch / "good.safetensors").read_bytes()
    (scratch / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (scratch / "pickle.safetensors").write_bytes(b"\x80\x04\x95not to be opened")
    (scratch / "empty.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    stored = comfy.utils.load_torch_file(str(scratch / "good.safetensors"))
    first = next(iter(stored))
    files.save(scratch / "nan.safetensors", stored | {first: torch.full_like(stored[first], float("nan"))})
    other = loaded("ltx_video")
    files.write(scratch / "other.safetensors", FORMATS["diffusers"], other.sites, other.state)
    found = {}
    for name in ("cut", "pickle", "empty", "nan", "other"):
        try:
            ours(one.model, f"{name}.safetensors")
            found[name] = "nothing was refused"
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    try:
        call("LoraLoaderModelOnly", model=one.model, lora_name="other.safetensors", strength_model=1.0)
        found["core's loader"] = "nothing was refused"
    except Exception as error:
        found["core's loader"] = f"{type(error).__name__}: {error}"
    mm.unload_all_models()
    return found | {"untouched": one.is_untouched()}
