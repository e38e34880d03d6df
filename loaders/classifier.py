"""Picture classifiers in transformers' layout: config.json, preprocessor_config.json, model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .containers import open_container
from .errors import ModelFileError
from .libraries import library, library_class

CONFIG, PREPARATION, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
_ENDING = "ForImageClassification"
_MEAN = _STD = (0.5, 0.5, 0.5)


def is_classifier_folder(path: Path) -> bool:
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


@dataclass(frozen=True)
class Classifier:
    """A loaded classifier.

    Attributes:
        labels: names, by the place in the model's answer.
        scaled: (height, width) in pixels the picture is scaled to, or the length of its shorter side.
        cut: (height, width) that is cut out of the middle then, or None.
        mean, std: per channel, of pictures in 0..1.
    """

    model: nn.Module
    labels: tuple[str, ...]
    scaled: tuple[int, int] | int
    cut: tuple[int, int] | None = None
    mean: tuple[float, ...] = _MEAN
    std: tuple[float, ...] = _STD

    def shares(self, frames: Tensor) -> dict[str, Tensor]:
        """Frames [n, H, W, 3] in 0..1 -> label -> share 0..1 [n]; all shares of a frame add up to 1."""
        with torch.inference_mode():
            answer = self.model(pixel_values=self._prepared(frames)).logits.float().softmax(-1)
        return {label: answer[:, i].cpu() for i, label in enumerate(self.labels)}

    def _prepared(self, frames: Tensor) -> Tensor:
        weight = next(self.model.parameters())
        x = frames[..., :3].float().permute(0, 3, 1, 2)
        if isinstance(self.scaled, int):
            ratio = self.scaled / min(x.shape[2:])
            whole = int(x.shape[2] * ratio), int(x.shape[3] * ratio)
        else:
            whole = self.scaled
        x = interpolate(x, whole, mode="bilinear", antialias=True, align_corners=False)
        if self.cut is not None:
            top, left = ((side - kept) // 2 for side, kept in zip(whole, self.cut, strict=True))
            x = x[..., top : top + self.cut[0], left : left + self.cut[1]]
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return ((x - mean.to(x)) / std.to(x)).to(weight)


def load_classifier(path: Path, requested: Sequence[str]) -> Classifier:
    """Load a classifier from a local folder; nothing is downloaded and no code of the folder runs.

    Args:
        requested: labels the caller will ask for.
    Raises:
        ModelFileError: a file is missing or damaged, the model is no picture classifier, or has no such label.
    """
    config = _json(path / CONFIG)
    named = (config.get("architectures") or [""])[0]
    if not isinstance(named, str) or not named.endswith(_ENDING):
        raise ModelFileError(
            f"{path / CONFIG}: names the model {named!r}; expected a picture classifier, whose name ends in {_ENDING}."
        )
    if not (path / WEIGHTS).is_file():
        raise ModelFileError(f"{path}: {WEIGHTS} is missing. Get the safetensors version; pickles are not opened.")
    named_labels = config.get("id2label") or {}
    labels = tuple(str(named_labels[key]) for key in sorted(named_labels, key=int))
    unknown = [name for name in requested if name not in labels]
    if unknown or not requested:
        problem = f"has no label {unknown[0]!r}" if unknown else "was asked for no label"
        raise ModelFileError(f"{path.name}: {problem}. Its labels are: {', '.join(labels[:40])}.")
    open_container(path / WEIGHTS)  # raises an error that names the file where it is damaged
    library("transformers")
    model: Any = library_class(named)
    try:
        loaded, report = model.from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelFileError(f"{path}: the classifier cannot be loaded ({error}). Get its files again.") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelFileError(f"{path / WEIGHTS}: has no {missing[0]}, which {named} needs. Get the file again.")
    prepared = _json(path / PREPARATION) if (path / PREPARATION).is_file() else {}
    scaled, cut = _size(prepared, config)
    mean, std = (tuple(prepared.get(key) or _MEAN) for key in ("image_mean", "image_std"))
    if prepared.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return Classifier(loaded.eval().float(), labels, scaled, cut, mean, std)


def _size(prepared: dict[str, Any], config: dict[str, Any]) -> tuple[tuple[int, int] | int, tuple[int, int] | None]:
    """The size to scale a picture to and the size to crop it to, see `Classifier`."""
    size = prepared.get("size") or config.get("image_size") or 224
    cut = _pair(prepared["crop_size"]) if prepared.get("do_center_crop") and prepared.get("crop_size") else None
    shorter = size.get("shortest_edge") if isinstance(size, dict) else None
    if shorter is None:
        return _pair(size), cut
    return shorter, cut or (shorter, shorter)


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, dict):
        return size["height"], size["width"]
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read as JSON ({error}). Get the file again.") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{path}: expected a JSON object, found {type(content).__name__}.")
    return content
