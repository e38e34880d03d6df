"""Upscale Video Latent: equal to diffusers' pipeline, sound handed past it, and what it refuses.

Tests: nodes/upscale.py, loaders/upscaler.py, families/ltx_video/upscaler.py, base/upscaler.py, host/upscale.py
"""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import FamilyError
from opent2v.families.ltx_video import upscaler
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, load_vae, open_file, open_text_file, open_upscaler
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import ltx2 as tiny
from opent2v.tests.tiny import ltx_video as tiny_ltx_video

SIZES = {"spatial": (3, 8, 12), "rational": (3, 8, 12), "1.5": (3, 6, 9), "temporal": (5, 4, 6)}


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def drawn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """models/ with every kind of upscaler and LTX-2's video VAE."""
    models = tmp_path_factory.mktemp("models")
    folder = models / "latent_upscale_models"
    folder.mkdir()
    for kind in tiny.UPSCALERS:
        scale = tiny.UPSCALERS[kind].get("rational_spatial_scale", 2.0)
        metadata = {"config": json.dumps({"spatial_scale": scale})}
        save_file({n: t.contiguous() for n, t in tiny.upscaler(kind).items()}, folder / f"{kind}.safetensors", metadata)
    save_file({n: t.contiguous() for n, t in tiny.video_vae("2.3").items()}, models / "vae.safetensors")
    return models


@pytest.fixture
def vae(files):
    embedded.configure(models=files)
    return embedded.vae(load_vae(open_file(files / "vae.safetensors"), torch.float32))


@pytest.mark.parametrize("kind", tiny.UPSCALERS)
def test_it_equals_diffusers_pipeline(vae, kind):
    from diffusers import LTX2LatentUpsamplePipeline
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    module = LTX2LatentUpsamplerModel(**tiny.UPSCALER, **tiny.UPSCALERS[kind])
    module.load_state_dict(tiny.upscaler(kind))
    pipeline = LTX2LatentUpsamplePipeline(vae=vae.part.vae, latent_upsampler=module.eval())
    latent = drawn(1, 128, 3, 4, 6)
    (expected,) = pipeline(
        latents=latent, latents_normalized=True, height=128, width=192, output_type="latent", return_dict=False
    )
    mean, std = (vae.part.vae.get_buffer(f"latents_{name}").view(1, -1, 1, 1, 1) for name in ("mean", "std"))
    (result,), ui = call("OpenT2VUpscaleLatent", latent={"samples": latent}, vae=vae, file=f"{kind}.safetensors")
    assert result["samples"].shape == (1, 128, *SIZES[kind])
    torch.testing.assert_close(result["samples"], (expected - mean) / std, atol=1e-4, rtol=0)
    assert f"3 x 4 x 6 latents become {' x '.join(map(str, SIZES[kind]))}" in remarks(ui)


def test_the_sound_goes_past_it_and_keeps_its_mask(vae):
    picture, sound, kept = drawn(1, 128, 3, 4, 6), drawn(1, 8, 18, 16), torch.zeros(1, 1, 18, 16)
    latent = {
        "samples": embedded.nested([picture, sound]),
        "noise_mask": embedded.nested([torch.zeros(1, 1, 3, 4, 6), kept]),
    }
    (result,), ui = call("OpenT2VUpscaleLatent", latent=latent, vae=vae, file="spatial.safetensors")
    larger, same = result["samples"].unbind()
    assert larger.shape == (1, 128, 3, 8, 12) and torch.equal(same, sound) and "fps" not in remarks(ui)
    assert torch.equal(result["noise_mask"].unbind()[0], torch.ones(1, 1, 3, 8, 12))
    assert torch.equal(result["noise_mask"].unbind()[1], kept)
    (_,), ui = call("OpenT2VUpscaleLatent", latent=latent, vae=vae, file="temporal.safetensors")
    assert "twice the fps" in remarks(ui)
    (single,), _ = call(
        "OpenT2VUpscaleLatent",
        latent={**latent, "samples": picture, "noise_mask": kept},
        vae=vae,
        file="spatial.safetensors",
    )
    assert "noise_mask" not in single


def test_ltx_videos_vae_has_upscalers_too(files, tmp_path):
    from diffusers import AutoencoderKLLTXVideo  # noqa: F401

    module = tiny_ltx_video.vae("0.9.5")
    path = tmp_path / "vae.safetensors"
    from opent2v.tests.families.layouts import ltx_video as names

    save_file({names.original_vae(n, "0.9.5"): t.contiguous() for n, t in module.state_dict().items()}, path)
    embedded.configure(models=files)
    vae = embedded.vae(load_vae(open_file(path), torch.float32))
    (result,), _ = call(
        "OpenT2VUpscaleLatent", latent={"samples": drawn(1, 128, 2, 2, 3)}, vae=vae, file="spatial.safetensors"
    )
    assert result["samples"].shape == (1, 128, 2, 4, 6) and torch.isfinite(result["samples"]).all()


def test_what_does_not_fit_is_refused(files, vae, tmp_path):
    given = {"vae": vae, "file": "spatial.safetensors"}
    with pytest.raises(ValueError, match="The latent is empty"):
        call("OpenT2VUpscaleLatent", latent={"samples": torch.zeros(1, 128, 3, 4, 6)}, **given)
    with pytest.raises(ValueError, match="The latent has 16 channels; this VAE"):
        call("OpenT2VUpscaleLatent", latent={"samples": drawn(1, 16, 3, 4, 6)}, **given)
    with pytest.raises(
        ModelFileError, match=r"no latent upscaler this pack knows .* Expected one of LTX-2 or LTX-Video"
    ):
        open_upscaler(files / "vae.safetensors")
    with pytest.raises(FamilyError, match="is a latent upscaler, no model"):
        open_file(files / "latent_upscale_models/spatial.safetensors")
    with pytest.raises(ModelFileError, match="It looks like a latent upscaler; it belongs in models/latent_upscale_"):
        open_text_file(files / "latent_upscale_models/spatial.safetensors")


def test_a_vae_without_statistics_is_refused():
    from opent2v.tests.tiny import wan

    vae = wan.shared()[2]
    with pytest.raises(FamilyError, match="does not tell how it normalises its latents"):
        embedded.upscale(vae, torch.nn.Conv3d(16, 16, 1), drawn(1, 16, 1, 4, 4))


def test_ratios_are_read_from_the_config_else_the_published_one():
    shapes = {name: tuple(tensor.shape) for name, tensor in tiny.upscaler("1.5").items()}
    for config, ratio in (({}, 1.5), ({"spatial_scale": 0.75}, 0.75)):
        layout = upscaler.recognise(shapes, config)
        assert layout is not None and layout.spatial == ratio and layout.config["rational_spatial_scale"] == ratio
    assert upscaler.recognise({"initial_conv.weight": (4, 4, 3, 3, 3)}, {}) is None
