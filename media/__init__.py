"""Frames and sound to files: nothing here knows models or the host."""

from .audio import AudioTrack
from .naming import OutputError, save_location
from .writer import VideoWriter

__all__ = ["AudioTrack", "OutputError", "VideoWriter", "save_location"]
