"""What is not read here, by name, with what to get instead."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ModelFileError
from ..header import Container
from .layer import StoredLayer
from .marks import MARK, MarkedFile
from .parts import ROLES

INSTEAD = "Get this model's int8 convrot, nvfp4, scaled fp8 or bf16 version"
# Endings of a tensor's name that no other format has -> the format.
_OTHERS = {
    ".wscales": "SVDQuant of nunchaku",
    ".smooth_factor": "SVDQuant of nunchaku",
    ".quant_state.bitsandbytes__nf4": "nf4 of bitsandbytes",
    ".quant_state.bitsandbytes__fp4": "fp4 of bitsandbytes",
    ".weight.absmax": "bitsandbytes",
    ".SCB": "int8 of bitsandbytes",
    ".weight._data": "quanto",
    ".weight.qweight": "quanto",
    ".qzeros": "GPTQ or AWQ of a language model",
    ".weight_scale_inv": "block-scaled fp8 of DeepSeek's kind",
}
_NO_MARK = "nothing in the file says in which format: it has no comfy_quant tensor for it and no _quantization_metadata"


def refuse_others(file: Container) -> None:
    """
    Raises:
        ModelFileError: the file's weights are in a format of another library.
    """
    for name, info in file.header.items():
        title = next((title for end, title in _OTHERS.items() if name.endswith(end)), None)
        stem = name.removesuffix(".scales")
        weight = file.header.get(f"{stem}.weight")
        if stem != name and weight is not None and weight.dtype in ("I8", "F8_E4M3"):
            title = "Lightricks' q8 kernels"
        if title is not None:
            raise ModelFileError(
                f"{file.path}: {name} ({info.dtype} {list(info.shape)}) is of {title}, which this pack does not read. "
                f"{INSTEAD}."
            )


def refuse_unknown(file: MarkedFile, layers: Mapping[str, StoredLayer]) -> None:
    """
    Raises:
        ModelFileError: a layer is marked as a format that is not read here.
    """
    for stem, mark in file.marks.items():
        if f"{stem}.weight" not in file.header:
            raise ModelFileError(
                f"{file.path}: {stem}{MARK} is there without {stem}.weight. The file is damaged: get it again."
            )
        if f"{stem}.weight" not in layers:
            raise ModelFileError(
                f"{file.path}: {stem}.weight is stored as {mark.format}, which this version does not read. {INSTEAD}."
            )


def refuse_leftover(name: str, file: Container) -> None:
    """
    Args:
        name: of a tensor that belongs to no packed layer.
    Raises:
        ModelFileError: it is a scale, or a weight of integers that nothing explains.
    """
    stem, _, end = name.rpartition(".")
    role = next((today for today, old in ROLES.items() if end in (today, old)), None)
    weight = file.header.get(f"{stem}.weight")
    if role is None and (end != "weight" or file.header[name].dtype not in ("I8", "U8")):
        return
    if weight is None:
        raise ModelFileError(f"{file.path}: {name} is there without {stem}.weight. The file is damaged: get it again.")
    if role == "input_scale" and weight.dtype not in ("I8", "U8"):
        return  # converters leave it beside layers that they do not convert
    beside = " and ".join(
        today for today, old in ROLES.items() if {f"{stem}.{today}", f"{stem}.{old}"} & file.header.keys()
    )
    scales = f"with {beside}" if beside else "without a scale"
    raise ModelFileError(
        f"{file.path}: {stem}.weight is stored as {weight.dtype} {list(weight.shape)} {scales}, and "
        f"{_NO_MARK}. {INSTEAD} from where ComfyUI's templates get it."
    )
