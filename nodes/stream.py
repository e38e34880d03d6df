"""Straight from a latent to a video file, and finishing for frames that are pictures already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from ..host import host
from ..media import VideoWriter, check_prefix, save_location
from ..media.audio import in_a_row
from ..media.finishing import Step, finish
from ..media.formats import FORMATS, available
from ..media.settings import exact_fps
from ..media.stream import save_stream
from .inputs import audio_vae_input, check_latent, finishing_input
from .keeping import Untold, keep_input, key_of
from .memory import decoded_stream
from .preview import preview
from .remarks import with_remarks
from .rgb import rgb
from .saving import HIDDEN, SavingNode, optional_inputs, required_inputs, save_settings, saved_video
from .streams import Sound, picture

PIECE = 16  # number of IMAGE frames finished at a time


def file_formats() -> list[str]:
    """The formats that are one file with video in it, which a VIDEO can be read from."""
    return [key for key in available() if FORMATS[key].container]


class OpenT2VDecodeToVideo(SavingNode):
    """Decodes a video latent, and its sound, straight into a file."""

    RETURN_TYPES = ("VIDEO", "STRING", "AUDIO")
    RETURN_NAMES = ("video", "file", "audio")
    OUTPUT_TOOLTIPS = (
        "The saved video; it is read when it is asked for.",
        "Path of the saved file.",
        "The sound in the file.",
    )
    DESCRIPTION = (
        "Decode a latent, and its sound, piece by piece straight into a video file. Beyond the first seconds, memory "
        "does not grow with the video's length."
    )
    SEARCH_ALIASES: ClassVar = [
        "vae decode",
        "save video",
        "stream",
        "low memory",
        "long video",
        "latent to video",
        "latent to file",
        "export video",
        "保存视频",
        "导出视频",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        saving = optional_inputs()
        return {
            "required": {
                "vae": ("VAE", {"tooltip": "The VAE that belongs to the video model."}),
                "latent": ("LATENT", {"tooltip": "The sampler's result."}),
                **required_inputs(),
            },
            # A VIDEO cannot be read from a folder of pictures or an animated picture.
            "optional": {
                **saving,
                "format": (file_formats(), saving["format"][1]),
                "finishing": finishing_input(),
                "audio_vae": audio_vae_input(),
                "keep": keep_input("the file"),
            },
            "hidden": {**HIDDEN},
        }

    def save(
        self,
        vae: Any,
        latent: dict[str, Any],
        fps: float,
        filename_prefix: str,
        audio: dict[str, Any] | None = None,
        finishing: tuple[Step, ...] = (),
        audio_vae: Any = None,
        keep: bool = False,
        prompt: Any = None,
        extra_pnginfo: Any = None,
        unique_id: str | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        samples, output, saving = picture(latent), host.output_folder(), save_settings(**settings)
        check_latent(vae, latent)
        if audio is not None and audio_vae is not None:
            raise ValueError(
                "audio and audio_vae are both connected, and a file takes one sound. Disconnect audio for the latent's "
                "own sound, or audio_vae for the other one."
            )
        sound = Sound(latent, audio_vae, has_other=audio is not None)
        decoded = sound.decode()
        if decoded is not None:
            seconds = host.clip_frames(vae, samples) / exact_fps(fps)
            sound.check_length(decoded, seconds, fps)
            audio = in_a_row(decoded, seconds)
        kept = Kept()
        if keep:
            values = {"latent": latent, "fps": fps, "audio": audio, "finishing": finishing, "saving": saving}
            kept = Kept.of(output, filename_prefix, saving.kind.suffix, values, vae, prompt, unique_id)
        metadata = host.file_metadata(prompt, extra_pnginfo, unique_id, latent.get("opent2v"))
        if kept.path is not None and kept.path.is_file():
            ui, remarks = preview(kept.path, output, saving.kind, bool(metadata))
            result = (saved_video(kept.path, saving), str(kept.path), audio)
            return with_remarks(result, [*sound.remarks, *remarks, *kept.remarks], **ui)
        latent_frames = samples.shape[0] * (samples.shape[2] if samples.ndim == 5 else 1)
        bar = host.progress(latent_frames, unique_id, "Decoding and encoding")
        pieces, rate, notes = finish(finishing, decoded_stream(vae, latent, bar), exact_fps(fps))

        def open_writer(width: int, height: int) -> VideoWriter:
            folder, stem = save_location(output, filename_prefix, width, height)
            return VideoWriter(
                folder,
                stem if kept.path is None else kept.path.stem,
                saving,
                fps=rate,
                width=width,
                height=height,
                audio=audio,
                metadata=metadata,
                is_numbered=kept.path is None,
            )

        writer = save_stream(pieces, open_writer)
        ui, remarks = preview(writer.path, output, saving.kind, bool(metadata))
        result = (saved_video(writer.path, saving), str(writer.path), audio)
        lines = [*notes, *sound.remarks, *writer.remarks, *remarks, *kept.remarks]
        return with_remarks(result, lines, **ui)


@dataclass(frozen=True)
class Kept:
    """Where a file is kept.

    Attributes:
        path: of the file, which may not be there yet; None: it gets the next free number, as without `keep`.
        remarks: for the user.
    """

    path: Path | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, output: Path, prefix: str, suffix: str, values: dict[str, Any], vae: Any, prompt: Any, node: str | None
    ) -> Kept:
        """Arguments as `key_of`; errors as `check_prefix`."""
        folder, stem = check_prefix(output, prefix, 1, 1)
        if (folder, stem) != check_prefix(output, prefix, 2, 2):
            return cls(None, ("Not kept: filename_prefix holds the size, which is not known before the decoding.",))
        try:
            path = folder / f"{stem}_{key_of(values, {'vae': vae}, prompt, node)}{suffix}"
        except Untold as error:
            return cls(None, (f"Not kept: {error}.",))
        is_there = path.is_file()
        line = f"Taken from {path.name}, since nothing has changed." if is_there else f"Kept as {path.name}."
        return cls(path, (line,))


class OpenT2VFinishFrames:
    """Applies finishing steps to frames."""

    CATEGORY = "OpenT2V/finishing"
    FUNCTION = "finish"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("IMAGE", "FLOAT", "STRING")
    RETURN_NAMES = ("images", "fps", "notes")
    OUTPUT_TOOLTIPS = (
        "The finished frames.",
        "Their frames per second.",
        "What the steps have to say, such as flagged frames.",
    )
    DESCRIPTION = (
        "Apply finishing steps to frames that are pictures already. Decode to Video File applies them on its own."
    )
    SEARCH_ALIASES: ClassVar = ["post processing", "postprocess", "finishing", "apply finishing", "后期"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The frames."}),
                "finishing": finishing_input(),
                "fps": (
                    "FLOAT",
                    {
                        "default": 16.0,
                        "min": 0.1,
                        "max": 1000.0,
                        "step": 0.01,
                        "tooltip": "Frames per second of the frames that come in.",
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def finish(
        self, images: Any, finishing: tuple[Step, ...], fps: float, unique_id: str | None = None
    ) -> dict[str, Any]:
        images = rgb(images, "images")
        bar = host.progress(images.shape[0], unique_id, "Finishing")

        def pieces() -> Any:
            for start in range(0, images.shape[0], PIECE):
                yield images[start : start + PIECE]
                bar(min(start + PIECE, images.shape[0]))

        finished, rate, notes = finish(finishing, pieces(), exact_fps(fps))
        frames = torch.cat(list(finished))
        return with_remarks((frames, float(rate), "\n".join(notes)), notes)
