"""Models and text encoders in every packed format through the nodes: sampled, with a LoRA beside them, and reported.

Each is compared with a plain file of the numbers that the packed one stands for.

Tests: nodes/packed.py, nodes/load_files.py, host/embedded
"""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.packed import PackedTensor
from opent2v.host import embedded
from opent2v.nodes.doctor import report
from opent2v.tests.loaders import text_files
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import packed, packed_models

KINDS = packed.kinds()
# A linear layer that a LoRA changes, and one that is fused with others in the makers' files.
LAYERS = {
    "wan": ("blocks.0.attn1.to_q", "blocks.0.ffn.net.2"),
    "ltx_video": ("transformer_blocks.0.attn1.to_q", "transformer_blocks.0.ff.net.2"),
    "hunyuan_video": ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.0.attn.to_v"),
}


@pytest.fixture
def models(tmp_path):
    """A models folder of the user's own."""
    embedded.configure(models=tmp_path, output=tmp_path / "output")
    for name in ("diffusion_models", "loras", "text_encoders", "vae"):
        (tmp_path / name).mkdir()
    return tmp_path


def load(models, family, kind):
    """(MODEL from a packed file, MODEL from a plain file of its numbers, remarks on the first)."""
    files = models / "diffusion_models"
    exact = packed.write(files / "packed.safetensors", packed_models.state(family), kind)
    packed.write(files / "plain.safetensors", exact, "")
    (small, *_), ui = call("OpenT2VLoadDiffusionModel", file="packed.safetensors")
    (plain, *_), _ = call("OpenT2VLoadDiffusionModel", file="plain.safetensors")
    return small, plain, remarks(ui)


def sampled(model, family):
    """Two steps on noise, with guidance."""
    dice = torch.Generator().manual_seed(1)
    prompts = []
    for _ in range(2):
        entry = {
            "pooled_output": torch.randn(1, packed_models.TEXT, generator=dice),
            "attention_mask": torch.ones(1, 8),
        }
        prompts.append([[torch.randn(1, 8, packed_models.TEXT, generator=dice), entry]])
    latent = {"samples": torch.zeros(packed_models.LATENT[family])}
    (result, _), _ = call(
        "OpenT2VSampler", model=model, positive=prompts[0], negative=prompts[1], latent=latent, steps=2, cfg=2.0, seed=3
    )
    return result["samples"]


def apart(one, other):
    return ((one - other).abs().max() / other.abs().max()).item()


def held(model):
    weights = dict(model.part.transformer.named_parameters())
    return {name: weight for name, weight in weights.items() if isinstance(weight, PackedTensor)}


def bytes_of(weight):
    return {role: tensor.clone() for role, tensor in weight.packed.tensors.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", packed_models.FAMILIES)
def test_a_packed_model_samples_what_its_numbers_do_alone_and_with_a_lora(models, family, kind):
    small, plain, _ = load(models, family, kind)
    alone = sampled(small, family)
    assert apart(alone, sampled(plain, family)) <= 1e-5
    dice, lora = torch.Generator().manual_seed(2), {}
    for layer in LAYERS[family]:
        rows, columns = plain.part.transformer.get_parameter(f"{layer}.weight").shape
        lora[f"transformer.{layer}.lora_A.weight"] = torch.randn(2, columns, generator=dice)
        lora[f"transformer.{layer}.lora_B.weight"] = torch.randn(rows, 2, generator=dice) / 8
    save_file(lora, models / "loras/one.safetensors")
    stored = {name: bytes_of(weight) for name, weight in held(small).items()}
    assert all(f"{layer}.weight" in stored for layer in LAYERS[family])
    (changed, *_), _ = call("OpenT2VLoadLora", model=small, lora="one.safetensors")
    (merged, *_), _ = call("OpenT2VLoadLora", model=plain, lora="one.safetensors")
    with_lora = sampled(changed, family)
    assert apart(with_lora, sampled(merged, family)) <= 1e-5 and apart(with_lora, alone) > 1e-3
    (none, *_), _ = call("OpenT2VLoadLora", model=small, lora="one.safetensors", strength_model=0.0)
    assert torch.equal(sampled(none, family), alone) and torch.equal(sampled(small, family), alone)
    after = held(small)
    assert after.keys() == stored.keys()
    for name, tensors in stored.items():
        now = bytes_of(after[name])
        for role, tensor in tensors.items():
            assert torch.equal(_as_bytes(now[role]), _as_bytes(tensor)), f"{name} {role}"


def _as_bytes(tensor):
    return tensor.reshape(-1).contiguous().view(torch.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_umt5", [False, True], ids=["T5", "UMT5"])
def test_a_packed_text_encoder_reads_what_its_numbers_do(models, is_umt5, kind):
    family = "wan" if is_umt5 else "ltx_video"
    embedder = "text_embedding.0.weight" if is_umt5 else "caption_projection.linear_1.weight"
    assert packed_models.state(family)[embedder].shape[1] == packed_models.TEXT
    packed.write(models / "diffusion_models/model.safetensors", packed_models.state(family), "")
    spiece = {"spiece_model": torch.tensor(list(text_files.spiece()), dtype=torch.uint8)}
    state = packed_models.text_state(is_umt5)
    exact = packed.write(models / "text_encoders/packed.safetensors", state, kind, beside=spiece)
    packed.write(models / "text_encoders/plain.safetensors", exact, "", beside=spiece)
    (model, *_), _ = call("OpenT2VLoadDiffusionModel", file="model.safetensors")
    clips = []
    for file in ("packed.safetensors", "plain.safetensors"):
        (clip,), ui = call("OpenT2VLoadTextEncoder", model=model, file=file, file_2="none")
        clips.append(clip)
        lines = remarks(ui).splitlines()
        assert len(lines) == (4 if file.startswith("packed") else 2)
        assert re.fullmatch(r"Memory: [\d.]+ MiB of weights; [\d.]+ GiB are free on .*: all of it fits", lines[-1])
        if file.startswith("packed"):
            assert re.search(rf"(as|;) {packed.KINDS[kind][1]} 0\.\d MiB, \d+ layers", lines[1])
            assert lines[1].startswith("Stored as ") and "fp32 0." in lines[1]
            assert lines[2] == f"{packed.KINDS[kind][1]}: each layer is multiplied out while it computes"
    encoder = clips[0].part.encoders["text_encoder"]
    kept = {name for name, weight in encoder.named_parameters() if isinstance(weight, PackedTensor)}
    assert {"encoder.block.0.layer.1.DenseReluDense.wi_0.weight", "shared.weight"} <= kept
    contexts = [embedded.embed(clip, "a red circle moves")[0][0] for clip in clips]
    assert apart(*contexts) <= 1e-5


def test_the_nodes_and_the_doctor_say_how_a_file_is_stored(models):
    kinds = {"blocks.0.self_attn.q.weight": "nvfp4", "blocks.0.self_attn.k.weight": ""}
    path = models / "diffusion_models/packed.safetensors"
    packed.write(path, packed_models.state("wan"), lambda name: kinds.get(name, "int8_convrot"))
    _, ui = call("OpenT2VLoadDiffusionModel", file="packed.safetensors")
    first, way, *_ = remarks(ui).splitlines()
    parts = first.partition("stored as ")[2].split("; ")
    assert [part.split(" 0.")[0] for part in parts] == ["int8 convrot", "fp32", "nvfp4"]
    assert [part.partition(", ")[2] for part in parts] == ["14 layers", "", "1 layer"]
    assert way == "int8 convrot and nvfp4: each layer is multiplied out while it computes"
    lines = report(path)
    assert (
        lines[1].endswith(" layout, int8 convrot and nvfp4")
        and lines[2] == f"Stored as {'; '.join(parts)}"
        and lines[3] == way
    )


def vae_state():
    from diffusers import AutoencoderKLHunyuanVideo

    torch.manual_seed(0)
    return AutoencoderKLHunyuanVideo(block_out_channels=(32, 32, 32, 32), layers_per_block=1).state_dict()


@pytest.mark.parametrize("kind", ["fp8", "fp8_rows", "int8", "int8_tensor"])
def test_a_packed_vae_keeps_linear_layers_and_convolutions_and_computes_what_its_numbers_do(models, kind):
    exact = packed.write(models / "vae/packed.safetensors", vae_state(), kind, convolutions=True)
    packed.write(models / "vae/plain.safetensors", exact, "")
    (small,), ui = call("OpenT2VLoadVAE", file="packed.safetensors")
    (plain,), plain_ui = call("OpenT2VLoadVAE", file="plain.safetensors")
    kept = {name for name, weight in small.part.vae.named_parameters() if isinstance(weight, PackedTensor)}
    matrices = {name for name in exact if exact[name].ndim >= 2 and name.endswith(".weight")}
    assert len(kept) == len(matrices) >= 50
    latent = torch.randn(1, 16, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    assert apart(embedded.decode(small, latent), embedded.decode(plain, latent)) <= 1e-5
    frames = torch.rand(5, 32, 32, 3, generator=torch.Generator().manual_seed(2))
    assert apart(embedded.encode(small, frames), embedded.encode(plain, frames)) <= 1e-5
    lines = remarks(ui).splitlines()
    assert re.fullmatch(rf"Stored as {packed.KINDS[kind][1]} [\d.]+ MiB, {len(matrices)} layers; fp32 .*", lines[1])
    takes = [
        float(re.match(r"Memory: ([\d.]+) MiB of weights and about", remarks(u).splitlines()[-1])[1])
        for u in (ui, plain_ui)
    ]
    assert takes[0] < 0.3 * takes[1]


def test_a_packed_vae_of_a_format_for_matrices_keeps_those(models):
    exact = packed.write(models / "vae/packed.safetensors", vae_state(), "int8_convrot")
    packed.write(models / "vae/plain.safetensors", exact, "")
    (small,), ui = call("OpenT2VLoadVAE", file="packed.safetensors")
    (plain,), _ = call("OpenT2VLoadVAE", file="plain.safetensors")
    assert remarks(ui).splitlines()[1].startswith("Stored as fp32 ")
    kept = [name for name, weight in small.part.vae.named_parameters() if isinstance(weight, PackedTensor)]
    assert len(kept) >= 8 and all("attentions" in name for name in kept)
    latent = torch.randn(1, 16, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    assert apart(embedded.decode(small, latent), embedded.decode(plain, latent)) <= 1e-5
