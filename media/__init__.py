"""Frames and sound to files and back: nothing here knows models or the host."""

from .audio import AudioTrack
from .naming import OutputError, check_input, check_prefix, list_inputs, save_location
from .reader import VideoError, read_video
from .settings import SaveSettings
from .writer import VideoWriter

__all__ = [
    "AudioTrack",
    "OutputError",
    "SaveSettings",
    "VideoError",
    "VideoWriter",
    "check_input",
    "check_prefix",
    "list_inputs",
    "read_video",
    "save_location",
]
