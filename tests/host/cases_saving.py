"""Inside ComfyUI's Python: what core's saving nodes write of our objects, and what reads it again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import boot
import comfy.model_management as mm
import comfy.model_patcher
import comfy.sd
import folder_paths
import original
import safetensors.torch
import torch
from boot import call, case, largest
from cases_objects import FOLDERS

import nodes as core_nodes
from opent2v.families.wan.variants import VAES
from opent2v.host import comfyui as real
from opent2v.loaders.single import load_model, load_vae, open_file
from opent2v.loaders.text_file import load_text, open_text_file
from opent2v.tests.families.layouts.wan import original_vae
from opent2v.tests.loaders import text_files
from opent2v.tests.tiny import videocrafter as tiny_videocrafter
from opent2v.tests.tiny import wan as tiny

scratch = boot.scratch()
output = scratch / "output"
for kind in ("diffusion_models", "loras", "text_encoders"):
    (scratch / kind).mkdir()
    folder_paths.add_model_folder_path(kind, str(scratch / kind))
E4 = torch.float8_e4m3fn
ONE_ENCODER = ("wan 2.1", "wan 2.2", "ltx-video", "cogvideox", "mochi")


def saved(node: str, prefix: str, **given) -> Path:
    """The one file that a saving node of core wrote."""
    maker = core_nodes.NODE_CLASS_MAPPINGS[node]()
    maker.output_dir = str(output)
    with torch.inference_mode():
        maker.save(filename_prefix=prefix, **given)
    (file,) = output.rglob(f"{Path(prefix).name}*.safetensors")
    return file


# --- LoRAs ---

LAYER, OUR_LAYER = "blocks.0.self_attn.q", "blocks.0.attn1.to_q"


def _weights():
    """(weights in the makers' names, the same scaled to fp8, what the scaled ones stand for)."""
    _, weights = original.transformer()
    scaled, plain = {}, {}
    for name, weight in weights.items():
        if weight.ndim == 2 and name.startswith("blocks.") and name.endswith("weight"):
            scale = weight.abs().max().float() / 448
            scaled[name] = (weight / scale).to(E4)
            scaled[f"{name[:-6]}scale_weight"] = scale
            plain[name] = scaled[name].float() * scale
        else:
            scaled[name] = plain[name] = weight.float()
    return plain, scaled | {"scaled_fp8": torch.zeros(2, dtype=E4)}


def _put(kind: str, name: str, tensors: dict) -> str:
    safetensors.torch.save_file({n: t.clone().contiguous() for n, t in tensors.items()}, scratch / kind / name)
    folder_paths.filename_list_cache.clear()
    return name


plain, scaled = _weights()
_put("diffusion_models", "plain.safetensors", plain)
_put("diffusion_models", "scaled.safetensors", scaled)
torch.manual_seed(9)
size = plain[f"{LAYER}.weight"].abs().mean() * 2
down, up = torch.randn(4, plain[f"{LAYER}.weight"].shape[1]), torch.randn(plain[f"{LAYER}.weight"].shape[0], 4)
up *= size / (up @ down).abs().mean()
LORA = _put(
    "loras",
    "saving.safetensors",  # a name of its own: the host looks in the folders of all cases
    {f"diffusion_model.{LAYER}.lora_A.weight": down, f"diffusion_model.{LAYER}.lora_B.weight": up},
)


def _loaded(kind: str):
    known = {"core scaled fp8": ("scaled", "default"), "core fp8": ("plain", "fp8_e4m3fn")}
    file, dtype = known.get(kind, ("plain", ""))
    if dtype:
        return call("UNETLoader", unet_name=f"{file}.safetensors", weight_dtype=dtype)
    return real.model(load_model(open_file(scratch / "diffusion_models" / f"{file}.safetensors"), E4))


def _patched(kind: str, by: str):
    if by == "ours":
        return call("OpenT2VLoadLora", model=_loaded(kind), lora=LORA, strength_model=1.0)[0]
    return call("LoraLoaderModelOnly", model=_loaded(kind), lora_name=LORA, strength_model=1.0)


def _share(tensors: dict, kind: str) -> float:
    """How much of the LoRA is in a state dict: 1 all, 0 nothing."""
    layer = OUR_LAYER if kind == "ours fp8" else LAYER
    (name,) = (name for name in tensors if name.endswith(f"{layer}.weight"))
    weight = tensors[name].to("cpu").float()
    scale = next((tensors[n] for n in (f"{name}_scale", f"{name[:-6]}scale_weight") if n in tensors), None)
    whole = weight if scale is None else weight * scale.to("cpu").float()
    wanted = up @ down
    return (((whole - plain[f"{LAYER}.weight"]) * wanted).sum() / wanted.square().sum()).item()


@case
def lora():
    found = {}
    # ComfyUI 0.8 gives safetensors its scaled fp8 weights as they are, which have no storage.
    can_save_scaled = hasattr(comfy.model_patcher.ModelPatcher, "state_dict_for_saving")
    for kind in ("core scaled fp8", "core fp8", "ours fp8")[0 if can_save_scaled else 1 :]:
        for by in ("ours", "core"):
            file = saved("ModelSave", f"{kind} {by}".replace(" ", "_"), model=_patched(kind, by))
            found[f"{kind}, LoRA by {by}"] = _share(safetensors.torch.load_file(file), kind)
            mm.unload_all_models()
    return found


@case
def lora_in_parts():
    """Partly loaded, and partly unloaded again: what is saved and what is computed."""
    model = _patched("ours fp8", "ours")
    torch.manual_seed(1)
    x, context = torch.randn(1, 16, 3, 4, 4), torch.randn(1, 16, 4096) * 0.1

    def predicted():
        with torch.inference_mode():
            return model.model.apply_model(x, torch.tensor([0.5]), c_crossattn=context)

    def share():
        with torch.inference_mode():
            return _share(model.state_dict_for_saving(), "ours fp8") if saves_in_parts else None

    saves_in_parts = hasattr(model, "state_dict_for_saving")  # ComfyUI 0.8 loads all of it for saving
    mm.unload_all_models()
    model.patch_model(torch.device("cpu"))
    whole, found = predicted(), {"whole": share()}
    model.partially_unload(torch.device("cpu"), model.model_size() // 2)
    found |= {"unloaded": share(), "apart after unloading": largest(predicted(), whole)}
    model.detach()
    model.partially_load(torch.device("cpu"), extra_memory=model.model_size() // 2)
    found |= {"partly": share(), "apart when partly loaded": largest(predicted(), whole)}
    model.detach()
    found["effect"] = largest(predicted(), whole)
    return found


# --- text encoders and whole checkpoints ---


def _same(module: torch.nn.Module, other: torch.nn.Module) -> bool:
    one, two = module.state_dict(), other.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def _names(prefix: str, module: torch.nn.Module) -> dict:
    return {prefix + name: tensor for name, tensor in module.state_dict().items() if "embed_tokens" not in name}


@case
def checkpoints():
    """Each family's parts through CheckpointSave: every tensor is there, under the names of an all-in-one file."""
    found = {}
    for family in ONE_ENCODER:
        model, text, vae = tiny.parts(FOLDERS[family])
        objects = {"model": real.model(model), "clip": real.clip(text), "vae": real.vae(vae)}
        read = safetensors.torch.load_file(saved("CheckpointSave", f"whole_{family}".replace(" ", "_"), **objects))
        wanted = _names("model.diffusion_model.", model.transformer) | _names("vae.", vae.vae)
        wanted |= _names("text_encoders.", next(iter(text.encoders.values())))
        further = {name for name in read.keys() - wanted.keys() if not name.startswith(("model_sampling.", "v_pred"))}
        found[family] = [
            sorted(wanted.keys() - read.keys()),
            sorted(further),
            all(torch.equal(read[name], tensor) for name, tensor in wanted.items() if name in read),
        ]
        mm.unload_all_models()
    return found


@case
def read_again():
    """CheckpointSave of what our single-file loaders read, through those loaders."""
    from diffusers import AutoencoderKLWan

    umt5, _ = _umt5_file()
    opened = open_file(scratch / "diffusion_models" / "plain.safetensors")
    model = load_model(opened, torch.float32)
    narrow = AutoencoderKLWan(**VAES[16] | {"base_dim": 8}).eval()
    vae_file = scratch / "vae.safetensors"
    safetensors.torch.save_file({original_vae(n, False): t for n, t in narrow.state_dict().items()}, vae_file)
    text = load_text([open_text_file(umt5)], model.variant, torch.float32, lambda *_: None)
    crafter = open_file(tiny_videocrafter.file())
    crafted = load_model(crafter, torch.float32)
    inside = [open_text_file(crafter.path, prefix) for prefix in crafter.text_prefixes]
    crafted_text = load_text(inside, crafted.variant, torch.float32, lambda *_: tiny.folder() / "tokenizer")
    found = {}
    for name, parts, tokenizer in (
        ("wan", (model, text, load_vae(open_file(vae_file), torch.float32)), None),
        ("videocrafter", (crafted, crafted_text, load_vae(crafter, torch.float32)), tiny.folder() / "tokenizer"),
    ):
        one, clip, vae = parts
        file = saved("CheckpointSave", f"again_{name}", model=real.model(one), clip=real.clip(clip), vae=real.vae(vae))
        read = open_file(file)
        inside = [open_text_file(file, prefix) for prefix in read.text_prefixes]
        again = load_text(inside, one.variant, torch.float32, lambda *_, place=tokenizer: place)
        found[name] = {
            "model": _same(load_model(read, torch.float32).transformer, one.transformer),
            "vae": _same(load_vae(read, torch.float32).vae, vae.vae),
            "text": all(_same(again.encoders[slot], encoder) for slot, encoder in clip.encoders.items()),
            "tokens": again.tokens("a red circle") == clip.tokens("a red circle"),
        }
        mm.unload_all_models()
    return found


def _umt5_file() -> tuple[Path, dict]:
    """A tiny UMT5 of the real width as ComfyUI's repackaged file has it, and the sizes that the host is told."""
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    size = {"vocab_size": 64, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config = UMT5Config(
        **size,
        d_model=4096,
        relative_attention_num_buckets=32,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
    )
    weights = text_files.once(UMT5EncoderModel(config).state_dict())
    return text_files.save(scratch / "text_encoders" / "umt5.safetensors", weights, True), size


@case
def text_encoder():
    """CLIPSave of ours: the file that was loaded comes out again, our loader and core's read it."""
    file, size = _umt5_file()
    variant = tiny.parts(tiny.folder())[0].variant
    variant = dataclasses.replace(variant, context_width=4096)

    def ours(path: Path):
        return real.clip(load_text([open_text_file(path)], variant, torch.float32, lambda *_: None))

    written = saved("CLIPSave", "umt5", clip=ours(file))
    before, after = (safetensors.torch.load_file(one) for one in (file, written))
    detect, comfy.sd.detect_te_model = comfy.sd.detect_te_model, lambda _: comfy.sd.TEModel.T5_XXL
    try:
        cores = comfy.sd.load_clip(
            [str(written)],
            clip_type=comfy.sd.CLIPType.WAN,
            model_options={"umt5xxl_model_config": size, "dtype": torch.float32},
        )
    finally:
        comfy.sd.detect_te_model = detect
    prompt = "a red circle moves"
    texts = [call("CLIPTextEncode", clip=one, text=prompt)[0][0] for one in (ours(file), ours(written), cores)]
    return {
        "same file": before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before),
        "again": largest(*texts[:2]),
        "core": largest(texts[0][:, :4], texts[2][:, :4]),
        "decoded": _through_tokens(ours(written), prompt),
    }


def _through_tokens(clip, prompt: str) -> str:
    return clip.tokenizer.decode([one[0] for one in clip.tokenize(prompt)["text_encoder"][0]])


@case
def several_text_encoders():
    model, text, vae = tiny.parts(FOLDERS["hunyuan-video"])
    found, before = {}, sorted(output.rglob("*"))
    objects = {"model": real.model(model), "clip": real.clip(text), "vae": real.vae(vae)}
    for node, given in (("CLIPSave", {"clip": objects["clip"]}), ("CheckpointSave", objects)):
        try:
            saved(node, "several", **given)
        except ValueError as error:
            found[node] = str(error)
    return found | {"nothing written": sorted(output.rglob("*.safetensors")) == [f for f in before if f.suffix]}
