"""From a diffusers folder to its three loaded parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..base import FamilyError, Recognised, SoundVAE, TextEncoder, VideoModel, VideoVAE
from ..base.keys import Rule, rename, unwrapped
from ..base.walk import files_below
from .errors import ModelFileError
from .folder import INDEX, Folder
from .header import TensorInfo
from .tokenizers import check_size, read_tokenizer
from .weights import build, check, extension, fill


@dataclass(frozen=True)
class Pipeline:
    """The loaded parts of one folder.

    Attributes:
        models: the transformer; of a model with two experts the high-noise one, then the low-noise one.
        text_encoder: None where it was left out, see `text`.
        image_encoder: for image-to-video models that read the picture with one, else None.
    """

    models: tuple[VideoModel, ...]
    text_encoder: TextEncoder | None
    vae: VideoVAE
    image_encoder: nn.Module | None = None

    @property
    def text(self) -> TextEncoder:
        assert self.text_encoder is not None, "the pipeline was loaded without its text encoder"
        return self.text_encoder


_SOUND = "audio_vae"
_VAES = ("vae", _SOUND)


def pipeline_parts(folder: Folder) -> list[str]:
    """Slots of the networks that `load_pipeline` loads: all but the sound's VAE, see `load_folder_sound`."""
    return [slot for slot in folder.weights if slot != _SOUND]


def load_pipeline(
    folder: Folder,
    *,
    model_dtype: torch.dtype | None,
    text_dtype: torch.dtype | None,
    vae_dtype: torch.dtype | None,
    on_progress: Callable[[int, int], None] | None = None,
    keeps_packed: bool = False,
    has_text: bool = True,
) -> Pipeline:
    """Load all parts. Every header is checked before the first tensor is read.

    Args:
        has_text: False leaves the text encoders out, see `load_folder_text`.
        model_dtype, text_dtype, vae_dtype: storage dtypes; None keeps the files' own.
        on_progress: called with (bytes read, bytes in all).
        keeps_packed: the video model's layers in few bits stay as they are stored, see `fill`; those of the text
            encoders and the VAE always do.
    Raises:
        ModelFileError: weights that do not fit their config, a damaged file, a tokenizer that cannot be read.
    """
    variant, denoiser = folder.variant, folder.family.network.slot
    dtypes = {name: model_dtype if name.startswith(denoiser) else text_dtype for name in pipeline_parts(folder)}
    dtypes["vae"] = vae_dtype
    slots = text_slots(folder)
    if not has_text:
        dtypes = {name: dtype for name, dtype in dtypes.items() if name not in slots}
    tokenizers = _tokenizers(folder) if has_text else {}
    parts = _modules(folder, dtypes, keeps_packed, on_progress)
    experts = {denoiser: variant}
    if "transformer_2" in parts:
        experts = {"transformer": replace(variant, expert="high"), "transformer_2": replace(variant, expert="low")}

    def model(slot: str, module: nn.Module) -> VideoModel:
        again = lambda: model(slot, _modules(folder, {slot: model_dtype}, keeps_packed)[slot])  # noqa: E731
        return VideoModel(experts[slot], module, folder.path, again)

    def again() -> TextEncoder:
        return load_folder_text(folder, text_dtype, keeps_packed=keeps_packed)

    def text() -> TextEncoder:
        return TextEncoder(variant, {slot: parts[slot] for slot in slots}, tokenizers, folder.path, again)

    def vae(module: nn.Module) -> VideoVAE:
        return VideoVAE(
            variant, module, folder.path, lambda: vae(_modules(folder, {"vae": vae_dtype}, keeps_packed)["vae"])
        )

    return Pipeline(
        tuple(model(slot, parts[slot]) for slot in experts),
        text() if has_text else None,
        vae(parts["vae"]),
        parts.get("image_encoder"),
    )


def _modules(
    folder: Folder,
    dtypes: Mapping[str, torch.dtype | None],
    keeps_packed: bool,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, nn.Module]:
    """The modules of these components; arguments and errors as `load_pipeline`."""
    family, denoiser = folder.family, folder.family.network.slot
    encoders = family.text.encoders if family.text else {}
    tied = lambda component: encoders[component].tied if component in encoders else None  # noqa: E731
    parts: dict[str, nn.Module] = {}
    sizes: dict[str, int] = {}
    rules: dict[str, tuple[Rule, ...]] = {}
    prefixes: dict[str, str] = {}
    for component in dtypes:
        config = folder.configs[component]
        module = parts[component] = build(config["_class_name"], config, _extension(folder, component))
        header = folder.headers(component)
        rules[component], prefixes[component] = _other_layout(folder, component, module, header)
        rules[component] = (*folder.rules(component), *rules[component])
        if component in encoders:
            rules[component] += encoders[component].older_names(module)
        rules[component] += _older_names(module, header)
        sizes[component] = check(
            module, folder.weights[component], tied(component), rules[component], prefixes[component]
        )
    total, before = sum(sizes.values()), 0
    for component, dtype in dtypes.items():

        def tick(done: int, _: int, offset: int = before) -> None:
            if on_progress:
                on_progress(offset + done, total)

        fill(
            parts[component],
            folder.weights[component],
            dtype=dtype,
            tied=tied(component),
            rules=rules[component],
            prefix=prefixes[component],
            on_bytes=tick,
            keeps_packed=keeps_packed
            if component.startswith(denoiser)
            else component in _VAES or component in encoders,
            keeps_convolutions=component in _VAES,
        )
        before += sizes[component]
    return parts


def text_slots(folder: Folder) -> list[str]:
    """Slots of the folder's text encoders."""
    encoders = folder.family.text.encoders if folder.family.text else {}
    return [slot for slot in encoders if slot in folder.weights]


def load_folder_text(
    folder: Folder,
    dtype: torch.dtype | None,
    on_progress: Callable[[int, int], None] | None = None,
    keeps_packed: bool = False,
) -> TextEncoder:
    """The text encoders alone; arguments and errors as `load_pipeline`."""
    tokenizers = _tokenizers(folder)
    encoders = _modules(folder, dict.fromkeys(text_slots(folder), dtype), keeps_packed, on_progress)
    again = lambda: load_folder_text(folder, dtype, keeps_packed=keeps_packed)  # noqa: E731
    return TextEncoder(folder.variant, encoders, tokenizers, folder.path, again)


def _tokenizers(folder: Folder) -> dict[str, Any]:
    """The tokenizer of each text encoder that reads prompts; errors as `load_pipeline`."""
    tokenizers = {p.slot: read_tokenizer(folder.tokenizer(p.slot)) for p in folder.variant.prompts}
    for slot, tokenizer in tokenizers.items():
        vocabulary = folder.configs[slot].get("vocab_size")
        if isinstance(vocabulary, int):
            check_size(tokenizer, vocabulary, f"{folder.tokenizer(slot)}: the tokenizer")
    return tokenizers


def text_files(folder: Folder) -> list[Path]:
    """The files that the folder's text encoders and their tokenizers are read from."""
    weights = [file for slot in text_slots(folder) for file in folder.weights[slot]]
    configs = [folder.path / INDEX, folder.path / "opent2v.json", *(file.with_name("config.json") for file in weights)]
    tokenizers = [file for prompt in folder.variant.prompts for file in files_below(folder.tokenizer(prompt.slot))]
    return [file for file in dict.fromkeys((*weights, *configs, *tokenizers)) if file.is_file()]


def load_folder_sound(
    folder: Folder, dtype: torch.dtype | None, on_progress: Callable[[int, int], None] | None = None
) -> SoundVAE:
    """The VAE of the sound with its vocoder; arguments and errors as `load_pipeline`.

    Raises:
        ModelFileError: the folder holds none.
    """
    if _SOUND not in folder.weights:
        raise ModelFileError(f"{folder.path}: {folder.variant.title} makes no sound, so the folder has no audio VAE.")
    module = _modules(folder, {_SOUND: dtype}, True, on_progress)[_SOUND]
    return SoundVAE(folder.variant, module, folder.path, lambda: load_folder_sound(folder, dtype))


def _extension(folder: Folder, component: str) -> Callable[[nn.Module], None] | None:
    """The `extend` argument of `build`."""
    if component == folder.family.network.slot:
        return extension(folder.variant)
    part = folder.parts.get(component)
    return part.extend(folder.configs) if part and part.extend else None


def _other_layout(
    folder: Folder, component: str, module: nn.Module, header: Mapping[str, TensorInfo]
) -> tuple[tuple[Rule, ...], str]:
    """(rules, prefix) of a file in its makers' names (most GGUF files) beside the config; none for the library's."""
    usual = {name for name, _ in module.named_parameters()}
    if 2 * len(usual.intersection(header)) > len(header):
        return (), ""
    shapes = {unwrapped(name): info.shape for name, info in header.items()}
    text = folder.family.text
    if text and component in text.encoders:
        layout = text.encoders[component].recognise(shapes)
        return (layout.rules if layout else ()), ""
    try:
        outcome = folder.family.recognise(shapes, folder.path.name, {})
    except FamilyError:
        return (), ""  # the comparison with the config says what is wrong
    return (outcome.rules, outcome.prefix) if isinstance(outcome, Recognised) else ((), "")


def _older_names(module: nn.Module, names: Iterable[str]) -> tuple[Rule, ...]:
    """Rules for names from an older version of the library; none for most files.

    transformers 5.6 and newer name the tensors of CLIP's picture half without a level around them (of its text half,
    its kind tells); and a module may list tensors that files hold and no version uses.
    """
    segments = {segment for name in names for segment in name.split(".")}
    levels = [level for level in ("vision_model",) if level in segments and not hasattr(module, level)]
    attention = _OLDER_ATTENTION if "proj_attn" in segments else ()
    unused = [n for n in getattr(module, "_keys_to_ignore_on_load_unexpected", None) or () if n in segments]
    return (*(rename(f"^{level}", "") for level in levels), *attention, *(rename(name) for name in unused))


# Names of a picture VAE's attention before diffusers 0.18.
_OLDER_ATTENTION = tuple(
    rename(f"attentions.0.{old}", f"attentions.0.{new}")
    for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
)
