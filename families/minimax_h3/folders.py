"""MiniMax H3 in diffusers' folders: which component holds what, and whether the components belong together.

The text encoder's one component holds two networks, the language model with more layers than are read and the vision
tower. MiniMaxAI's folders beside these (FL2VA, Ref2VA) name other classes and write other configs: see `makers.py`.

Source: diffusers 0.42.1, scripts/convert_minimax_h3_to_diffusers.py and modular_pipelines/minimax_h3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...base import Family, FamilyError, FolderPart, Variant
from ...base.checks import check_encoder, check_vae
from ...base.folder_part import Configs
from ...base.keys import rename
from ..text.qwen3_vl import LAYERS, without_norm
from . import makers
from .files import CLASS
from .versions import SHIFT, SOUND_SHIFT, make_variant

_ENCODER, _MAKERS_ENCODER = "Qwen3VLForConditionalGeneration", "MiniMaxH3Qwen3VLHFEncoder"
_LAYERS = 64  # of Qwen3-VL 32B
PIPELINES = frozenset({"MiniMaxH3ModularPipeline", "MiniMaxH3Pipeline"})
COMPONENTS = {
    "transformer": frozenset({CLASS, makers.TRANSFORMER}),
    "vae": frozenset({"AutoencoderKLMiniMaxH3", makers.VIDEO}),
    "audio_vae": frozenset({"AutoencoderKLMiniMaxH3Audio", makers.SOUND}),
    "scheduler": frozenset({"MiniMaxH3Scheduler"}),
    "audio_scheduler": frozenset({"MiniMaxH3Scheduler"}),
}
OPTIONAL = frozenset({"scheduler", "audio_scheduler"})
OTHER_NAMES = {"vae": "video_vae"}


def read(family: Family, configs: Configs) -> Variant:
    """See `Files.read`."""
    transformer, sound = makers.transformer(configs), makers.sound(configs)
    check_vae(makers.video(configs)["latent_channels"], transformer["in_channels"])
    _check_sound(transformer, sound)
    text = configs["text_encoder"]["text_config"]
    check_encoder(text["hidden_size"], transformer["text_dim"], encoder="text encoder", network="transformer")
    shifts = tuple(
        float(configs.get(name, {}).get("shift", shift))
        for name, shift in zip(
            ("scheduler", "audio_scheduler"), makers.shifts(configs, (SHIFT, SOUND_SHIFT)), strict=True
        )
    )
    # The makers' index says which of the two it is; for all others a name does.
    partition = configs["index"].get(makers.INDEX, {}).get("partition")
    name, overrides = configs.get("folder", {}).get("name", ""), configs.get("opent2v", {})
    variant = make_variant(family, transformer, 0, str(partition or name), shifts=(shifts[0], shifts[1]))
    prompts = tuple(replace(p, max_tokens=overrides.get("max_tokens", p.max_tokens)) for p in variant.prompts)
    return replace(
        variant,
        name=overrides.get("title", variant.name),
        defaults=variant.defaults.with_overrides(overrides),
        prompts=prompts,
        remark=f"{variant.remark} For the sound choose this folder's audio_vae in Load Video VAE.",
    )


def _check_sound(transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
    if vae["latent_channels"] != transformer["audio_in_channels"]:
        raise FamilyError(
            f"The audio VAE makes {vae['latent_channels']} channels and the transformer takes "
            f"{transformer['audio_in_channels']}. Use the audio_vae folder that came with this transformer."
        )


def _language(configs: Configs) -> dict[str, Any]:
    text = configs["text_encoder"]["text_config"]
    layers = min(text["num_hidden_layers"], LAYERS)
    return {**text, "_class_name": "Qwen3VLTextModel", "num_hidden_layers": layers, "use_cache": False}


def _vision(configs: Configs) -> dict[str, Any]:
    return {**configs["text_encoder"]["vision_config"], "_class_name": "Qwen3VLVisionModel"}


_CLASSES = frozenset({_ENCODER, _MAKERS_ENCODER})
_WORDS, _EYES = "model.language_model", "model.visual"
PARTS = {
    **makers.PARTS,
    "text_encoder": FolderPart(
        "text_encoder",
        _CLASSES,
        _language,
        rules=(
            *(rename(f"^{name}") for name in ("lm_head", _EYES, f"{_WORDS}.norm")),
            *(rename(f"^{_WORDS}.layers.{n}") for n in range(LAYERS, _LAYERS)),
            rename(f"^{_WORDS}", ""),
        ),
        extend=lambda _: without_norm,
    ),
    "vision": FolderPart(
        "text_encoder",
        _CLASSES,
        _vision,
        rules=(*(rename(f"^{name}") for name in ("lm_head", _WORDS)), rename(f"^{_EYES}", "")),
    ),
}
