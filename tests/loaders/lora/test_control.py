"""Control LoRAs are refused whole, by name; changes of an input layer with fewer channels are applied.

Tests: loaders/lora/control.py.
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.loaders.lora import load_patches, match, read_lora
from opent2v.tests.nodes.test_lora import draw
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan

INPUT = "transformer.patch_embedding"


def verdict(path, extra):
    save_file(draw(1) | extra, path)
    return match(read_lora(path), embedded.patch_target(tiny.shared()[0]))


@pytest.mark.parametrize("name", ["patch_embedding", "patch_embedding.reshape_weight"])
def test_a_widened_input_layer_is_refused_with_nothing_applied(tmp_path, name):
    weight = tiny.shared()[0].part.transformer.patch_embedding.weight
    if name.endswith("reshape_weight"):
        extra = {f"transformer.{name}": torch.tensor([len(weight), 32, 1, 2, 2])}
    else:
        down = torch.ones(2, 2 * weight.shape[1], *weight.shape[2:])
        extra = {f"{INPUT}.lora_A.weight": down, f"{INPUT}.lora_B.weight": torch.ones(len(weight), 2, 1, 1, 1)}
    control = verdict(tmp_path / "tile.safetensors", extra)
    assert control.matched == 2
    with pytest.raises(FamilyError, match=r"tile\.safetensors: this LoRA widens .*patch_embedding"):
        control.check()


@pytest.mark.parametrize(
    ("channels", "model"), [(36, "Wan's image to video and Fun InP models"), (52, "Wan 2.2 Fun Control models")]
)
def test_the_refusal_names_the_models_that_read_so_many_channels(tmp_path, channels, model):
    control = verdict(tmp_path / "tile.safetensors", changes(channels, "lora")[0])
    said = (
        rf"patch_embedding from \d+ to {4 * channels} inputs.*none is applied. {model} read {channels} channels there"
    )
    with pytest.raises(FamilyError, match=said):
        control.check()


def test_an_input_layer_of_the_models_own_shape_is_applied(tmp_path):
    weight = tiny.shared()[0].part.transformer.patch_embedding.weight
    down = torch.ones(2, *weight.shape[1:])
    extra = {f"{INPUT}.lora_A.weight": down, f"{INPUT}.lora_B.weight": torch.ones(len(weight), 2, 1, 1, 1)}
    plain = verdict(tmp_path / "style.safetensors", extra)
    plain.check()
    assert plain.matched == 3


def picture_model():
    """A model that reads 36 channels: the latents' 16, then those of a mask and a picture."""
    return tiny.hosted(tiny_wan.folder("i2v_a14b"))[0]


def changes(channels, kind):
    """Tensors of a change of the input layer, and what it adds to the first channels of the weight."""
    dice = torch.Generator().manual_seed(5)
    rows, _, *kernel = picture_model().part.transformer.patch_embedding.weight.shape
    if kind == "diff":
        added = torch.randn(rows, channels, *kernel, generator=dice)
        return {f"{INPUT}.diff": added}, added
    down = torch.randn(2, channels, *kernel, generator=dice)
    up = torch.randn(rows, 2, 1, 1, 1, generator=dice)
    return (
        {f"{INPUT}.lora_A.weight": down, f"{INPUT}.lora_B.weight": up},
        torch.einsum("or,rctyx->octyx", up[:, :, 0, 0, 0], down),
    )


@pytest.mark.parametrize("kind", ["lora", "diff"])
def test_an_input_layer_with_fewer_channels_changes_the_first(tmp_path, kind):
    model, (extra, added) = picture_model(), changes(16, kind)
    save_file(draw(1) | extra, tmp_path / "style.safetensors")
    found = match(read_lora(tmp_path / "style.safetensors"), embedded.patch_target(model))
    found.check()
    assert found.matched == 3 and not found.misshapen
    assert (
        f"{INPUT} was trained on 16 channels and this model reads 36: the first 16, the latents', are changed, those "
        "of the picture stay" in found.lines()
    )
    merged = model.part.transformer.patch_embedding.weight.detach().clone()
    merged[:, :16] += 0.5 * added
    patched = embedded.apply_patches(model, load_patches(found), 0.5)
    with patched.changed():
        weight = patched.part.transformer.patch_embedding.weight.detach().clone()
    torch.testing.assert_close(weight, merged, atol=1e-5, rtol=0)


def test_a_reshaped_layer_of_the_models_own_width_is_applied(tmp_path):
    """What widens a text-to-video model is whole on the model that reads pictures."""
    model, (extra, _) = picture_model(), changes(36, "lora")
    shape = torch.tensor(list(model.part.transformer.patch_embedding.weight.shape))
    save_file(draw(1) | extra | {f"{INPUT}.reshape_weight": shape}, tmp_path / "picture.safetensors")
    found = match(read_lora(tmp_path / "picture.safetensors"), embedded.patch_target(model))
    found.check()
    assert found.matched == 3 and not any("channels" in line for line in found.lines())


def test_a_layer_that_is_narrower_and_to_be_widened_is_refused(tmp_path):
    extra, _ = changes(16, "lora")
    save_file(draw(1) | extra | {f"{INPUT}.reshape_weight": torch.tensor([24, 52])}, tmp_path / "wide.safetensors")
    found = match(read_lora(tmp_path / "wide.safetensors"), embedded.patch_target(picture_model()))
    with pytest.raises(FamilyError, match=r"this LoRA widens transformer\.patch_embedding, for"):
        found.check()
