"""Windows over time: a long video is computed in overlapping stretches at each step, and their results are blended.

Source: ComfyUI 0.33.0, comfy/context_windows.py (schedules and blendings of the same names give the same numbers);
FreeNoise: Qiu et al. 2023, arXiv:2310.15169, section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..base import Variant
from ..base.frames import cut_by_frames
from .errors import SamplingError

STATIC, UNIFORM, LOOPED = "static", "uniform", "looped"
SCHEDULES = (STATIC, UNIFORM, LOOPED)
PYRAMID, LINEAR, FLAT, RELATIVE = "pyramid", "overlap-linear", "flat", "relative"
BLENDINGS = (PYRAMID, LINEAR, FLAT, RELATIVE)
AUTO_OVERLAP = -1
# The axis of frames of a latent [B, C, T, ...].
TIME = 2


@dataclass(frozen=True)
class Windows:
    """Windows as a user sets them, and resolved for a model: `resolved` turns video frames into latent frames.

    Attributes:
        length: of one window; 0: the length that the model was trained for.
        overlap: frames that neighbours share; -1: a third of the window.
        schedule: one of `SCHEDULES`. static: the same windows in all steps. uniform: they move from step to step.
            looped: they move, and the last leads into the first.
        blending: one of `BLENDINGS`, how results are weighted inside a window.
        freenoise: the noise of later windows is that of the first one, in another order.
        keep_picture: every window sees what the conditioning says of the video's first frame, as its first.
        lead_in: every window but those at the start also sees the latent frame before it, which is left out of the
            result. A VAE's first latent frame holds one video frame, and models expect such a one first.
    """

    length: int = 0
    overlap: int = AUTO_OVERLAP
    schedule: str = STATIC
    blending: str = PYRAMID
    freenoise: bool = True
    keep_picture: bool = False
    lead_in: bool = False

    def check(self) -> None:
        """
        Raises:
            SamplingError: a setting is out of its range.
        """
        for name, choices in (("schedule", SCHEDULES), ("blending", BLENDINGS)):
            if getattr(self, name) not in choices:
                raise SamplingError(
                    f"No {name} of windows is called {getattr(self, name)!r}. Choose one of: {', '.join(choices)}."
                )
        if self.length < 0 or self.overlap < AUTO_OVERLAP:
            raise SamplingError(
                f"Video Windows has a length of {self.length} and an overlap of {self.overlap} frames; expected a "
                "length of 0 (the model's own) or more, and an overlap of -1 (a third of it), 0 (none) or more."
            )

    def resolved(self, temporal: int, trained: int, patch_frames: int = 1) -> Windows:
        """The same in latent frames.

        Args:
            temporal: video frames per latent frame.
            trained: the model's own length in video frames, 0 where it is not known.
            patch_frames: lengths are multiples of this many latent frames.
        Raises:
            SamplingError: a setting is out of its range, or the windows overlap whole.
        """
        self.check()
        frames = self.length or trained
        if not frames:
            raise SamplingError(
                "The length that this MODEL was trained for is not known here. Set length in Video Windows to it."
            )
        length = (frames - 1) // temporal + 1
        length = max(length // patch_frames, 1) * patch_frames
        overlap = length // 3 if self.overlap == AUTO_OVERLAP else self.overlap // temporal
        overlap = overlap // patch_frames * patch_frames
        if overlap >= length:
            raise SamplingError(
                f"Windows of {frames} frames that overlap by {self.overlap} never get on: that is {overlap} of "
                f"{length} latent frames. Choose an overlap of at most {(length - patch_frames) * temporal} frames, or "
                "longer windows."
            )
        if self.lead_in and patch_frames > 1:
            raise SamplingError(
                f"This model takes {patch_frames} latent frames at once, so a single one cannot lead into a window. "
                "Switch lead_in off."
            )
        return replace(self, length=length, overlap=overlap, blending=self.blending if overlap else FLAT)

    def for_model(self, variant: Variant) -> Windows:
        """`resolved` for a known model."""
        geometry = variant.geometry
        return self.resolved(geometry.temporal, variant.defaults.frames, geometry.patch_frames)

    # --- of resolved windows; frames are latent frames ---

    def spans(self, frames: int, step: int = 0) -> list[list[int]]:
        """The frames of each window, in order; one window where all fits into it.

        Args:
            frames: of the whole latent.
            step: of the run, from 0, for schedules that move.
        """
        if frames <= self.length:
            return [list(range(frames))]
        stride = self.length - self.overlap
        last = frames - self.length
        if self.schedule == STATIC:
            starts = [*range(0, last, stride), last]
            return [list(range(start, start + self.length)) for start in starts]
        moved = round(frames * _van_der_corput(step))
        end = frames + moved - (0 if self.schedule == LOOPED else self.overlap)
        spans = [[frame % frames for frame in range(start, start + self.length)] for start in range(moved, end, stride)]
        return spans if self.schedule == LOOPED else _without_wraps(spans, frames)

    def weights(self, span: Sequence[int], frames: int, overlap: int) -> Tensor:
        """[len(span)] weight of each frame's result; all windows' weights of a frame are divided by their sum.

        Args:
            frames: of the whole stream.
            overlap: in frames of this stream.
        """
        length = len(span)
        if self.blending == PYRAMID:
            rising = torch.arange(1, length + 1)
            return torch.minimum(rising, rising.flip(0)).float()
        if self.blending == RELATIVE:
            places = torch.tensor(span, dtype=torch.float64)
            centre, half = (span[0] + span[-1]) / 2, (span[-1] - span[0] + 1e-2) / 2
            return (1 - (places - centre).abs() / half).clamp(min=1e-2).float()
        weights, overlap = torch.ones(length), min(overlap, length)
        if self.blending == LINEAR and overlap:
            lowest = 1e-37  # not 0, since the sum of a frame's weights is divided by
            if min(span) > 0:
                weights[:overlap] = torch.linspace(lowest, 1, overlap)
            if max(span) < frames - 1:
                weights[-overlap:] = torch.linspace(1, lowest, overlap)
        return weights

    def check_streams(self, count: int) -> None:
        """
        Raises:
            SamplingError: `lead_in` for a latent of several streams.
        """
        if self.lead_in and count > 1:
            raise SamplingError(
                "lead_in of Video Windows is for models that make a picture alone: a sound beside it would not go with "
                "its picture. Switch it off."
            )

    def over(self, shapes: Sequence[Sequence[int]], step: int) -> list[Window]:
        """The windows of a latent at a step.

        Args:
            shapes: [B, C, T, ...] of each stream, the video's first.
            step: as in `spans`.
        Raises:
            SamplingError: see `check_streams`.
        """
        self.check_streams(len(shapes))
        counts = [shape[TIME] for shape in shapes]
        windows = []
        for span in self.spans(counts[0], step):
            frames = [span, *(beside(span, counts[0], count) for count in counts[1:])]
            weights = [
                self.weights(places, count, round(self.overlap * count / counts[0]))
                for places, count in zip(frames, counts, strict=True)
            ]
            lead = span[0] - 1 if self.lead_in and span[0] else None
            windows.append(Window(tuple(map(tuple, frames)), tuple(weights), lead, self.keep_picture))
        return windows

    def shuffled(self, noise: Sequence[Tensor], seed: int) -> list[Tensor]:
        """Noise of each stream as a run in these windows starts from it."""
        if not self.freenoise:
            return list(noise)
        video = noise[0].shape[TIME]
        shares = [stream.shape[TIME] / video for stream in noise]
        return [
            _free_noise(stream, max(round(self.length * share), 1), round(self.overlap * share), seed)
            for stream, share in zip(noise, shares, strict=True)
        ]

    def words(self, frames: int) -> str:
        """What the user is told of a run over so many frames."""
        count = len(self.spans(frames))
        if count == 1:
            return f"one window: all {frames} latent frames fit into {self.length}"
        noise = ", FreeNoise" if self.freenoise else ""
        return (
            f"{count} windows of {self.length} latent frames, overlapping by {self.overlap} ({self.schedule}, "
            f"{self.blending}{noise})"
        )


@dataclass(frozen=True)
class Window:
    """One window.

    Attributes:
        frames: of each stream, the places of its frames in the whole latent.
        weights: of each stream, [frames], how much of the window's result is taken.
        lead: a video frame that the window sees before its own, or None.
        keeps_picture: see `Windows.keep_picture`.
    """

    frames: tuple[tuple[int, ...], ...]
    weights: tuple[Tensor, ...]
    lead: int | None = None
    keeps_picture: bool = False

    def shown(self, stream: int) -> list[int]:
        """The places of the frames that the model sees of a stream."""
        lead = [self.lead] if stream == 0 and self.lead is not None else []
        return [*lead, *self.frames[stream]]

    def taken(self, streams: Sequence[Tensor]) -> list[Tensor]:
        """The window's part of each stream."""
        return [stream[:, :, self.shown(n)] for n, stream in enumerate(streams)]

    def conditions(
        self, variant: Variant, conditions: Mapping[str, Tensor], shape: tuple[int, ...] | list[tuple[int, ...]]
    ) -> dict[str, Tensor]:
        """A pass's conditions, cut to the window.

        Args:
            shape: of the whole latent, as `Network.condition` gets it.
        Raises:
            FamilyError: the family has no way to cut them.
        """
        cut = variant.family.network.cut or cut_by_frames
        shown = [self.shown(n) for n in range(len(self.frames))]
        first = [[0, *shown[0][1:]], *shown[1:]] if self.keeps_picture else shown
        return {
            name: cut(variant, name, condition, shown if name.endswith("mask") else first, shape)
            for name, condition in conditions.items()
        }


def blended(
    streams: Sequence[Tensor],
    windows: Sequence[Window],
    evaluate: Callable[[Window, list[Tensor]], Mapping[str, Sequence[Tensor]]],
) -> dict[str, list[Tensor]]:
    """The results of all windows as those of the whole latent.

    Args:
        streams: of the noisy latent, [B, C, T, ...] each.
        evaluate: (window, its part of the streams) -> name of a pass -> that pass's result for each stream.
    """
    sums: dict[str, list[Tensor]] = {}
    counts = [stream.new_zeros(stream.shape[TIME]) for stream in streams]
    for window in windows:
        results = evaluate(window, window.taken(streams))
        for n, stream in enumerate(streams):
            places = list(window.frames[n])
            weights = window.weights[n].to(stream)
            counts[n][places] += weights
            column = _column(weights, stream)
            for name, parts in results.items():
                part = parts[n][:, :, len(window.shown(n)) - len(places) :]
                total = sums.setdefault(name, [torch.zeros_like(each) for each in streams])[n]
                total[:, :, places] += part * column
    return {
        name: [total / _column(count, total) for total, count in zip(totals, counts, strict=True)]
        for name, totals in sums.items()
    }


def beside(span: Sequence[int], video: int, sound: int) -> list[int]:
    """The frames of a sound that are heard while these frames of its video are seen.

    Args:
        video, sound: frames of the whole streams.
    """

    def heard() -> Iterator[int]:
        for frame in span:
            start = min(round(frame * sound / video), sound - 1)
            yield from range(start, max(min(round((frame + 1) * sound / video), sound), start + 1))

    return list(dict.fromkeys(heard()))


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, 1, -1, *[1] * (like.ndim - 3))


def _van_der_corput(step: int) -> float:
    """The step's place in a sequence that fills 0..1 evenly: 0, 1/2, 1/4, 3/4, 1/8 ..."""
    share, bit = 0.0, 0.5
    while step:
        share, step, bit = share + bit * (step & 1), step >> 1, bit / 2
    return share


def _without_wraps(spans: list[list[int]], frames: int) -> list[list[int]]:
    """Windows that lead from the end to the start are moved to the end, and to the start where none is there."""
    length, done = len(spans[0]), list[list[int]]()
    for n, span in enumerate(spans):
        if span[-1] >= span[0]:
            done.append(span)
            continue
        done.append(list(range(frames - length, frames)))
        following = spans[n + 1] if n + 1 < len(spans) else done[0]
        if 0 not in following:
            done.append(list(range(length)))
    return [list(span) for span in dict.fromkeys(map(tuple, done))]


def _free_noise(noise: Tensor, length: int, overlap: int, seed: int) -> Tensor:
    """[B, C, T, ...] whose frames behind the first window repeat those a stride earlier, in a random order."""
    generator = torch.Generator().manual_seed(seed)
    noise, frames, stride = noise.clone(), noise.shape[TIME], max(length - overlap, 1)
    for start in range(0, frames - length, stride):
        count = min(stride, frames - start - length)
        order = torch.randperm(count, generator=generator) + start
        noise[:, :, start + length : start + length + count] = noise[:, :, order]
    return noise
