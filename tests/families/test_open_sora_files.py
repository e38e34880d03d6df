"""Open-Sora 2.0's single files: recognised in every layout, names and shapes those of the built module; refusals."""

from __future__ import annotations

import time
from functools import cache

import pytest
import torch

from opent2v.base import FamilyError, Recognised
from opent2v.base.keys import joined, rename, translate
from opent2v.families import families, open_sora
from opent2v.loaders import ModelFileError, load_model, open_container, open_file
from opent2v.loaders.weights import build
from opent2v.nodes.doctor import report
from opent2v.nodes.load_files import OpenT2VLoadDiffusionModel
from opent2v.tests.families.layouts.open_sora import CLASS, original
from opent2v.tests.live import peak_bytes
from opent2v.tests.loaders.text_files import save
from opent2v.tests.tiny import open_sora as tiny_open_sora


def translated(found, shapes, rules=None):
    names, joins = {}, {}
    for name, shape in shapes.items():
        renamed = translate(name, found.rules if rules is None else rules, found.prefix)
        names.update(zip(renamed.names, renamed.shapes(shape), strict=True))
        if renamed.place is not None:
            joins.setdefault(renamed.names[0], {})[renamed.place] = torch.empty(shape, device="meta")
    return names | {name: tuple(joined(parts).shape) for name, parts in joins.items()}


@cache
def published():
    """Names and shapes of the published size as diffusers builds it."""
    return wanted(build(CLASS, open_sora.files.transformer_config()))


def wanted(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("layout", ["original", "original, fused", "diffusers"])
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_the_published_transformer(layout, prefix):
    expected = published()
    count = lambda shapes: sum(torch.Size(s).numel() for s in shapes.values())  # noqa: E731
    # The two biases of the input are one.
    assert len(expected) == 1156 and count(expected) == 11_891_387_456 == count(original()) - 3072
    shapes = expected if layout == "diffusers" else original(fused="fused" in layout)
    shapes = {prefix + key: shape for key, shape in shapes.items()}
    began = time.perf_counter()
    found = open_sora.find(shapes, "Open_Sora_v2.safetensors")
    assert isinstance(found, Recognised)
    assert (found.part, found.layout, found.prefix, found.variant.title) == (
        "transformer", layout, prefix, "Open-Sora 2.0",
    )  # fmt: skip
    for rules in found.rope_layouts.values():
        assert translated(found, shapes, rules) == expected
    assert time.perf_counter() - began < 3
    assert (found.class_name, found.config) == (CLASS, open_sora.files.transformer_config())
    assert set(found.rope_layouts) == ({"interleaved"} if layout == "diffusers" else {"half-split", "interleaved"})
    assert bool(found.remark) == (layout != "diffusers")
    others = [f for f in families().values() if f.id != "open_sora"]
    assert [f.id for f in others if isinstance(f.recognise(shapes, "Open_Sora_v2"), Recognised)] == []


def test_the_tiny_recorded_file_has_the_names_written_here():
    shapes = {name: tuple(tensor.shape) for name, tensor in tiny_open_sora.recorded("weights").items()}
    assert shapes == original(double=2, single=2, width=32, head=16, text=16, pooled=8)


def test_a_diffusers_file_loads_to_the_very_tensors(tmp_path):
    module = tiny_open_sora.transformer()
    path = save(tmp_path / "model.safetensors", module.state_dict())
    loaded = load_model(open_file(path), torch.float32).transformer
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in module.state_dict().items())
    with pytest.raises(ModelFileError) as error:
        load_model(open_file(path), torch.float32, rope_layout="half-split")
    assert str(error.value) == (
        f"{path}: Open-Sora 2.0 has no rope layout 'half-split' (it has: auto, interleaved). Set rope_layout to auto."
    )


def test_a_file_without_half_of_its_input_is_not_whole(tmp_path):
    shapes = dict(tiny_open_sora.recorded("weights"))
    del shapes["cond_in.bias"], shapes["double_blocks.0.img_mlp.2.bias"]
    path = save(tmp_path / "half.safetensors", shapes)
    with pytest.raises(ModelFileError, match=r"2 missing, first x_embedder\.bias"):
        load_model(open_file(path), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16])
def test_stored_as_fp8_or_bf16(tmp_path, dtype):
    """The blocks' matrices, of both kinds, and nothing that steers the others' dtype."""
    path = save(tmp_path / "model.safetensors", dict(tiny_open_sora.recorded("weights")))
    module = load_model(open_file(path), dtype).transformer
    stored = {name: tensor.dtype for name, tensor in module.named_parameters()}
    assert stored["x_embedder.weight"] == stored["x_embedder.bias"] == torch.bfloat16
    assert stored["transformer_blocks.0.attn.to_q.weight"] == dtype
    assert stored["single_transformer_blocks.1.proj_mlp.weight"] == dtype
    assert stored["single_transformer_blocks.1.proj_mlp.bias"] == torch.bfloat16


# --- the input of two layers ---


def test_two_layers_of_the_file_are_one_of_the_module():
    rules = (rename("^a", "c", place=0), rename("^b", "c", place=1))
    first, second = translate("a.weight", rules), translate("b.weight", rules)
    assert first.names == second.names == ("c.weight",) and (first.place, second.place) == (0, 1)
    left, right = torch.randn(4, 3), torch.randn(4, 2)
    assert torch.equal(joined({1: right, 0: left}), torch.cat([left, right], dim=1))
    bias = torch.randn(4).bfloat16(), torch.randn(4).bfloat16()
    together = joined(dict(enumerate(bias)))
    assert together.dtype == torch.bfloat16 and torch.equal(together, (bias[0].float() + bias[1].float()).bfloat16())


# --- refusals ---


def test_the_high_compression_variant_is_named_and_refused():
    shapes = original(channels=128, known=129)
    with pytest.raises(FamilyError) as error:
        open_sora.find(shapes, "Open_Sora_v2_Video_DC_AE.safetensors")
    assert str(error.value) == (
        "Open_Sora_v2_Video_DC_AE.safetensors: is the high-compression Open-Sora 2.0 (Open_Sora_v2_Video_DC_AE). Only "
        "its own video DC-AE decodes its latents, and diffusers has none: its AutoencoderDC is for pictures. Use "
        "Open_Sora_v2.safetensors with hunyuan_vae.safetensors."
    )


def test_its_autoencoder_is_named_and_refused():
    """Names as in opensora/models/dc_ae @7ad6a96."""
    inside = "encoder.stages.0.op_list.0.main.conv1.conv.weight"
    shapes = {"encoder.project_in.conv.weight": (128, 3, 3, 3, 3), inside: (128, 128, 3, 3, 3)}
    with pytest.raises(FamilyError, match=r"F32T4C128_AE: is the video DC-AE of the high-compression Open-Sora 2\.0"):
        open_sora.find(shapes, "F32T4C128_AE")


def test_open_sora_1_is_refused():
    shapes = {"spatial_blocks.0.attn.qkv.weight": (3, 3), "temporal_blocks.0.attn.qkv.weight": (3, 3)}
    with pytest.raises(FamilyError, match=r"^a: is Open-Sora 1\.x \(STDiT\), another network, which is not supported"):
        open_sora.find(shapes, "a")


def test_flux_and_hunyuan_video_are_none_of_ours():
    assert open_sora.find(original(known=0), "flux1-dev") == "'cond_in.weight' is missing"
    for name, config in ((CLASS, {}), ("HunyuanVideoTransformer3DModel", {})):
        assert open_sora.find(wanted(build(name, config)), name) == "'cond_in.weight' is missing"


def test_a_damaged_header_and_another_width_are_named():
    shapes = original()
    del shapes["txt_in.weight"]
    with pytest.raises(FamilyError, match=r"looks like Open-Sora 2\.0, and 'txt_in\.weight' is missing"):
        open_sora.find(shapes, "a")
    with pytest.raises(FamilyError, match="takes 131 channels a token and returns 64; expected 132: 64 of noise"):
        open_sora.find(original(known=67), "a")


# --- what users see of a file ---


def test_the_file_doctor_knows_it(tmp_path):
    folder = tmp_path / "diffusion_models"
    folder.mkdir()
    path = save(folder / "Open_Sora_v2.safetensors", dict(tiny_open_sora.recorded("weights")))
    lines = report(path)
    assert lines[1:4] == [
        "Open-Sora 2.0 transformer, original layout",
        "Rope layout half-split. Should every video be noise, choose the other in rope_layout.",
        "Belongs in models/diffusion_models, where it is",
    ]
    assert lines[4].startswith("Goes with, in models/text_encoders: t5xxl") and "hunyuan_vae" in lines[5]
    assert "sampling 336 x 192 with 129 frames" in lines[6]
    assert len(open_container(path).header) == len(tiny_open_sora.recorded("weights"))


def test_the_loader_node_offers_the_rope_layout():
    choices, options = OpenT2VLoadDiffusionModel.INPUT_TYPES()["optional"]["rope_layout"]
    # stacked, and interleaved too, are MiniMax H3's: how its queries, keys and values lie.
    assert choices == ["auto", "half-split", "interleaved", "stacked"] and options["default"] == "auto"


def test_the_memory_it_says_a_run_takes():
    """Two blocks of the published width, with fake tensors; see tests/families/test_memory.py."""
    from diffusers import FluxTransformer2DModel
    from torch._subclasses.fake_tensor import FakeTensorMode

    config = open_sora.files.transformer_config(num_layers=1, num_single_layers=1)
    variant = open_sora.find(original(), "").variant
    with FakeTensorMode(allow_non_fake_inputs=True):
        torch.set_default_dtype(torch.bfloat16)
        try:
            module = FluxTransformer2DModel(**config).eval()
        finally:
            torch.set_default_dtype(torch.float32)
        x = torch.empty(1, 16, 33, 24, 42, dtype=torch.bfloat16)
        conditions = {
            "context": torch.empty(1, 512, 4096, dtype=torch.bfloat16), "pooled": torch.empty(1, 768),
            "known": torch.empty(1, 17, 33, 24, 42),
        }  # fmt: skip
        alive = peak_bytes(lambda: open_sora.predict(variant, module, x, torch.ones(1) * 500, conditions), module)
    assert 1.0 < variant.sample_memory((1, 16, 33, 24, 42), 2) / alive < 1.6
