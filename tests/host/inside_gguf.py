"""Runs inside ComfyUI's Python: GGUF files listed, loaded, sampled and changed by LoRAs, through the nodes."""

from __future__ import annotations

import boot
from boot import call, case, largest, scratch

boot.start()

import comfy.model_management as mm  # noqa: E402
import folder_paths  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from opent2v.base.packed import PackedTensor, PackedWeight  # noqa: E402
from opent2v.loaders.gguf_types import BY_CODE  # noqa: E402
from opent2v.loaders.quantised.gguf_blocks import GGUFBlocks  # noqa: E402
from opent2v.tests.loaders import gguf_files, text_files  # noqa: E402
from opent2v.tests.loaders.test_gguf_text import metadata_of  # noqa: E402
from opent2v.tests.tiny import gguf_models  # noqa: E402

FOLDER = scratch()
for kind in ("diffusion_models", "text_encoders", "loras"):
    (FOLDER / kind).mkdir()
    folder_paths.add_model_folder_path(kind, str(FOLDER / kind))
CODES = {"wan": "Q4_K", "ltx_video": "IQ4_NL", "hunyuan_video": "Q5_1"}


def listed(node, field="file"):
    import nodes as core

    return core.NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["required"][field][0]


@case
def files():
    """Listed by our nodes alone, as soon as they are there, and not after they are gone."""
    folder = FOLDER / "diffusion_models"
    before = listed("OpenT2VLoadDiffusionModel")
    (folder / "sub").mkdir()
    for name in ("new.gguf", "sub/deep.GGUF", "note.txt"):
        (folder / name).write_bytes(b"GGUF")
    during = [name.replace("\\", "/") for name in listed("OpenT2VLoadDiffusionModel")]
    seen = {
        "ours": [name in during for name in ("new.gguf", "sub/deep.GGUF", "note.txt")],
        "text": "new.gguf" in listed("OpenT2VLoadTextEncoder"),
        "core": [name for name in folder_paths.get_filename_list("diffusion_models") if "gguf" in name.lower()],
        "endings": ".gguf" in folder_paths.supported_pt_extensions,
        "sorted": during == sorted(during),
    }
    for name in ("new.gguf", "sub/deep.GGUF", "note.txt"):
        (folder / name).unlink()
    return seen | {"after": listed("OpenT2VLoadDiffusionModel") == before}


def decoded(blocks):
    weight = PackedWeight(GGUFBlocks(BY_CODE[blocks.code]), blocks.shape, {"weight": blocks.stored})
    return weight.dequantise(torch.float32)


def model_case(family):
    code = CODES[family]
    stored, numbers = gguf_models.packed(family, code, decoded)
    gguf_files.write(FOLDER / "diffusion_models" / f"{family}.gguf", stored, {"general.architecture": "pig"})
    save_file(numbers, FOLDER / "diffusion_models" / f"{family}.safetensors")
    model, plain = (
        call("OpenT2VLoadDiffusionModel", file=f"{family}.{end}", dtype="auto")[0] for end in ("gguf", "safetensors")
    )
    dice, lora = torch.Generator().manual_seed(4), {}
    for layer in gguf_models.LAYERS[family]:
        rows, columns = plain.model.diffusion_model.get_parameter(f"{layer}.weight").shape
        lora[f"transformer.{layer}.lora_A.weight"] = torch.randn(2, columns, generator=dice) * columns**-0.5
        lora[f"transformer.{layer}.lora_B.weight"] = torch.randn(rows, 2, generator=dice)
    save_file(lora, FOLDER / "loras" / f"{family}.safetensors")
    positive, negative = gguf_models.conditioning(family), gguf_models.conditioning(family, 2)
    latent = call("OpenT2VEmptyLatent", model=model, width=64, height=64, frames=9)
    latent = latent[0] if isinstance(latent, tuple | list) else latent

    def sampled(which, node="OpenT2VSampler", **inputs):
        mm.unload_all_models()
        inputs = {"seed": 3, "steps": 2, "cfg": 1.0, "positive": positive, "negative": negative, **inputs}
        name = "latent_image" if node == "KSampler" else "latent"
        result = call(node, model=which, **{name: latent}, **inputs)
        return (result[0] if isinstance(result, tuple | list) else result)["samples"]

    changed, by_hand = (
        call("OpenT2VLoadLora", model=which, lora=f"{family}.safetensors")[0] for which in (model, plain)
    )
    exact, ours = sampled(plain), sampled(model)
    weights = dict(model.model.diffusion_model.named_parameters())
    return {
        "packed": sum(isinstance(weight, PackedTensor) for weight in weights.values()),
        "apart": largest(ours, exact),
        "spread": exact.std().item(),
        "core": largest(sampled(model, "KSampler"), sampled(plain, "KSampler")),
        "lora": largest(sampled(changed), sampled(by_hand)),
        "effect": largest(sampled(changed), ours),
        "again": largest(sampled(model), ours),
        "size": model.model_size() / (FOLDER / "diffusion_models" / f"{family}.gguf").stat().st_size,
    }


@case
def wan():
    return model_case("wan")


@case
def ltx_video():
    return model_case("ltx_video")


@case
def hunyuan_video():
    return model_case("hunyuan_video")


@case
def text():
    """UMT5 with the tokenizer of its metadata, for a Wan that is as wide."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=text_files.spiece())
    module = text_files.t5(True, gguf_models.WIDTH)
    stored, exact = {}, {}
    for place, (name, tensor) in enumerate(text_files.llama_cpp_t5(module.state_dict()).items()):
        stored[name] = exact[name] = tensor
        if tensor.ndim == 2 and tensor.shape[1] % 256 == 0:
            stored[name] = gguf_files.random_blocks("Q6_K", tuple(tensor.shape), size=0.1, seed=place)
            exact[name] = decoded(stored[name])
    for end, tensors in (("packed", stored), ("plain", exact)):
        gguf_files.write(FOLDER / "text_encoders" / f"{end}.gguf", tensors, metadata_of(processor))
    model = call("OpenT2VLoadDiffusionModel", file="wan.gguf", dtype="auto")[0]
    contexts = []
    for end in ("packed", "plain"):
        clip = call("OpenT2VLoadTextEncoder", model=model, file=f"{end}.gguf", file_2="none")
        contexts.append(call("CLIPTextEncode", clip=clip, text="a red circle")[0][0])
    return {"apart": largest(*contexts), "spread": contexts[1].std().item(), "shape": list(contexts[0].shape)}


boot.run()
