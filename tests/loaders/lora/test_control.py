"""Control LoRAs are refused whole, by name. Tests: loaders/lora/control.py."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.loaders.lora import match, read_lora
from opent2v.tests.nodes.test_lora import draw
from opent2v.tests.tiny import wan as tiny

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


def test_an_input_layer_of_the_models_own_shape_is_applied(tmp_path):
    weight = tiny.shared()[0].part.transformer.patch_embedding.weight
    down = torch.ones(2, *weight.shape[1:])
    extra = {f"{INPUT}.lora_A.weight": down, f"{INPUT}.lora_B.weight": torch.ones(len(weight), 2, 1, 1, 1)}
    plain = verdict(tmp_path / "style.safetensors", extra)
    plain.check()
    assert plain.matched == 3
