"""The sound of a stretch of a video file, in step with its frames."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import torch

from .pyav import av


def read_sound(container: Any, start: Fraction, seconds: Fraction) -> dict[str, Any] | None:
    """The host's AUDIO from `start` (on the file's clock) for at most `seconds`; None where the file is silent there.

    Samples stand at their own times: a gap in the sound is silence, and so is a sound that begins late.
    """
    stream = container.streams.audio[0]
    rate = stream.rate
    length = int(seconds * rate)
    resampler = av.AudioResampler(format="fltp")
    wave, end, follows = np.zeros((0, length), np.float32), 0, None
    # Matroska rounds times to milliseconds: what comes close behind the piece before it follows it.
    close = rate // 100
    # A second earlier: a decoder needs a moment before what it gives is right.
    container.seek(int(max(Fraction(0), start - 1) / stream.time_base), stream=stream, backward=True)
    try:
        for decoded in container.decode(stream):
            if decoded.pts is None:
                continue
            position = round((decoded.pts * decoded.time_base - start) * rate)
            if follows is not None and abs(position - follows) <= close:
                position = follows
            if position >= length:
                break
            for frame in resampler.resample(decoded):
                samples = frame.to_ndarray()
                if not wave.shape[0]:
                    wave = np.zeros((samples.shape[0], length), np.float32)
                skipped = max(0, -position)
                piece = samples[: wave.shape[0], skipped : skipped + max(0, length - max(0, position))]
                begin = max(0, position)
                wave[:, begin : begin + piece.shape[1]] = piece
                end = max(end, begin + piece.shape[1]) if piece.shape[1] else end
                position += samples.shape[1]
            follows = position
    except (av.error.FFmpegError, EOFError):
        pass  # cut off: the sound ends here
    if not end:
        return None
    return {"waveform": torch.from_numpy(wave[None, :, :end].copy()), "sample_rate": rate}
