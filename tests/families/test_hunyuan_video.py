"""HunyuanVideo: the same latents and frames as diffusers' pipeline; pictures; refusals."""

from __future__ import annotations

import math

import pytest
import torch

from opent2v.base import FamilyError, Pictures, VideoModel
from opent2v.families import hunyuan_video
from opent2v.families.hunyuan_video.joint import JOINT
from opent2v.host import embedded
from opent2v.loaders import open_folder
from opent2v.sampling import make_run, make_schedule
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import wan as tiny

PROMPT, NEGATIVE = "a green star moving left, grey background", "blurry, noisy"


@pytest.fixture(scope="module")
def pipeline():
    pytest.importorskip("accelerate", reason="diffusers loads its own pipeline only where accelerate is installed")
    from diffusers import HunyuanVideoPipeline

    pipeline = HunyuanVideoPipeline.from_pretrained(tiny_hunyuan.folder(), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(conditioning, *, steps, guidance, cfg=1.0, shift=None):
    model = tiny_hunyuan.hosted()[0]
    variant = model.part.variant
    shape = (1, *variant.geometry.latent_shape(32, 32, 9))
    schedule = make_schedule(
        variant.scheduler,
        steps=steps,
        sigmas=lambda total: variant.family.sampling.sigmas(variant, total, shift, shape),
    )
    conditioning = [[[c, {**further, "guidance": guidance}]] for ((c, further),) in conditioning]
    return embedded.sample(model, *conditioning, {"samples": torch.zeros(shape)}, make_run(schedule, cfg, 7))


def both():
    clip = tiny_hunyuan.hosted()[1]
    return [embedded.embed(clip, text) for text in (PROMPT, NEGATIVE)]


@pytest.mark.parametrize(("steps", "guidance", "cfg"), [(4, 6.0, 1.0), (7, 1.0, 1.0), (7, 6.0, 3.0)])
def test_latents_and_frames_are_the_pipelines(pipeline, steps, guidance, cfg):
    _, _, vae = tiny_hunyuan.hosted()
    variant = vae.part.variant
    call = {
        "prompt": PROMPT, "negative_prompt": NEGATIVE, "width": 32, "height": 32, "num_frames": 9,
        "num_inference_steps": steps, "guidance_scale": guidance, "true_cfg_scale": cfg, "max_sequence_length": 64,
    }  # fmt: skip
    expected, frames = (
        torch.as_tensor(pipeline(**call, generator=torch.Generator().manual_seed(7), output_type=kind).frames)
        for kind in ("latent", "np")
    )
    samples = run(both(), steps=steps, guidance=guidance, cfg=cfg)
    assert (variant.normalise(samples) - expected).abs().max() <= 1e-4
    images = embedded.decode(vae, samples)
    assert images.shape == frames[0].shape
    error = (images - frames[0]).square().mean().item()
    assert error == 0 or -10 * math.log10(error) >= 50


def test_the_equality_would_notice_a_wrong_guidance_mask_and_shift():
    right = run(both(), steps=5, guidance=6.0)
    assert (run(both(), steps=5, guidance=1.0) - right).abs().max() > 1e-3
    assert (run(both(), steps=5, guidance=6.0, shift=1.0) - right).abs().max() > 1e-2
    unmasked = [[[c, {**f, "attention_mask": torch.ones_like(f["attention_mask"])}]] for ((c, f),) in both()]
    assert (run(unmasked, steps=5, guidance=6.0) - right).abs().max() > 1e-3


def test_the_template_is_read_but_not_passed_on():
    ((context, further),) = both()[0]
    assert context.shape == (1, 64, 16) and further["attention_mask"].shape == (1, 64)
    assert further["pooled_output"].shape == (1, 8)


def test_the_schedule_is_the_references():
    from diffusers import FlowMatchEulerDiscreteScheduler

    variant = tiny_hunyuan.hosted()[0].part.variant
    for steps in (1, 4, 50):
        scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
        scheduler.set_timesteps(sigmas=torch.linspace(1, 0, steps + 1)[:-1].tolist())
        made = hunyuan_video.sigmas(variant, steps, None, ())
        assert made == pytest.approx(scheduler.sigmas[:-1].tolist(), abs=1e-6)


def configs(**transformer):
    return {
        "transformer": hunyuan_video.files.transformer_config(**transformer),
        "vae": {"latent_channels": 16, "scaling_factor": 0.476986},
        "text_encoder": {"hidden_size": 4096},
        "scheduler": hunyuan_video.SCHEDULER,
    }


def test_a_published_folder():
    variant = hunyuan_video.read(configs())
    own = variant.defaults
    assert variant.title == "HunyuanVideo T2V" and variant.embeds_guidance and variant.task == "text"
    assert (own.width, own.height, own.frames, own.fps, own.steps, own.guidance) == (1280, 720, 129, 24, 50, 6.0)
    assert variant.geometry.latent_shape(1280, 720, 129) == (16, 33, 90, 160)
    assert [p.max_tokens for p in variant.prompts] == [351, 77]
    assert variant.prompts[0].prepare("a cat").endswith("user<|end_header_id|>\n\na cat<|eot_id|>")
    latent = torch.ones(1, 16, 1, 1, 1)
    assert variant.normalise(latent)[0, 0].item() == pytest.approx(0.476986)


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("vae", {"latent_channels": 4}, "The VAE makes 4 latent channels and the transformer returns 16"),
        ("text_encoder", {"hidden_size": 768}, "The text encoder is 768 wide and the transformer expects 16"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, part, change, said):
    tiny_hunyuan.make(tmp_path / "model")
    tiny.edit(tmp_path / "model" / part / "config.json", **change)
    with pytest.raises(FamilyError, match=said):
        open_folder(tmp_path / "model")


# --- pictures ---

CONCAT = {"in_channels": 33, "guidance_embeds": False, "image_condition_type": "latent_concat"}
REPLACE = {"image_condition_type": "token_replace"}


def pictures(start=True, end=False):
    picture = torch.zeros(1, 3, 1, 32, 32)
    encode = lambda video: torch.full((1, 16, 1, 4, 4), 2.0)  # noqa: E731
    return Pictures(picture if start else None, picture if end else None, 9, 1.0, None, encode)


def test_the_picture_goes_beside_the_noise_as_in_the_pipeline():
    """HunyuanVideoImageToVideoPipeline: cat([latents, picture in frame 0 and zeros behind, mask])."""
    variant = hunyuan_video.read(configs(**CONCAT))
    assert variant.title == "HunyuanVideo I2V" and variant.task == "image" and not variant.embeds_guidance
    guided = variant.family.images.prepare(variant, pictures())
    assert guided.mask is None and guided.samples.shape == (1, 16, 3, 4, 4) and guided.samples.eq(0).all()
    module = tiny_hunyuan.transformer(**CONCAT)
    part = VideoModel(variant, module, tiny_hunyuan.folder())
    x, t = torch.randn(1, 16, 3, 4, 4), torch.tensor([700.0])
    context, pooled = torch.randn(1, 6, 16), torch.randn(1, 8)
    entry = {"cross_attn": context, "pooled_output": pooled, **guided.entries}
    made = part.predict(x, t, part.conditions(entry, tuple(x.shape)))
    known = torch.zeros(1, 16, 3, 4, 4)
    known[:, :, 0] = 2.0 * 0.476986
    mask = torch.zeros(1, 1, 3, 4, 4)
    mask[:, :, 0] = 1
    expected = module(
        hidden_states=torch.cat([x, known, mask], dim=1), timestep=t, encoder_hidden_states=context,
        encoder_attention_mask=torch.ones(1, 6), pooled_projections=pooled, guidance=None, return_dict=False,
    )[0]  # fmt: skip
    assert torch.allclose(made, expected, atol=1e-6)


def test_the_picture_replaces_the_first_frame():
    variant = hunyuan_video.read(configs(**REPLACE))
    assert variant.keeps_clean and variant.embeds_guidance
    guided = variant.family.images.prepare(variant, pictures())
    assert guided.samples[:, :, 0].eq(2).all() and guided.samples[:, :, 1:].eq(0).all()
    assert guided.mask[:, :, 0].eq(0).all() and guided.mask[:, :, 1:].eq(1).all()


def test_pictures_it_cannot_use_and_missing_ones_are_named():
    variant = hunyuan_video.read(configs(**CONCAT))
    with pytest.raises(FamilyError, match="starts from one picture; found none"):
        variant.family.images.prepare(variant, pictures(start=False))
    with pytest.raises(FamilyError, match="starts from one picture; found an end picture"):
        variant.family.images.prepare(variant, pictures(end=True))
    entry = {"cross_attn": torch.zeros(1, 2, 4), "pooled_output": torch.zeros(1, 8)}
    with pytest.raises(FamilyError, match=r"holds no picture \(concat_latent_image\)\. Connect positive"):
        variant.family.network.condition(variant, entry, (1, 16, 3, 4, 4))
    with pytest.raises(FamilyError, match="no pooled_output: HunyuanVideo reads a second text encoder"):
        variant.family.network.condition(variant, {"cross_attn": torch.zeros(1, 2, 4)}, (1, 16, 3, 4, 4))


@pytest.mark.parametrize("second", [None, [1, 1, 0]], ids=["all words", "padding behind the second"])
@pytest.mark.parametrize("first", [None, torch.long, torch.bfloat16], ids=["no mask", "whole numbers", "added"])
def test_the_mask_of_both_prompts_in_comfyuis_network_is_of_one_kind(first, second):
    """ComfyUI reads whole numbers as 1 where a word counts, and adds floating point to attention."""
    seen = {}

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.double_blocks, self.txt_in = torch.nn.ModuleList([torch.nn.Identity()]), torch.nn.Identity()

        def forward(self, x, timestep, context, **kwargs):
            seen.update(kwargs, context=context)

    network, context = Network(), torch.zeros(2, 4, 8)
    entry = {"cross_attn": torch.zeros(1, 3, 8)}
    entry |= {} if second is None else {"attention_mask": torch.tensor([second])}
    mask = None if first is None else torch.tensor([[1, 1, 1, 0]])
    if first is torch.bfloat16:
        mask = (mask - 1).to(first) * torch.finfo(first).max
    with JOINT.carry(network, entry, lambda towards, away: towards):
        network(torch.zeros(2, 1), torch.zeros(2), context, attention_mask=mask)
    assert seen["context"].shape == (2, 7, 8)
    joined = seen["attention_mask"]
    if first is None and second is None:
        assert joined is None
        return
    words = [1, 1, 1, 1 if first is None else 0, *(second or [1, 1, 1])]
    if first is torch.bfloat16:
        assert joined.dtype == first
        assert joined.tolist() == [[0.0 if word else torch.finfo(first).min for word in words]] * 2
    else:
        assert joined.dtype == torch.long and joined.tolist() == [words] * 2
