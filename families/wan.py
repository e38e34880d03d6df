"""Wan 2.1 and Wan 2.2 TI2V-5B text-to-video.

Source: Wan-Video/Wan2.1 @9737cba and Wan-Video/Wan2.2 @42bf4cf (Apache-2.0); configs and call conventions as in
diffusers' WanPipeline.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from math import prod
from typing import Any

from torch import Tensor, nn

from .base import Defaults, Family, FamilyError, Geometry, Variant

# Wan's own recommended negative prompt (wan/configs/shared_config.py, sample_neg_prompt).
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)

# (transformer width, latent channels) -> name, default size, frames, fps, host's latent format.
_KNOWN = {
    (1536, 16): ("2.1 T2V 1.3B", 832, 480, 81, 16.0, "Wan21"),
    (5120, 16): ("2.1 T2V 14B", 832, 480, 81, 16.0, "Wan21"),
    (3072, 48): ("2.2 TI2V 5B", 1280, 704, 121, 24.0, "Wan22"),
}

# Latents of the published VAEs by channel count: wan/modules/vae2_1.py and vae2_2.py.
_VAES: dict[int, dict[str, Any]] = {
    16: {
        "base_dim": 96,
        "scale_factor_spatial": 8,
        "latents_mean": (
            -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632,
            -0.1922, -0.9497, 0.2503, -0.2921,
        ),
        "latents_std": (
            2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
            1.1253, 2.8251, 1.9160,
        ),
    },
    48: {
        "base_dim": 160,
        "decoder_base_dim": 256,
        "scale_factor_spatial": 16,
        "latents_mean": (
            -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
            0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
            -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
            -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
        ),
        "latents_std": (
            0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901, 0.6885,
            0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338,
            0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458,
            1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
        ),
    },
}  # fmt: skip

# What the makers sample text-to-video with: FlowUniPCMultistepScheduler, sample_shift 5 (wan/configs).
_SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler",
    "num_train_timesteps": 1000,
    "solver_order": 2,
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 5.0,
}

# What every transformer in the makers' layout has.
_NATIVE = {"head.modulation", "head.head.weight", "patch_embedding.weight", "text_embedding.0.weight"}
_NATIVE |= {"blocks.0.ffn.0.weight"}

# Parts that only Wan models of another kind have, in the makers' layout -> that kind.
_OTHER_KINDS = {
    "vace_patch_embedding": "VACE",
    "control_adapter": "camera control",
    "casual_audio_encoder": "speech-to-video",
    "audio_proj": "HuMo",
    "face_adapter": "Animate",
    "ref_conv": "control",
    "img_emb": "image-to-video",
}


def of_native(shapes: Mapping[str, tuple[int, ...]]) -> Variant | None:
    """The variant of a transformer in the layout of Wan's own repositories, which ComfyUI keeps."""
    if not set(shapes) >= _NATIVE:
        return None
    width, channels, *patch = shapes["patch_embedding.weight"]
    made = shapes["head.head.weight"][0] // prod(patch)
    signs = [(kind, f"it has {part}") for part, kind in _OTHER_KINDS.items() if any(n.startswith(part) for n in shapes)]
    if channels != made:
        signs.append(("image-to-video", f"it takes {channels} channels and returns {made}"))
    if signs:
        kind, sign = signs[0]
        raise FamilyError(
            f"This is a Wan {kind} model ({sign}), which needs more than a prompt. Expected a text-to-video model; "
            "sample this one with ComfyUI's own nodes for it and KSampler."
        )
    if channels not in _VAES:
        raise FamilyError(
            f"This Wan model has {channels} latent channels; no VAE for that is known here (known: 16 and 48). "
            "Sample it with KSampler, or load it from a diffusers folder with Load Video Model."
        )
    text = shapes["text_embedding.0.weight"][1]
    return read(
        {
            "index": {},
            "transformer": {
                "in_channels": channels,
                "out_channels": made,
                "num_attention_heads": width // 128,
                "attention_head_dim": 128,
                "patch_size": patch,
                "text_dim": text,
                "ffn_dim": shapes["blocks.0.ffn.0.weight"][0],
            },
            "vae": {"z_dim": channels, **_VAES[channels]},
            "text_encoder": {"d_model": text},
            "scheduler": _SCHEDULER,
        }
    )


def read(configs: Mapping[str, Mapping[str, Any]]) -> Variant:
    """Find the variant in a diffusers folder's configs and check that its parts fit each other."""
    index, transformer, vae, text = (configs[k] for k in ("index", "transformer", "vae", "text_encoder"))
    if index.get("boundary_ratio") is not None or "transformer_2" in configs:
        raise FamilyError(
            "This is a Wan 2.2 A14B folder with two experts (transformer and transformer_2), which this version "
            "cannot load yet. Use a Wan 2.1 folder or Wan 2.2 TI2V-5B."
        )
    channels, width = transformer["in_channels"], transformer["num_attention_heads"] * transformer["attention_head_dim"]
    out_channels = transformer.get("out_channels") or channels
    if transformer.get("image_dim") or channels != out_channels:
        raise FamilyError(
            f"This transformer takes {channels} channels and returns {out_channels}: it is an "
            "image-to-video model. Expected a text-to-video model (as many channels in as out)."
        )
    if vae["z_dim"] != channels:
        raise FamilyError(
            f"The VAE makes {vae['z_dim']} latent channels and the transformer takes {channels}. They belong to "
            "different models: use the vae folder that came with this transformer."
        )
    if not len(vae["latents_mean"]) == len(vae["latents_std"]) == channels:
        raise FamilyError(
            f"The VAE's config has {len(vae['latents_mean'])} latents_mean and {len(vae['latents_std'])} latents_std; "
            f"expected {channels} of each, one per latent channel. Get the vae folder's config.json again."
        )
    if text["d_model"] != transformer["text_dim"]:
        raise FamilyError(
            f"The text encoder is {text['d_model']} wide and the transformer expects {transformer['text_dim']}. "
            "Use the text_encoder folder that came with this transformer."
        )
    name, w, h, frames, fps, latent_format = _KNOWN.get(
        (width, channels), ("", 832, 480, 81, 16.0, {16: "Wan21", 48: "Wan22"}.get(channels, ""))
    )
    own = configs.get("opent2v", {})
    geometry = Geometry(
        channels=channels,
        temporal=vae.get("scale_factor_temporal", 4),
        spatial=vae.get("scale_factor_spatial", 8),
        patch=transformer["patch_size"][1],
        max_positions=transformer.get("rope_max_seq_len", 1024),
    )
    defaults = Defaults(
        width=own.get("width", w),
        height=own.get("height", h),
        frames=own.get("frames", frames),
        fps=float(own.get("fps", fps)),
        steps=own.get("steps", 50),
        guidance=float(own.get("guidance", 5.0)),
        negative=own.get("negative", NEGATIVE),
        max_tokens=own.get("max_tokens", 512),
    )
    rgb = own.get("preview")
    return Variant(
        family=FAMILY,
        name=own.get("title", name),
        geometry=geometry,
        defaults=defaults,
        mean=tuple(vae["latents_mean"]),
        std=tuple(vae["latents_std"]),
        scheduler=configs["scheduler"],
        latent_format=latent_format,
        rgb=(tuple(map(tuple, rgb["factors"])), tuple(rgb["bias"])) if rgb else None,
        context_width=transformer["text_dim"],
        memory_factor=_memory_factor(width, transformer.get("ffn_dim", 4 * width)),
        # Measured peaks of the published VAEs (5070, 3730, 5380 and 1930 values per pixel) and 1.35 times as much for
        # what convolutions take as work space, scaled to this VAE's width.
        decode_floats=(7300 / 256 if channels == 48 else 6900 / 96) * (vae.get("decoder_base_dim") or vae["base_dim"]),
        encode_floats=(2600 / 160 if channels == 48 else 5000 / 96) * vae["base_dim"],
    )


def _memory_factor(width: int, ffn: int) -> float:
    """ComfyUI's memory_usage_factor (it counts 1 % of a MiB per latent pixel and byte of a value).

    The values alive at a block's peak, per token: 11.2 widths in self-attention, or 4.4 widths and twice the inner
    width in the feed-forward layer. Measured on the 1.3B, 14B and 5B; 1.2 times as much for the GPU's work space.
    """
    floats = max(11.2 * width, 4.4 * width + 2 * ffn)
    return 1.2 * floats / 4 / (0.01 * 1024**2)


def predict(transformer: nn.Module, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """Flow (noise minus clean) at timestep t = sigma * 1000."""
    return transformer(hidden_states=x, timestep=t, encoder_hidden_states=context, return_dict=False)[0]


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


def embed(text_encoder: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Last hidden state, with exact zeros behind the prompt's end: the transformer gets no mask."""
    hidden = text_encoder(ids, mask).last_hidden_state
    return hidden * mask.to(hidden).unsqueeze(-1)


def decode(vae: nn.Module, latent: Tensor) -> Tensor:
    return vae.decode(latent, return_dict=False)[0]  # pyright: ignore[reportCallIssue]


def encode(vae: nn.Module, video: Tensor) -> Tensor:
    return vae.encode(video, return_dict=False)[0].mode()  # pyright: ignore[reportCallIssue]


FAMILY = Family(
    id="wan",
    title="Wan",
    source="Wan-Video/Wan2.1 @9737cba, Wan-Video/Wan2.2 @42bf4cf, Apache-2.0",
    pipelines=frozenset({"WanPipeline"}),
    components={
        "transformer": frozenset({"WanTransformer3DModel"}),
        "vae": frozenset({"AutoencoderKLWan"}),
        "text_encoder": frozenset({"UMT5EncoderModel"}),
        # PreTrainedTokenizerFast and TokenizersBackend: the same tokenizer.json under transformers 4 and 5.
        "tokenizer": frozenset({"T5Tokenizer", "T5TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"}),
        "scheduler": frozenset(
            {"UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"}
        ),
    },
    read=read,
    predict=predict,
    clean=clean,
    embed=embed,
    decode=decode,
    encode=encode,
    tied={"text_encoder": {"encoder.embed_tokens.weight": "shared.weight"}},
    of_native=of_native,
)
