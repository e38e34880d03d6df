"""The formats a video can be saved in: one short description each, and which of them this machine can write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np

from . import encoders
from .encoders import Encoder, Sound
from .pyav import av, is_there


@dataclass(frozen=True)
class Format:
    """What a file of this format is made of.

    Attributes:
        key: what the user chooses.
        suffix: of the file; "" is a folder of numbered pictures.
        container: FFmpeg's name of the container; "" where this pack writes the file itself.
        encoders: in order of preference; the first this PyAV has is used.
        pixels: bits per colour -> FFmpeg's pixel format, without alpha.
        alpha: the same with alpha; empty: the format has none.
        sound: None: the format is silent.
        tag: the codec's four letters in the file where FFmpeg's own choice is not the one players want.
        multiple: width and height must be multiples of these.
        sides: smallest and largest side, in pixels.
        narrowest: smallest width where it is more than that, in pixels.
        shown: how ComfyUI's page can show the file: "video", "image" or "" (not at all).
        page_reads: the page restores the workflow from the file (frontend 1.35 and 1.49).
        is_hardware: the encoder needs a device, which `works` asks for.
    """

    key: str
    suffix: str
    container: str
    encoders: tuple[Encoder, ...]
    pixels: Mapping[int, str]
    alpha: Mapping[int, str] = field(default_factory=dict)
    sound: Sound | None = None
    tag: str = ""
    multiple: tuple[int, int] = (2, 2)
    sides: tuple[int, int] = (1, 16384)
    narrowest: int = 1
    shown: str = "video"
    page_reads: bool = True
    is_hardware: bool = False

    @property
    def is_rgb(self) -> bool:
        return not any("yuv" in name or name in ("nv12", "p010le") for name in self.pixels.values())

    def encoder(self) -> Encoder:
        """The encoder to use.

        Raises:
            RuntimeError: this PyAV has none of them.
        """
        for encoder in self.encoders:
            if encoder.name in av.codecs_available:
                return encoder
        names = " or ".join(encoder.name for encoder in self.encoders)
        raise RuntimeError(f"This PyAV has no {names} encoder; install the 'av' wheel from PyPI.")

    def depth(self, bits: int) -> int:
        """The smallest number of bits per colour that this format has and that is not below `bits`.

        Raises:
            ValueError: it has no such number.
        """
        if isinstance(bits, bool) or bits not in BIT_DEPTHS:
            raise ValueError(f"bit_depth is {bits!r}; expected {_either(BIT_DEPTHS)}.")
        depths = [depth for depth in self.pixels if depth >= bits]
        if not depths:
            keys = [format.key for format in FORMATS.values() if not format.is_hardware and max(format.pixels) >= bits]
            raise ValueError(
                f"bit_depth is {bits}, but {self.key} has {max(self.pixels)} bits at most. "
                f"Set bit_depth to {max(self.pixels)}, or choose {_either(keys)}."
            )
        return min(depths)

    def options(self, quality: float, crf: float | None, preset: str | None) -> dict[str, str]:
        """The encoder's options for a quality of 0 to 100, or for an exact rate factor, and a preset.

        Raises:
            ValueError: a value is out of range, or the format has no rate factor or presets.
            RuntimeError: see `encoder`.
        """
        encoder = self.encoder()
        check_quality(quality)
        options = dict(encoder.options)
        if crf is not None:
            if encoder.scale is None:
                raise ValueError(f"crf is {crf!r}, but {self.key} has no rate factor. Leave crf at -1.")
            low, high = encoder.limits
            if isinstance(crf, bool) or not isinstance(crf, Real) or not low <= crf <= high:
                raise ValueError(f"crf is {crf!r}; {self.key} takes {low:g} (best) to {high:g}, or -1: from quality.")
            options |= encoder.rate(float(crf))
        elif encoder.scale is not None:
            options |= encoder.rate(float(np.interp(quality, list(encoder.scale), list(encoder.scale.values()))))
        if preset and preset not in encoder.presets:
            if not encoder.presets:
                raise ValueError(f"preset is {preset!r}, but {self.key} has no presets. Leave preset empty.")
            raise ValueError(
                f"preset is {preset!r}; {self.key} has {', '.join(encoder.presets)}. Empty: the usual one."
            )
        if encoder.presets:
            options[encoder.preset_option] = preset or encoder.preset
        return options


BIT_DEPTHS = (8, 10, 16)

_420 = {8: "yuv420p", 10: "yuv420p10le"}
_AV1 = (encoders.SVT_AV1, encoders.AOM_AV1)


def _hardware(codec: str, maker: str, encoder: Encoder, pixels: Mapping[int, str]) -> Format:
    tag = "hvc1" if codec == "h265" else ""
    return Format(
        f"mp4 {codec} {maker}",
        ".mp4",
        "mp4",
        (encoder,),
        pixels,
        sound=encoders.AAC,
        tag=tag,
        sides=(160, 4096 if codec == "h264" else 8192),
        is_hardware=True,
    )


_SOFTWARE = (
    Format("mp4 h264", ".mp4", "mp4", (encoders.X264,), _420, sound=encoders.AAC),
    # x265 writes beyond the end of pictures up to 48 pixels wide (PyAV 18.1), which ends the whole process.
    Format(
        "mp4 h265",
        ".mp4",
        "mp4",
        (encoders.X265,),
        _420,
        sound=encoders.AAC,
        tag="hvc1",
        sides=(16, 8192),
        narrowest=64,
    ),
    Format("mp4 av1", ".mp4", "mp4", _AV1, _420, sound=encoders.AAC, sides=(64, 8192)),
    Format("webm vp9", ".webm", "webm", (encoders.VP9,), {8: "yuv420p"}, {8: "yuva420p"}, sound=encoders.OPUS),
    Format("webm av1", ".webm", "webm", _AV1, _420, sound=encoders.OPUS, sides=(64, 8192)),
    Format(
        "mkv ffv1",
        ".mkv",
        "matroska",
        (encoders.FFV1,),
        {8: "bgr0", 16: "gbrp16le"},
        {8: "bgra", 16: "gbrap16le"},
        sound=encoders.FLAC,
        multiple=(1, 1),
        shown="",
        page_reads=False,
    ),
    Format(
        "mov prores 422 hq",
        ".mov",
        "mov",
        encoders.prores(3),
        {10: "yuv422p10le"},
        sound=encoders.PCM,
        multiple=(2, 1),
        shown="",
    ),
    Format(
        "mov prores 4444",
        ".mov",
        "mov",
        encoders.prores(4),
        {10: "yuv444p10le"},
        {10: "yuva444p10le"},
        sound=encoders.PCM,
        multiple=(1, 1),
        shown="",
    ),
    Format(
        "gif",
        ".gif",
        "",
        (Encoder("gif"),),
        {8: "rgb24"},
        {8: "rgba"},
        multiple=(1, 1),
        sides=(1, 65535),
        shown="image",
        page_reads=False,
    ),
    Format(
        "webp",
        ".webp",
        "",
        (Encoder("libwebp"),),
        {8: "rgb24"},
        {8: "rgba"},
        multiple=(1, 1),
        sides=(1, 16383),
        shown="image",
    ),
    Format(
        "png sequence",
        "",
        "",
        (Encoder("png"),),
        {8: "rgb24", 16: "rgb48be"},
        {8: "rgba", 16: "rgba64be"},
        multiple=(1, 1),
        shown="image",
    ),
)
_NV12 = {8: "nv12", 10: "p010le"}
_HARDWARE = (
    _hardware("h264", "nvenc", encoders.nvenc("h264_nvenc"), {8: "yuv420p"}),
    _hardware("h265", "nvenc", encoders.nvenc("hevc_nvenc"), {8: "yuv420p", 10: "p010le"}),
    _hardware("av1", "nvenc", encoders.nvenc("av1_nvenc"), {8: "yuv420p", 10: "p010le"}),
    _hardware("h264", "qsv", encoders.qsv("h264_qsv"), {8: "nv12"}),
    _hardware("h265", "qsv", encoders.qsv("hevc_qsv"), _NV12),
    _hardware("av1", "qsv", encoders.qsv("av1_qsv"), _NV12),
    _hardware("h264", "amf", encoders.amf("h264_amf"), {8: "nv12"}),
    _hardware("h265", "amf", encoders.amf("hevc_amf"), _NV12),
    _hardware("av1", "amf", encoders.amf("av1_amf"), _NV12),
    _hardware("h264", "videotoolbox", encoders.videotoolbox("h264_videotoolbox"), {8: "nv12"}),
    _hardware("h265", "videotoolbox", encoders.videotoolbox("hevc_videotoolbox"), _NV12),
)
FORMATS = {format.key: format for format in (*_SOFTWARE, *_HARDWARE)}


def format_of(key: str) -> Format:
    """The format of a key.

    Raises:
        ValueError: there is none of that name, or its hardware is missing here.
    """
    if key not in FORMATS:
        raise ValueError(f"format is {key!r}; expected {_either(available())}.")
    if FORMATS[key].is_hardware and key not in available():
        raise ValueError(
            f"format is {key!r}, but its encoder does not work on this machine (no such device or driver). "
            f"Choose {_either(available())}."
        )
    return FORMATS[key]


@lru_cache
def available() -> tuple[str, ...]:
    """Keys of the formats this machine can write. Hardware encoders are tried once, on a tiny picture."""
    if not is_there():
        return tuple(key for key, format in FORMATS.items() if not format.is_hardware)
    return tuple(key for key, format in FORMATS.items() if works(format))


def works(format: Format) -> bool:
    """Whether the encoder is there and, for hardware, really encodes a picture."""
    try:
        encoder = format.encoder()
    except RuntimeError:
        return False
    return not format.is_hardware or _encodes(encoder, format)


def _encodes(encoder: Encoder, format: Format) -> bool:
    side = max(256, format.sides[0])
    try:
        codec: Any = av.CodecContext.create(encoder.name, "w")
        codec.width, codec.height, codec.pix_fmt = side, side, format.pixels[8]
        codec.time_base, codec.framerate = Fraction(1, 16), Fraction(16)
        codec.options = format.options(80, None, None)
        frame = av.VideoFrame(side, side, format.pixels[8])
        frame.pts = 0
        return bool([*codec.encode(frame), *codec.encode(None)])
    except Exception:  # whatever the driver's error, this encoder does not work here
        return False


def check_quality(quality: float) -> None:
    if isinstance(quality, bool) or not isinstance(quality, Real) or not 0 <= quality <= 100:
        raise ValueError(f"quality is {quality!r}; expected a number from 0 (smallest file) to 100 (best).")


def _either(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:-1]) + (" or " if texts[1:] else "") + texts[-1]
