"""LTX-2's whole runs equal diffusers' pipelines with the same noise, guidance by four passes included.

Tests: families/ltx2/network.py, families/ltx2/pictures.py, sampling/guides.py
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from opent2v.base import VideoModel
from opent2v.families.ltx2 import FAMILY, files
from opent2v.families.ltx2.network import DIFFUSERS, MAKERS
from opent2v.families.ltx2.text import UNPROCESSED, project
from opent2v.host import embedded
from opent2v.loaders.weights import build, extension
from opent2v.sampling import Guidance, SamplerRequest, plan_run
from opent2v.sampling.streams import seeded_noise
from opent2v.tests.tiny import ltx2 as tiny

pytest.importorskip("diffusers", "0.40")
STATES, FRAMES, ROWS, COLUMNS, FPS = 8, 17, 2, 3, 24.0
SHAPES = (1, 128, 3, ROWS, COLUMNS), (1, 8, 18, 16)


def projection_of(version):
    """The projection behind the Gemma 3 that stands for every version's encoder here."""
    return tiny.projection("2.3" if version == "2.5" else version)


def states(tokens: int, seed: int) -> torch.Tensor:
    """What a Gemma of seven layers might make of a prompt: [1, tokens, width, layers]."""
    return torch.randn(1, tokens, tiny.CAPTION, STATES, generator=torch.Generator().manual_seed(seed))


def marked(_, args, inputs):
    """The first frame's tokens marked, as the makers and ComfyUI do; diffusers' pipeline marks none."""
    first = inputs["video_coords"][:, 0, :, 0] == 0
    return args, {**inputs, "video_keyframes_mask": first.float().unsqueeze(-1)}


def pipeline(version: str, class_name: str):
    """diffusers' pipeline of the tiny weights, with VAEs that change no latent."""
    import diffusers
    from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    config, variant = tiny.variant_of(version)
    weights = tiny.transformer(version)
    transformer = diffusers.LTX2VideoTransformer3DModel(**config, perturbed_attn=True).eval()
    transformer.load_state_dict({n: w for n, w in weights.items() if "_connector." not in n})
    sides = {}
    for side, name in (("video", "video_connector"), ("audio", "audio_connector")):
        connector = variant.facts["connectors"][name]
        sides |= {
            f"{side}_connector_{key}": connector[key]
            for key in ("num_attention_heads", "attention_head_dim", "num_layers", "num_learnable_registers")
        }
        sides[f"{side}_gated_attn"] = connector.get("gated_attention", False)
    is_first = version == "2.0"
    widths = variant.facts["context_widths"]
    connectors = LTX2TextConnectors(
        caption_channels=tiny.CAPTION, text_proj_in_factor=STATES, rope_type="split",
        per_modality_projections=not is_first, video_hidden_dim=widths[0], audio_hidden_dim=widths[1],
        proj_bias=not is_first, **sides,
    ).eval()  # fmt: skip
    if version == "2.5":
        transformer.register_forward_pre_hook(marked, with_kwargs=True)
    stem = "text_embedding_projection."
    names = {"aggregate_embed": "text_proj_in", "video_aggregate_embed": "video_text_proj_in"}
    names["audio_aggregate_embed"] = "audio_text_proj_in"
    projection = {}
    for name, tensor in projection_of(version).items():
        layer, leaf = name.removeprefix(stem).split(".")
        projection[f"{names[layer]}.{leaf}"] = tensor
    connectors.load_state_dict({n: w for n, w in weights.items() if "_connector." in n} | projection)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=False, shift_terminal=None)
    pipe = getattr(diffusers, class_name)(
        scheduler=scheduler, vae=AutoencoderKLLTX2Video(**tiny.VIDEO_VAES["2.0"]).eval(),
        audio_vae=AutoencoderKLLTX2Audio(ch_mult=(1, 1, 1), num_res_blocks=1).eval(), text_encoder=None, tokenizer=None,
        connectors=connectors, transformer=transformer, vocoder=None,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def model(version: str, arithmetic):
    config, variant = tiny.variant_of(version)
    variant = replace(variant, facts={**variant.facts, "arithmetic": arithmetic})
    module = build(files.CLASS, config, extension(variant))
    module.load_state_dict(tiny.transformer(version), assign=True)
    part = VideoModel(variant, module, None)  # pyright: ignore[reportArgumentType]
    return embedded.model(part), connectorless(version)


def connectorless(version: str):
    """The text projection as our CLIP holds it."""
    from opent2v.base.keys import translate
    from opent2v.families.text import ltx2_projection

    weights = projection_of(version)
    found = ltx2_projection.recognise({name: tuple(w.shape) for name, w in weights.items()})
    assert found is not None
    module = build(ltx2_projection.KIND.class_name, found.config)
    named = {translate(name, found.rules).names[0]: w for name, w in weights.items()}  # pyright: ignore
    module.load_state_dict(named, assign=True)
    return module


def prompts(projection):
    return [
        [[project(projection, states(*which)), {UNPROCESSED: True, "frame_rate": FPS}]] for which in ((21, 1), (9, 2))
    ]


def padded(state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """States and mask as the pipelines read them: padded on the left."""
    count = state.shape[1]
    whole = torch.cat([torch.zeros(1, 1024 - count, *state.shape[2:]), state], 1)
    mask = (torch.arange(1024) >= 1024 - count).long()[None]
    return whole.flatten(2), mask


def packed(video: torch.Tensor, sound: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"latents": video.flatten(2).transpose(1, 2), "audio_latents": sound.transpose(1, 2).flatten(2)}


def embeds() -> dict[str, torch.Tensor]:
    (positive, mask), (negative, other) = (padded(states(*which)) for which in ((21, 1), (9, 2)))
    return {
        "prompt_embeds": positive, "prompt_attention_mask": mask, "negative_prompt_embeds": negative,
        "negative_prompt_attention_mask": other,
    }  # fmt: skip


def sampled(side, positive, negative, latent, settings: Guidance, cfg: float):
    variant = side.part.variant
    run = plan_run(variant, SamplerRequest(seed=7, steps=8, cfg=cfg, guidance=settings), SHAPES[0])
    return embedded.sample(side, positive, negative, latent, run)


@torch.no_grad()
@pytest.mark.parametrize("version", ["2.0", "2.3", "2.5"])
@pytest.mark.parametrize("is_guided", [False, True], ids=["cfg 1", "four passes"])
def test_words_to_video_equals_the_pipeline(version, is_guided):
    side, projection = model(version, MAKERS)
    positive, negative = prompts(projection)
    settings = (
        Guidance(sound_cfg=7.0, stg=1.0, stg_blocks="1", stg_rescale=0.7, modality=3.0) if is_guided else Guidance()
    )
    latent = {"samples": embedded.nested([torch.zeros(shape) for shape in SHAPES])}
    streams = sampled(side, positive, negative, latent, settings, 3.0 if is_guided else 1.0).unbind()
    scales = (
        {"guidance_scale": 3.0, "audio_guidance_scale": 7.0, "stg_scale": 1.0, "audio_stg_scale": 1.0,
         "modality_scale": 3.0, "audio_modality_scale": 3.0, "guidance_rescale": 0.7, "audio_guidance_rescale": 0.7}
        if is_guided
        else {"guidance_scale": 1.0, "audio_guidance_scale": 1.0, "stg_scale": 0.0, "audio_stg_scale": 0.0,
              "modality_scale": 1.0, "audio_modality_scale": 1.0, "guidance_rescale": 0.0,
              "audio_guidance_rescale": 0.0}
    )  # fmt: skip
    expected = pipeline(version, "LTX2Pipeline")(
        **embeds(), **packed(*seeded_noise(SHAPES, 7)), **scales, height=32 * ROWS, width=32 * COLUMNS,
        num_frames=FRAMES, frame_rate=FPS, sigmas=list(FAMILY.sampling.sigmas(side.part.variant, 8, None, SHAPES[0])),
        num_inference_steps=8, spatio_temporal_guidance_blocks=[1], output_type="latent", return_dict=False,
    )  # fmt: skip
    for ours, theirs in zip(streams, expected, strict=True):
        assert ours.shape == theirs.shape and theirs.std() > 0.5
        assert (ours - theirs).abs().max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("version", ["2.0", "2.3", "2.5"])
def test_a_first_picture_equals_the_pipeline_with_its_arithmetic(version):
    side, projection = model(version, DIFFUSERS)
    positive, negative = prompts(projection)
    video, sound = seeded_noise(SHAPES, 7)
    picture = torch.randn(128, ROWS, COLUMNS, generator=torch.Generator().manual_seed(3))
    clean, mask = torch.zeros(SHAPES[0]), torch.ones(1, 1, 3, 1, 1)
    clean[:, :, 0], mask[:, :, 0] = picture, 0
    latent = {"samples": embedded.nested([clean, torch.zeros(SHAPES[1])]), "noise_mask": mask}
    streams = sampled(side, positive, negative, latent, Guidance(sound_cfg=3.0), 3.0).unbind()
    video[:, :, 0] = picture
    expected = pipeline(version, "LTX2ImageToVideoPipeline")(
        **embeds(), latents=video, audio_latents=sound, image=None, guidance_scale=3.0, audio_guidance_scale=3.0,
        stg_scale=0.0, audio_stg_scale=0.0, modality_scale=1.0, audio_modality_scale=1.0, guidance_rescale=0.0,
        audio_guidance_rescale=0.0, height=32 * ROWS, width=32 * COLUMNS, num_frames=FRAMES, frame_rate=FPS,
        sigmas=list(FAMILY.sampling.sigmas(side.part.variant, 8, None, SHAPES[0])), num_inference_steps=8,
        output_type="latent", return_dict=False,
    )  # fmt: skip
    for ours, theirs in zip(streams, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4
