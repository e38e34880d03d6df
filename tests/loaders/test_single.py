"""Single files: recognised by their header, strict, scaled fp8 included; what nobody recognises is explained."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from opent2v.loaders import ModelFileError, load_model, load_vae, open_file
from opent2v.tests.loaders.text_files import save
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan


@pytest.fixture(scope="module")
def weights():
    return tiny_hunyuan.transformer().state_dict()


@pytest.fixture
def whole(tmp_path, weights):
    return save(tmp_path / "model.safetensors", weights)


def test_a_file_of_any_name_is_recognised_and_loaded(whole, weights):
    file = open_file(whole)
    assert set(file.parts) == {"transformer"} and file.text_prefixes == ()
    assert file.parts["transformer"].variant.title == "HunyuanVideo T2V"
    seen = []
    loaded = load_model(file, torch.float32, lambda *counts: seen.append(counts))
    assert all(torch.equal(loaded.transformer.state_dict()[name], tensor) for name, tensor in weights.items())
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    assert seen[-1] == (size, size) and seen == sorted(seen)


def test_a_reload_is_the_expert_that_the_user_stated(whole):
    file = open_file(whole)
    recognised = file.part("transformer")
    stated = replace(recognised, variant=replace(recognised.variant, expert="high"))
    loaded = load_model(replace(file, parts={"transformer": stated}), torch.float32)
    assert loaded.again is not None and loaded.again().variant.expert == "high"


@pytest.mark.parametrize(
    "prefix",
    [
        "model.", "model.model.", "_orig_mod.", "model._fsdp_wrapped_module.", "generator.model.",
        "generator_ema.model.", "pipe.dit.", "dit.", "module._forward_module.", "model.diffusion_model._orig_mod.",
    ],
)  # fmt: skip
def test_levels_of_trainers_before_a_transformers_names(tmp_path, weights, prefix):
    file = open_file(save(tmp_path / "model.safetensors", {prefix + name: t for name, t in weights.items()}))
    loaded = load_model(file, torch.float32).transformer.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_fsdp_wrapped_module._checkpoint_wrapped_module."])
def test_levels_of_wrappers_before_each_block(tmp_path, weights, wrapper):
    def wrapped(name):
        return re.sub(r"^((?:single_)?transformer_blocks\.\d+\.)", rf"\1{wrapper}", name)

    assert sum(wrapped(name) != name for name in weights) > 20
    file = open_file(save(tmp_path / "model.safetensors", {wrapped(name): t for name, t in weights.items()}))
    loaded = load_model(file, torch.float32).transformer.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def test_unknown_levels_are_no_prefix(tmp_path, weights):
    with pytest.raises(ModelFileError, match="no family recognises this file"):
        open_file(save(tmp_path / "model.safetensors", {f"critic.{name}": t for name, t in weights.items()}))


def test_an_all_in_one_file_holds_its_parts_behind_prefixes(tmp_path, weights):
    from diffusers import AutoencoderKLHunyuanVideo

    torch.manual_seed(0)
    vae = AutoencoderKLHunyuanVideo(block_out_channels=(32, 32, 32, 32), layers_per_block=1).state_dict()
    tensors = {f"model.diffusion_model.{name}": t for name, t in weights.items()}
    tensors |= {f"vae.{name}": t for name, t in vae.items()}
    tensors["text_encoders.clip_l.transformer.text_model.embeddings.token_embedding.weight"] = torch.zeros(9, 8)
    file = open_file(save(tmp_path / "all.safetensors", tensors))
    assert {part: found.prefix for part, found in file.parts.items()} == {
        "transformer": "model.diffusion_model.",
        "vae": "vae.",
    }
    assert file.text_prefixes == ("text_encoders.",)
    loaded = load_vae(file, torch.float32).vae.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in vae.items())


def test_scaled_fp8_is_multiplied_out_to_bf16(tmp_path, weights):
    tensors, name = {}, "transformer_blocks.0.attn.to_q.weight"
    for key, tensor in weights.items():
        if tensor.ndim == 2 and key.endswith(".weight"):
            scale = tensor.abs().max() / 448
            tensors[key] = (tensor / scale).to(torch.float8_e4m3fn)
            tensors[key.removesuffix("weight") + "scale_weight"] = scale
        else:
            tensors[key] = tensor.to(torch.bfloat16)
    tensors["scaled_fp8"] = torch.zeros(0, dtype=torch.float8_e4m3fn)
    file = open_file(save(tmp_path / "fp8.safetensors", tensors))
    assert file.quantisation.kind == "scaled fp8"
    loaded = load_model(file, None).transformer.get_parameter(name)
    expected = tensors[name].float() * tensors[name.removesuffix("weight") + "scale_weight"]
    assert loaded.dtype == torch.bfloat16 and torch.equal(loaded, expected.to(torch.bfloat16))


def test_plain_fp8_keeps_its_matrices_and_widens_the_rest(tmp_path, weights):
    tensors = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in weights.items()}
    loaded = load_model(open_file(save(tmp_path / "fp8.safetensors", tensors)), None).transformer
    assert loaded.get_parameter("transformer_blocks.0.attn.to_q.weight").dtype == torch.float8_e4m3fn
    for name in ("transformer_blocks.0.attn.norm_q.weight", "x_embedder.proj.weight", "proj_out.bias"):
        assert loaded.get_parameter(name).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("proj_out.bias"), r"does not hold this model whole.*1 missing, first proj_out\.bias"),
        (lambda t: t.update({"extra.weight": torch.ones(1)}), "1 unexpected, first extra.weight"),
        (lambda t: t.update({"proj_out.bias": torch.ones(3)}), r"wrong shape, first proj_out.bias: found \[3\]"),
    ],
)  # fmt: skip
def test_every_difference_is_named_before_a_tensor_is_read(tmp_path, weights, change, said):
    tensors, seen = dict(weights), []
    change(tensors)
    with pytest.raises(ModelFileError, match=said):
        file = open_file(save(tmp_path / "model.safetensors", tensors))
        load_model(file, torch.float32, lambda *counts: seen.append(counts))
    assert seen == []


@pytest.mark.parametrize(
    ("name", "looks"),
    [
        ("blocks.0.attn.lora_A.weight", "It looks like a LoRA; it belongs in models/loras."),
        (
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            "It looks like a T5 text encoder; choose it in Load Video Text Encoder.",
        ),
        ("vision_model.encoder.layers.0.x", "It looks like a CLIP vision encoder; it belongs in models/clip_vision."),
        (
            "model.diffusion_model.input_blocks.0.0.weight",
            "It looks like an image model of the Stable Diffusion family.",
        ),
    ],
)
def test_what_nobody_recognises_is_explained(tmp_path, name, looks):
    path = tmp_path / "what.safetensors"
    save_file({name: torch.zeros(2, 2)}, path)
    with pytest.raises(ModelFileError) as error:
        open_file(path)
    lines = str(error.value).splitlines()
    assert lines[0] == f"{path}: no family recognises this file (1 tensors, first {name})."
    assert "  Mochi: 't5_yproj.weight' (or 'time_embed.pooler.to_kv.weight') is missing" in lines
    assert lines[-1] == looks


def test_a_part_that_is_not_there_names_the_right_node(whole):
    with pytest.raises(ModelFileError, match=r"holds no vae but HunyuanVideo T2V transformer\. Choose it in Load Vid"):
        load_vae(open_file(whole), torch.float32)
