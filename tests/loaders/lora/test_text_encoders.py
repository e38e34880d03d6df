"""LoRAs that change text encoders, alone and beside the transformer's. Tests: loaders/lora/names.py, nodes/lora.py"""

from __future__ import annotations

import pytest
import torch

from opent2v.host import embedded
from opent2v.tests.loaders.lora import files, models, text_files
from opent2v.tests.loaders.lora.models import apart, largest
from opent2v.tests.loaders.lora.table import TEXT
from opent2v.tests.nodes.calls import call

CLOSE = 1e-5
CASES = [
    (family, style, slots)
    for family in TEXT
    for style in text_files.STYLES
    for slots in (
        (("text_encoder",), ("text_encoder_2",), ("text_encoder", "text_encoder_2"))
        if family == "hunyuan_video"
        else (("text_encoder",),)
    )
]


@pytest.fixture
def loras(tmp_path):
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    (tmp_path / "models" / "loras").mkdir(parents=True)
    return tmp_path / "models" / "loras"


@pytest.mark.parametrize(("family", "style", "slots"), CASES)
def test_a_text_encoders_lora_does_what_merging_by_hand_does(family, style, slots, loras):
    one = models.loaded(family)
    merged = text_files.write(loras / "any.safetensors", style, one.text.encoders, slots)
    before = one.embedded(one.clip)
    wanted = one.embedded_by_hand(merged)
    (model, clip, report, *_), _ = call(
        "OpenT2VLoadLora", model=one.model, clip=one.clip, lora="any.safetensors", strength_model=1.0, strength_clip=1.0
    )
    found = one.embedded(clip)
    assert max(apart(a, b) for a, b in zip(found, wanted, strict=True) if a.is_floating_point()) <= CLOSE, report
    assert max(largest(a, b) for a, b in zip(before, wanted, strict=True) if a.is_floating_point()) > 1e-3
    assert all(torch.equal(a, b) for a, b in zip(one.embedded(one.clip), before, strict=True))
    assert torch.equal(one.sampled(model), one.plain)


def test_both_parts_of_a_file_have_strengths_of_their_own(loras):
    one = models.loaded("wan")
    text = text_files.write(loras / "text.safetensors", "kohya", one.text.encoders, ("text_encoder",))
    merged = files.write(loras / "model.safetensors", files.FORMATS["kohya"], one.sites, one.state)
    from safetensors.torch import load_file

    files.save(
        loras / "any.safetensors", load_file(loras / "text.safetensors") | load_file(loras / "model.safetensors")
    )
    given = {"model": one.model, "clip": one.clip, "lora": "any.safetensors"}
    (model, clip, *_), _ = call("OpenT2VLoadLora", **given, strength_model=1.0, strength_clip=0.0)
    assert apart(one.sampled(model), one.merged(merged)) <= CLOSE
    assert all(torch.equal(a, b) for a, b in zip(one.embedded(clip), one.embedded(one.clip), strict=True))
    (model, clip, *_), _ = call("OpenT2VLoadLora", **given, strength_model=0.0, strength_clip=1.0)
    assert torch.equal(one.sampled(model), one.plain)
    assert apart(one.embedded(clip)[0], one.embedded_by_hand(text)[0]) <= CLOSE
