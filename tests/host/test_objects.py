"""Our VAE, CLIP and CLIP_VISION are the host's own objects: same attributes, same methods, right values."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.host


def test_no_attribute_or_method_of_the_hosts_objects_is_missing(inside):
    found = inside("objects names")
    assert found["lacking"] == {
        "VAE": [], "VAE patcher": [], "CLIP": [], "CLIP patcher": [], "text encoder": [], "tokenizer": [],
    }  # fmt: skip
    assert found["CLIP_VISION"] is True
    assert found["image size"] == 32
    # Plain values are those of the host's Wan VAE, but for its size and that ours is loaded whole.
    assert {name for name, values in found["VAE values"].items() if values[0] != values[1]} == {
        "disable_offload",
        "size",
    }
    assert found["compute dtype"] == "torch.float32"
    assert inside("objects an_unset_part_is_seen") == ["crop_input"]


def test_another_packs_module_takes_the_vaes_place(inside):
    assert inside("objects replaced") is True


def test_the_image_encoder_is_the_hosts_with_the_folders_weights(inside):
    found = inside("objects vision_outputs")
    assert found["penultimate"] <= 1e-5 and found["last"] <= 1e-5
    assert found["shared"] is True


FAMILIES = ("wan 2.1", "wan 2.2", "ltx-video", "cogvideox", "hunyuan-video", "mochi", "open-sora", "videocrafter")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_vae_gives_the_embedded_hosts_values_in_every_node(inside, family):
    found = inside("objects vaes")
    assert set(found) == set(FAMILIES)
    values = dict(found[family])
    assert values.pop("range") == [True, True, True]
    assert len(values) == 7
    assert {node: apart for node, apart in values.items() if apart > 1e-5} == {}
