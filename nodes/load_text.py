"""Loading text encoders from single files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..base import FamilyError, Variant
from ..base.text import tokenizer_slot
from ..host import host
from ..loaders import TextFile, find_text, library, load_text, match_text, open_text_files, wanted_kinds
from .inputs import NONE, chosen, combo, files_of, model_folders, states_of
from .long_work import reading
from .memory import text_plan
from .packed import packed_lines
from .prompt_cache import clip_of, only_kept_prompts, text_identity
from .remarks import with_remarks
from .shared import files_state, shards_of, shared


class OpenT2VLoadTextEncoder:
    """Loads the text encoders of a video model."""

    CATEGORY = "OpenT2V"
    FUNCTION = "load"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("CLIP",)
    RETURN_NAMES = ("clip",)
    OUTPUT_TOOLTIPS = ("The text encoder, for the prompt node.",)
    DESCRIPTION = "Load the text encoder of a video model; the model tells how it reads prompts."
    SEARCH_ALIASES: ClassVar = [
        "clip loader",
        "dual clip loader",
        "t5",
        "umt5",
        "text encoder",
        "load clip",
        "文本编码器",
    ]
    KINDS = ("text_encoders", "checkpoints")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names, options = combo("A file in models/text_encoders.", "text_encoders")
        second = [NONE, *files_of(*cls.KINDS)]
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The video model that the text encoder is for."}),
                "file": (names, options),
                "file_2": (
                    second,
                    {
                        "default": NONE,
                        "tooltip": "The second file of models with two (HunyuanVideo, Open-Sora 2.0: CLIP-L; LTX-2: "
                        "the text projection or the all-in-one file that holds it; MiniMax H3 as GGUF: the mmproj "
                        "file, to see pictures).",
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID", "prompt": "PROMPT"},
        }

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> str:
        return f"{states_of(inputs.values(), *cls.KINDS)} {_tokenizers_state()}"

    def load(
        self, model: Any, file: str, file_2: str, unique_id: str | None = None, prompt: Any = None
    ) -> dict[str, Any]:
        variant = host.variant(model)
        if variant is None:
            raise FamilyError("This MODEL is of no family this pack knows, so it is not known how it reads prompts.")
        names = [file] if file_2 == NONE else [file, file_2]
        files: list[TextFile] = []
        for name in names:
            encoders = open_text_files(chosen(name, *self.KINDS))
            files += encoders_for(variant, encoders) if len(encoders) > 1 else encoders
        files += layers_behind(variant, files, host.path(model))
        library("transformers")
        dtype = host.device_dtypes(None, None)["text_dtype"]
        memory = text_plan(files, dtype)
        host.say([memory], unique_id)  # now, because loading what does not fit may end the program

        def make() -> list[Any]:
            is_late = only_kept_prompts(prompt, unique_id, 0)
            return [clip_of_files(variant, files, dtype, is_late, reading(None if is_late else unique_id, [memory]))]

        states = [f"{text_file.path} {files_state(text_file.path)}" for text_file in files]
        states += _tokenizer_states(files)
        clip = shared((*states, variant.family.id, variant.name, str(dtype)), ["clip"], make)["clip"]
        titles = " and ".join(text_file.layout.title for text_file in files)
        lines = [f"Text encoder: {titles}, for {variant.title}"]
        for text_file in files:
            lines += packed_lines(text_file.quantisation, text_file.weights, "text_encoder")
        return with_remarks((clip,), [*lines, memory])


def clip_of_files(
    variant: Variant,
    files: Sequence[TextFile],
    dtype: Any,
    is_late: bool,
    on_progress: Callable[[int, int], None] | None = None,
) -> Any:
    """The CLIP of text encoders in single files; arguments and errors as of `load_text` and `prompt_cache.clip_of`."""
    match_text(files, variant)
    # An encoder may lie in shards, which its file lists, or in a GGUF's parts, which only their names tell.
    listed = [path for file in files for path in file.files or (file.path,)]
    paths = list(dict.fromkeys(shard for path in listed for shard in shards_of(path)))
    identity = text_identity(variant, paths, str(dtype), *_tokenizer_states(files))
    load = lambda: load_text(files, variant, dtype, find_tokenizer, on_progress)  # noqa: E731
    return clip_of(variant, files[0].path, identity, load, is_late)


def _tokenizer_states(files: Sequence[TextFile]) -> list[str]:
    """Texts that change with the tokenizers: another one of the user's makes another CLIP, unless the file has one."""
    return [_tokenizers_state(file.kind.class_name) for file in files if not file.tokenizer]


def layers_behind(variant: Variant, files: Sequence[TextFile], path: Path | None) -> list[TextFile]:
    """The layer behind the encoder, where the model has one, no file holds it and the model's own does.

    Args:
        files: of the text encoders.
        path: of the model; None where it is of no file.
    """
    layers = [kind for kind in wanted_kinds(variant).values() if not kind.reads_prompts]
    if path is None or not path.is_file() or not layers or any(file.kind in layers for file in files):
        return []
    return [inside for inside in find_text(path) if inside.kind in layers]


def find_tokenizer(class_name: str, fits: Callable[[Path], bool] = lambda _: True) -> Path | None:
    """The first folder with a tokenizer for a text encoder's class that fits it; None where there is none.

    The host's own comes first, then those in the user's diffusers folders; those of the bundled models come last.

    Args:
        fits: whether the tokenizer in a folder is the encoder's.
    """
    shipped = host.tokenizer_folder(class_name)
    if shipped is not None and fits(shipped):
        return shipped
    return next((folder for folder in _tokenizer_folders(class_name) if fits(folder)), None)


def _tokenizer_folders(class_name: str = "") -> Iterator[Path]:
    """Tokenizers in diffusers folders, of a text encoder's class or of all, in the order of `find_tokenizer`."""
    bundled = host.model_roots("diffusers")[0]
    for folder in sorted(model_folders().values(), key=lambda folder: folder.is_relative_to(bundled)):
        for config in sorted(folder.glob("text_encoder*/config.json")):
            tokenizer = folder / tokenizer_slot(config.parent.name)
            if not tokenizer.is_dir():
                continue
            if not class_name or f'"{class_name}"' in config.read_text(encoding="utf-8", errors="replace"):
                yield tokenizer


def _tokenizers_state(class_name: str = "") -> str:
    """A text that changes with the tokenizers that an encoder may be read with; see `files_state`."""
    return " ".join(f"{folder} {files_state(folder)}" for folder in _tokenizer_folders(class_name))


def encoders_for(variant: Variant, encoders: Sequence[TextFile]) -> list[TextFile]:
    """Those of a file's text encoders that a model reads, one for each of its slots; all where it reads none."""
    kinds = wanted_kinds(variant).values()
    fitting = [next((encoder for encoder in encoders if encoder.kind == kind), None) for kind in kinds]
    return [encoder for encoder in fitting if encoder is not None] or list(encoders)
