"""From latent to pictures to a file."""

from __future__ import annotations

from typing import Any, ClassVar

from ..host import host
from ..media import VideoWriter, save_location
from .inputs import audio_vae_input, check_latent
from .memory import decoded
from .preview import preview
from .remarks import with_remarks
from .saving import HIDDEN, SavingNode, optional_inputs, required_inputs, save_settings, saved_video
from .streams import Sound

CHUNK = 16  # frames converted at a time


class OpenT2VDecode:
    """Decodes a video latent to pictures, and its sound."""

    CATEGORY = "OpenT2V"
    FUNCTION = "decode"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("IMAGE", "AUDIO")
    RETURN_NAMES = ("images", "audio")
    OUTPUT_TOOLTIPS = ("The frames.", "The sound, where the latent holds one and audio_vae is connected.")
    DESCRIPTION = "Decode a latent to frames, and its sound; in tiles of space and time where memory is short."
    SEARCH_ALIASES: ClassVar = [
        "vae decode",
        "video decode",
        "vae decode video",
        "latent to video",
        "latent to images",
        "解码视频",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "vae": ("VAE", {"tooltip": "The VAE that belongs to the video model."}),
                "latent": ("LATENT", {"tooltip": "The sampler's result."}),
            },
            "optional": {"audio_vae": audio_vae_input()},
        }

    def decode(self, vae: Any, latent: dict[str, Any], audio_vae: Any = None) -> dict[str, Any]:
        check_latent(vae, latent)
        sound = Sound(latent, audio_vae)
        return with_remarks((decoded(vae, latent), sound.decode()), sound.remarks)


class OpenT2VSaveVideo(SavingNode):
    """Saves frames as a video, an animated picture or numbered pictures that carry their workflow."""

    RETURN_TYPES = ("STRING", "VIDEO")
    RETURN_NAMES = ("file", "video")
    OUTPUT_TOOLTIPS = (
        "Path of the saved file; of the folder for a png sequence.",
        "The saved video; it is read when it is asked for. Nothing for gif, webp and png sequence.",
    )
    DESCRIPTION = (
        "Save frames as MP4, WebM, MKV, MOV, GIF, WebP or PNG files, with the workflow inside. "
        "Existing files are never overwritten."
    )
    SEARCH_ALIASES: ClassVar = [
        "save video",
        "mp4",
        "webm",
        "h265",
        "hevc",
        "av1",
        "vp9",
        "prores",
        "ffv1",
        "gif",
        "webp",
        "png sequence",
        "video combine",
        "export",
        "export video",
        "write video",
        "导出视频",
        "保存视频",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The frames."}),
                **required_inputs(),
            },
            "optional": optional_inputs(),
            "hidden": {**HIDDEN},
        }

    def save(
        self,
        images: Any,
        fps: float,
        filename_prefix: str,
        audio: dict[str, Any] | None = None,
        prompt: Any = None,
        extra_pnginfo: Any = None,
        unique_id: str | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        frames, height, width = images.shape[:3]
        output, saving = host.output_folder(), save_settings(**settings)
        folder, stem = save_location(output, filename_prefix, width, height)
        bar = host.progress(frames, unique_id, "Encoding video")
        metadata = host.file_metadata(prompt, extra_pnginfo, unique_id)
        with VideoWriter(
            folder, stem, saving, fps=fps, width=width, height=height, audio=audio, metadata=metadata
        ) as writer:
            for start in range(0, frames, CHUNK):
                writer.write(images[start : start + CHUNK])
                bar(min(start + CHUNK, frames))
        ui, remarks = preview(writer.path, output, saving.kind, bool(metadata))
        return with_remarks((str(writer.path), saved_video(writer.path, saving)), [*writer.remarks, *remarks], **ui)
