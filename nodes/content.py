"""An optional check of what the frames show."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ..base.walk import files_below
from ..host import host
from ..loaders import ModelFileError
from ..loaders.classifier import is_classifier_folder, load_classifier
from ..media.finishing import ACTIONS, ContentCheck, Step
from .inputs import FinishingStep, finishing_input, share

NOTHING = "put a classifier's folder into models/classifiers"


def classifier_folders() -> dict[str, Path]:
    """Every classifier's folder the host's model paths hold, by its name below them."""
    folders: dict[str, Path] = {}
    for root in host.model_roots("classifiers"):
        inside = {file.parent for file in files_below(root, is_classifier_folder)}
        for folder in sorted(filter(is_classifier_folder, inside), key=lambda folder: (len(folder.parts), folder)):
            folders.setdefault(folder.relative_to(root).as_posix(), folder)
    return folders


class OpenT2VContentCheck(FinishingStep):
    """Looks at frames with a classifier of the user's choice."""

    DESCRIPTION = (
        "Check frames with a picture classifier from models/classifiers and stop, blur or note what it flags. "
        "Nothing is checked where this node is not used."
    )
    SEARCH_ALIASES: ClassVar = ["nsfw", "safety checker", "classifier", "moderation", "内容审核"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = list(classifier_folders()) or [NOTHING]
        return {
            "required": {
                "model": (
                    names,
                    {
                        "default": names[0],
                        "tooltip": "A folder in models/classifiers, in transformers' layout. Nothing is downloaded.",
                    },
                ),
                "labels": (
                    "STRING",
                    {
                        "default": "nsfw",
                        "tooltip": "Labels of the model that count, with commas between. A wrong one is answered with "
                        "the list.",
                    },
                ),
                "threshold": share(0.5, "A frame is flagged from this share on. Lower: stricter."),
                "every": (
                    "INT",
                    {
                        "advanced": True,
                        "default": 8,
                        "min": 1,
                        "max": 1000,
                        "tooltip": "The first of so many frames is checked and decides for all of them. 1: each frame.",
                    },
                ),
                "action": (
                    list(ACTIONS),
                    {
                        "default": "stop",
                        "tooltip": "stop: no video is made. blur: those frames are made unrecognisable. flag: only "
                        "noted on the node.",
                    },
                ),
            },
            "optional": {"finishing": finishing_input()},
        }

    def add(
        self, model: str, labels: str, threshold: float, every: int, action: str, finishing: tuple[Step, ...] = ()
    ) -> tuple[tuple[Step, ...]]:
        path = classifier_folders().get(model)
        if path is None:
            raise ModelFileError(
                f"The classifier {model!r} is not there (any more). Put its folder, with config.json and "
                "model.safetensors in it, into models/classifiers and press R to refresh the list."
            )
        watched = [name.strip() for name in labels.split(",") if name.strip()]
        classifier = load_classifier(path, watched)

        def classify(frames: Any) -> dict[str, Any]:
            shares = classifier.shares(frames)
            return {name: shares[name] for name in watched}

        return ((*finishing, ContentCheck(classify, every, threshold, action)),)
