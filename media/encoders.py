"""FFmpeg's encoders, each with its scale of quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# x264, x265: from fast and large to slow and small.
_X26_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


def _crf(value: float) -> dict[str, str]:
    return {"crf": f"{value:g}"}


def _whole_crf(value: float) -> dict[str, str]:
    return {"crf": f"{round(value)}", "b": "0"}


def _quantiser(value: float) -> dict[str, str]:
    # 118 is FFmpeg's FF_QP2LAMBDA, the unit of its global_quality.
    return {"flags": "+qscale", "global_quality": f"{round(value * 118)}"}


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders and its scale of quality.

    Attributes:
        name: FFmpeg's.
        scale: quality -> rate factor (CRF, quantiser), on straight lines between; None: quality is not set by one.
        limits: lowest and highest rate factor the encoder takes.
        rate: rate factor -> options.
        presets: values of `preset_option`; the user's choice of speed against size.
        preset: the one used unless the user says otherwise.
    """

    name: str
    scale: Mapping[int, float] | None = None
    limits: tuple[float, float] = (0, 51)
    rate: Callable[[float], dict[str, str]] = _crf
    preset_option: str = "preset"
    presets: tuple[str, ...] = ()
    preset: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sound:
    """An audio codec: FFmpeg's name and the sample rates in Hz it is used with, rising."""

    encoder: str
    rates: tuple[int, ...]


# The rates of AAC that every player and browser takes.
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
AAC = Sound("aac", AAC_RATES)
OPUS = Sound("libopus", (48000,))
_EXACT_RATES = (*AAC_RATES, 88200, 96000, 176400, 192000)
PCM = Sound("pcm_s16le", _EXACT_RATES)
FLAC = Sound("flac", _EXACT_RATES)


# The scales meet at quality 80, which looks alike everywhere: x264 CRF 19, x265 21, AV1 27, VP9 25. Above it AV1's is
# steeper: its CRF 7 has the signal to noise of x265's 13.5, and keeps the edges of colours where they are.
# x264 stays above 0 because its lossless mode needs a profile that browsers do not play.
X264 = Encoder("libx264", {0: 51, 100: 11}, presets=_X26_PRESETS, preset="medium")
# Without log-level x265 writes a page about itself to the console for each video.
X265 = Encoder(
    "libx265", {0: 51, 100: 13.5}, presets=_X26_PRESETS, preset="medium", options={"x265-params": "log-level=error"}
)
SVT_AV1 = Encoder(
    "libsvtav1", {0: 63, 80: 27, 100: 7}, (0, 63), _whole_crf, presets=tuple(map(str, range(14))), preset="8"
)
AOM_AV1 = Encoder(
    "libaom-av1",
    {0: 63, 80: 27, 100: 7},
    (0, 63),
    _whole_crf,
    "cpu-used",
    tuple(map(str, range(9))),
    "6",
    {"row-mt": "1"},
)
VP9 = Encoder(
    "libvpx-vp9",
    {0: 63, 100: 15},
    (0, 63),
    _whole_crf,
    "cpu-used",
    tuple(map(str, range(6))),
    "3",
    {"deadline": "good", "row-mt": "1"},
)
# Version 3 with 16 slices: each carries a checksum, and several cores share a frame.
FFV1 = Encoder("ffv1", options={"level": "3", "slicecrc": "1"})


def prores(profile: int) -> tuple[Encoder, ...]:
    return (
        Encoder("prores_ks", {0: 20, 100: 1}, (1, 31), _quantiser, options={"profile": f"{profile}", "vendor": "apl0"}),
    )


def nvenc(name: str) -> Encoder:
    presets = tuple(f"p{n}" for n in range(1, 8))
    return Encoder(
        name, {0: 51, 100: 11}, rate=lambda q: {"rc": "vbr", "cq": f"{q:g}", "b": "0"}, presets=presets, preset="p5"
    )


def qsv(name: str) -> Encoder:
    presets = _X26_PRESETS[2:]
    return Encoder(
        name, {0: 51, 100: 11}, (1, 51), lambda q: {"global_quality": f"{round(q)}"}, "preset", presets, "medium"
    )


def amf(name: str) -> Encoder:
    def rate(q: float) -> dict[str, str]:
        return {"rc": "cqp", "qp_i": f"{round(q)}", "qp_p": f"{round(q)}"}

    return Encoder(
        name,
        {0: 51, 100: 11},
        rate=rate,
        preset_option="quality",
        presets=("speed", "balanced", "quality"),
        preset="balanced",
    )


def videotoolbox(name: str) -> Encoder:
    # Its quality scale is inverted: 100 is best.
    return Encoder(name, {0: 100, 100: 0}, (0, 100), lambda q: _quantiser(max(1.0, 100 - q)))
