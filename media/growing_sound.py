"""The sound of clips that are joined one after the other, while they are joined."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from .audio import AudioTrack, as_long, faded_over


class GrowingSound:
    """The sound of clips that are joined one after the other; what was written is let go.

    Args:
        rate: samples a second.
        channels: of all clips; mono becomes as many.
    """

    def __init__(self, rate: int, channels: int):
        self.rate, self.channels = rate, channels
        self._held = self._waiting = torch.zeros(channels, 0)
        self._track: _GrowingTrack | None = None

    def track(self, rates: tuple[int, ...], pad: bool) -> AudioTrack:
        """What a writer reads; asked once. What was added before is in it."""
        self._track = _GrowingTrack(self.rate, self.channels, rates, pad)
        self._track.extend(self._waiting)
        return self._track

    def add(self, audio: Mapping[str, Any] | None, start: Fraction, seconds: Fraction, fade: Fraction) -> None:
        """The sound of the next clip; its last `fade` seconds are held back until the next one fades in.

        Args:
            audio: the host's AUDIO, which begins with the clip; None: silence.
            start, seconds: of the clip, in the whole.
        """
        begin, end = int(start * self.rate), int((start + seconds) * self.rate)
        keep = end - int((start + seconds - fade) * self.rate)
        wave = as_long(None if audio is None else audio["waveform"], self.channels, end - begin)[0]
        overlap = self._held.shape[1]
        faded = faded_over(self._held, wave[:, :overlap])
        ready = wave.shape[1] - keep
        self._held = wave[:, ready:].clone()
        ended = torch.cat([faded, wave[:, overlap:ready]], 1)
        if self._track is not None:
            self._track.extend(ended)
        else:  # the writer opens with the first frames, which come behind their sound
            self._waiting = torch.cat([self._waiting, ended], 1)


class _GrowingTrack(AudioTrack):
    """A track whose end is not known yet; another thread may read it while it grows."""

    def __init__(self, rate: int, channels: int, rates: tuple[int, ...], pad: bool):
        super().__init__({"waveform": torch.zeros(1, channels, 0), "sample_rate": rate}, rates, pad)
        self._lock, self._begin = threading.Lock(), 0

    def extend(self, waveform: Tensor) -> None:
        with self._lock:
            begin = self._position
            kept = self._waveform[:, begin - self._begin :]
            self._waveform, self._begin = torch.cat([kept, waveform], 1), begin
            self.samples += waveform.shape[1]

    def _piece(self, start: int, end: int) -> Tensor:
        with self._lock:
            return self._waveform[:, start - self._begin : end - self._begin]

    def _advance(self, end: int) -> None:
        with self._lock:
            super()._advance(end)
