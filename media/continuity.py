"""How well a long video holds together: its joints, its drift over time, and whether its end leads into its start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .compare import ComparisonError, psnr_of, ssim
from .finishing.motion import flow_between

_FEW = 3  # frames, of which a straight line over time says nothing
_NEAR = 4  # steps on each side of a joint that it is compared with
_GREY = (0.2126, 0.7152, 0.0722)  # BT.709


@dataclass(frozen=True)
class Joint:
    """A joint against the steps from frame to frame around it.

    Attributes:
        frame: the first one behind the joint, from 0.
        psnr, ssim: of the frames before and behind it.
        psnr_inside, ssim_inside: means of the same for neighbours that no joint lies between.
        flow_jump: how much the motion differs, before to behind, in pixels a frame, mean over the picture.
        flow_inside: mean of the same inside.
        wave_jump: step of the waveform at the joint, as a share of the largest step in a tenth of a second around it;
            None: no sound.
    """

    frame: int
    psnr: float
    ssim: float
    psnr_inside: float
    ssim_inside: float
    flow_jump: float
    flow_inside: float
    wave_jump: float | None = None

    @property
    def loss(self) -> float:
        """Decibels by which the step across the joint is larger than those inside; below 0: smaller."""
        return self.psnr_inside - self.psnr


@dataclass(frozen=True)
class Drift:
    """Change over time, by a straight line through all frames.

    Attributes:
        colour: of the mean red, green and blue, the largest of the three, in 1/255 a second.
        contrast: of the standard deviation of the luma, share of the first frames' a second.
        sharpness: of the mean gradient of the luma, share of the first frames' a second.
    """

    colour: float
    contrast: float
    sharpness: float


def joints(
    frames: Tensor, starts: Sequence[int], fps: float = 16.0, audio: tuple[Tensor, int] | None = None
) -> list[Joint]:
    """The joints of a video.

    Args:
        frames: [F, H, W, 3] in 0..1.
        starts: first frame behind each joint, from 0.
        audio: (waveform [C, samples], samples a second) that begins with the picture.
    Raises:
        ComparisonError: a joint that has no frame before or behind it, or no step beside it to be compared with.
    """
    count = len(frames)
    for start in starts:
        if not 1 <= start < count:
            raise ComparisonError(
                f"A joint is at frame {start}; the video has frames 1 to {count - 1} to be joined at."
            )
    pictures = frames[..., :3].movedim(-1, 1)

    @lru_cache(2 * _NEAR + 3)  # those around one joint
    def flow(n: int) -> Tensor:
        return flow_between(pictures[n - 1 : n].float(), pictures[n : n + 1].float(), 0.5)

    results = []
    for start in starts:
        beside = [n for n in range(max(1, start - _NEAR), min(count, start + _NEAR + 1)) if n not in starts]
        if not beside:
            raise ComparisonError(f"There is a joint at every frame around {start}, so nothing to compare it with.")
        psnrs, ssims = zip(*(_step(frames, n) for n in beside), strict=True)
        psnr, similar = _step(frames, start)
        jump = _flow_change(flow, start, count)
        quiet = [n for n in beside if n - 1 not in starts and n + 1 not in starts and 1 < n < count - 1]
        inside = [_flow_change(flow, n, count) for n in quiet]
        results.append(
            Joint(
                start,
                psnr,
                similar,
                sum(psnrs) / len(psnrs),
                sum(ssims) / len(ssims),
                jump,
                sum(inside) / len(inside) if inside else 0.0,
                None if audio is None else _wave_jump(*audio, start / fps),
            )
        )
    return results


def drift(frames: Tensor, fps: float) -> Drift:
    """
    Args:
        frames: [F, H, W, 3] in 0..1.
    Raises:
        ComparisonError: too few frames.
    """
    if len(frames) < _FEW:
        raise ComparisonError(f"The video has {len(frames)} frames; drift needs at least {_FEW}.")
    course = over_time(frames)
    colour = max(abs(_slope(channel, fps)) for channel in course.colours.unbind(1)) * 255
    return Drift(colour, *(_share_a_second(values, fps) for values in (course.contrast, course.sharpness)))


@dataclass(frozen=True)
class Course:
    """Values of each frame.

    Attributes:
        colours: [F, 3], mean red, green and blue in 0..1.
        contrast: [F], standard deviation of the luma.
        sharpness: [F], mean gradient of the luma.
    """

    colours: Tensor
    contrast: Tensor
    sharpness: Tensor


def over_time(frames: Tensor) -> Course:
    """What `drift` measures, frame by frame, of frames [F, H, W, 3] in 0..1."""
    means, contrasts, gradients = [], [], []
    for piece in frames.split(16):
        luma = piece[..., :3].float() @ torch.tensor(_GREY)
        means.append(piece[..., :3].float().mean(dim=(1, 2)))
        contrasts.append(luma.flatten(1).std(dim=1, correction=0))
        gradients.append(luma.diff(dim=1).abs().flatten(1).mean(1) + luma.diff(dim=2).abs().flatten(1).mean(1))
    return Course(torch.cat(means), torch.cat(contrasts), torch.cat(gradients))


def loop_loss(frames: Tensor) -> float:
    """Decibels by which the step from the last frame to the first is larger than the steps inside; 0 or less: a loop.

    Raises:
        ComparisonError: too few frames.
    """
    if len(frames) < _FEW:
        raise ComparisonError(f"The video has {len(frames)} frames; a loop needs at least {_FEW}.")
    inside = [step_psnr(frames, n) for n in range(1, len(frames))]
    return sum(inside) / len(inside) - _psnr(frames[-1], frames[0])


def described(measured: Sequence[Joint], change: Drift, loop: float) -> list[str]:
    """Lines for the user."""
    lines = [
        f"joint at frame {joint.frame}: {joint.psnr:.1f} dB across, {joint.psnr_inside:.1f} inside, SSIM "
        f"{joint.ssim:.3f} / {joint.ssim_inside:.3f}, flow jump {joint.flow_jump:.2f} / {joint.flow_inside:.2f} px"
        + ("" if joint.wave_jump is None else f", wave {joint.wave_jump:.2f}")
        for joint in measured
    ]
    return [
        *lines,
        f"drift a second: colour {change.colour:.2f}/255, contrast {change.contrast:+.1%}, sharpness "
        f"{change.sharpness:+.1%}",
        f"end to start: {loop:+.1f} dB against the steps inside",
    ]


def step_psnr(frames: Tensor, n: int) -> float:
    """PSNR of frame n [H, W, 3] and the one before it, up to 60 dB."""
    return _psnr(frames[n - 1], frames[n])


def _psnr(first: Tensor, second: Tensor) -> float:
    # Frames that show the same differ by what decoders round, which would count as more than 100 dB.
    error = max((first.float() - second.float()).square().mean().item(), 1e-6)
    return psnr_of(error)


def _step(frames: Tensor, n: int) -> tuple[float, float]:
    """(PSNR, SSIM) of frame n and the one before it."""
    pair = frames[n - 1 : n + 1, ..., :3].float().movedim(-1, 1)
    return step_psnr(frames, n), ssim(pair[:1], pair[1:]).item()


def _flow_change(flow: Callable[[int], Tensor], n: int, count: int) -> float:
    """Mean difference between the motion to frame n and the motions before and behind it, in pixels.

    Args:
        flow: n -> the motion from the frame before to frame n.
        count: of the video's frames.
    """
    now, others = flow(n), [flow(at) for at in (n - 1, n + 1) if 1 <= at < count]
    return sum((now - each).norm(dim=1).mean().item() for each in others) / max(len(others), 1)


def _wave_jump(waveform: Tensor, rate: int, seconds: float) -> float:
    at, around = round(seconds * rate), max(rate // 20, 2)
    steps = waveform.float().diff(dim=-1).abs()
    if not 0 < at <= steps.shape[-1]:
        return 0.0
    largest = steps[:, max(at - around, 0) : at + around].max().item()
    return steps[:, at - 1].max().item() / largest if largest else 0.0


def _slope(values: Tensor, fps: float) -> float:
    """A straight line's rise a second."""
    times = torch.arange(len(values), dtype=torch.float64) / fps
    times = times - times.mean()
    return ((times * (values.double() - values.double().mean())).sum() / times.square().sum()).item()


def _share_a_second(values: Tensor, fps: float) -> float:
    first = values[: max(1, round(fps / 4))].mean().item()
    return _slope(values, fps) / first if first else 0.0
