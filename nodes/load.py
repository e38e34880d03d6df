"""Loading a model: MODEL, CLIP and VAE from one folder."""

from __future__ import annotations

from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from .. import host
from ..loaders import DTYPES, ModelFileError, is_model_folder, library, load_pipeline, open_folder
from .remarks import with_remarks

# (folder, its files' state, dtypes, output) -> MODEL, CLIP or VAE. Weak: a model lives as long as some node holds it.
_loaded: WeakValueDictionary[tuple[str, ...], Any] = WeakValueDictionary()

NOTHING = "put a diffusers folder into models/diffusers"


def model_folders() -> dict[str, Path]:
    """Every diffusers folder the host's model paths hold, by its name below them; the bundled one first."""
    found: dict[str, Path] = {}
    for root in host.model_roots("diffusers"):
        for index in sorted(root.glob("*/model_index.json")) + sorted(root.glob("*/*/model_index.json")):
            found.setdefault(index.parent.relative_to(root).as_posix(), index.parent)
    return found


def files_state(folder: Path) -> str:
    """A short text that is another once a file of the folder has another name, size or time."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    states = [f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return sha256("\n".join(states).encode()).hexdigest()[:16]


class OpenT2VLoadModel:
    """Loads a text-to-video model from a diffusers folder."""

    CATEGORY = "OpenT2V"
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    RETURN_NAMES = ("model", "clip", "vae")
    OUTPUT_TOOLTIPS = ("The video model.", "The model's text encoder.", "The model's video decoder.")
    DESCRIPTION = "Load a text-to-video model with its text encoder and VAE. The family is recognised by itself."
    SEARCH_ALIASES: ClassVar = ["wan", "diffusers loader", "video model loader", "checkpoint"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = list(model_folders()) or [NOTHING]
        return {
            "required": {
                "model": (
                    names,
                    {
                        "default": names[0],
                        "tooltip": "A folder in models/diffusers. The quickstart model comes with the pack.",
                    },
                ),
                "dtype": (
                    ["auto", *DTYPES],
                    {
                        "default": "auto",
                        "tooltip": "How the video model's weights are stored. auto: what this machine computes best "
                        "with. fp8: half the memory of bf16, slightly less exact.",
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, model: str, **_: Any) -> str:
        """What the host compares to find out whether the files are still those of the last run."""
        path = model_folders().get(model)
        return files_state(path) if path else ""

    def load(self, model: str, dtype: str, unique_id: str | None = None) -> dict[str, Any]:
        path = model_folders().get(model)
        if path is None or not is_model_folder(path):
            raise ModelFileError(
                f"The model folder {model!r} is not there (any more). Put a diffusers folder, the one with "
                "model_index.json in it, into models/diffusers and press R to refresh the list."
            )
        folder = open_folder(path)
        library("diffusers")
        header = folder.headers("transformer")
        stored = DTYPES.get({"F32": "fp32", "F16": "fp16", "BF16": "bf16"}.get(_main_dtype(header), ""))
        dtypes = host.device_dtypes(DTYPES.get(dtype), stored)
        key = (str(path), files_state(path), str(dtypes))
        shared = tuple(_loaded.get((*key, output)) for output in self.RETURN_NAMES)
        if None in shared:
            bar = host.progress(sum(len(folder.headers(c)) for c in folder.weights), unique_id)
            video_model, text, vae = load_pipeline(folder, **dtypes, on_progress=lambda done, _: bar(done))
            shared = host.model(video_model), host.clip(text), host.vae(vae)
            _loaded.update({(*key, output): part for output, part in zip(self.RETURN_NAMES, shared, strict=True)})
        kind = str(dtypes["model_dtype"] or stored).removeprefix("torch.")
        count = sum(prod(info.shape) for info in header.values())
        size = f"{count / 1e9:.1f} billion" if count >= 1e9 else f"{count / 1e6:.1f} million"
        return with_remarks(shared, [f"{folder.variant.title}: {size} parameters as {kind}"])


def _main_dtype(header: dict[str, Any]) -> str:
    """The dtype most tensors of a header have."""
    kinds = [info.dtype for info in header.values()]
    return max(set(kinds), key=kinds.count) if kinds else ""
