"""CLIP_VISION: the host's own, with the weights of a model folder's image encoder."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from comfy.clip_vision import ClipVisionModel as ClipVision
from torch import nn

from .ops import move_orphans_on_load


def clip_vision(encoder: nn.Module) -> ClipVision:
    """A CLIP_VISION of the host's own classes, which read transformers' configs and names."""
    asked: Any = encoder.config
    weights = encoder.state_dict()
    # transformers 5.6 and newer leave out a level that the host and files have.
    weights = {
        name if name.startswith(("vision_model.", "visual_projection.")) else f"vision_model.{name}": weight
        for name, weight in weights.items()
    }
    config = {**asked.to_dict(), "model_type": "clip_vision_model"}
    if "visual_projection.weight" not in weights:
        del config["projection_dim"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"  # ComfyUI 0.8 reads a file only
        file.write_text(json.dumps(config, default=str), encoding="utf-8")
        vision = ClipVision(str(file))
    # Assign the tensors instead of copying: the loaded dtype stays, and no second copy is made.
    vision.model.load_state_dict(weights, assign=True)
    vision.dtype = next(encoder.parameters()).dtype
    move_orphans_on_load(vision.patcher)
    return vision
