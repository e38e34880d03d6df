"""Straight from a latent to a video file, and finishing for frames that are pictures already."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from .. import host
from ..media import VideoWriter, save_location
from ..media.audio import in_a_row
from ..media.finishing import Step, finish
from ..media.formats import FORMATS, available
from ..media.stream import save_stream
from ..media.writer import exact_fps
from .inputs import audio_vae_input, check_latent, finishing_input
from .preview import preview
from .remarks import with_remarks
from .streams import Sound, picture
from .video import OpenT2VSaveVideo, bits, rate_factor, saved_video

PIECE = 16  # frames of an IMAGE that are finished at a time


def file_formats() -> list[str]:
    """The formats that are one file with video in it, which a VIDEO can be read from."""
    return [key for key in available() if FORMATS[key].container]


class OpenT2VDecodeToVideo:
    """Decodes a video latent, and its sound, straight into a file."""

    CATEGORY = "OpenT2V"
    FUNCTION = "save"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = ("VIDEO", "STRING", "AUDIO")
    RETURN_NAMES = ("video", "file", "audio")
    OUTPUT_TOOLTIPS = (
        "The saved video; it is read when it is asked for.",
        "Path of the saved file.",
        "The sound in the file.",
    )
    DESCRIPTION = (
        "Decode a latent, and its sound, piece by piece straight into a video file. Memory does not grow with the "
        "video's length."
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
        saving = OpenT2VSaveVideo.INPUT_TYPES()
        del saving["required"]["images"]
        return {
            "required": {
                "vae": ("VAE", {"tooltip": "The VAE that belongs to the video model."}),
                "latent": ("LATENT", {"tooltip": "The sampler's result."}),
                **saving["required"],
            },
            # A VIDEO cannot be read from a folder of pictures or an animated picture.
            "optional": {
                **saving["optional"],
                "format": (file_formats(), saving["optional"]["format"][1]),
                "finishing": finishing_input(),
                "audio_vae": audio_vae_input(),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO", "unique_id": "UNIQUE_ID"},
        }

    VALIDATE_INPUTS = OpenT2VSaveVideo.VALIDATE_INPUTS

    def save(
        self,
        vae: Any,
        latent: dict[str, Any],
        fps: float,
        filename_prefix: str,
        quality: int,
        audio: dict[str, Any] | None = None,
        format: str = "mp4 h264",
        bit_depth: str = "8",
        crf: float = -1.0,
        preset: str = "",
        size_rule: str = "pad",
        audio_length: str = "cut",
        provenance: bool = True,
        finishing: tuple[Step, ...] = (),
        audio_vae: Any = None,
        prompt: Any = None,
        extra_pnginfo: Any = None,
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        samples, output = picture(latent), host.output_folder()
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
        metadata = host.file_metadata(prompt, extra_pnginfo, unique_id, latent.get("opent2v"))
        bar = host.progress(samples.shape[0] * (samples.shape[2] if samples.ndim == 5 else 1), unique_id)
        pieces, rate, notes = finish(finishing, host.decode_stream(vae, samples, bar), exact_fps(fps))

        def open_writer(width: int, height: int) -> VideoWriter:
            folder, stem = save_location(output, filename_prefix, width, height)
            return VideoWriter(
                folder,
                stem,
                fps=rate,
                width=width,
                height=height,
                format=format,
                quality=quality,
                crf=rate_factor(crf),
                preset=preset,
                bit_depth=bits(bit_depth),
                audio=audio,
                audio_length=audio_length,
                metadata=metadata,
                size_rule=size_rule,
                provenance=provenance,
            )

        writer = save_stream(pieces, open_writer)
        ui, remarks = preview(writer.path, output, FORMATS[format], bool(metadata))
        result = (saved_video(writer.path, format), str(writer.path), audio)
        return with_remarks(result, [*notes, *sound.remarks, *writer.remarks, *remarks], **ui)


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
        bar = host.progress(images.shape[0], unique_id)

        def pieces() -> Any:
            for start in range(0, images.shape[0], PIECE):
                yield images[start : start + PIECE]
                bar(min(start + PIECE, images.shape[0]))

        finished, rate, notes = finish(finishing, pieces(), exact_fps(fps))
        frames = torch.cat(list(finished))
        return with_remarks((frames, float(rate), "\n".join(notes)), notes)
