"""A transformer that another loader built is known by its names and shapes alone."""

from __future__ import annotations

import pytest

from opent2v.base import FamilyError
from opent2v.families import variant_of
from opent2v.tests.families.layouts.wan import meta_shapes, original


def native(width: int, channels: int, *, made: int | None = None, ffn: int = 8960, text: int = 4096, extra=()):
    """Names and shapes as Wan's own repositories and ComfyUI have them, of one block."""
    config = {
        "num_attention_heads": width // 128, "attention_head_dim": 128, "in_channels": channels,
        "out_channels": made or channels, "ffn_dim": ffn, "text_dim": text, "freq_dim": 256, "num_layers": 1,
    }  # fmt: skip
    shapes = {original(name): shape for name, shape in meta_shapes("WanTransformer3DModel", config).items()}
    return shapes | dict.fromkeys(extra, (1,))


@pytest.mark.parametrize(
    ("shapes", "name", "own", "latent_format", "geometry"),
    [
        (native(1536, 16), "2.1 T2V 1.3B", (832, 480, 81, 16.0), "Wan21", (16, 4, 8, 2)),
        (native(5120, 16, ffn=13824), "2.1 T2V 14B", (832, 480, 81, 16.0), "Wan21", (16, 4, 8, 2)),
        (native(3072, 48, ffn=14336), "2.2 TI2V 5B", (1280, 704, 121, 24.0), "Wan22", (48, 4, 16, 2)),
    ],
)
def test_wan(shapes, name, own, latent_format, geometry):
    variant = variant_of(shapes)
    assert variant is not None and (variant.family.id, variant.name) == ("wan", name)
    assert (variant.defaults.width, variant.defaults.height, variant.defaults.frames, variant.defaults.fps) == own
    found = variant.geometry
    assert (found.channels, found.temporal, found.spatial, found.patch) == geometry
    assert (variant.latent_format, variant.context_width) == (latent_format, 4096)
    assert variant.scheduler["_class_name"] == "UniPCMultistepScheduler" and variant.scheduler["flow_shift"] == 5.0
    assert len(variant.video.mean) == len(variant.video.std) == geometry[0] and min(variant.video.std) > 0


def test_the_latents_numbers_are_the_librarys():
    """diffusers' own defaults are those of the Wan 2.1 VAE."""
    from diffusers import AutoencoderKLWan

    config, stream = AutoencoderKLWan().config, variant_of(native(1536, 16)).video
    assert list(stream.mean) == list(config.latents_mean) and list(stream.std) == list(config.latents_std)


def test_image_to_video_models_of_other_loaders_are_known_too():
    """Their own host puts the picture into the conditioning; the sampler only needs sizes and schedule."""
    assert variant_of(native(5120, 36, made=16, ffn=13824)).title == "Wan 2.2 I2V A14B"


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (
            native(1536, 16, extra=["vace_blocks.0.x"]),
            "this is Wan VACE (editing) ('vace_blocks...' is in it), which is",
        ),
        (
            native(5120, 36, made=16, extra=["face_adapter.x"]),
            "this is Wan Animate ('face_adapter...' is in it), which",
        ),
        (native(1536, 20), "this Wan model takes 20 channels and returns 20. Expected 16 or 36 to 16, or 48 to 48"),
    ],
)
def test_other_kinds_of_wan_are_refused(shapes, said):
    with pytest.raises(FamilyError) as error:
        variant_of(shapes)
    assert str(error.value).startswith("This MODEL: ") and said in str(error.value)


def test_what_is_of_no_family():
    assert variant_of({}) is None
    assert variant_of({"double_blocks.0.img_attn.qkv.weight": (9216, 3072)}) is None
    almost = native(1536, 16)
    del almost["head.modulation"]
    assert variant_of(almost) is None
