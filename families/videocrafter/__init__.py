"""VideoCrafter2: text to video with the UNet that diffusers knows from ModelScope, with an embedding of the frame rate.

Source: AILab-CVC/VideoCrafter @11bcd76 (Apache-2.0): configs/inference_t2v_512_v2.0.yaml, lvdm/models/samplers/ddim.py,
scripts/run_text2video.sh. diffusers has no pipeline for it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...base import (
    Defaults,
    Entry,
    Family,
    FamilyError,
    Files,
    Geometry,
    Network,
    Prompt,
    Recognised,
    Recognition,
    Sampling,
    Shapes,
    Text,
    Variant,
    Video,
    VideoStream,
)
from ...base.checks import check_encoder, check_vae
from ..text import clip
from . import files
from .crossing import CROSSING
from .lora import LORA
from .scheduler import scaled_ddim

# The frame rate that the makers' script conditions the model on; it saves the video at 10 frames per second.
RATE = 28.0
FPS = 10.0
PAIRS = {
    "text_encoders": "OpenCLIP ViT-H (inside the original file, or the text encoder of Stable Diffusion 2)",
    "vae": "the VAE of Stable Diffusion 1 (inside the original file, or vae-ft-mse-840000-ema-pruned)",
}
NO_RATE = (
    "This file lacks the original's fps embedding: frame_rate has no effect, and movement is that of a model that is "
    "not told one."
)
# The makers' DDIM adds noise in each step (eta 1), and its latents also fade, to 0.7 over the first 400 of 1000
# timesteps.
SCHEDULER = {
    "_class_name": "ScaledDDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "signal_scale": 0.7,
    "signal_scale_steps": 400,
    "eta": 1.0,
}


def read(configs: Mapping[str, Mapping[str, Any]]) -> Variant:
    """Find the variant in a diffusers folder's configs and check that its parts fit each other.

    The folder's scheduler is not used: none that diffusers has knows how this model's latents fade.
    """
    unet, vae, text = (configs[k] for k in ("unet", "vae", "text_encoder"))
    overrides, name = configs.get("opent2v", {}), configs.get("folder", {}).get("name", "")
    if not files.is_named(name):
        raise FamilyError(
            f"The folder {name!r} has the parts of ModelScope, Zeroscope and VideoCrafter2, which only its name tells "
            "apart. ModelScope and Zeroscope are not supported; a VideoCrafter2 folder has videocrafter in its name."
        )
    check_vae(vae["latent_channels"], unet["in_channels"], "UNet")
    check_encoder(text["hidden_size"], unet["cross_attention_dim"], network="UNet")
    variant = describe(unet, vae.get("scaling_factor", files.SCALE))
    return replace(
        variant, name=overrides.get("title", variant.name), defaults=variant.defaults.with_overrides(overrides)
    )


def describe(unet: Mapping[str, Any], scale: float) -> Variant:
    """The variant of a UNet's config.

    Args:
        scale: what latents are multiplied with for the UNet.
    """
    widths = unet["block_out_channels"]
    # No learned positions, so any length and size is possible; every level halves the sides.
    geometry = Geometry(channels=unet["in_channels"], temporal=1, spatial=8, patch=2 ** (len(widths) - 1))
    return Variant(
        family=FAMILY,
        name="",
        streams=(VideoStream(geometry, std=(1 / scale,)),),
        defaults=Defaults(512, 320, 16, fps=FPS, steps=50, guidance=12.0),
        scheduler=SCHEDULER,
        prompts=(Prompt(77, clean, pad=0),),
        prediction="eps",
        latent_format="SD15",
        context_width=unet["cross_attention_dim"],
        memory_factor=MEMORY_FACTOR * widths[0] / 320,
        decode_floats=DECODE_FLOATS,
        encode_floats=ENCODE_FLOATS,
        one_frame=1.0,
        pairs=PAIRS,
        facts={"has_rate": True},
    )


# Counted on the published UNet and VAE: tests/families/test_videocrafter.py.
MEMORY_FACTOR = 1.35
DECODE_FLOATS, ENCODE_FLOATS = 950.0, 800.0


def clean(text: str) -> str:
    """Mend mojibake where ftfy is installed, unescape HTML twice, collapse white space: as open_clip's tokenizer."""
    try:
        import ftfy
    except ImportError:
        pass
    else:
        text = ftfy.fix_text(text)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(text))).strip()


def inspect(variant: Variant, names: Collection[str]) -> Variant:
    """Whether the makers' fps embedding is among the UNet's tensors."""
    if any(name.startswith("fps_embedding.") for name in names):
        return variant
    return replace(variant, facts={**variant.facts, "has_rate": False}, remark=NO_RATE)


def extend(variant: Variant, unet: nn.Module) -> None:
    """Let the time embedding be given, and add the fps embedding, which diffusers' class lacks."""
    from diffusers.models.embeddings import TimestepEmbedding

    class GivenTimeEmbedding(TimestepEmbedding):
        """The network itself rounds the timestep to its weights' dtype, be it fp8."""

        def forward(self, sample: Tensor, condition: Tensor | None = None) -> Tensor:
            return super().forward(sample) if condition is None else condition

    time: Any = unet.time_embedding
    if variant.facts["has_rate"]:
        unet.fps_embedding = TimestepEmbedding(time.linear_1.in_features, time.linear_1.out_features)
    time.__class__ = GivenTimeEmbedding


def condition(variant: Variant, entry: Entry, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The prompt, and ComfyUI's own entry "frame_rate": an input of the model, not the playing speed."""
    rate = float(entry.get("frame_rate") or RATE)
    return {"context": entry["cross_attn"], "frame_rate": torch.tensor([rate])}


def predict(variant: Variant, transformer: nn.Module, x: Tensor, t: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    """The noise in x at whole timesteps t."""
    unet: Any = transformer
    time = unet.time_embedding(unet.time_proj(t.expand(len(x))).to(x.dtype))
    if variant.facts["has_rate"]:
        rate = conditions["frame_rate"].to(x.device).expand(len(x))
        time = time + unet.fps_embedding(unet.time_proj(rate).to(x.dtype))
    return unet(x, t, conditions["context"], timestep_cond=time, return_dict=False)[0]


def embed(
    encoders: Mapping[str, nn.Module], tokens: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Tensor, dict[str, Any]]:
    """OpenCLIP's last layer but one through the last norm: the encoder is built without its last layer."""
    ids, _ = tokens["text_encoder"]
    return encoders["text_encoder"](ids).last_hidden_state, {}


def decode(vae: nn.Module, latent: Tensor, seed: int) -> Tensor:
    return torch.cat(list(decode_frames(vae, latent, False)), dim=2)


def decode_frames(vae: nn.Module, latent: Tensor, tiled: bool) -> Iterator[Tensor]:
    """One frame after the other: the VAE decodes single pictures."""
    of: Any = vae
    was_tiled, of.use_tiling = of.use_tiling, tiled or of.use_tiling
    try:
        for frame in latent.unbind(2):
            yield of.decode(frame, return_dict=False)[0].unsqueeze(2)
    finally:
        of.use_tiling = was_tiled


def encode(vae: nn.Module, video: Tensor) -> Tensor:
    of: Any = vae
    return torch.stack([of.encode(frame, return_dict=False)[0].mode() for frame in video.unbind(2)], dim=2)


def find(shapes: Shapes, name: str) -> Recognised | str:
    return files.recognise(shapes, name, describe)


FAMILY = Family(
    id="videocrafter",
    title="VideoCrafter2",
    recognition=Recognition(find, files.tensors),
    network=Network(predict, condition, slot="unet", extend=extend, reads_rate=True, text_crossing=CROSSING),
    sampling=Sampling(schedulers={"ScaledDDIMScheduler": scaled_ddim}),
    files=Files(
        pipelines=frozenset({"TextToVideoSDPipeline", "VideoCrafterPipeline"}),
        components={
            "unet": frozenset({"UNet3DConditionModel"}),
            "vae": frozenset({"AutoencoderKL"}),
            "scheduler": frozenset({"DDIMScheduler", "DPMSolverMultistepScheduler", "PNDMScheduler"}),
        },
        read=read,
        inspect=inspect,
    ),
    text=Text({"text_encoder": clip.KIND}, embed),
    video=Video(decode, encode, decode_frames),
    lora=LORA,
)
