"""Sound for a video: checks an AUDIO and hands it out in step with the picture."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import torch

from .pyav import av

# The rates of AAC that every player and browser takes, in Hz.
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_LAYOUTS = {1: "mono", 2: "stereo"}


class AudioTrack:
    """One sound, read from the start in pieces.

    Args:
        audio: {"waveform": [1, C, samples] float, -1..1 (beyond is clipped), C 1 or 2; "sample_rate": Hz}, as the
            host's AUDIO is.
    Raises:
        ValueError: another shape, a batch of several sounds, more than two channels, an unusable sample rate.

    Attributes:
        layout: "mono" or "stereo".
        sample_rate: of the waveform, Hz.
        encoded_rate: of the AAC stream, Hz: `sample_rate` where AAC has it, else the next higher one, at most 48000.
        samples: length of the waveform per channel; 0 is a sound without content.
    """

    def __init__(self, audio: Mapping[str, Any]):
        try:
            waveform, sample_rate = audio["waveform"], audio["sample_rate"]
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(
                f"audio is {type(audio).__name__}; expected a dict with 'waveform' and 'sample_rate'."
            ) from error
        if not isinstance(waveform, torch.Tensor) or waveform.ndim != 3 or not waveform.is_floating_point():
            found = (
                f"{list(waveform.shape)} {waveform.dtype}"
                if isinstance(waveform, torch.Tensor)
                else type(waveform).__name__
            )
            raise ValueError(f"audio waveform is {found}; expected a float tensor [1, channels, samples].")
        batch, channels, samples = waveform.shape
        if batch != 1:
            raise ValueError(f"audio holds {batch} sounds; a video takes one. Pick one of the batch before saving.")
        if channels not in _LAYOUTS:
            raise ValueError(
                f"audio has {channels} channels; expected 1 (mono) or 2 (stereo). Mix it down before saving."
            )
        if not isinstance(sample_rate, (int, float)) or not 1 <= sample_rate <= 768_000 or sample_rate % 1:
            raise ValueError(f"audio sample_rate is {sample_rate!r}; expected a whole number of Hz from 1 to 768000.")

        self.layout = _LAYOUTS[channels]
        self.sample_rate = int(sample_rate)
        self.encoded_rate = next((rate for rate in AAC_RATES if rate >= self.sample_rate), AAC_RATES[-1])
        self.samples = samples
        self._waveform = waveform[0].detach()
        self._position = 0

    def frames(self, until: Fraction) -> Iterator[Any]:
        """The sound not handed out yet, up to `until` seconds from the start (or its end), a second at most per frame.

        Raises:
            ValueError: a sample is not a finite number.
        """
        stop = min(self.samples, int(until * self.sample_rate))
        while self._position < stop:
            start, end = self._position, min(stop, self._position + self.sample_rate)
            # [C, samples]
            piece = self._waveform[:, start:end].to("cpu", torch.float32)
            if not torch.isfinite(piece).all():
                raise ValueError(
                    f"audio has NaN or infinite samples near second {start / self.sample_rate:.2f}; "
                    "the node that made the sound failed."
                )
            frame = av.AudioFrame.from_ndarray(
                piece.clamp(-1, 1).contiguous().numpy(), format="fltp", layout=self.layout
            )
            frame.sample_rate = self.sample_rate
            frame.time_base = Fraction(1, self.sample_rate)
            frame.pts = start
            self._position = end
            yield frame
