"""Sound for a video: checks an AUDIO and hands it out in step with the picture."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import torch

from .encoders import AAC_RATES
from .pyav import av

# Number of channels -> layout with that number for encoders and players; other numbers are mixed down.
_LAYOUTS = {1: "mono", 2: "stereo", 5: "5.0", 6: "5.1", 8: "7.1"}
# PyAV (14.2 to 18.1) reads past the end of a planar frame with this many channels.
_TOO_MANY_PLANES = 8
_SIDE = 0.5**0.5
# Weights of a channel in left and right (ITU-R BS.775); low frequencies are left out.
_SHARES = {
    "left": (1.0, 0.0),
    "right": (0.0, 1.0),
    "centre": (_SIDE, _SIDE),
    "low": (0.0, 0.0),
    "back left": (_SIDE, 0.0),
    "back right": (0.0, _SIDE),
    "back": (0.5, 0.5),
}
# FFmpeg's order of channels in "2.1", "quad" and "6.1".
_MIXED = {
    3: ("left", "right", "low"),
    4: ("left", "right", "back left", "back right"),
    7: ("left", "right", "centre", "low", "back", "back left", "back right"),
}


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


def joined(
    first: Mapping[str, Any] | None,
    second: Mapping[str, Any] | None,
    lengths: tuple[Fraction, Fraction],
    fade: Fraction,
) -> dict[str, Any] | None:
    """The sounds of two clips as one, each beginning with its clip, faded over at equal power where the clips overlap.

    Args:
        first, second: {"waveform" [1, C, samples], "sample_rate"}; None: silence. Mono becomes as many channels as the
            other sound has.
        lengths: of the clips, in seconds. A sound is cut there, or goes on in silence.
        fade: of the clips' overlap, in seconds.
    Returns:
        None where both are.
    Raises:
        ValueError: other sample rates, or numbers of channels of which none is 1.
    """
    sounds = [sound for sound in (first, second) if sound is not None]
    if not sounds:
        return None
    rates = sorted({int(sound["sample_rate"]) for sound in sounds})
    channels = max(sound["waveform"].shape[1] for sound in sounds)
    if len(rates) > 1:
        raise ValueError(
            f"The sounds have {rates[0]} and {rates[1]} samples a second; both need the same rate. Convert one first."
        )
    rate = rates[0]

    before, after = (
        as_long(None if sound is None else sound["waveform"], channels, int(seconds * rate))
        for sound, seconds in zip((first, second), lengths, strict=True)
    )
    start = int((lengths[0] - fade) * rate)
    overlap = before.shape[2] - start
    faded = faded_over(before[:, :, start:], after[:, :, :overlap])
    return {"waveform": torch.cat([before[:, :, :start], faded, after[:, :, overlap:]], 2), "sample_rate": rate}


def faded_over(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """[..., samples] of a sound that fades at equal power into another one of the same shape."""
    # Sine and cosine: their squares sum to 1, so that unlike sounds stay as loud as they are.
    angles = torch.linspace(0, torch.pi / 2, before.shape[-1] + 2)[1:-1].to(before)
    return before * angles.cos() + after * angles.sin()


def as_long(waveform: torch.Tensor | None, channels: int, samples: int) -> torch.Tensor:
    """[1, channels, samples] of a waveform [B, C, n], cut there or followed by silence; None: silence.

    Raises:
        ValueError: another number of channels, but for one, which becomes as many.
    """
    if waveform is None:
        return torch.zeros(1, channels, samples)
    taken = waveform[:1, :, :samples].float().cpu()
    if taken.shape[1] not in (1, channels):
        raise ValueError(
            f"The sounds have {taken.shape[1]} and {channels} channels; both need as many, or one channel."
        )
    return torch.nn.functional.pad(taken.expand(1, channels, -1), (0, samples - taken.shape[2]))


class AudioTrack:
    """One sound, read from the start in pieces.

    Args:
        audio: {"waveform": [1, C, samples] float, -1..1 (beyond is clipped); "sample_rate": Hz}, as the host's AUDIO
            is. 1, 2, 5, 6 and 8 channels are kept, in FFmpeg's order; others are mixed down to two.
        rates: sample rates of the codec in the file, Hz, rising.
        pad: go on with silence where the sound ends.
    Raises:
        ValueError: another shape, a batch of several sounds, an unusable sample rate.

    Attributes:
        layout: FFmpeg's name of the channels: "mono", "stereo", "5.1" ...
        sample_rate: of the waveform, Hz.
        encoded_rate: in the file, Hz: `sample_rate` where the codec has it, else the next higher one, or its highest.
        samples: length of the waveform per channel; 0 is a sound without content.
        remarks: what is worth telling the user; complete when all of the sound was handed out.
    """

    def __init__(self, audio: Mapping[str, Any], rates: tuple[int, ...] = AAC_RATES, pad: bool = False):
        try:
            waveform, sample_rate = audio["waveform"], audio["sample_rate"]
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(
                f"audio is {type(audio).__name__}; expected a dict with 'waveform' and 'sample_rate'."
            ) from error
        if not isinstance(waveform, torch.Tensor) or waveform.ndim != 3 or not waveform.is_floating_point():
            description = (
                f"{list(waveform.shape)} {waveform.dtype}"
                if isinstance(waveform, torch.Tensor)
                else type(waveform).__name__
            )
            raise ValueError(f"audio waveform is {description}; expected a float tensor [1, channels, samples].")
        batch, channels, samples = waveform.shape
        if batch != 1:
            raise ValueError(f"audio holds {batch} sounds; a video takes one. Pick one of the batch before saving.")
        if not channels:
            raise ValueError("audio has no channels; expected at least 1 (mono).")
        if not isinstance(sample_rate, (int, float)) or not 1 <= sample_rate <= 768_000 or sample_rate % 1:
            raise ValueError(f"audio sample_rate is {sample_rate!r}; expected a whole number of Hz from 1 to 768000.")

        self.remarks: list[str] = []
        waveform = waveform[0].detach()
        if channels not in _LAYOUTS:
            waveform = _mixed_down(waveform)
            self.remarks.append(f"The sound has {channels} channels; it was mixed down to stereo.")
        self.layout = _LAYOUTS[waveform.shape[0]]
        self.sample_rate = int(sample_rate)
        self.encoded_rate = next((rate for rate in rates if rate >= self.sample_rate), rates[-1])
        self.samples = samples
        self._pad = pad
        self._waveform, self._broken = waveform, False
        self._position = 0

    def frames(self, until: Fraction) -> Iterator[Any]:
        """The sound not handed out yet, up to `until` seconds from the start, a second at most per frame.

        It ends where the waveform does, unless it is padded. A sample that is no finite number is silent.
        """
        stop = int(until * self.sample_rate)
        if not self._pad:
            stop = min(self.samples, stop)
        while self._position < stop:
            start, end = self._position, min(stop, self._position + self.sample_rate)
            # [C, samples]
            piece = self._piece(start, end).to("cpu", torch.float32)
            if not torch.isfinite(piece).all():
                self._tell_broken(start)
                piece = piece.nan_to_num(0.0, 0.0, 0.0)
            if piece.shape[1] < end - start:
                piece = torch.nn.functional.pad(piece, (0, end - start - piece.shape[1]))
            numbers = piece.clamp(-1, 1)
            if numbers.shape[0] < _TOO_MANY_PLANES:
                frame = av.AudioFrame.from_ndarray(numbers.contiguous().numpy(), format="fltp", layout=self.layout)
            else:
                packed = numbers.T.reshape(1, -1).contiguous().numpy()
                frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=self.layout)
            frame.sample_rate = self.sample_rate
            frame.time_base = Fraction(1, self.sample_rate)
            frame.pts = start
            self._advance(end)
            yield frame

    def _piece(self, start: int, end: int) -> torch.Tensor:
        """Samples of the whole sound, as far as there are any."""
        return self._waveform[:, start:end]

    def _advance(self, end: int) -> None:
        self._position = end

    def _tell_broken(self, start: int) -> None:
        if not self._broken:
            self.remarks.append(
                f"The sound has NaN or infinite samples near second {start / self.sample_rate:.2f}; they are silent. "
                "The node that made the sound failed."
            )
        self._broken = True


def _mixed_down(waveform: torch.Tensor) -> torch.Tensor:
    """[C, samples] -> [2, samples], no louder than the loudest channel."""
    channels = waveform.shape[0]
    shares = [_SHARES[name] for name in _MIXED[channels]] if channels in _MIXED else [(1.0, 1.0)] * channels
    matrix = torch.tensor(shares).T
    return (matrix / matrix.sum(1, keepdim=True)).to(waveform) @ waveform
