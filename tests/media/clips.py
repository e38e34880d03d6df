"""What the tests of this room share: tiny clips, and reading a file back with PyAV."""

import av
import torch
from av.video.reformatter import ColorRange, Colorspace

from opent2v.media import SaveSettings, VideoWriter

RED, GREEN, GREY = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.5, 0.5)


def solid(colour, frames=5, width=64, height=48):
    return torch.tensor(colour).expand(frames, height, width, len(colour))


def save(folder, frames, stem="clip", fps=16, audio=None, metadata=None, **settings):
    _, height, width, _ = frames.shape
    saving, given = SaveSettings(**settings), {"audio": audio, "metadata": metadata}
    with VideoWriter(folder, stem, saving, fps=fps, width=width, height=height, **given) as writer:
        writer.write(frames)
    return writer.path


def read(path):
    """All frames as uint8 [n, H, W, 3], converted back with BT.709."""
    with av.open(str(path)) as container:
        pictures = [
            frame.reformat(
                format="rgb24",
                src_colorspace=Colorspace.ITU709,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.JPEG,
            ).to_ndarray()
            for frame in container.decode(video=0)
        ]
    return torch.stack([torch.from_numpy(picture) for picture in pictures])


def seconds(stream):
    """The stream's length as the file states it."""
    return stream.duration * stream.time_base


def boxes(data, start=0, end=None):
    """(type, start of content, end) of the MP4 boxes that lie side by side in data[start:end]."""
    end, found = len(data) if end is None else end, []
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        assert 8 <= size <= end - start
        found.append((data[start + 4 : start + 8].decode("latin-1"), start + 8, start + size))
        start += size
    return found


def sound(length, rate=44100, channels=2, hertz=440.0):
    """A sine of `length` seconds as AUDIO."""
    wave = 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(int(length * rate)) / rate)
    return {"waveform": wave.expand(1, channels, -1), "sample_rate": rate}


def numbers(frames):
    """What the frames of `write` say."""
    return frames.mean(dim=(1, 2, 3)).mul(255 / 2).round().int().tolist()
