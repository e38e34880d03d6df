"""LoRA training for every family: from a folder of clips to a LoRA file that the loaders read.

`prepare` checks the clips and stores their latents and prompts, `Training` learns, `export` writes the file.
"""

from __future__ import annotations

from .ceiling import Ceiling, ceiling_of
from .clips import Clip, Refused, read_clips
from .effect import Effect, Judge
from .encode import Encoders
from .errors import MissingTrainer, TrainingError
from .export import export, write_card
from .loop import Record, Training
from .page import write_page
from .plan import data_lines, plan_lines
from .prepare import Prepared, prepare
from .processes import Processes
from .samples import Drawn, Shot, draw, held_out_shots, shots_of
from .settings import Settings

__all__ = [
    "Ceiling",
    "Clip",
    "Drawn",
    "Effect",
    "Encoders",
    "Judge",
    "MissingTrainer",
    "Prepared",
    "Processes",
    "Record",
    "Refused",
    "Settings",
    "Shot",
    "Training",
    "TrainingError",
    "ceiling_of",
    "data_lines",
    "draw",
    "export",
    "held_out_shots",
    "plan_lines",
    "prepare",
    "read_clips",
    "shots_of",
    "write_card",
    "write_page",
]
