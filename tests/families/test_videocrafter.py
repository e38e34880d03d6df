"""VideoCrafter2 against the original's own code, and what its folders, prompts and conditions must be.

tests/families/recorded/videocrafter.safetensors holds what AILab-CVC/VideoCrafter @11bcd76 makes of the weights and
inputs that tiny_videocrafter.py and this file draw from seeds (fp32, CPU, torch 2.13): outputs of lvdm's `UNetModel`
("prediction.0" to ".2"), `LatentDiffusion.q_sample` ("noised"), `DDIMSampler.sample` with scale_t ("ddim": 10
steps, eta 0, cfg 12; "ddim_noisy": the same with eta 1 and the noise of our schedule's generator; "ddim_50": 50 steps,
eta 0, cfg 1), and `AutoencoderKL` ("decoded", "encoded"). The original loaded the weights by its own names, strictly.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.families import videocrafter
from opent2v.host import embedded
from opent2v.loaders import load_model, load_vae, open_file, open_folder
from opent2v.sampling import SamplingError, make_run, make_schedule, prediction, solve
from opent2v.sampling.caches import CacheRun, StepCache
from opent2v.tests.live import peak_bytes
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import videocrafter as tiny_videocrafter
from opent2v.tests.tiny.videocrafter import seeded

RECORDED = tiny_videocrafter.recorded()
# (shape, timesteps, fps) of the recorded predictions: two in a batch, one frame, the length of training.
PREDICTIONS = (((2, 4, 5, 8, 12), (981.0, 41.0), 28), ((1, 4, 1, 8, 8), (1.0,), 8), ((1, 4, 16, 4, 4), (500.0,), 24))
UNET = {
    "in_channels": 4, "out_channels": 4, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 1024,
}  # fmt: skip


@cache
def opened():
    return open_file(tiny_videocrafter.file())


@cache
def model():
    return embedded.model(load_model(opened(), torch.float32))


@cache
def vae():
    return load_vae(opened(), torch.float32)


def predicted(n: int, part=None, rate: float | None = None) -> torch.Tensor:
    shape, timesteps, fps = PREDICTIONS[n]
    part = part or model().part
    entry = {"cross_attn": seeded(100 + n, shape[0], 7, 16), "frame_rate": fps if rate is None else rate}
    with torch.inference_mode():
        return part.predict(seeded(n, *shape), torch.tensor(timesteps), part.conditions(entry, shape))


# --- against the original ---


@pytest.mark.parametrize("n", range(3))
def test_the_unet_predicts_what_the_original_predicts(n):
    expected = RECORDED[f"prediction.{n}"]
    assert expected.std() > 0.4
    assert (predicted(n) - expected).abs().max() <= 2e-5
    for rate in (1, 60):  # told another rate, it predicts something else
        assert (predicted(n, rate=rate) - expected).abs().max() > 1e-2


def test_a_folder_without_the_fps_embedding_is_told_and_differs():
    bare, rated = (tiny_videocrafter.hosted(has_rate)[0].part for has_rate in (False, True))
    assert bare.variant.remark.startswith("This file lacks the original's fps embedding: frame_rate has no effect")
    assert rated.variant.remark == ""
    assert (predicted(0, rated) - RECORDED["prediction.0"]).abs().max() <= 2e-5
    assert (predicted(0, bare) - RECORDED["prediction.0"]).abs().max() > 1e-2
    assert torch.equal(predicted(0, bare, 1), predicted(0, bare, 60))


def sampled(steps: int, cfg: float, seed: int = 3, solver: str = "reference", **changed) -> torch.Tensor:
    """What our sampler makes in place of the original's DDIM, as the UNet sees latents."""
    variant = model().part.variant
    config = {k: v for k, v in (variant.scheduler | changed).items() if v is not None}
    other = replace(model(), part=replace(model().part, variant=replace(variant, scheduler=config)))
    schedule = make_schedule(config, solver, steps=steps, kind="eps", seed=seed)
    prompts = [[[seeded(n, 1, 7, 16), {}]] for n in (20, 21)]
    latent = {"samples": torch.zeros(1, 4, 3, 4, 8)}
    return variant.normalise(embedded.sample(other, *prompts, latent, make_run(schedule, cfg, 3)))


@pytest.mark.parametrize(
    ("name", "steps", "cfg", "eta"), [("ddim", 10, 12.0, 0.0), ("ddim_noisy", 10, 12.0, 1.0), ("ddim_50", 50, 1.0, 0.0)]
)
def test_a_run_ends_where_the_originals_ddim_ends(name, steps, cfg, eta):
    expected = RECORDED[name]
    # Random weights remove no noise: latents end about 20 wide, where a trained model's are 1 wide.
    assert (sampled(steps, cfg, eta=eta) - expected).abs().max() / expected.std() <= 5e-5


WRONG = {
    "no scale_t": {"signal_scale": None},
    "another scale_t": {"signal_scale": 0.3},
    "noise in the steps": {"eta": 1.0},
    "other betas": {"beta_end": 0.02},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_comparison_notices(wrong):
    expected = RECORDED["ddim"]
    assert (sampled(10, 12.0, **{"eta": 0.0, **WRONG[wrong]}) - expected).abs().max() / expected.std() > 1e-2


def test_the_noise_of_the_steps_is_the_seeds():
    assert (sampled(10, 12.0, seed=4) - RECORDED["ddim_noisy"]).abs().max() > 1


def test_noising_a_clean_latent_is_the_originals():
    """In the host's count, x = clean + sigma * noise, what the model sees is the original's q_sample."""
    predicts = prediction("eps", videocrafter.SCHEDULER)
    sigma = predicts.sigma(torch.tensor([1, 200, 399, 400, 981]))
    seen = predicts.model_input(predicts.noised(seeded(7, 5, 4, 1, 2, 2), seeded(8, 5, 4, 1, 2, 2), sigma), sigma)
    assert (seen - RECORDED["noised"]).abs().max() <= 1e-5
    assert predicts.timestep(sigma).tolist() == [1, 200, 399, 400, 981]
    assert predicts.sigmas[[0, -1]].tolist() == pytest.approx([0.0292, 20.92], rel=0.05)


def test_the_vae_is_the_originals_frame_by_frame():
    latent, video = seeded(30, 2, 4, 2, 4), seeded(31, 2, 3, 16, 32).clamp(-1, 1)
    with torch.inference_mode():
        decoded = vae().decode(latent.transpose(0, 1)[None])
        pieces = list(vae().decode_frames(latent.transpose(0, 1)[None]))
        encoded = vae().encode(video.transpose(0, 1)[None])
    assert (decoded[0].transpose(0, 1) - RECORDED["decoded"]).abs().max() <= 2e-5
    assert (encoded[0].transpose(0, 1) - RECORDED["encoded"]).abs().max() <= 2e-5
    assert len(pieces) == 2 and torch.equal(torch.cat(pieces, dim=2), decoded)


def test_tiles_of_a_frame_are_switched_off_again():
    latent = torch.randn(1, 4, 2, 80, 8)
    with torch.inference_mode():
        tiled, whole = (torch.cat(list(vae().decode_frames(latent, on)), dim=2) for on in (True, False))
    assert tiled.shape == whole.shape == (1, 3, 2, 640, 64)
    assert not torch.equal(tiled, whole) and vae().vae.use_tiling is False


@pytest.mark.parametrize("solver", ["euler", "unipc", "dpm++ 2m"])
@pytest.mark.parametrize("width", [1.0, 2.0])
def test_every_solver_finds_the_clean_latents_of_a_known_case(solver, width):
    """Clean latents of a known spread, for which the noise in x can be written down: the end is x's share of them."""
    predicts = prediction("eps", videocrafter.SCHEDULER)
    schedule = make_schedule(videocrafter.SCHEDULER, solver, steps=100, kind="eps")

    def denoise(x: torch.Tensor, sigma: torch.Tensor, step: int) -> torch.Tensor:
        return x * width**2 / (width**2 + sigma.view(-1, 1, 1, 1, 1) ** 2)

    start = seeded(0, 1, 4, 2, 4, 4)
    first = predicts.host_input(start, schedule.sigmas[:1])
    exact = first * width / (width**2 + schedule.sigmas[0] ** 2) ** 0.5
    made = solve(denoise, start, schedule)
    assert (made - exact).abs().max() / exact.std() < 0.06


def test_steps_go_evenly_over_the_table():
    for steps, first in ((50, 981), (30, 967), (600, 999), (1000, 999), (1, 1)):
        timesteps = make_schedule(videocrafter.SCHEDULER, steps=steps, kind="eps").timesteps
        assert (len(timesteps), timesteps[0], timesteps[-1]) == (steps, first, 1)
        assert bool((timesteps[:-1] >= timesteps[1:]).all())


def test_denoise_below_one_starts_from_the_latent():
    variant, latent = model().part.variant, torch.randn(1, 4, 3, 4, 8)
    schedule = make_schedule(variant.scheduler, steps=1, kind="eps", denoise=0.002)
    prompts = [[[seeded(n, 1, 7, 16), {}]] for n in (20, 21)]
    made = embedded.sample(model(), *prompts, {"samples": latent}, make_run(schedule, 1.0, 0))
    assert (made - latent).std() * 0.18215 < 0.1  # the least noise of the table


# --- folders, prompts, conditions ---


def test_a_folder_is_read_with_the_makers_own_values():
    variant = open_folder(tiny_videocrafter.folder()).variant
    assert (variant.title, variant.prediction, variant.context_width) == ("VideoCrafter2 tiny", "eps", 16)
    full = videocrafter.describe(UNET, 0.18215)
    own, geometry = full.defaults, full.geometry
    assert (own.width, own.height, own.frames, own.fps, own.steps, own.guidance) == (512, 320, 16, 10, 50, 12)
    assert geometry.multiple == 64 and geometry.legal(500, 330, 17) == (512, 320, 17)
    assert geometry.latent_shape(512, 320, 16) == (4, 16, 40, 64) and geometry.frames(7) == 7
    assert full.normalise(torch.ones(1, 4, 1, 1, 1))[0, 0].item() == pytest.approx(0.18215)


def folder_configs(name="videocrafterv2_diffusers", **changed):
    made = {"unet": dict(UNET), "vae": {"latent_channels": 4}, "text_encoder": {"hidden_size": 1024}}
    for slot, values in changed.items():
        made[slot] |= values
    return {**made, "folder": {"name": name}}


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        (
            folder_configs("text-to-video-ms-1.7b"),
            "The folder 'text-to-video-ms-1.7b' has the parts of ModelScope, Zeroscope and VideoCrafter2, which only "
            "its name tells apart. ModelScope and Zeroscope are not supported; a VideoCrafter2 folder has videocrafter "
            "in its name.",
        ),
        (
            folder_configs(vae={"latent_channels": 16}),
            "The VAE makes 16 latent channels and the UNet takes 4. They belong to different models: use the vae "
            "folder that came with this UNet.",
        ),
        (
            folder_configs(text_encoder={"hidden_size": 768}),
            "The text encoder is 768 wide and the UNet expects 1024. Use the text_encoder folder that came with this "
            "UNet.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(configs, said):
    with pytest.raises(FamilyError) as error:
        videocrafter.read(configs)
    assert str(error.value) == said


def test_prompts_are_filled_with_zeros_and_read_through_the_last_norm():
    clip = tiny_videocrafter.hosted()[1].part
    tokenizer, encoder = clip.tokenizers["text_encoder"], clip.encoders["text_encoder"]
    text = "  a red\n&amp;amp; blue circle "
    ids = clip.tokens(text)[0]
    assert ids["text_encoder"] == tokenizer("a red & blue circle").input_ids
    row = ids["text_encoder"]
    context, further = clip.embed(ids)
    with torch.inference_mode():
        hidden = encoder(torch.tensor([row + [0] * (77 - len(row))])).last_hidden_state
        other = encoder(torch.tensor([row + [tokenizer.eos_token_id] * (77 - len(row))])).last_hidden_state
    assert further == {} and context.shape == (1, 77, 16)
    assert torch.equal(context, hidden) and not torch.allclose(context, other)
    assert len(clip.tokens("red circle " * 90)[0]["text_encoder"]) == 77


def test_the_model_is_told_28_frames_per_second_or_what_the_prompt_node_says():
    variant, entry = model().part.variant, {"cross_attn": torch.zeros(1, 77, 16)}
    assert videocrafter.condition(variant, entry, (1,))["frame_rate"].tolist() == [28.0]
    clip = tiny_videocrafter.hosted()[1]
    (positive, negative), ui = call("OpenT2VEncodePrompt", clip=clip, positive="a star", negative="", fps=8)
    for ((_, further),) in (positive, negative):
        assert further["frame_rate"] == 8
    assert remarks(ui) == "The model is told 8 frames per second."
    assert videocrafter.condition(variant, {**entry, **positive[0][1]}, (1,))["frame_rate"].tolist() == [8.0]
    with pytest.raises(FamilyError) as error:
        call("OpenT2VEncodePrompt", clip=clip, positive="a star", negative="", fps=8, motion_score=4)
    assert str(error.value) == "VideoCrafter2 tiny is told fps, but no motion score. Set motion_score to 0."


def test_from_a_folder_to_frames_in_the_nodes(tmp_path):
    model, clip, vae = tiny_videocrafter.hosted()
    (positive, negative), _ = call("OpenT2VEncodePrompt", clip=clip, positive="a red star", negative="")
    (latent, width, height, frames, fps), ui = call("OpenT2VEmptyLatent", model=model, width=60)
    assert (width, height, frames, fps) == (64, 32, 3, 10)
    assert remarks(ui).endswith("width 60 -> 64 (sizes are multiples of 32).")
    (latent, _), ui = call(
        "OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, seed=1
    )  # fmt: skip
    assert remarks(ui) == "4 steps, cfg 12, ScaledDDIM, seed 1"
    (images, _), _ = call("OpenT2VDecode", vae=vae, latent=latent)
    assert images.shape == (3, 32, 64, 3) and images.std() > 0
    streamed = torch.cat(list(embedded.decode_stream(vae, latent["samples"])))
    assert torch.equal(streamed, images)
    (again, *_), _ = call("OpenT2VEncodeVideo", vae=vae, images=images)
    assert again["samples"].shape == latent["samples"].shape


def test_a_shift_has_no_place_here():
    model, clip, _ = tiny_videocrafter.hosted()
    (positive, negative), _ = call("OpenT2VEncodePrompt", clip=clip, positive="a red star", negative="")
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model)
    with pytest.raises(SamplingError, match="shift is 3; this model's noise levels are a fixed table"):
        call("OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, seed=1, shift=3.0)


def cached_run(settings: StepCache) -> tuple[torch.Tensor, CacheRun]:
    model, clip, _ = tiny_videocrafter.hosted()
    positive = embedded.embed(clip, "a red star")
    schedule = make_schedule(model.part.variant.scheduler, steps=8, kind="eps")
    run = CacheRun(settings, model.part.variant)
    latent = {"samples": torch.zeros(1, 4, 3, 4, 8)}
    made = embedded.sample(model, positive, positive, latent, make_run(schedule, 1.0, 0), step_cache=run)
    return made, run


def test_a_step_cache_keeps_the_whole_answer():
    full, _ = cached_run(StepCache(policy="off"))
    made, run = cached_run(StepCache(policy="easycache", threshold=10.0, start=0.0, end=1.0))
    computed = [call.computed for call in run.stages[0].calls]
    assert 2 <= sum(computed) < len(computed) == 8
    assert torch.isfinite(made).all() and (made - full).abs().max() > 1e-4


def test_a_cache_of_blocks_is_refused_with_its_reason():
    with pytest.raises(SamplingError) as error:
        cached_run(StepCache(policy="first block"))
    assert str(error.value).startswith("UNet3DConditionModel has no list of equal blocks")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_weights_stored_small_are_computed_with(dtype):
    part = load_model(opened(), dtype)
    kinds = {weight.dtype for weight in part.transformer.parameters()}
    assert kinds == {dtype, torch.bfloat16}
    sizes = {kind: sum(w.numel() for w in part.transformer.parameters() if w.dtype == kind) for kind in kinds}
    assert sizes[dtype] / sum(sizes.values()) > 0.85
    made = predicted(0, embedded.model(part).part)
    limit = 0.02 if dtype == torch.bfloat16 else 0.15
    assert (made - RECORDED["prediction.0"]).std() / RECORDED["prediction.0"].std() < limit


# --- memory ---


@pytest.mark.parametrize("shape", [(1, 4, 16, 40, 64), (2, 4, 16, 32, 32), (1, 4, 32, 40, 64)])
def test_the_host_is_told_what_a_run_takes(shape):
    """With fake tensors, bf16: 828 MiB alive at 512 x 320 with 16 frames, 1106 MiB told."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    variant = videocrafter.describe(UNET, 0.18215)
    widths = {"block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, "cross_attention_dim": 1024}
    kinds = ("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",)
    ups = tuple(kind.replace("Down", "Up") for kind in reversed(kinds))
    with FakeTensorMode(allow_non_fake_inputs=True):
        torch.set_default_dtype(torch.bfloat16)
        unet = tiny_videocrafter.unet(
            False, **widths, attention_head_dim=64, down_block_types=kinds, up_block_types=ups
        )
        videocrafter.extend(variant, unet)
        torch.set_default_dtype(torch.float32)
        x, context = torch.empty(shape, dtype=torch.bfloat16), torch.empty(shape[0], 77, 1024, dtype=torch.bfloat16)
        conditions = {"context": context, "frame_rate": torch.tensor([28.0])}
        alive = peak_bytes(lambda: videocrafter.predict(variant, unet, x, torch.ones(shape[0]), conditions), unet)
    assert 1.0 < variant.sample_memory(shape, 2) / alive < 1.5


@pytest.mark.parametrize("latent", [(1, 4, 1, 40, 64), (1, 4, 3, 40, 64)])
def test_the_host_is_told_what_the_vae_takes(latent):
    from torch._subclasses.fake_tensor import FakeTensorMode

    variant = videocrafter.describe(UNET, 0.18215)
    batch, _, frames, rows, columns = latent
    with FakeTensorMode(allow_non_fake_inputs=True):
        module = tiny_videocrafter.vae(block_out_channels=(128, 256, 512, 512), layers_per_block=2)
        z, video = torch.empty(latent), torch.empty(batch, 3, frames, rows * 8, columns * 8)
        decoding = peak_bytes(lambda: videocrafter.decode(module, z, 0), module)
        encoding = peak_bytes(lambda: videocrafter.encode(module, video), module)
    assert 1.0 < variant.decode_memory(latent, 4) / decoding < 1.5
    assert 1.0 < variant.encode_memory(tuple(video.shape), 4) / encoding < 1.5


def test_tiny_folders_are_the_original_file():
    """The folder's UNet and VAE hold the file's numbers under diffusers' names."""
    theirs, ours = (p.transformer.state_dict() for p in (tiny_videocrafter.hosted()[0].part, model().part))
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in ours)
