"""Loading a model: MODEL, CLIP and VAE from one folder."""

from __future__ import annotations

from typing import Any, ClassVar

from ..host import host
from ..loaders import (
    DTYPES,
    ModelFileError,
    is_model_folder,
    library,
    load_folder_text,
    load_pipeline,
    most_stored,
    open_folder,
    parameter_counts,
    text_files,
)
from .inputs import by_name, model_folders
from .long_work import reading
from .memory import model_plan, packed_names
from .packed import computed_lines
from .prompt_cache import clip_of, only_kept_prompts, text_identity
from .remarks import with_remarks
from .shared import files_state, shared

# Outputs that only some folders provide -> the component they come from.
_FURTHER = {"low_noise_model": "transformer_2", "clip_vision": "image_encoder"}
NOTHING = "put a diffusers folder into models/diffusers"


class OpenT2VLoadModel:
    """Loads a text-to-video model from a diffusers folder."""

    CATEGORY = "OpenT2V"
    FUNCTION = "load"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("MODEL", "CLIP", "VAE", "MODEL", "CLIP_VISION")
    RETURN_NAMES = ("model", "clip", "vae", "low_noise_model", "clip_vision")
    OUTPUT_TOOLTIPS = (
        "The video model.",
        "The model's text encoder.",
        "The model's video decoder.",
        "The low-noise expert of a model with two (Wan 2.2 A14B); empty for all others.",
        "The image encoder of models that read a picture with one (Wan 2.1 I2V); empty for all others.",
    )
    DESCRIPTION = "Load a text-to-video model with its text encoder and VAE. The family is recognised by itself."
    SEARCH_ALIASES: ClassVar = [
        "wan",
        "diffusers loader",
        "video model loader",
        "checkpoint",
        "text to video",
        "video model",
        "load checkpoint",
        "model loader",
        "文生视频",
        "视频模型",
    ]

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
                        "advanced": True,
                        "default": "auto",
                        "tooltip": "How the video model's weights are stored. auto: what this machine computes best "
                        "with. fp8: half the memory of bf16, slightly less exact.",
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID", "prompt": "PROMPT"},
        }

    @classmethod
    def IS_CHANGED(cls, model: str, **_: Any) -> str:
        """A text that the host compares with the last run's, to see whether the files have changed."""
        path = by_name(model_folders(), model)
        return files_state(path) if path else ""

    def load(self, model: str, dtype: str, unique_id: str | None = None, prompt: Any = None) -> dict[str, Any]:
        path = by_name(model_folders(), model)
        if path is None or not is_model_folder(path):
            raise ModelFileError(
                f"The model folder {model!r} is not there (any more). Put a diffusers folder, the one with "
                "model_index.json in it, into models/diffusers and press R to refresh the list."
            )
        folder = open_folder(path)
        library("diffusers")
        header, quantisation = folder.stored(folder.family.network.slot)
        storage = None if quantisation.layers else most_stored(header)
        stored = storage and storage.dtype
        dtypes = host.device_dtypes(DTYPES.get(dtype), stored, sum(parameter_counts(header).values()))
        is_packed = dtype == "auto" and quantisation.stays_packed
        optional_parts = [name for name, part in _FURTHER.items() if part in folder.weights]

        packed = packed_names(quantisation, header) if is_packed else set()
        memory = model_plan(folder.variant, header, dtypes["model_dtype"], packed)
        host.say([memory], unique_id)  # now, because loading what does not fit may end the program

        def make() -> list[Any]:
            dtype = dtypes["text_dtype"]
            identity = text_identity(folder.variant, text_files(folder), str(dtype))
            is_late = bool(identity) and only_kept_prompts(prompt, unique_id, 1)
            tick = reading(unique_id, [memory])
            loaded = load_pipeline(folder, **dtypes, on_progress=tick, keeps_packed=is_packed, has_text=not is_late)
            load = lambda: load_folder_text(folder, dtype, keeps_packed=is_packed)  # noqa: E731
            clip = clip_of(folder.variant, path, identity, load if is_late else lambda: loaded.text, is_late)
            high, *low = (host.model(part) for part in loaded.models)
            vision = [] if loaded.image_encoder is None else [host.clip_vision(loaded.image_encoder)]
            return [high, clip, host.vae(loaded.vae), *low, *vision]

        parts = shared(
            (str(path), files_state(path), str(dtypes), str(is_packed)), ["model", "clip", "vae", *optional_parts], make
        )
        kind = str(dtypes["model_dtype"] or stored).removeprefix("torch.")
        if is_packed:
            kind = quantisation.text(header)
        count = sum(parameter_counts(header).values())
        size = f"{count / 1e9:.1f} billion" if count >= 1e9 else f"{count / 1e6:.1f} million"
        remarks = [f"{folder.variant.title}: {size} parameters as {kind}"]
        remarks += computed_lines(quantisation, header, "transformer") if is_packed else []
        remarks += [*([folder.variant.remark] if folder.variant.remark else []), memory]
        return with_remarks(tuple(parts.get(name) for name in self.RETURN_NAMES), remarks)
