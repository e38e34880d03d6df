"""Frames and sound to files: nothing here knows models or the host."""

from .audio import AudioTrack
from .naming import OutputError, check_prefix, save_location
from .writer import VideoWriter

__all__ = ["AudioTrack", "OutputError", "VideoWriter", "check_prefix", "save_location"]
