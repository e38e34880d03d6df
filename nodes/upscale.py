"""Making a latent larger, for a second, finer run."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ..host import host
from ..loaders import library, load_upscaler, open_upscaler
from ..sampling.streams import unbind
from .inputs import check_latent, chosen, combo, states_of
from .long_work import reading
from .remarks import with_remarks


class OpenT2VUpscaleLatent:
    """Enlarges the picture of a latent with an upscaler that was trained on such latents."""

    CATEGORY = "OpenT2V"
    FUNCTION = "upscale"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The larger latent, for Video Sampler's sigmas or Image to Video's latent.",)
    DESCRIPTION = (
        "Make a sampled latent larger without decoding it, twice in space or in time, for a second, finer run. The "
        "sound of LTX-2 goes past it."
    )
    SEARCH_ALIASES: ClassVar = [
        "latent upscale",
        "latent upsampler",
        "ltxv latent upsampler",
        "spatial upscaler",
        "temporal upscaler",
        "two stage",
        "hires fix",
        "upscale video",
        "Latent 放大",
        "放大视频",
    ]
    KIND = "latent_upscale_models"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "latent": ("LATENT", {"tooltip": "A sampled latent, with or without sound."}),
                "vae": ("VAE", {"tooltip": "The model's video VAE, whose scale the latent has."}),
                "file": combo(
                    "The upscaler, in models/latent_upscale_models: spatial (twice the width and height) or temporal "
                    "(twice the frames).",
                    cls.KIND,
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, file: str, **_: Any) -> str:
        return states_of([file], cls.KIND)

    def upscale(self, latent: dict[str, Any], vae: Any, file: str, unique_id: str | None = None) -> dict[str, Any]:
        check_latent(vae, latent)
        opened = open_upscaler(chosen(file, self.KIND))
        layout = opened.layout
        picture, *sounds = unbind(latent["samples"])
        if picture.ndim != 5 or picture.shape[1] != layout.channels:
            raise ValueError(
                f"The latent's picture is of shape {list(picture.shape)}; {layout.title} reads [batch, "
                f"{layout.channels}, frames, height, width]. Use the upscaler that belongs to the model."
            )
        if not bool(picture.any()):
            raise ValueError(
                "The latent is empty: there is nothing to make larger yet. Connect the latent of Video Sampler."
            )
        library("diffusers")
        dtype = host.device_dtypes(None, None)["vae_dtype"]
        network = load_upscaler(opened, dtype, reading(unique_id))
        larger = host.upscale(vae, network, picture).to(picture)
        samples = host.nested([larger, *sounds])
        result = {name: value for name, value in latent.items() if name != "noise_mask"}
        mask = _sounds_mask(latent.get("noise_mask"), larger)
        result |= {"samples": samples} | ({} if mask is None else {"noise_mask": mask})
        sizes = [" x ".join(map(str, stream.shape[2:])) for stream in (picture, larger)]
        remarks = [f"{layout.title}: {sizes[0]} latents become {sizes[1]}"]
        if layout.temporal > 1 and sounds:
            remarks.append(
                "Twice the frames in the same time: give the next Encode Video Prompt and Decode to Video File twice "
                "the fps, so that the sound stays in step."
            )
        return with_remarks((result,), remarks)


def _sounds_mask(mask: Any, larger: Tensor) -> Any:
    """The mask of the sound with all of the larger picture made anew; None where no sound is masked."""
    sounds = [] if mask is None else unbind(mask)[1:]
    return host.nested([torch.ones(1, 1, *larger.shape[2:]), *sounds]) if sounds else None
