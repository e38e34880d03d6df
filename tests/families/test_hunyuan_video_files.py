"""HunyuanVideo's single files: recognised in every layout, names and tensors equal to the diffusers modules'."""

from __future__ import annotations

import pytest
import torch

from opent2v.base import FamilyError, Recognised
from opent2v.base.keys import translate
from opent2v.families import families, hunyuan_video
from opent2v.loaders import load_model, load_vae, open_file
from opent2v.loaders.weights import build
from opent2v.tests.families.layouts.hunyuan_video import CLASS, in_comfyui, original
from opent2v.tests.loaders.text_files import save
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan


def translated(found, shapes):
    names = {}
    for name, shape in shapes.items():
        renamed = translate(name, found.rules, found.prefix)
        names.update(zip(renamed.names, renamed.shapes(shape), strict=True))
    return names


def wanted(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "changes", "title", "config"),
    [
        ("hunyuan_video_t2v_720p_bf16", {}, "HunyuanVideo T2V", {}),
        (
            "hunyuan_video_image_to_video_720p_bf16",
            {"channels": 33, "tells": False},
            "HunyuanVideo I2V",
            {"in_channels": 33, "guidance_embeds": False, "image_condition_type": "latent_concat"},
        ),
        (
            "hunyuan_video_v2_replace_image_to_video_720p_bf16",
            {},
            "HunyuanVideo I2V (token replace)",
            {"image_condition_type": "token_replace"},
        ),
    ],
)
@pytest.mark.parametrize("layout", ["original", "ComfyUI", "diffusers"])
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_the_published_transformers(name, changes, title, config, layout, prefix):
    expected = wanted(build(CLASS, hunyuan_video.files.transformer_config(**config)))
    shapes = expected if layout == "diffusers" else original(**changes)
    if layout == "ComfyUI":
        shapes = in_comfyui(shapes)
    shapes = {prefix + key: shape for key, shape in shapes.items()}
    found = hunyuan_video.find(shapes, f"{name}.safetensors")
    assert isinstance(found, Recognised)
    assert (found.part, found.layout, found.prefix, found.variant.title) == ("transformer", layout, prefix, title)
    assert translated(found, shapes) == expected == wanted(build(found.class_name, found.config))
    others = [f for f in families().values() if f.id != "hunyuan_video"]
    assert [f.id for f in others if isinstance(f.recognise(shapes, f"{name}.safetensors"), Recognised)] == []


def test_the_rules_agree_with_diffusers_own_converter():
    """Its hidden width is built in, so the tensors are full-size, on the meta device for names and shapes, and the rows
    of a fused one are compared by number."""
    from diffusers.loaders.single_file_utils import convert_hunyuan_video_transformer_to_diffusers

    shapes = original(double=1, single=1, refiners=1)
    with torch.device("meta"):
        expected = convert_hunyuan_video_transformer_to_diffusers({n: torch.empty(s) for n, s in shapes.items()})
    found = hunyuan_video.find(shapes, "")
    assert translated(found, shapes) == {name: tuple(tensor.shape) for name, tensor in expected.items()}
    rows = {name: torch.arange(shape[0]).float() for name, shape in shapes.items() if name.endswith(".bias")}
    numbered = convert_hunyuan_video_transformer_to_diffusers(dict(rows))
    for name, tensor in rows.items():
        renamed = translate(name, found.rules, "")
        for target, part in zip(renamed.names, renamed.tensors(tensor), strict=True):
            assert torch.equal(part, numbered[target]), target


def test_a_tiny_file_loads_to_the_very_tensors(tmp_path):
    module = tiny_hunyuan.transformer()
    shapes = original(2, 2, 1, width=24, head=12, text=16, pooled=8)
    found = hunyuan_video.find(shapes, "")
    state, tensors = module.state_dict(), {}
    for name in shapes:
        renamed = translate(name, found.rules, "")
        whole = torch.cat([state[target] for target in renamed.names])
        swaps = len(renamed.names) == 1 and renamed.splits
        tensors[name] = renamed.tensors(whole)[0] if swaps else whole
    path = save(tmp_path / "dit.safetensors", tensors)
    loaded = load_model(open_file(path), torch.float32).transformer
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in state.items())


def test_the_vae_has_the_same_names_everywhere(tmp_path):
    from diffusers import AutoencoderKLHunyuanVideo

    whole = wanted(build("AutoencoderKLHunyuanVideo", {}))
    found = hunyuan_video.find(whole, "hunyuan_video_vae_bf16.safetensors")
    assert isinstance(found, Recognised) and found.part == "vae"
    assert wanted(build(found.class_name, found.config)) == whole
    torch.manual_seed(0)
    module = AutoencoderKLHunyuanVideo(block_out_channels=(32, 32, 32, 32), layers_per_block=1).eval()
    path = save(tmp_path / "vae.safetensors", module.state_dict())
    loaded = load_vae(open_file(path), torch.float32).vae
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("patch", "without", "name"),
    [
        ((256, 65, 1, 1, 1), "vector_in", "HunyuanVideo 1.5"),
        ((256, 64, 1, 1), "vector_in", "HunyuanImage"),
        ((256, 64, 1, 1), "byt5_in", "HunyuanImage"),
    ],
    ids=["HunyuanVideo 1.5", "HunyuanImage", "flat patches"],
)
def test_relatives_are_refused(patch, without, name):
    shapes = {key: shape for key, shape in original().items() if not key.startswith(without)}
    shapes["img_in.proj.weight"] = patch
    with pytest.raises(FamilyError, match=rf"^a\.safetensors: this is {name}, a relative of HunyuanVideo which is not"):
        hunyuan_video.find(shapes, "a.safetensors")


def test_another_file_is_none_of_hunyuans():
    said = hunyuan_video.find({"head.modulation": (1, 2, 3)}, "")
    assert said == "'txt_in.individual_token_refiner.blocks.0.norm1.weight' is missing"
