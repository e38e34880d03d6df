"""What people do wrong with model files and graphs: each gets an answer that names what was found and what to do.

Tests: nodes/, loaders/
"""

from __future__ import annotations

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.loaders import ModelFileError
from opent2v.sampling import SamplingError
from opent2v.tests.loaders import text_files
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan


@pytest.fixture(scope="module")
def experts():
    """(high-noise MODEL, low-noise MODEL, CLIP) of a tiny A14B."""
    loaded = tiny.pipeline(tiny_wan.folder("t2v_a14b"))
    return *(embedded.model(part) for part in loaded.models), embedded.clip(loaded.text)


def sample(model, clip, **given):
    text = embedded.embed(clip, "a star")
    latent = call("OpenT2VEmptyLatent", model=model)[0][0]
    return call("OpenT2VSampler", **{"model": model, "positive": text, "negative": text, "latent": latent, **given})


# --- two experts ---


def test_both_experts_in_their_places_make_a_video(experts):
    high, low, clip = experts
    (latent, _), ui = sample(high, clip, low_noise_model=low, steps=4)
    assert torch.isfinite(latent["samples"]).all() and "at low noise" in ui["opent2v_remarks"][0]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ("high only", "works with two experts and only the high-noise one is connected: the video would stay noise."),
        (
            "high twice",
            "Found the high-noise file twice. The high-noise one goes to model, the low-noise one to low_noise",
        ),
        ("swapped", "Found the two files swapped."),
        ("low twice", "Found the two files swapped."),
    ],
)
def test_experts_in_the_wrong_places(experts, places, said):
    high, low, clip = experts
    model = low if places in ("swapped", "low twice") else high
    second = {"high only": None, "high twice": high, "swapped": high, "low twice": low}[places]
    with pytest.raises(SamplingError) as error:
        sample(model, clip, low_noise_model=second)
    assert said in str(error.value)


def test_a_second_model_for_a_model_of_one_piece():
    model, clip, _ = tiny.shared()
    with pytest.raises(
        SamplingError, match=r"is one model for all steps. Disconnect low_noise_model. The two experts of"
    ):
        sample(model, clip, low_noise_model=model)
    with pytest.raises(SamplingError, match=r"low_noise_model is HunyuanVideo tiny, model is Wan tiny"):
        sample(model, clip, low_noise_model=tiny_hunyuan.hosted()[0])


# --- files ---


@pytest.fixture
def models(tmp_path):
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    for name in ("diffusion_models", "vae", "text_encoders"):
        (tmp_path / "models" / name).mkdir(parents=True)
    return tmp_path / "models"


def vae_weights():
    from diffusers import AutoencoderKLHunyuanVideo

    torch.manual_seed(0)
    return AutoencoderKLHunyuanVideo(block_out_channels=(32, 32, 32, 32), layers_per_block=1).state_dict()


def test_a_vae_among_the_diffusion_models(models):
    text_files.save(models / "diffusion_models" / "v.safetensors", vae_weights())
    with pytest.raises(
        ModelFileError, match=r"holds no transformer but HunyuanVideo T2V vae. Choose it in Load Video VAE"
    ):
        call("OpenT2VLoadDiffusionModel", file="v.safetensors")


def test_a_transformer_among_the_vaes(models):
    text_files.save(models / "vae" / "t.safetensors", tiny_hunyuan.transformer().state_dict())
    with pytest.raises(
        ModelFileError, match=r"holds no vae but HunyuanVideo T2V transformer. Choose it in Load Video Diff"
    ):
        call("OpenT2VLoadVAE", file="t.safetensors")


def test_a_text_encoder_among_the_diffusion_models(models):
    tensors = text_files.once(text_files.t5(False).state_dict())
    text_files.save(models / "diffusion_models" / "t5.safetensors", tensors)
    with pytest.raises(ModelFileError, match=r"It looks like a T5 text encoder; choose it in Load Video Text Encoder."):
        call("OpenT2VLoadDiffusionModel", file="t5.safetensors")


def test_a_web_page_that_was_saved_as_a_model(models):
    (models / "diffusion_models" / "m.safetensors").write_text("<!doctype html><title>Not found</title>")
    with pytest.raises(ModelFileError, match=r"neither a safetensors nor a GGUF file.*download the file again"):
        call("OpenT2VLoadDiffusionModel", file="m.safetensors")


# --- graphs ---


def test_an_image_to_video_model_in_a_text_to_video_graph():
    loaded = tiny.pipeline(tiny_wan.folder("i2v_a14b"))
    high, low = (embedded.model(part) for part in loaded.models)
    with pytest.raises(FamilyError, match=r"latent from Image to Video, or choose a text-to-video model"):
        sample(high, embedded.clip(loaded.text), low_noise_model=low)


@pytest.mark.parametrize("asked", [16, 6, 10])
def test_a_frame_count_the_model_cannot_make_is_corrected_and_told(asked):
    (latent, _, _, frames, _), ui = call("OpenT2VEmptyLatent", model=tiny.shared()[0], frames=asked)
    assert frames % 4 == 1 and abs(frames - asked) <= 2 and latent["samples"].shape[2] == (frames - 1) // 4 + 1
    assert f"frames {asked} -> {frames}" in ui["opent2v_remarks"][1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_storage_dtypes_never_clash_with_what_computes(dtype):
    model, _, _ = tiny.hosted(tiny.folder(), dtype)
    (latent, _), _ = sample(model, tiny.shared()[1], steps=2)
    assert latent["samples"].dtype == torch.float32 and torch.isfinite(latent["samples"]).all()
