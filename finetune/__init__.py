"""LoRA training for every family: from a folder of clips to a LoRA file that the loaders read.

`prepare` checks the clips and stores their latents and prompts, `Training` learns, `export` writes the file.
"""

from __future__ import annotations

from .clips import Clip, Refused, read_clips
from .encode import Encoders
from .errors import MissingTrainer, TrainingError
from .export import export
from .loop import Record, Training
from .page import write_page
from .plan import data_lines, plan_lines
from .prepare import Prepared, prepare
from .processes import Processes
from .samples import Drawn, Shot, draw, shots_of
from .settings import Settings

__all__ = [
    "Clip",
    "Drawn",
    "Encoders",
    "MissingTrainer",
    "Prepared",
    "Processes",
    "Record",
    "Refused",
    "Settings",
    "Shot",
    "Training",
    "TrainingError",
    "data_lines",
    "draw",
    "export",
    "plan_lines",
    "prepare",
    "read_clips",
    "shots_of",
    "write_page",
]
