"""Sound for a video: checks an AUDIO and hands it out in step with the picture."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import torch

from .encoders import AAC_RATES
from .pyav import av

_LAYOUTS = {1: "mono", 2: "stereo"}


def in_a_row(audio: Mapping[str, Any], seconds: Fraction) -> dict[str, Any]:
    """The sounds of several clips as one, each beginning with its clip.

    Args:
        audio: {"waveform" [clips, C, samples], "sample_rate"}.
        seconds: length of a clip; of one clip alone the sound stays as it is.
    """
    waveform, rate = audio["waveform"], int(audio["sample_rate"])
    if len(waveform) == 1:
        return dict(audio)
    starts = [int(seconds * n * rate) for n in range(len(waveform) + 1)]
    row = waveform.new_zeros(1, waveform.shape[1], starts[-1])
    for sound, start, end in zip(waveform, starts, starts[1:], strict=False):
        taken = min(end - start, sound.shape[1])
        row[0, :, start : start + taken] = sound[:, :taken]
    return {**audio, "waveform": row}


class AudioTrack:
    """One sound, read from the start in pieces.

    Args:
        audio: {"waveform": [1, C, samples] float, -1..1 (beyond is clipped), C 1 or 2; "sample_rate": Hz}, as the
            host's AUDIO is.
        rates: sample rates of the codec in the file, Hz, rising.
        pad: go on with silence where the sound ends.
    Raises:
        ValueError: another shape, a batch of several sounds, more than two channels, an unusable sample rate.

    Attributes:
        layout: "mono" or "stereo".
        sample_rate: of the waveform, Hz.
        encoded_rate: in the file, Hz: `sample_rate` where the codec has it, else the next higher one, or its highest.
        samples: length of the waveform per channel; 0 is a sound without content.
    """

    def __init__(self, audio: Mapping[str, Any], rates: tuple[int, ...] = AAC_RATES, pad: bool = False):
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
        self.encoded_rate = next((rate for rate in rates if rate >= self.sample_rate), rates[-1])
        self.samples = samples
        self._pad = pad
        self._waveform = waveform[0].detach()
        self._position = 0

    def frames(self, until: Fraction) -> Iterator[Any]:
        """The sound not handed out yet, up to `until` seconds from the start, a second at most per frame.

        It ends where the waveform does, unless it is padded.

        Raises:
            ValueError: a sample is not a finite number.
        """
        stop = int(until * self.sample_rate)
        if not self._pad:
            stop = min(self.samples, stop)
        while self._position < stop:
            start, end = self._position, min(stop, self._position + self.sample_rate)
            # [C, samples]
            piece = self._waveform[:, start:end].to("cpu", torch.float32)
            if not torch.isfinite(piece).all():
                raise ValueError(
                    f"audio has NaN or infinite samples near second {start / self.sample_rate:.2f}; "
                    "the node that made the sound failed."
                )
            if piece.shape[1] < end - start:
                piece = torch.nn.functional.pad(piece, (0, end - start - piece.shape[1]))
            frame = av.AudioFrame.from_ndarray(
                piece.clamp(-1, 1).contiguous().numpy(), format="fltp", layout=self.layout
            )
            frame.sample_rate = self.sample_rate
            frame.time_base = Fraction(1, self.sample_rate)
            frame.pts = start
            self._position = end
            yield frame
