"""Pictures and clips that MiniMax H3 starts from or ends at, as keyframes that it looks at in every step.

Source: ComfyUI 0.33.0, comfy_extras/nodes_minimax_h3.py (MiniMaxH3ImageToVideo, MiniMaxH3AddGuide).
"""

from __future__ import annotations

from typing import Any

import torch

from ...base import FamilyError, Guided, Pictures, Variant
from .network import SHOWN_SHARES
from .versions import LONGEST, lengths

# Lengths of the clips that it goes on from, or ends with.
CLIPS = lengths(LONGEST)


def image_to_video(variant: Variant, pictures: Pictures) -> Guided:
    """With a strength below 1 what is shown has that share of itself, the rest is noise.

    Raises:
        FamilyError: no picture is given, or clips that fill the video.
    """
    if pictures.start is None and pictures.end is None:
        raise FamilyError("No picture is given. Connect a start picture, an end picture or both.")
    shown = [video for video in (pictures.start, pictures.end) if video is not None]
    taken = sum(video.shape[2] for video in shown)
    if taken >= pictures.frames:
        raise FamilyError(
            f"The pictures have {taken} frames and the video {pictures.frames}: nothing is left to make. Give fewer, "
            "or make the video longer."
        )
    keyframes: list[dict[str, Any]] = []
    if pictures.start is not None:
        keyframes.append({"resolved_frame_index": 0, "latent": pictures.encode(pictures.start)})
    if pictures.end is not None:
        first = pictures.frames - pictures.end.shape[2]
        keyframes.append({"resolved_frame_index": first, "latent": pictures.encode(pictures.end)})
    height, width = shown[0].shape[-2:]
    samples = torch.zeros(1, *variant.geometry.latent_shape(width, height, pictures.frames))
    weaker = {} if pictures.strength == 1 else {"minimax_visual_cond_noise_aug": SHOWN_SHARES[0] * pictures.strength}
    return Guided({"minimax_keyframes": keyframes, **weaker}, samples)
