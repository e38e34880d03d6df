"""Every Wan variant gives the latents and frames of diffusers' own pipelines, from the same folder and noise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.sampling import make_run, make_schedule
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan

pytest.importorskip("accelerate", reason="diffusers loads its own pipeline only where accelerate is installed")
PROMPT, NEGATIVE, SEED = "a green star moving left, grey background", "blurry, noisy", 7
STEPS = 6


def path_of(kind):
    return tiny_wan.folder(kind) if kind in tiny_wan.KINDS else tiny.folder({"t2v": "plain"}.get(kind, kind))


class Both:
    """diffusers' pipeline of a folder, and our parts of it."""

    def __init__(self, kind: str, pipeline: str):
        import diffusers

        self.kind = kind
        self.pipeline = getattr(diffusers, pipeline).from_pretrained(path_of(kind), torch_dtype=torch.float32)
        self.pipeline.set_progress_bar_config(disable=True)
        loaded = tiny.pipeline(path_of(kind))
        self.model, *low = (embedded.model(part) for part in loaded.models)
        self.low = low[0] if low else None
        self.clip, self.vae = embedded.clip(loaded.text), embedded.vae(loaded.vae)
        self.vision = None if loaded.image_encoder is None else embedded.clip_vision(loaded.image_encoder)
        self.variant = self.model.part.variant
        self.prompts = embedded.embed(self.clip, PROMPT), embedded.embed(self.clip, NEGATIVE)

    def expected(self, output="latent", **given):
        own = self.variant.defaults
        call = {
            "prompt": PROMPT, "negative_prompt": NEGATIVE, "width": own.width, "height": own.height,
            "num_frames": own.frames, "num_inference_steps": STEPS, "max_sequence_length":
            self.variant.prompts[0].max_tokens, "generator": torch.Generator().manual_seed(SEED),
        }  # fmt: skip
        return torch.as_tensor(self.pipeline(**call | given, output_type=output).frames)

    def sampled(self, latent, prompts=None, cfg=4.0, low_cfg=None, steps=STEPS, model=None, **given):
        schedule = make_schedule(self.variant.scheduler, steps=steps, **given)
        second = None if self.low is None else cfg if low_cfg is None else low_cfg
        boundary = (model or self.model).part.variant.boundary
        run = make_run(schedule, cfg, SEED, second_cfg=second, boundary=boundary)
        return embedded.sample(
            model or self.model, *(prompts or self.prompts), latent, run, second_expert=self.low
        )  # fmt: skip

    def empty(self):
        own = self.variant.defaults
        return {"samples": torch.zeros(1, *self.variant.geometry.latent_shape(own.width, own.height, own.frames))}

    def started(self, **pictures):
        """(latent, prompts) of the node."""
        images = {name: tiny_wan.picture(*args) for name, args in pictures.items()}
        if self.vision is not None:
            images["clip_vision_output"] = self.vision.encode_image(torch.cat(list(images.values())))
        (positive, negative, latent, *_), _ = call(
            "OpenT2VImageToVideo", model=self.model, vae=self.vae, positive=self.prompts[0], negative=self.prompts[1],
            **images,
        )  # fmt: skip
        return latent, (positive, negative)

    def difference(self, samples, expected) -> float:
        return (self.variant.normalise(samples) - expected).abs().max().item()


def both(kind, pipeline):
    key = kind, pipeline
    if key not in _made:
        _made[key] = Both(kind, pipeline)
    return _made[key]


_made: dict[tuple[str, str], Both] = {}


def pil(seed, width=32, height=32):
    from PIL import Image

    return Image.fromarray((tiny_wan.picture(seed, width, height)[0] * 255).round().byte().numpy())


def psnr(images, reference) -> float:
    error = (images - reference).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


# --- prompts and steps ---


@pytest.mark.parametrize("prompt", [PROMPT, "", "&lt;b&gt; red   circle\n", "red circle " * 400, "一个红色的圆形"])
@pytest.mark.parametrize("kind", ["t2v", "i2v"])
def test_prompts_are_encoded_as_the_pipeline_does(kind, prompt):
    one = both(kind, "WanVideoToVideoPipeline" if kind == "t2v" else "WanImageToVideoPipeline")
    expected, _ = one.pipeline.encode_prompt(
        prompt, None, False, max_sequence_length=one.variant.prompts[0].max_tokens, device=torch.device("cpu")
    )
    assert (embedded.embed(one.clip, prompt)[0][0] - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("steps", [1, 4, 20, 40, 50])
@pytest.mark.parametrize("shift", [3.0, 5.0, 12.0, 16.0])
def test_the_steps_of_a_single_file_are_those_of_the_folders(steps, shift):
    """As diffusers: 1 to 1/1000, shifted. The makers' fm_solvers_unipc.py walks 0.999 to 0, a bit less at the end."""
    from opent2v.families.wan.variants import unipc

    schedule = make_schedule(unipc(shift), steps=steps)
    even = torch.linspace(1, 0.001, steps + 1, dtype=torch.float64)[:-1]
    expected = shift * even / (1 + (shift - 1) * even)
    assert torch.allclose(schedule.sigmas[:-1].double(), expected, atol=2e-6) and schedule.sigmas[-1] == 0
    # the model is told whole numbers, as in the makers' code
    assert torch.equal(schedule.timesteps, schedule.timesteps.floor())
    assert (schedule.timesteps - expected * 1000).abs().max() <= 1.001


# --- two experts ---


@pytest.mark.parametrize(("cfg", "low_cfg"), [(1.0, 1.0), (4.0, 3.0), (4.0, 1.0)])
def test_two_experts_of_text_to_video(cfg, low_cfg):
    one = both("t2v_a14b", "WanPipeline")
    assert one.variant.boundary == 0.875
    expected = one.expected(guidance_scale=cfg, guidance_scale_2=low_cfg)
    samples = one.sampled(one.empty(), cfg=cfg, low_cfg=low_cfg)
    assert one.difference(samples, expected) <= 1e-4
    frames = one.expected("np", guidance_scale=cfg, guidance_scale_2=low_cfg)[0]
    assert psnr(embedded.decode(one.vae, samples), frames) >= 60


def test_both_experts_work_and_the_switch_matters():
    one = both("t2v_a14b", "WanPipeline")
    assert make_schedule(one.variant.scheduler, steps=STEPS).steps_above(one.variant.boundary) == 2
    expected = one.expected(guidance_scale=4.0, guidance_scale_2=3.0)
    moved = replace(one.model.part, variant=replace(one.variant, boundary=0.7))
    assert one.difference(one.sampled(one.empty(), low_cfg=3.0, model=replace(one.model, part=moved)), expected) > 1e-3
    assert one.difference(one.sampled(one.empty(), low_cfg=4.0), expected) > 1e-3


def test_the_sampler_node_takes_both_scales_from_the_model():
    one = both("t2v_a14b", "WanPipeline")
    own = one.variant.defaults
    assert (own.guidance, own.low_noise_guidance) == (4.0, 2.0)
    given = {"model": one.model, "low_noise_model": one.low, "latent": one.empty(), "seed": SEED, "steps": STEPS}
    (latent, _), ui = call("OpenT2VSampler", positive=one.prompts[0], negative=one.prompts[1], **given)
    expected = one.expected(guidance_scale=4.0, guidance_scale_2=2.0)
    assert one.difference(latent["samples"], expected) <= 1e-4
    assert remarks(ui).startswith("6 steps, cfg 4 (2 for the 4 steps at low noise), UniPCMultistep")


# --- pictures ---


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("kind", ["i2v", "i2v_a14b", "ti2v"])
def test_a_first_picture(kind, cfg):
    one = both(kind, "WanImageToVideoPipeline")
    own = one.variant.defaults
    size = own.width, own.height
    expected = one.expected(image=pil(1, *size), guidance_scale=cfg)
    latent, prompts = one.started(start_image=(1, *size))
    samples = one.sampled(latent, prompts, cfg=cfg)
    assert one.difference(samples, expected) <= 1e-4
    other, prompts = one.started(start_image=(2, *size))
    assert one.difference(one.sampled(other, prompts, cfg=cfg), expected) > 1e-3
    frames = one.expected("np", image=pil(1, *size), guidance_scale=cfg)[0]
    assert psnr(embedded.decode(one.vae, samples), frames) >= 60


@pytest.mark.parametrize("kind", ["flf2v", "i2v_a14b"])
def test_a_first_and_a_last_picture(kind):
    one = both(kind, "WanImageToVideoPipeline")
    expected = one.expected(image=pil(1), last_image=pil(2), guidance_scale=4.0)
    latent, prompts = one.started(start_image=(1,), end_image=(2,))
    samples = one.sampled(latent, prompts)
    assert one.difference(samples, expected) <= 1e-4
    latent, prompts = one.started(start_image=(2,), end_image=(1,))
    assert one.difference(one.sampled(latent, prompts), expected) > 1e-3


@pytest.mark.parametrize(("kind", "names"), [("i2v", ("start_image",)), ("flf2v", ("start_image", "end_image"))])
def test_a_batch_shares_its_pictures(kind, names):
    one = both(kind, "WanImageToVideoPipeline")
    latent, prompts = one.started(**{name: (n + 1,) for n, name in enumerate(names)})
    single = one.sampled(latent, prompts)
    several = one.sampled({"samples": latent["samples"].repeat(2, 1, 1, 1, 1)}, prompts)
    assert several.shape[0] == 2 and (several[:1] - single).abs().max() <= 1e-4
    assert (several[1:] - single).abs().max() > 0.1


@pytest.mark.parametrize("damage", ["mask", "sign", "vision", "channels"])
def test_the_equality_would_notice_a_fault(damage):
    one = both("i2v", "WanImageToVideoPipeline")
    expected = one.expected(image=pil(1), guidance_scale=4.0)
    latent, prompts = one.started(start_image=(1,))

    def damaged(further):
        if damage == "mask":
            return further | {"concat_mask": further["concat_mask"].roll(1, 2)}
        if damage == "sign":
            return further | {"concat_mask": 1 - further["concat_mask"]}
        if damage == "vision":
            seen = one.vision.encode_image(tiny_wan.picture(3))
            return further | {"clip_vision_output": seen}
        return further | {"concat_latent_image": further["concat_latent_image"].roll(1, 1)}

    prompts = [[[c, damaged(further)] for c, further in p] for p in prompts]
    assert one.difference(one.sampled(latent, prompts), expected) > 1e-3


def test_the_clean_first_frame_stays_and_has_its_own_timestep():
    one = both("ti2v", "WanImageToVideoPipeline")
    latent, prompts = one.started(start_image=(1, 64, 64))
    assert latent["noise_mask"][:, :, 0].eq(0).all() and latent["noise_mask"][:, :, 1:].eq(1).all()
    samples = one.sampled(latent, prompts)
    assert (samples[:, :, :1] - latent["samples"][:, :, :1]).abs().max() <= 1e-5
    seen = []
    handle = one.model.part.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["timestep"]), with_kwargs=True
    )
    one.sampled(latent, prompts, cfg=1.0, steps=2)
    handle.remove()
    assert seen[0].shape == (1, 3 * 2 * 2)
    assert seen[0][0, :4].eq(0).all() and seen[0][0, 4:].gt(990).all()


def test_without_its_own_timestep_the_first_frame_is_another_run():
    one = both("ti2v", "WanImageToVideoPipeline")
    expected = one.expected(image=pil(1, 64, 64), guidance_scale=4.0)
    latent, prompts = one.started(start_image=(1, 64, 64))
    noisy = replace(one.model.part, variant=replace(one.variant, keeps_clean=False))
    assert one.difference(one.sampled(latent, prompts, model=replace(one.model, part=noisy)), expected) > 1e-3


def test_less_strength_lets_the_first_frame_change():
    one = both("ti2v", "WanImageToVideoPipeline")
    given = {"model": one.model, "vae": one.vae, "positive": one.prompts[0], "negative": one.prompts[1]}
    (*prompts, latent, _, _, _, _), _ = call(
        "OpenT2VImageToVideo", **given, start_image=tiny_wan.picture(1, 64, 64), strength=0.75
    )
    assert latent["noise_mask"][:, :, 0].eq(0.25).all()
    samples = one.sampled(latent, prompts)
    change = (samples - latent["samples"])[:, :, :1].abs().max()
    assert change > 1e-3 and torch.isfinite(samples).all()


# --- image encoder ---


def test_the_image_encoder_is_the_pipelines():
    one = both("i2v", "WanImageToVideoPipeline")
    image = tiny_wan.picture(1)
    expected = one.pipeline.encode_image(pil(1), torch.device("cpu"))
    seen = one.vision.encode_image(image).penultimate_hidden_states
    assert (seen - expected).abs().max() <= 1e-5
    # A picture of another size is scaled; transformers rounds on the way too, but elsewhere, so nearly the same.
    expected = one.pipeline.encode_image(pil(1, 96, 64), torch.device("cpu"))
    seen = one.vision.encode_image(tiny_wan.picture(1, 96, 64)).penultimate_hidden_states
    assert (seen - expected).abs().mean() <= 0.01


# --- video to video ---


@pytest.mark.parametrize(("kept", "strength"), [(2, 0.8), (5, 0.5), (10, 1.0)])
def test_video_to_video_is_the_pipelines_strength(kept, strength):
    """The pipeline walks the last strength * steps of its steps; the sampler's steps are those that are walked."""
    one = both("t2v", "WanVideoToVideoPipeline")
    video = torch.cat([tiny_wan.picture(n) for n in range(9)])
    (latent, *size), _ = call("OpenT2VEncodeVideo", vae=one.vae, images=video)
    assert size == [32, 32, 9]
    total = 10
    expected = torch.as_tensor(
        one.pipeline(
            video=[pil(n) for n in range(9)], prompt=PROMPT, negative_prompt=NEGATIVE, width=32, height=32,
            num_inference_steps=total, guidance_scale=4.0, strength=strength, output_type="latent",
            generator=torch.Generator().manual_seed(SEED), max_sequence_length=one.variant.prompts[0].max_tokens,
        ).frames
    )  # fmt: skip
    samples = one.sampled(latent, steps=round(total * strength), denoise=strength)
    assert one.difference(samples, expected) <= 1e-4


# --- refusals at the start of a run ---


def test_an_image_to_video_model_with_an_empty_latent():
    one = both("i2v", "WanImageToVideoPipeline")
    with pytest.raises(FamilyError) as error:
        one.sampled(one.empty())
    assert str(error.value) == (
        "Wan tiny is an image-to-video model and no picture is connected. Take the positive and negative conditioning "
        "and the latent from Image to Video, or choose a text-to-video model."
    )


def test_a_picture_for_another_size():
    one = both("i2v_a14b", "WanImageToVideoPipeline")
    _, prompts = one.started(start_image=(1,))
    with pytest.raises(FamilyError) as error:
        one.sampled({"samples": torch.zeros(1, 16, 5, 4, 6)}, prompts)
    assert str(error.value) == (
        "The picture was prepared for a latent of 3 frames of 4 x 4; the one to sample is 5 frames of 6 x 4. Use the "
        "latent that comes out of the node that prepared the picture."
    )


def test_one_picture_where_two_are_read():
    one = both("flf2v", "WanImageToVideoPipeline")
    latent, prompts = one.started(start_image=(1,), end_image=(2,))
    seen = one.vision.encode_image(tiny_wan.picture(1))
    prompts = [[[c, further | {"clip_vision_output": seen}] for c, further in p] for p in prompts]
    with pytest.raises(FamilyError, match="wants both from the image encoder; found one"):
        one.sampled(latent, prompts)
