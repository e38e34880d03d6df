"""The published Wan models, and a `Variant` from what configs or a file's shapes say."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...base import Defaults, Family, Geometry, Prompt, Variant, VideoStream

# Wan's own recommended negative prompt (wan/configs/shared_config.py, sample_neg_prompt).
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


@dataclass(frozen=True)
class Published:
    """The makers' settings of a model (wan/configs/*.py and generate.py of Wan 2.1 and 2.2)."""

    name: str
    width: int = 832
    height: int = 480
    frames: int = 81
    fps: float = 16.0
    steps: int = 50
    guidance: float = 5.0
    low_noise_guidance: float | None = None
    shift: float = 5.0
    boundary: float = 0.0
    negative: str = NEGATIVE
    max_tokens: int = 512
    has_token_times: bool = False  # where the latent channels do not tell it, as 48 do
    spatial: int = 0  # pixels of a latent pixel, where they are not those of the published VAE


# (transformer width, input channels, pictures for the image encoder, two experts) -> the published model.
PUBLISHED = {
    (1536, 16, 0, False): Published("2.1 T2V 1.3B"),
    (5120, 16, 0, False): Published("2.1 T2V 14B"),
    (5120, 36, 1, False): Published("2.1 I2V 14B", steps=40, shift=3.0),
    (5120, 36, 2, False): Published("2.1 FLF2V 14B", 1280, 720, shift=16.0),
    (5120, 16, 0, True): Published(
        "2.2 T2V A14B", steps=40, guidance=4.0, low_noise_guidance=3.0, shift=12.0, boundary=0.875
    ),
    (5120, 36, 0, True): Published(
        "2.2 I2V A14B", steps=40, guidance=3.5, low_noise_guidance=3.5, boundary=0.9
    ),
    (3072, 48, 0, False): Published("2.2 TI2V 5B", 1280, 704, 121, 24.0),
    # The model that comes with this pack; its folder states the same.
    (192, 16, 0, False): Published(
        "quickstart", 96, 96, 33, steps=20, guidance=2.5, shift=3.0, negative="blurry, noisy, flicker", max_tokens=32,
        has_token_times=True, spatial=12,
    ),
}  # fmt: skip
# Width of the bundled model -> channels of a head and positions, which no tensor shows; those of all others.
_HEADS, _USUAL_HEADS = {192: (48, 64)}, (128, 1024)
# Latent channels -> config of the published VAE.
VAES: dict[int, dict[str, Any]] = {
    16: {
        "base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [],
        "temperal_downsample": [False, True, True], "scale_factor_temporal": 4, "scale_factor_spatial": 8,
        "latents_mean": [
            -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
            -0.1922, -0.9497, 0.2503, -0.2921,
        ],
        "latents_std": [
            2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
            1.1253, 2.8251, 1.9160,
        ],
    },
    48: {
        "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
        "attn_scales": [], "temperal_downsample": [False, True, True], "is_residual": True, "in_channels": 12,
        "out_channels": 12, "patch_size": 2, "scale_factor_temporal": 4, "scale_factor_spatial": 16,
        "latents_mean": [
            -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
            0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
            -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
            -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
        ],
        "latents_std": [
            0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901, 0.6885,
            0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338,
            0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458,
            1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
        ],
    },
}  # fmt: skip


def clean(text: str) -> str:
    """Mend mojibake where ftfy is installed, unescape HTML twice, collapse white space: as WanPipeline does."""
    try:
        import ftfy
    except ImportError:
        pass
    else:
        text = ftfy.fix_text(text)
    text = html.unescape(html.unescape(text)).strip()
    return re.sub(r"\s+", " ", text).strip()


def unipc(shift: float) -> dict[str, Any]:
    """The scheduler of the published diffusers folders, with the makers' shift; the makers' own is UniPC too."""
    return {
        "_class_name": "UniPCMultistepScheduler",
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": shift,
    }


def published(transformer: Mapping[str, Any], has_experts: bool, name: str) -> Published:
    """The published model with this transformer config; general values for a new one.

    Args:
        name: of the file or folder; the two sizes of Wan 2.1 I2V 14B differ in nothing else.
    """
    key = width_of(transformer), transformer["in_channels"], encoded_pictures(transformer), has_experts
    release = PUBLISHED.get(key, Published(""))
    if release.name == "2.1 I2V 14B" and "720p" in name.lower():
        release = replace(release, width=1280, height=720, shift=5.0)
    return release


def heads_of(width: int) -> tuple[int, int, int]:
    """(number of heads, channels of one, positions) of a transformer; no head where the width fits none."""
    channels, positions = _HEADS.get(width, _USUAL_HEADS)
    return (0 if width % channels else width // channels), channels, positions


def width_of(transformer: Mapping[str, Any]) -> int:
    return transformer["num_attention_heads"] * transformer["attention_head_dim"]


def encoded_pictures(transformer: Mapping[str, Any]) -> int:
    """How many pictures the transformer wants from the image encoder: 0, 1, or 2 (first and last)."""
    if not transformer.get("image_dim"):
        return 0
    return 2 if transformer.get("pos_embed_seq_len") else 1


def build_variant(
    family: Family,
    transformer: Mapping[str, Any],
    vae: Mapping[str, Any],
    known: Published,
    *,
    scheduler: Mapping[str, Any] | None = None,
    boundary: float = 0.0,
    expert: str = "",
    has_token_times: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> Variant:
    """
    Args:
        transformer, vae: configs in diffusers' words.
        scheduler: None for the makers' own.
        has_token_times: every token has a timestep of its own (TI2V-5B), so a first frame can be given clean.
        overrides: a folder's opent2v.json.
    """
    overrides = overrides or {}
    channels = vae["z_dim"]
    rgb = overrides.get("preview")
    geometry = Geometry(
        channels=channels,
        temporal=vae.get("scale_factor_temporal", 4),
        spatial=vae.get("scale_factor_spatial", 8),
        patch=transformer["patch_size"][1],
        max_positions=transformer.get("rope_max_seq_len", 1024),
    )
    return Variant(
        family=family,
        name=overrides.get("title", known.name),
        streams=(VideoStream(geometry, mean=tuple(vae["latents_mean"]), std=tuple(vae["latents_std"])),),
        defaults=Defaults(
            known.width,
            known.height,
            known.frames,
            known.fps,
            known.steps,
            known.guidance,
            known.low_noise_guidance,
            negative=known.negative,
        ).with_overrides(overrides),
        scheduler=scheduler or unipc(known.shift),
        prompts=(Prompt(overrides.get("max_tokens", known.max_tokens), clean),),
        task="image" if transformer["in_channels"] > channels else "text",
        expert=expert,
        boundary=boundary,
        keeps_clean=has_token_times,
        latent_format={16: "Wan21", 48: "Wan22"}.get(channels, ""),
        rgb=(tuple(map(tuple, rgb["factors"])), tuple(rgb["bias"])) if rgb else None,
        context_width=transformer["text_dim"],
        memory_factor=_memory_factor(width_of(transformer), transformer.get("ffn_dim", 4 * width_of(transformer))),
        # Measured peaks of the published VAEs (5070, 3730, 5380 and 1930 values per pixel), times 1.35 for the
        # workspace of convolutions, scaled to this VAE's width.
        decode_floats=(7300 / 256 if channels == 48 else 6900 / 96) * (vae.get("decoder_base_dim") or vae["base_dim"]),
        encode_floats=(2600 / 160 if channels == 48 else 5000 / 96) * vae["base_dim"],
        pairs=_pairs(channels, encoded_pictures(transformer)),
        facts={"encoded_pictures": encoded_pictures(transformer)},
    )


def _memory_factor(width: int, ffn: int) -> float:
    """ComfyUI's memory_usage_factor (it counts 1 % of a MiB per latent pixel and byte of a value).

    The values alive at a block's peak, per token: 11.2 widths in self-attention, or 4.4 widths and twice the inner
    width in the feed-forward layer. Measured on the 1.3B, 14B and 5B; 1.2 times as much for the GPU's work space.
    """
    floats = max(11.2 * width, 4.4 * width + 2 * ffn)
    return 1.2 * floats / 4 / (0.01 * 1024**2)


def _pairs(channels: int, pictures: int) -> dict[str, str]:
    files = {
        "text_encoders": "umt5_xxl (umt5_xxl_fp16.safetensors or umt5_xxl_fp8_e4m3fn_scaled.safetensors)",
        "vae": "wan2.2_vae.safetensors" if channels == 48 else "wan_2.1_vae.safetensors",
    }
    return files | ({"clip_vision": "clip_vision_h.safetensors"} if pictures else {})
