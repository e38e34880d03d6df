"""The file doctor: a model file's kind, its companions and its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from ..base import FamilyError, Variant
from ..base.remarks import fits, look, refused
from ..base.units import bytes_text
from ..loaders import (
    ModelFile,
    ModelFileError,
    TextFile,
    open_container,
    open_file,
    open_text_files,
    tensor_bytes,
)
from ..loaders.lora import LoraFile, format_of, origin_text, read_lora, step_remark
from .charts import CHART_TOOLTIP, card_panels, picture_of
from .inputs import chosen, combo
from .packed import packed_lines
from .remarks import with_remarks

KINDS = ("diffusion_models", "checkpoints", "text_encoders", "vae", "loras", "clip_vision")
# Part of a model -> ComfyUI's folder for it.
_FOLDERS = {
    "transformer": "diffusion_models", "vae": "vae", "audio_vae": "vae", "text": "text_encoders", "all": "checkpoints",
    "lora": "loras",
}  # fmt: skip


class OpenT2VInspectFile:
    """Says what a file is, from its header."""

    CATEGORY = "OpenT2V"
    FUNCTION = "inspect"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "IMAGE")
    RETURN_NAMES = ("report", "card")
    OUTPUT_TOOLTIPS = ("What the file is, line by line.", CHART_TOOLTIP)
    DESCRIPTION = "Say what a model file is, what goes with it, where it belongs and what memory it takes."
    SEARCH_ALIASES: ClassVar = [
        "file doctor",
        "model info",
        "which model",
        "safetensors metadata",
        "inspect model",
        "模型信息",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"file": combo("Any file in the model folders. Only its header is read.", *KINDS)},
        }

    def inspect(self, file: str) -> dict[str, Any]:
        path = chosen(file, *KINDS)
        lines = report(path)
        return with_remarks(("\n".join(lines), picture_of(path.name, card_panels(lines))), lines)


def report(path: Path) -> list[str]:
    """What a file is, line by line; never raises for a file that cannot be used, but says why."""
    try:
        header = open_container(path).header
    except ModelFileError as error:
        return [refused(str(error))]
    kinds = Counter(info.dtype for info in header.values())
    stored = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    first = f"{path.name}: {len(header)} tensors ({stored}), {bytes_text(tensor_bytes(header))}"
    return [first, *_kind_lines(path)]


def _kind_lines(path: Path) -> list[str]:
    with suppress(ModelFileError):
        return _lora_lines(read_lora(path))
    try:
        return _model_lines(open_file(path))
    except FamilyError as error:
        return [refused(line) for line in str(error).splitlines()]
    except ModelFileError as error:
        reason = str(error)
    with suppress(ModelFileError):
        return _text_lines(open_text_files(path))
    return [refused(line) for line in reason.splitlines()]


def _model_lines(file: ModelFile) -> list[str]:
    lines = []
    for part, recognised in file.parts.items():
        kind = f", {file.quantisation.kind}" if file.quantisation.kind else ""
        lines.append(f"{recognised.variant.title} {part}, {recognised.layout} layout{kind}")
        lines += packed_lines(file.quantisation, file.weights_of(part), part)
        lines += [recognised.remark] if recognised.remark else []
    model = file.parts.get("transformer")
    is_whole = model is not None and ("vae" in file.parts or bool(file.text_prefixes))
    lines += _encoders_inside(file)
    if len(file.files) > 1:
        lines.append(f"Read together with the other shards: {len(file.files)} files")
    lines.append(_place(file.path, "all" if is_whole else next(iter(file.parts))))
    if model is not None:
        lines += [f"Goes with, in models/{folder}: {names}" for folder, names in model.variant.pairs.items()]
        lines.append(_memory(file, model.variant))
    return lines


def _lora_lines(file: LoraFile) -> list[str]:
    lines = [f"LoRA, {format_of(file)}; rank {file.ranks_text}"]
    origin, remark = origin_text(file), step_remark(file)
    lines += [f"{origin[0].upper()}{origin[1:]}"] if origin else []
    lines.append(f"Changes {len(file.adapters)} weights of the model and {len(file.text_adapters)} of text encoders")
    if file.leftovers:
        lines.append(f"{len(file.leftovers)} further names change nothing, first {file.leftovers[0]}")
    return [*lines, *([remark] if remark else []), _place(file.path, "lora")]


def _text_lines(files: Sequence[TextFile]) -> list[str]:
    lines = []
    for file in files:
        lines += [f"Text encoder {_encoder(file)}", *packed_lines(file.quantisation, file.weights, "text_encoder")]
    return [*lines, _place(files[0].path, "text")]


def _encoder(file: TextFile) -> str:
    return f"{file.layout.title}, {'with its tokenizer' if file.carries_tokenizer else 'without a tokenizer'}"


def _encoders_inside(file: ModelFile) -> list[str]:
    """What an all-in-one file holds besides the model and the VAE."""
    if not file.text_prefixes:
        return []
    try:
        encoders = open_text_files(file.path, file.text_prefixes)
    except ModelFileError:
        return [f"Holds a text encoder too ({file.text_prefixes[0].rstrip('.')}), which this version does not know"]
    return [f"Holds the text encoder too ({encoder.prefix.rstrip('.')}): {_encoder(encoder)}" for encoder in encoders]


def _place(path: Path, part: str) -> str:
    folder = _FOLDERS[part]
    if folder in path.parts:
        return fits(f"Belongs in models/{folder}, where it is")
    return look(f"Belongs in models/{folder}; it lies in {path.parent.name}")


def _memory(file: ModelFile, variant: Variant) -> str:
    defaults = variant.defaults
    shape = (1, *variant.geometry.latent_shape(defaults.width, defaults.height, defaults.frames))
    weights = tensor_bytes(file.header)
    return (
        f"Memory: {bytes_text(weights)} of weights as stored, and about "
        f"{bytes_text(variant.sample_memory(shape, 2))} more while sampling "
        f"{defaults.width} x {defaults.height} with {defaults.frames} frames in bf16"
    )
