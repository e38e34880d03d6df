"""From a diffusers folder to its three loaded parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..families import TextEncoder, VideoModel, VideoVAE
from ..families.keys import Rule, rename
from .folder import Folder
from .tokenizers import read_tokenizer
from .weights import build, check, extension, fill


@dataclass(frozen=True)
class Pipeline:
    """The loaded parts of one folder.

    Attributes:
        models: the transformer; of a model with two experts the high-noise one, then the low-noise one.
        image_encoder: for image-to-video models that read the picture with one, else None.
    """

    models: tuple[VideoModel, ...]
    text: TextEncoder
    vae: VideoVAE
    image_encoder: nn.Module | None = None


def load_pipeline(
    folder: Folder,
    *,
    model_dtype: torch.dtype | None,
    text_dtype: torch.dtype | None,
    vae_dtype: torch.dtype | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Pipeline:
    """Load all parts. Every header is checked before the first tensor is read.

    Args:
        model_dtype, text_dtype, vae_dtype: storage dtypes; None keeps the files' own.
        on_progress: called with (tensors read, tensors in all).
    Raises:
        ModelFileError: weights that do not fit their config, a damaged file, a tokenizer that cannot be read.
    """
    variant, family = folder.variant, folder.family
    tokenizers = {p.slot: read_tokenizer(folder.path / p.tokenizer) for p in variant.prompts}
    parts: dict[str, nn.Module] = {}
    counts: dict[str, int] = {}
    rules: dict[str, tuple[Rule, ...]] = {}
    for component in folder.weights:
        config, is_model = folder.configs[component], component == family.denoiser
        parts[component] = build(config["_class_name"], config, extension(variant) if is_model else None)
        rules[component] = _older_names(parts[component], folder.headers(component))
        tied = family.tied.get(component)
        counts[component] = check(parts[component], folder.weights[component], tied, rules[component])
    total, before = sum(counts.values()), 0
    for component in parts:

        def tick(done: int, _: int, offset: int = before) -> None:
            if on_progress:
                on_progress(offset + done, total)

        is_model = component.startswith(family.denoiser)
        dtype = model_dtype if is_model else vae_dtype if component == "vae" else text_dtype
        tied = family.tied.get(component)
        fill(
            parts[component],
            folder.weights[component],
            dtype=dtype,
            tied=tied,
            rules=rules[component],
            on_tensor=tick,
        )
        before += counts[component]
    models = [VideoModel(variant, parts[family.denoiser], folder.path)]
    if "transformer_2" in parts:
        models = [
            VideoModel(replace(variant, expert=expert), parts[slot], folder.path)
            for expert, slot in (("high", "transformer"), ("low", "transformer_2"))
        ]
    encoders = {p.slot: parts[p.slot] for p in variant.prompts}
    return Pipeline(
        tuple(models),
        TextEncoder(variant, encoders, tokenizers, folder.path),
        VideoVAE(variant, parts["vae"], folder.path),
        parts.get("image_encoder"),
    )


def _older_names(module: nn.Module, names: Iterable[str]) -> tuple[Rule, ...]:
    """Rules for what files of an older library have and this module has not; none for most files.

    transformers 5.6 and newer name the tensors of CLIP's two halves without a level around them; and a module may list
    tensors that files hold and no version uses.
    """
    segments = {segment for name in names for segment in name.split(".")}
    levels = [level for level in ("text_model", "vision_model") if level in segments and not hasattr(module, level)]
    attention = _OLDER_ATTENTION if "proj_attn" in segments else ()
    unused = [n for n in getattr(module, "_keys_to_ignore_on_load_unexpected", None) or () if n in segments]
    return (*(rename(f"^{level}", "") for level in levels), *attention, *(rename(name) for name in unused))


# A picture VAE's attention before diffusers 0.18.
_OLDER_ATTENTION = tuple(
    rename(f"attentions.0.{old}", f"attentions.0.{new}")
    for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
)
