"""Loading single files: a diffusion model or an all-in-one, and a VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from ..base import Variant
from ..families import families
from ..host import host
from ..loaders import (
    DTYPES,
    LOAD_VAE,
    ModelFile,
    ModelFileError,
    is_model_folder,
    library,
    load_folder_sound,
    load_model,
    load_sound_vae,
    load_vae,
    most_stored,
    open_file,
    open_folder,
    open_text_files,
    parameter_counts,
)
from .inputs import NONE, SOUND_FOLDERS, chosen, combo, files_of, states_of
from .load_text import clip_of_files, encoders_for
from .long_work import reading
from .memory import model_plan, packed_names, vae_plan
from .packed import computed_lines, packed_lines
from .prompt_cache import only_kept_prompts
from .remarks import with_remarks
from .shared import files_state, shared

_DTYPE = (
    ["auto", *DTYPES],
    {
        "advanced": True,
        "default": "auto",
        "tooltip": "How the weights are stored. auto: what this machine computes best with. fp8: half the memory of "
        "bf16, slightly less exact.",
    },
)


# A sound's VAE is small, and half precision is heard.
SOUND_DTYPE = torch.float32


class OpenT2VLoadDiffusionModel:
    """Loads a video model from one file."""

    CATEGORY = "OpenT2V"
    FUNCTION = "load"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("MODEL", "CLIP", "VAE", "VAE")
    RETURN_NAMES = ("model", "clip", "vae", "audio_vae")
    OUTPUT_TOOLTIPS = (
        "The video model.",
        "The text encoder, where the file holds one.",
        "The video decoder, where the file holds one.",
        "The sound decoder, where the file holds one (LTX-2).",
    )
    DESCRIPTION = "Load a video model from one safetensors or GGUF file. Family, variant and layout are recognised."
    SEARCH_ALIASES: ClassVar = [
        "unet loader",
        "diffusion model loader",
        "gguf",
        "checkpoint loader",
        "wan",
        "ltx",
        "text to video",
        "load diffusion model",
        "unet",
        "hunyuan video",
        "cogvideox",
        "mochi",
        "open-sora",
        "文生视频",
        "视频模型",
    ]
    KINDS = ("diffusion_models", "checkpoints")
    BESIDE = ("text_encoders", "diffusion_models")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tooltip = "A file in models/diffusion_models, or an all-in-one file in models/checkpoints."
        return {
            "required": {"file": combo(tooltip, *cls.KINDS), "dtype": _DTYPE},
            "optional": {
                "rope_layout": (
                    [
                        "auto",
                        *sorted({name for family in families().values() for name in family.recognition.rope_layouts}),
                    ],
                    {
                        "advanced": True,
                        "default": "auto",
                        "tooltip": "How an Open-Sora 2.0 file has stored its positions, and a MiniMax H3 file its "
                        "queries, keys and values (interleaved: head by head, as MiniMaxAI's shards); no tensor tells. "
                        "The wrong one makes noise. auto: as published.",
                    },
                ),
                "connectors": (
                    [NONE, *files_of(*cls.BESIDE)],
                    {
                        "advanced": True,
                        "default": NONE,
                        "tooltip": "For LTX-2 files without their connectors (GGUF, split files): the file that holds "
                        "them, in models/text_encoders or models/diffusion_models. none: the file has all.",
                    },
                ),
                "expert": (
                    ["auto", "high", "low"],
                    {
                        "advanced": True,
                        "default": "auto",
                        "tooltip": "Which of the two experts of Wan 2.2 A14B the file is. auto: as its name or its "
                        "folder's says (high_noise, low_noise).",
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID", "prompt": "PROMPT"},
        }

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> str:
        return states_of(inputs.values(), *cls.KINDS, "text_encoders")

    def load(
        self,
        file: str,
        dtype: str,
        rope_layout: str = "auto",
        connectors: str = NONE,
        expert: str = "auto",
        unique_id: str | None = None,
        prompt: Any = None,
    ) -> dict[str, Any]:
        path = chosen(file, *self.KINDS)
        beside = None if connectors == NONE else chosen(connectors, *self.BESIDE)
        opened = open_file(path, expert="" if expert == "auto" else expert)
        library("diffusers")
        dtypes = host.device_dtypes(
            DTYPES.get(dtype), stored_dtype(opened), sum(parameter_counts(opened.header).values())
        )
        recognised = opened.parts.get("transformer")
        is_packed = dtype == "auto" and opened.quantisation.stays_packed
        memory: list[str] = []
        if recognised is not None:
            weights = opened.weights_of("transformer")
            packed = packed_names(opened.quantisation, weights) if is_packed else set()
            memory = [model_plan(recognised.variant, weights, dtypes["model_dtype"], packed)]
            host.say(memory, unique_id)  # now, because loading what does not fit may end the program

        def make() -> list[Any]:
            tick = reading(unique_id, memory)
            return [host.model(load_model(opened, dtypes["model_dtype"], tick, rope_layout, is_packed, beside))]

        key = (str(path), *map(files_state, opened.files), str(dtypes))
        beside_key = () if beside is None else (str(beside), files_state(beside))
        model = shared((*key, rope_layout, expert, str(is_packed), *beside_key), ["model"], make)["model"]
        assert recognised is not None  # load_model has refused every other file
        stored_as = _stored_as(opened, dtypes["model_dtype"], is_packed)
        remarks = [f"{recognised.variant.title}, {recognised.layout} layout, stored as {stored_as}"]
        remarks += [f"Read from {len(opened.files)} shards"] if len(opened.files) > 1 else []
        remarks += (
            computed_lines(opened.quantisation, opened.weights_of("transformer"), "transformer") if is_packed else []
        )
        remarks += [*([recognised.remark] if recognised.remark else []), *memory]
        is_late = only_kept_prompts(prompt, unique_id, 1)
        clip = self._clip(opened, recognised.variant, dtypes["text_dtype"], key, is_late, unique_id)
        outputs = model, clip, self._vae(opened, dtypes, key, unique_id)
        return with_remarks((*outputs, self._audio_vae(opened, key, unique_id)), remarks)

    def _clip(
        self, opened: ModelFile, variant: Variant, dtype: Any, key: tuple[str, ...], is_late: bool, node: str | None
    ) -> Any:
        if not opened.text_prefixes:
            return host.missing(
                f"{opened.path.name} holds no text encoder. Use Load Video Text Encoder with {_encoder_of(variant)}."
            )
        try:
            encoders = encoders_for(variant, open_text_files(opened.path, opened.text_prefixes))
            tick = reading(None if is_late else node)  # a late encoder is read when this node has long ended
            make = lambda: [clip_of_files(variant, encoders, dtype, is_late, tick)]  # noqa: E731
            return shared(key, ["clip"], make)["clip"]
        except ModelFileError as error:
            # The video model is of use without the encoder beside it, so only what needs the CLIP is stopped.
            return host.missing(f"{error} Or use Load Video Text Encoder with {_encoder_of(variant)}.")

    def _vae(self, opened: ModelFile, dtypes: dict[str, Any], key: tuple[str, ...], node: str | None) -> Any:
        if "vae" not in opened.parts:
            variant = opened.parts["transformer"].variant
            return host.missing(
                f"{opened.path.name} holds no VAE. Use Load Video VAE with "
                f"{variant.pairs.get('vae', 'the one that belongs to the model')}."
            )
        return shared(key, ["vae"], lambda: [host.vae(load_vae(opened, dtypes["vae_dtype"], reading(node)))])["vae"]

    def _audio_vae(self, opened: ModelFile, key: tuple[str, ...], node: str | None) -> Any:
        if "audio_vae" not in opened.parts:
            return host.missing(
                f"{opened.path.name} holds no audio VAE. For a model with sound use Load Video VAE with its file."
            )
        return shared(key, ["audio_vae"], lambda: [host.vae(load_sound_vae(opened, SOUND_DTYPE, reading(node)))])[
            "audio_vae"
        ]


class OpenT2VLoadVAE:
    """Loads a video VAE from one file."""

    CATEGORY = "OpenT2V"
    FUNCTION = "load"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("VAE",)
    RETURN_NAMES = ("vae",)
    OUTPUT_TOOLTIPS = ("The video decoder and encoder.",)
    DESCRIPTION = "Load a video VAE from one safetensors or GGUF file. Its family is recognised."
    SEARCH_ALIASES: ClassVar = ["vae loader", "video vae", "decoder", "load vae", "视频 VAE"]
    KINDS = ("vae", SOUND_FOLDERS)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "file": combo(
                    "A file in models/vae, or the sound's VAE of a folder of LTX-2 or MiniMax H3.", *cls.KINDS
                )
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> str:
        return states_of(inputs.values(), *cls.KINDS)

    def load(self, file: str, unique_id: str | None = None) -> dict[str, Any]:
        path = chosen(file, *self.KINDS)
        if is_model_folder(path):
            return self._of_folder(path, unique_id)
        opened = open_file(path, LOAD_VAE)
        is_sound = "audio_vae" in opened.parts and "vae" not in opened.parts
        library("diffusers")
        dtype = host.device_dtypes(None, None)["vae_dtype"]
        part, name = ("audio_vae", "Audio VAE") if is_sound else ("vae", "VAE")
        recognised = opened.part(part)
        weights = opened.weights_of(part)
        memory: list[str] = []
        if not is_sound:
            packed = packed_names(opened.quantisation, weights, convolutions=True)
            memory = [vae_plan(recognised.variant, weights, dtype, packed)]
            host.say(memory, unique_id)  # now, because loading what does not fit may end the program

        def make() -> list[Any]:
            tick = reading(unique_id, memory)
            return [host.vae(load_sound_vae(opened, SOUND_DTYPE, tick) if is_sound else load_vae(opened, dtype, tick))]

        vae = shared((str(path), files_state(path), str(dtype)), ["vae"], make)["vae"]
        lines = [f"{name} of {recognised.variant.title}, {recognised.layout} layout"]
        lines += packed_lines(opened.quantisation, weights, part)
        return with_remarks((vae,), [*lines, *memory])

    def _of_folder(self, path: Path, unique_id: str | None) -> dict[str, Any]:
        folder = open_folder(path)
        library("diffusers")

        def make() -> list[Any]:
            return [host.vae(load_folder_sound(folder, SOUND_DTYPE, reading(unique_id)))]

        vae = shared((str(path), files_state(path), "audio_vae"), ["vae"], make)["vae"]
        with_vocoder = ", with the vocoder of its folder" if "vocoder" in folder.configs else ""
        return with_remarks((vae,), [f"Audio VAE of {folder.variant.title}{with_vocoder}"])


def _encoder_of(variant: Variant) -> str:
    return variant.pairs.get("text_encoders", "the one that belongs to the model")


def stored_dtype(file: ModelFile) -> torch.dtype | None:
    """The dtype of most of a file's numbers; None for packed files, whose bytes do not show it."""
    if file.quantisation.layers:
        return None
    storage = most_stored(file.header)
    return storage.dtype if storage else None


def _stored_as(file: ModelFile, dtype: torch.dtype | None, is_packed: bool) -> str:
    if is_packed:
        return file.quantisation.text(file.weights_of("transformer"))
    kind = str(dtype or stored_dtype(file) or torch.bfloat16).removeprefix("torch.")
    return f"{kind} from {file.quantisation.kind}" if file.quantisation.kind else kind
