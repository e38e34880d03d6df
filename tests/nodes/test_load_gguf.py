"""GGUF models through the nodes: every block format on three families, LoRAs beside them, names for what they are.

Tests: nodes/load_files.py, loaders/quantised/gguf_blocks.py, loaders/containers/gguf.py
"""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.packed import PackedTensor, unpacked
from opent2v.host import embedded
from opent2v.loaders import ModelFileError
from opent2v.nodes.doctor import report
from opent2v.tests.loaders import gguf_files, text_files
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import gguf_models

gguf = pytest.importorskip("gguf")
FAMILIES, TITLES = gguf_models.FAMILIES, gguf_models.TITLES
PREFIXED = "model.diffusion_model."


def decoded(blocks):
    """By the `gguf` package's numpy."""
    rows = blocks.stored.numpy().reshape(blocks.shape[0], -1)
    return torch.from_numpy(gguf.dequantize(rows, gguf.GGMLQuantizationType[blocks.code])).reshape(blocks.shape)


@pytest.fixture
def models(tmp_path):
    embedded.configure(models=tmp_path, output=tmp_path / "output")
    for name in ("diffusion_models", "unet", "loras"):
        (tmp_path / name).mkdir()
    return tmp_path


def written(models, family, code, metadata=None, prefix=""):
    """model.gguf and, with its numbers, plain.safetensors."""
    stored, numbers = gguf_models.packed(family, code, decoded)
    stored = {prefix + name: tensor for name, tensor in stored.items()}
    gguf_files.write(models / "diffusion_models/model.gguf", stored, metadata)
    save_file(numbers, models / "diffusion_models/plain.safetensors")


def loaded(name, dtype="auto"):
    (model, *_), ui = call("OpenT2VLoadDiffusionModel", file=name, dtype=dtype)
    return model, remarks(ui)


def sampled(model, family):
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model, width=64, height=64, frames=9)
    inputs = {"model": model, "latent": latent, "seed": 3, "steps": 2, "cfg": 1.0}
    positive, negative = gguf_models.conditioning(family), gguf_models.conditioning(family, 2)
    samples, _ = call("OpenT2VSampler", positive=positive, negative=negative, **inputs)
    return samples[0]["samples"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("code", gguf_files.PACKED)
def test_every_format_computes_its_numbers(models, family, code):
    written(models, family, code)
    (model, said), (plain, _) = loaded("model.gguf"), loaded("plain.safetensors")
    assert said.startswith(TITLES[family]) and f"GGUF {code}" in said
    weights, numbers = (dict(m.part.transformer.named_parameters()) for m in (model, plain))
    packed = [name for name, weight in weights.items() if isinstance(weight, PackedTensor)]
    assert {f"{layer}.weight" for layer in gguf_models.LAYERS[family]} <= set(packed)
    for name, weight in weights.items():
        assert (unpacked(weight, torch.float32) - numbers[name]).abs().max() <= 1e-6, name
    ours, exact = sampled(model, family), sampled(plain, family)
    assert (ours - exact).abs().max() <= 1e-5 and exact.std() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_is_computed_beside_it(models, family):
    written(models, family, "Q4_K")
    (model, _), (plain, _) = loaded("model.gguf"), loaded("plain.safetensors")
    dice, lora = torch.Generator().manual_seed(4), {}
    for layer in gguf_models.LAYERS[family]:
        rows, columns = plain.part.transformer.get_parameter(f"{layer}.weight").shape
        lora[f"transformer.{layer}.lora_A.weight"] = torch.randn(2, columns, generator=dice) * columns**-0.5
        lora[f"transformer.{layer}.lora_B.weight"] = torch.randn(rows, 2, generator=dice)
    save_file(lora, models / "loras/one.safetensors")
    before = sampled(model, family)
    weights = model.part.transformer.named_parameters()
    kept = {name: weight.packed.tensors["weight"].clone() for name, weight in weights if packed(weight)}
    results, _ = call("OpenT2VLoadLora", model=model, lora="one.safetensors")
    by_hand, _ = call("OpenT2VLoadLora", model=plain, lora="one.safetensors")
    assert results[2].splitlines()[-1].endswith("the GGUF Q4_K weights stay as they are")
    changed = sampled(results[0], family)
    assert (changed - sampled(by_hand[0], family)).abs().max() <= 1e-5 < (changed - before).abs().max()
    off, _ = call("OpenT2VLoadLora", model=model, lora="one.safetensors", strength_model=0.0)
    assert torch.equal(sampled(off[0], family), before) and torch.equal(sampled(model, family), before)
    for name, stored in kept.items():
        assert torch.equal(model.part.transformer.get_parameter(name).packed.tensors["weight"], stored)


def packed(weight) -> bool:
    return isinstance(weight, PackedTensor)


@pytest.mark.parametrize("label", [None, "wan", "minimax_h3", "pig", "ltxv", "llama"])
@pytest.mark.parametrize("prefix", ["", PREFIXED])
def test_a_model_is_known_by_its_names_whatever_the_label(models, label, prefix):
    written(models, "hunyuan_video", "Q8_0", {"general.architecture": label} if label else {}, prefix)
    model, said = loaded("model.gguf")
    assert said.startswith("HunyuanVideo T2V, original layout") and model.part.variant.family.id == "hunyuan_video"


def test_files_mix_formats_by_layer(models):
    """As Q4_K_M does: the larger share in Q4_K, some layers in Q6_K, small tensors in F32, some in BF16."""
    stored, _ = gguf_models.packed("wan", "Q4_K", decoded)
    stored["blocks.0.ffn.2.weight"] = gguf_files.random_blocks("Q6_K", (256, 256))
    stored["head.head.weight"] = gguf_models.state("wan")["head.head.weight"].bfloat16()
    gguf_files.write(models / "unet/mixed.gguf", stored)
    model, said = loaded("mixed.gguf")
    assert "GGUF Q4_K" in said and "GGUF Q6_K" in said
    held = model.part.transformer.get_parameter("blocks.0.ffn.net.2.weight")
    assert held.packed.format.name == "GGUF Q6_K"
    assert torch.equal(unpacked(held, torch.float32), decoded(stored["blocks.0.ffn.2.weight"]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folded_patch_embedding(models, family):
    """Kernels of five axes, which ggml does not have, are stored with fewer and their shape in the metadata."""
    stored, numbers = gguf_models.packed(family, "Q8_0", decoded)
    metadata = {}
    for name, tensor in numbers.items():
        if tensor.ndim == 5:
            stored[name] = tensor.reshape(tensor.shape[0], tensor.shape[1], -1)
            metadata[f"comfy.gguf.orig_shape.{name}"] = list(tensor.shape)
    assert bool(metadata) == (family != "ltx_video")
    gguf_files.write(models / "diffusion_models/model.gguf", stored, metadata)
    save_file(numbers, models / "diffusion_models/plain.safetensors")
    (model, _), (plain, _) = loaded("model.gguf"), loaded("plain.safetensors")
    assert (sampled(model, family) - sampled(plain, family)).abs().max() <= 1e-5


def test_a_dtype_of_the_users_multiplies_it_out(models):
    written(models, "wan", "Q5_K")
    model, said = loaded("model.gguf", "bf16")
    assert "bfloat16 from GGUF Q5_K" in said
    weights = dict(model.part.transformer.named_parameters())
    assert not any(map(packed, weights.values()))
    plain = loaded("plain.safetensors", "fp32")[0].part.transformer.get_parameter("blocks.0.attn1.to_q.weight")
    assert torch.equal(weights["blocks.0.attn1.to_q.weight"], plain.bfloat16())


def test_a_format_that_is_not_read_names_another(models):
    stored, _ = gguf_models.packed("wan", "Q4_K", decoded)
    kind = gguf_files.BY_CODE["IQ2_XXS"]
    name = "blocks.0.ffn.2.weight"
    stored[name] = gguf_files.Blocks("IQ2_XXS", (256, 256), torch.zeros(256 * kind.nbytes, dtype=torch.uint8))
    gguf_files.write(models / "diffusion_models/model.gguf", stored)
    with pytest.raises(ModelFileError, match=r"stored as GGUF IQ2_XXS, .* Get the Q2_K file of this model"):
        loaded("model.gguf")
    lines = report(models / "diffusion_models/model.gguf")
    assert "IQ2_XXS" in lines[0] and "Get the Q2_K file of this model" in lines[1]


@pytest.fixture
def without_package(monkeypatch):
    """As where the `gguf` package is not installed; nothing but the tests needs it."""
    monkeypatch.setitem(sys.modules, "gguf", None)


def test_the_doctor_says_what_a_model_is(models, without_package):
    written(models, "hunyuan_video", "Q6_K", {"general.architecture": "minimax_h3"})
    lines = report(models / "diffusion_models/model.gguf")
    assert lines[0].startswith("model.gguf: ") and " Q6_K" in lines[0] and " F32" in lines[0]
    assert lines[1] == "HunyuanVideo T2V transformer, original layout, GGUF Q6_K"
    assert lines[2].startswith("Stored as GGUF Q6_K ") and " layers; fp32 " in lines[2]
    assert "Goes with, in models/vae: hunyuan_video_vae_bf16.safetensors" in lines
    assert "Belongs in models/diffusion_models, where it is" in lines


@pytest.mark.parametrize(("kind", "said"), [("t5", "with its"), (None, "without a"), ("rwkv", "without a")])
def test_the_doctor_says_what_a_text_encoder_is(tmp_path, without_package, kind, said):
    tensors = text_files.llama_cpp_t5(text_files.t5(True, 32).state_dict())
    metadata = {"tokenizer.ggml.model": kind, "tokenizer.ggml.tokens": ["a"]} if kind else {}
    path = gguf_files.write(tmp_path / "text_encoders/umt5.gguf", tensors, metadata)
    lines = report(path)
    assert lines[1] == f"Text encoder UMT5 (32 wide), {said} tokenizer"
    assert lines[-1] == "Belongs in models/text_encoders, where it is"


def test_a_model_runs_without_the_package(models, without_package):
    stored, _ = gguf_models.packed("wan", "Q8_0", lambda blocks: torch.zeros(1))
    gguf_files.write(models / "diffusion_models/model.gguf", stored)
    assert sampled(loaded("model.gguf")[0], "wan").isfinite().all()


def test_a_vae_with_folded_kernels_and_packed_attention(models):
    from diffusers import AutoencoderKLHunyuanVideo

    torch.manual_seed(0)
    vae = AutoencoderKLHunyuanVideo(block_out_channels=(32, 32, 32, 32), layers_per_block=1).eval()
    stored, metadata, exact = {}, {}, {}
    for place, (name, tensor) in enumerate(vae.state_dict().items()):
        stored[name] = exact[name] = tensor
        if tensor.ndim == 5:
            stored[name] = tensor.reshape(*tensor.shape[:2], -1).half()
            exact[name] = tensor.half()
            metadata[f"comfy.gguf.orig_shape.{name}"] = list(tensor.shape)
        elif tensor.ndim == 2 and tensor.shape[1] % 32 == 0:
            stored[name] = gguf_files.random_blocks("Q5_0", tuple(tensor.shape), seed=place)
            exact[name] = decoded(stored[name])
    assert metadata and any(isinstance(tensor, gguf_files.Blocks) for tensor in stored.values())
    gguf_files.write(models / "vae/vae.gguf", stored, metadata)
    (loaded_vae,), ui = call("OpenT2VLoadVAE", file="vae.gguf")
    assert remarks(ui).startswith("VAE of HunyuanVideo") and "GGUF Q5_0" in remarks(ui)
    vae.load_state_dict({name: tensor.float() for name, tensor in exact.items()})
    latent = torch.randn(1, 16, 2, 4, 4)
    with torch.no_grad():
        ours, numbers = (module.decode(latent, return_dict=False)[0] for module in (loaded_vae.part.vae.float(), vae))
    assert (ours - numbers).abs().max() < 1e-4 * numbers.abs().max()
