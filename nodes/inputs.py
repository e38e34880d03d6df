"""Shared by nodes: names of wire types, inputs that several have, and checks of inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..base import FamilyError, Variant
from ..base.walk import files_below
from ..families import families
from ..host import host
from ..loaders import INDEX, ModelFileError, endings
from .pairing import check_latent_model
from .shared import files_state
from .streams import AUDIO_VAES, check_is_video, picture

STEP_CACHE = "OPENT2V_STEP_CACHE"
PROFILE = "OPENT2V_CACHE_PROFILE"
FINISHING = "OPENT2V_FINISHING"
WINDOWS = "OPENT2V_WINDOWS"
# Entry of a combo for no file.
NONE = "none"
# In place of a kind of model files: diffusers folders with a VAE of the sound, whose component is named behind it.
SOUND_FOLDERS, _SOUND = "diffusers sound", "audio_vae"


def number(
    default: float, low: float, high: float, step: float, tooltip: str, **options: Any
) -> tuple[str, dict[str, Any]]:
    """A FLOAT input."""
    return ("FLOAT", {"default": default, "min": low, "max": high, "step": step, "tooltip": tooltip, **options})


def share(default: float, tooltip: str) -> tuple[str, dict[str, Any]]:
    return number(default, 0.0, 1.0, 0.01, tooltip)


def finishing_input() -> tuple[str, dict[str, Any]]:
    return (FINISHING, {"tooltip": "Finishing steps, applied in the order they are chained."})


class FinishingStep:
    """A node of one finishing step: one wire in, one wire out."""

    CATEGORY = "OpenT2V/finishing"
    FUNCTION = "add"
    RETURN_TYPES = (FINISHING,)
    RETURN_NAMES = ("finishing",)
    OUTPUT_TOOLTIPS = ("The steps so far, for the next step, Decode to Video File or Finish Frames.",)


def audio_vae_input() -> tuple[str, dict[str, Any]]:
    return ("VAE", {"tooltip": f"For latents with sound: the model's audio VAE ({AUDIO_VAES})."})


def files_of(*kinds: str) -> dict[str, Path]:
    """Model files by their name in a combo; the first folder that has a name wins."""
    files: dict[str, Path] = {}
    for kind in kinds:
        listed = sound_folders() if kind == SOUND_FOLDERS else host.model_files(kind, endings())
        for name, path in listed.items():
            files.setdefault(name, path)
    return files


def states_of(names: Iterable[Any], *kinds: str) -> str:
    """A text that the host compares with the last run's, to see whether these files have changed."""
    paths = files_of(*kinds)
    named = [by_name(paths, name) for name in names if isinstance(name, str)]
    return " ".join(files_state(path) for path in named if path is not None)


def by_name(paths: Mapping[str, Path], name: str) -> Path | None:
    """The path of this name; a graph that was saved on Windows separates folders by backslashes."""
    if name in paths:
        return paths[name]
    plain = name.replace("\\", "/")
    return next((path for listed, path in paths.items() if listed.replace("\\", "/") == plain), None)


def combo(tooltip: str, *kinds: str) -> tuple[list[str], dict[str, Any]]:
    """An input that lists files; without any, its only entry says where to put them."""
    names = list(files_of(*kinds)) or [f"put a safetensors or GGUF file into models/{kinds[0]}"]
    return names, {"default": names[0], "tooltip": tooltip}


def chosen(name: str, *kinds: str) -> Path:
    """The file a combo names.

    Raises:
        ModelFileError: it is not there any more.
    """
    path = by_name(files_of(*kinds), name)
    if path is None:
        raise ModelFileError(
            f"The file {name!r} is not there (any more). Put it into models/{kinds[0]} and press R to refresh the list."
        )
    return path


def model_folders() -> dict[str, Path]:
    """Every diffusers folder the host's model paths hold, by its name below them; the bundled one first.

    One may lie inside another, as MiniMax H3's FL2VA and Ref2VA do in their repository.
    """
    folders: dict[str, Path] = {}
    for root in host.model_roots("diffusers"):
        inside = {file.parent for file in files_below(root) if file.name == INDEX}
        for folder in sorted(inside - {root}, key=lambda folder: (len(folder.parts), folder)):
            folders.setdefault(folder.relative_to(root).as_posix(), folder)
    return folders


def sound_folders() -> dict[str, Path]:
    """The diffusers folders that hold a VAE of the sound, as "name/audio_vae"."""
    return {f"{name}/{_SOUND}": path for name, path in model_folders().items() if (path / _SOUND).is_dir()}


def require_variant(model: Any) -> Variant:
    """The variant of a MODEL.

    Raises:
        FamilyError: no family recognises it.
    """
    variant = host.variant(model)
    if variant is None:
        title = host.title(model)
        raise FamilyError(
            f"No family here recognises this MODEL{title and f' ({title})'}, so its sizes and schedule are not known "
            f"(known: {', '.join(family.title for family in families().values())}). "
            "Sample it with ComfyUI's own empty latent and KSampler, or take a model from Load Video Model."
        )
    return variant


def check_latent(vae: Any, latent: dict[str, Any]) -> None:
    """
    Raises:
        ValueError: the VAE cannot decode this LATENT's picture.
    """
    check_is_video(vae)
    variant, samples, channels = host.variant(vae), picture(latent), host.latent_channels(vae)
    check_latent_model(variant, latent, "This VAE")
    if not samples.numel():
        size = " x ".join(map(str, samples.shape))
        raise ValueError(f"The latent is empty ({size}). Connect the LATENT of Video Sampler or KSampler.")
    if samples.shape[1] != channels:
        name = f" ({variant.title})" if variant else ""
        raise ValueError(
            f"The latent has {samples.shape[1]} channels; this VAE{name} decodes {channels}. "
            "Use the VAE that belongs to the model that made the latent."
        )
