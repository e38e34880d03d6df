"""Stand-ins for the nodes of ComfyUI that give a workflow of this pack its picture or sound, or keep a picture.

Each has its original's id, inputs and outputs, so that a workflow runs on the embedded host as it was saved. In ComfyUI
the originals run.

Source: nodes.py and comfy_extras/nodes_audio.py of ComfyUI 0.33.0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..host.embedded.files import model_files
from ..host.embedded.place import file_folders, output_folder
from ..host.embedded.vision import clip_vision
from ..loaders import load_vision
from ..media import check_input, save_location
from ..media.naming import create_temporary, disk_errors, give_final_name
from ..media.reader_sound import read_whole_sound

# The mask that ComfyUI gives for a picture without transparency.
_NO_MASK = (1, 64, 64)


class LoadImage:
    """Reads a picture of the input folder."""

    TITLE = "Load Image"
    CATEGORY = "image"
    FUNCTION = "load_image"
    RETURN_TYPES = ("IMAGE", "MASK")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        # No list of choices: the check below says more about a picture that is not there.
        return {"required": {"image": ("COMBO", {"image_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: Any) -> bool | str:
        return _refusal("image", image, lambda path: _open_picture(path).close())

    def load_image(self, image: str) -> tuple[Tensor, Tensor]:
        """IMAGE [pictures, H, W, 3] and MASK [pictures, H, W], both 0..1; the mask is 1 where it is transparent.

        A picture without transparency has a mask of zeros, 64 by 64, as in ComfyUI.
        """
        from PIL import ImageOps, ImageSequence

        pictures, masks = list[Tensor](), list[Tensor]()
        with _open_picture(check_input(file_folders(), image)) as file:
            for frame in ImageSequence.Iterator(file):
                upright = ImageOps.exif_transpose(frame)
                picture = torch.from_numpy(_rgb(upright))
                if pictures and picture.shape != pictures[0].shape:
                    continue  # ComfyUI leaves out frames of another size as well
                pictures.append(picture)
                if "A" in upright.getbands() or "transparency" in upright.info:
                    alpha = np.asarray(upright.convert("RGBA").getchannel("A"), dtype=np.float32)
                    masks.append(1 - torch.from_numpy(alpha / 255))
        mask = torch.stack(masks) if len(masks) == len(pictures) else torch.zeros(_NO_MASK)
        return torch.stack(pictures), mask


class LoadAudio:
    """Reads the sound of a file in the input folder."""

    TITLE = "Load Audio"
    CATEGORY = "audio"
    FUNCTION = "load"
    RETURN_TYPES = ("AUDIO",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"audio": ("COMBO", {"audio_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, audio: Any) -> bool | str:
        return _refusal("audio", audio, lambda path: None)

    def load(self, audio: str) -> dict[str, Any]:
        """AUDIO: "waveform" [1, channels, samples] in -1..1 and "sample_rate" in Hz, of the whole file."""
        sound, remarks = read_whole_sound(check_input(file_folders(), audio))
        return {"ui": {"opent2v_remarks": remarks}, "result": (sound,)}


class SaveImage:
    """Saves pictures as PNG, with the workflow inside."""

    TITLE = "Save Image"
    CATEGORY = "image"
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(
        self, images: Tensor, filename_prefix: str = "ComfyUI", prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """Save IMAGE [pictures, H, W, 3] in 0..1, cut to 8 bits as ComfyUI does, as `<prefix>_00001_.png` and on."""
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()
        for key, value in {"prompt": prompt, **(extra_pnginfo or {})}.items():
            if value is not None:
                texts.add_text(key, json.dumps(value))
        files = list[dict[str, str]]()
        height, width = images.shape[1:3]
        for number, image in enumerate(images):
            prefix = filename_prefix.replace("%batch_num%", str(number))
            folder, stem = save_location(output_folder(), prefix, width, height)
            pixels = (image.detach().cpu().float().numpy() * 255).clip(0, 255).astype(np.uint8)
            with disk_errors(folder):
                temporary = create_temporary(folder, stem, ".png")
                try:
                    Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=texts, compress_level=4)
                    path = give_final_name(temporary, stem, "_.png")
                finally:
                    temporary.unlink(missing_ok=True)
            subfolder = folder.relative_to(output_folder()).as_posix()
            files.append({"filename": path.name, "subfolder": "" if subfolder == "." else subfolder, "type": "output"})
        return {"ui": {"images": files}, "result": (images,)}


class PreviewImage:
    """Runs what it is linked to; there is nobody to show a picture to."""

    TITLE = "Preview Image"
    CATEGORY = "image"
    FUNCTION = "preview"
    OUTPUT_NODE = True
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}}

    def preview(self, images: Tensor) -> dict[str, Any]:
        count, height, width = images.shape[:3]
        remark = f"Pictures of {width}x{height}, not kept: {count}. Take Save Image to keep them."
        return {"ui": {"opent2v_remarks": [remark]}, "result": (images,)}


class CLIPVisionLoader:
    """Loads an image encoder from a file of models/clip_vision."""

    TITLE = "Load CLIP Vision"
    CATEGORY = "loaders"
    FUNCTION = "load_clip"
    RETURN_TYPES = ("CLIP_VISION",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"clip_name": ("COMBO", {})}}

    @classmethod
    def VALIDATE_INPUTS(cls, clip_name: Any) -> bool | str:
        files = model_files("clip_vision")
        if clip_name is None or clip_name in files:
            return True
        return (
            f"input 'clip_name': {clip_name!r} is not in models/clip_vision, which has {', '.join(files) or 'no files'}"
            ". Put it there, or link clip_vision of Load Video Model (OpenT2VLoadModel)"
        )

    def load_clip(self, clip_name: str) -> tuple[Any]:
        """
        Raises:
            ModelFileError: the file holds no CLIP image encoder of the known sizes.
        """
        return (clip_vision(load_vision(model_files("clip_vision")[clip_name])),)


class CLIPVisionEncode:
    """Encodes a picture with the image encoder that Load CLIP Vision or Load Video Model gives."""

    TITLE = "CLIP Vision Encode"
    CATEGORY = "conditioning"
    FUNCTION = "encode"
    RETURN_TYPES = ("CLIP_VISION_OUTPUT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"clip_vision": ("CLIP_VISION",), "image": ("IMAGE",), "crop": (["center", "none"],)}}

    def encode(self, clip_vision: Any, image: Tensor, crop: str) -> tuple[Any]:
        return (clip_vision.encode_image(image, crop=crop == "center"),)


STAND_INS: dict[str, type] = {
    kind.__name__: kind for kind in (LoadImage, LoadAudio, SaveImage, PreviewImage, CLIPVisionLoader, CLIPVisionEncode)
}


def _refusal(input_name: str, file_name: Any, look: Any) -> bool | str:
    """True, or what is wrong with the file that an input names; `look` raises ValueError for one of another kind."""
    if file_name is None:
        return True  # linked: the name is known when the node runs
    try:
        look(check_input(file_folders(), file_name))
    except ValueError as error:
        return f"input '{input_name}': {error} Headless, --input DIR names the folder with the workflow's files"
    return True


def _open_picture(path: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path.name} is no picture that can be read; choose a PNG, JPEG or WebP file.") from error


def _rgb(picture: Any) -> np.ndarray:
    """[H, W, 3] float32 in 0..1; grey of 16 bits keeps all of them."""
    if picture.mode.startswith("I"):
        grey = np.asarray(picture, dtype=np.float32) / 65535
        return np.repeat(grey[..., None], 3, axis=2).clip(0, 1)
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
