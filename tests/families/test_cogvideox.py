"""CogVideoX folders are recognised, misfits are refused, and prompts, guidance and positions are diffusers'."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from opent2v.base import FamilyError, Pictures, Sampling
from opent2v.families import cogvideox
from opent2v.sampling import Guidance, SamplingError
from opent2v.tests.families.layouts.cogvideox import BASE, FIVE, NEW
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import cogvideox as tiny_cog
from opent2v.tests.tiny import wan as tiny

VAE = {"latent_channels": 16, "scaling_factor": 0.7, "temporal_compression_ratio": 4, "invert_scale_latents": False}


def configs(transformer=None, vae=None, text=None, index=None, **further):
    return {
        "index": {"_class_name": "CogVideoXPipeline", **(index or {})},
        "transformer": BASE | (transformer or {}),
        "vae": VAE | (vae or {}),
        "text_encoder": {"d_model": 4096} | (text or {}),
        "scheduler": {"_class_name": "CogVideoXDPMScheduler"},
        **further,
    }


@pytest.mark.parametrize(
    ("transformer", "vae", "name", "size", "fps", "latent", "shift", "picture_scale"),
    [
        ({}, {"scaling_factor": 1.15258426}, "2B", (720, 480, 49), 8, (13, 60, 90), 3.0, 1.15258426),
        (FIVE, {}, "5B", (720, 480, 49), 8, (13, 60, 90), 1.0, 0.7),
        (
            {**FIVE, "in_channels": 32, "use_learned_positional_embeddings": True},
            {}, "5B I2V", (720, 480, 49), 8, (13, 60, 90), 1.0, 0.7,
        ),
        (NEW, {}, "1.5 5B", (1360, 768, 81), 16, (21, 96, 170), 1.0, 0.7),
        (
            {**NEW, "in_channels": 32, "ofs_embed_dim": 512},
            {"invert_scale_latents": True}, "1.5 5B I2V", (1360, 768, 81), 16, (21, 96, 170), 1.0, 1 / 0.7,
        ),
    ],
)  # fmt: skip
def test_published_configs(transformer, vae, name, size, fps, latent, shift, picture_scale):
    variant = cogvideox.read(configs(transformer, vae))
    own, geometry = variant.defaults, variant.geometry
    assert (variant.name, variant.prediction, variant.task) == (name, "v", "image" if "I2V" in name else "text")
    assert ((own.width, own.height, own.frames), own.fps, own.steps, own.guidance) == (size, fps, 50, 6.0)
    assert geometry.legal(*size) == size and geometry.latent_shape(*size) == (16, *latent)
    assert geometry.front_padding(latent[0]) == (1 if "1.5" in name else 0)
    assert variant.scheduler["snr_shift_scale"] == shift and variant.scheduler["rescale_betas_zero_snr"] is True
    assert variant.normalise(torch.ones(1, 16, 1, 1, 1))[0, 0].item() == pytest.approx(
        {"scaling_factor": 0.7, **vae}["scaling_factor"]
    )
    assert variant.facts["picture_scale"] == pytest.approx(picture_scale)
    assert [p.max_tokens for p in variant.prompts] == [226] and variant.prompts[0].prepare("  a B \n") == "  a B \n"


@pytest.mark.parametrize(
    ("asked", "legal"),
    [((720, 480, 49), (720, 480, 49)), ((700, 481, 50), (704, 480, 49)), ((64, 64, 5), (64, 64, 9)),
     ((64, 64, 1), (64, 64, 1)), ((1360, 768, 161), (1360, 768, 161))],
)  # fmt: skip
def test_lengths_are_whole_groups_of_the_vae(asked, legal):
    """Two latent frames at once, the first group one more: lengths are 8n + 1, so that as many come out again."""
    for transformer in (FIVE, NEW):
        geometry = cogvideox.read(configs(transformer)).geometry
        assert geometry.legal(*asked) == legal
        assert geometry.frames(geometry.latent_shape(*legal)[1]) == legal[2]


def test_1_5_knows_positions_up_to_2400_pixels():
    geometry = cogvideox.read(configs(NEW)).geometry
    assert geometry.legal(2400, 64, 9) == (2400, 64, 9)
    with pytest.raises(FamilyError, match="width is 2401; this model takes 1 to 2400 pixels"):
        geometry.legal(2401, 64, 9)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            configs({"in_channels": 33}),
            "This transformer takes 33 channels and the VAE makes 16: it is a CogVideoX-Fun (control or inpainting) "
            "model, which is not supported. Expected 16 (text to video) or 32 (image to video).",
        ),
        (configs(index={"_class_name": "CogVideoXFunControlPipeline"}), "it is a CogVideoX-Fun"),
        (
            configs({"out_channels": 8}),
            "The transformer makes 8 channels and the VAE reads 16. They belong to different models: use the vae "
            "folder that came with this transformer.",
        ),
        (
            configs(text={"d_model": 2048}),
            "The text encoder is 2048 wide and the transformer expects 4096. Use the text_encoder folder that came "
            "with this transformer.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changed, said):
    with pytest.raises(FamilyError) as error:
        cogvideox.read(changed)
    assert said in str(error.value)


def test_prompts_are_encoded_as_the_pipeline_does():
    from diffusers import CogVideoXPipeline
    from transformers import AutoTokenizer, T5EncoderModel

    _, clip, vae = tiny_cog.shared("5b")
    path = tiny_cog.folder("5b")
    pipeline = CogVideoXPipeline(
        tokenizer=AutoTokenizer.from_pretrained(path / "tokenizer"),
        text_encoder=T5EncoderModel.from_pretrained(path / "text_encoder").eval(),
        vae=vae.part.vae,
        transformer=None,
        scheduler=None,
    )
    for text in ("", tiny.PROMPT, "  a red\n circle ", "red circle " * 50):
        expected, _ = pipeline.encode_prompt(text, None, False, max_sequence_length=tiny_cog.TOKENS)
        context, further = clip.part.embed(clip.part.tokens(text)[0])
        assert further == {} and context.shape == (1, tiny_cog.TOKENS, 16)
        assert (context - expected).abs().max() <= 1e-5
        assert context[:, -1].abs().max() > 0  # the padding's embedding stays


@pytest.mark.parametrize("transformer", [FIVE, NEW])
@pytest.mark.parametrize("size", [(720, 480, 49), (480, 720, 17), (64, 64, 9), (1360, 768, 81), (1024, 128, 1)])
def test_rotary_positions_are_the_pipelines(transformer, size):
    from types import SimpleNamespace

    from diffusers import CogVideoXPipeline

    variant = cogvideox.read(configs(transformer))
    _, frames, rows, columns = variant.geometry.latent_shape(*size)
    frames += variant.geometry.front_padding(frames)
    pipeline = SimpleNamespace(
        vae_scale_factor_spatial=8, transformer=SimpleNamespace(config=SimpleNamespace(**(BASE | transformer)))
    )
    expected = CogVideoXPipeline._prepare_rotary_positional_embeddings(
        pipeline, size[1], size[0], frames, torch.device("cpu")
    )
    grid = frames // variant.geometry.patch_frames, rows // 2, columns // 2
    got = cogvideox.rotary(variant, grid, torch.device("cpu"))
    assert got[0].shape == (grid[0] * grid[1] * grid[2], 64)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_dynamic_guidance_rises_smoothly_or_as_the_reference_computes_it():
    variant = cogvideox.read(configs(FIVE))
    timesteps = torch.arange(999, 0, -20).float()
    smooth = cogvideox.cfg(variant, "dynamic", 6.0, timesteps)
    assert smooth[0] == 1.0 and smooth[-1] == pytest.approx(1 + 6 * (1 - math.cos(math.pi * 0.98**5)) / 2)
    assert smooth == sorted(smooth) and smooth[-1] > 6.7
    reference = cogvideox.cfg(variant, "dynamic (reference)", 6.0, timesteps)
    # The pipeline's own line, with its 50 steps.
    expected = [1 + 6.0 * ((1 - math.cos(math.pi * ((50 - t) / 50) ** 5.0)) / 2) for t in range(999, 0, -20)]
    assert reference == expected and reference != sorted(reference) and 1 <= min(reference) < max(reference) <= 7


# --- pictures ---


def pictures(start=True, end=False, frames=17, strength=1.0, size=(32, 48)):
    picture = torch.rand(1, 3, 1, *size) * 2 - 1
    vae = tiny_cog.shared("5b-i2v")[2]
    return Pictures(picture if start else None, picture if end else None, frames, strength, None, vae.part.encode)


def test_the_picture_is_the_first_latent_frame_and_the_rest_is_nothing():
    variant = tiny_cog.shared("5b-i2v")[0].part.variant
    given = pictures()
    guided = cogvideox.image_to_video(variant, given)
    image = guided.entries["concat_latent_image"]
    assert image.shape == guided.samples.shape == (1, 16, 5, 4, 6) and guided.mask is None
    assert torch.equal(image[:, :, :1], given.encode(given.start)) and not image[:, :, 1:].any()
    assert not guided.samples.any()


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (
            "5b",
            {},
            "CogVideoX tiny 5b makes videos from text alone. Use CogVideoX 5B I2V or 1.5 5B I2V to start from a",
        ),
        ("5b-i2v", {"end": True}, "CogVideoX tiny 5b-i2v takes a start picture and no end picture."),
        ("1.5-i2v", {"start": False}, "CogVideoX tiny 1.5-i2v takes a start picture and no end picture."),
        ("1.5-i2v", {"strength": 0.5}, "strength is 0.5; CogVideoX tiny 1.5-i2v reads its picture as it is. Set it to"),
        ("1.5-i2v", {"frames": 16}, "48 x 32 pixels with 16 frames cannot be made; nearest: 48 x 32 with 17."),
        (
            "5b-i2v",
            {"frames": 9},
            "48 x 32 pixels with 9 frames are asked for; this model makes only 48 x 32 pixels with 17 frames. 0 means "
            "the model's own.",
        ),
    ],
)
def test_pictures_a_variant_cannot_use(kind, given, said):
    with pytest.raises(FamilyError) as error:
        cogvideox.image_to_video(tiny_cog.shared(kind)[0].part.variant, pictures(**given))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("kind", "shape", "entry", "said"),
    [
        (
            "5b-i2v", (1, 16, 5, 6, 6), {},
            "The latent is 6 x 6 with 5 latent frames; CogVideoX tiny 5b-i2v makes 48 x 32 pixels with 17 frames and "
            "nothing else, which is 6 x 4 with 5 latent frames. Make it with Empty Video Latent.",
        ),
        ("5b-i2v", (1, 16, 4, 4, 6), {}, "The latent is 6 x 4 with 4 latent frames; CogVideoX tiny 5b-i2v makes"),
        (
            "5b-i2v", (1, 16, 5, 4, 6), {},
            "CogVideoX tiny 5b-i2v starts from a picture and the conditioning has none. Connect positive, negative and "
            "the latent through Image to Video.",
        ),
        (
            "1.5-i2v", (1, 16, 5, 6, 6), {"concat_latent_image": torch.zeros(1, 16, 5, 4, 6)},
            "The conditioning's picture is for 6 x 4 with 5 latent frames, the latent is 6 x 6 with 5 latent frames. "
            "Give both the same width, height and length.",
        ),
    ],
)  # fmt: skip
def test_conditioning_that_does_not_fit_the_latent(kind, shape, entry, said):
    variant = tiny_cog.shared(kind)[0].part.variant
    with pytest.raises(FamilyError) as error:
        cogvideox.condition(variant, {"cross_attn": torch.zeros(1, 12, 16), **entry}, shape)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("tokens", [11, 24])
def test_a_prompt_of_another_length(tokens):
    variant = tiny_cog.shared("5b")[0].part.variant
    with pytest.raises(FamilyError) as error:
        cogvideox.condition(variant, {"cross_attn": torch.zeros(1, tokens, 16)}, (1, 16, 5, 4, 6))
    assert str(error.value) == (
        f"The conditioning has {tokens} tokens; CogVideoX tiny 5b reads exactly 12, the padding's too. Encode the "
        "prompt with this model's own CLIP and join no conditionings."
    )


# --- the VAE ---


@pytest.mark.parametrize("frames", [1, 5, 9, 13, 17, 25])
def test_the_vae_folds_as_the_geometry_says(frames):
    vae = tiny_cog.shared("5b")[2].part
    video = torch.rand(1, 3, frames, 32, 48) * 2 - 1
    with torch.inference_mode():
        latent = vae.encode(video)
        decoded = vae.decode(latent)
    assert latent.shape[1:] == vae.variant.geometry.latent_shape(48, 32, frames)
    assert decoded.shape == video.shape


def test_a_tile_of_an_even_length_is_cut_in_front():
    """The frames behind the first are the ones that the whole decodes to there, whatever the tile's length."""
    vae = tiny_cog.shared("5b")[2].part
    latent = torch.randn(1, 16, 4, 4, 6)
    with torch.inference_mode():
        whole = vae.vae.decode(latent, return_dict=False)[0]
        assert whole.shape[2] == 16
        assert torch.equal(vae.decode(latent), whole[:, :, 3:])


# --- in the nodes ---


def sampled(kind="5b", **given):
    model, clip, _ = tiny_cog.shared(kind)
    (positive, negative), _ = call("OpenT2VEncodePrompt", clip=clip, positive="a red star", negative="blurry")
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model)
    given = {"positive": positive, "negative": negative, "latent": latent, "seed": 3, **given}
    return call("OpenT2VSampler", model=model, **given)


def test_a_cfg_schedule_is_used_and_told():
    ends = {}
    for name in ("constant", "dynamic", "dynamic (reference)"):
        (latent, _), ui = sampled(guidance=Guidance(cfg_schedule=name))
        ends[name] = latent["samples"]
        shown = "" if name == "constant" else f" {name}"
        assert remarks(ui) == f"4 steps, cfg 6{shown}, CogVideoXDPM, seed 3"
    assert not torch.allclose(ends["constant"], ends["dynamic"])
    assert not torch.allclose(ends["dynamic (reference)"], ends["dynamic"])


def test_a_cfg_schedule_of_no_family_or_none_at_all():
    with pytest.raises(SamplingError) as error:
        sampled(guidance=Guidance(cfg_schedule="wild"))
    assert str(error.value) == (
        "No cfg_schedule is called 'wild'. Choose one of: constant, dynamic, dynamic (reference), oscillating, auto."
    )
    model = tiny_cog.shared("5b")[0]
    plain = replace(cogvideox.FAMILY, sampling=Sampling())
    other = replace(model, part=replace(model.part, variant=replace(model.part.variant, family=plain)))
    positive = [[torch.zeros(1, 12, 16), {}]]
    with pytest.raises(SamplingError) as error:
        call(
            "OpenT2VSampler", model=other, positive=positive, negative=positive, seed=3,
            latent={"samples": torch.zeros(1, 16, 5, 4, 6)}, guidance=Guidance(cfg_schedule="dynamic"),
        )  # fmt: skip
    assert str(error.value) == "CogVideoX tiny 5b was made for one cfg in all steps. Set cfg_schedule to constant."


def test_the_empty_latent_of_1_5_holds_no_padding_frames():
    (latent, *numbers), ui = call("OpenT2VEmptyLatent", model=tiny_cog.shared("1.5")[0], frames=20)
    assert latent["samples"].shape == (1, 16, 5, 4, 6) and numbers == [48, 32, 17, 16.0]
    assert "frames 20 -> 17 (sizes are multiples of 16, frames 8n + 1)." in remarks(ui)


@pytest.mark.parametrize("kind", ["2b", "1.5-i2v"])
def test_other_storage_gives_nearly_the_same(kind):
    ends = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn):
        model = tiny.hosted(tiny_cog.folder(kind), dtype)[0]
        entry = {"cross_attn": torch.randn(1, 12, 16, generator=torch.Generator().manual_seed(1))}
        entry["concat_latent_image"] = torch.ones(1, 16, 5, 4, 6)
        x = torch.randn(1, 16, 5, 4, 6, generator=torch.Generator().manual_seed(2))
        conditions = model.conditions(entry, tuple(x.shape))
        ends[dtype] = model.denoised(x * 3, torch.tensor([2.0]), conditions)
    full = ends.pop(torch.float32)
    errors = {str(dtype): ((end - full).norm() / full.norm()).item() for dtype, end in ends.items()}
    assert all(0 < error < 0.1 for error in errors.values()), errors


def test_a_video_from_a_picture_through_the_nodes():
    model, clip, vae = tiny_cog.shared("1.5-i2v")
    (positive, negative), _ = call("OpenT2VEncodePrompt", clip=clip, positive="a red star", negative="blurry")
    picture = torch.rand(1, 32, 48, 3)
    (positive, negative, latent, *numbers), _ = call(
        "OpenT2VImageToVideo", model=model, vae=vae, positive=positive, negative=negative, start_image=picture
    )
    assert numbers == [48, 32, 17, 16.0] and "noise_mask" not in latent
    expected = vae.part.encode((picture * 2 - 1).permute(0, 3, 1, 2).unsqueeze(2))
    assert torch.allclose(positive[0][1]["concat_latent_image"][:, :, :1], expected, atol=1e-5)
    (end, _), _ = call("OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent)
    (images, *_), _ = call("OpenT2VDecode", vae=vae, latent=end)
    assert images.shape == (17, 32, 48, 3)
