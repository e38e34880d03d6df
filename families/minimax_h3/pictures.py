"""Pictures at any frame of MiniMax H3, and clips at its ends, as keyframes that it looks at in every step.

Source: ComfyUI 0.33.0, comfy_extras/nodes_minimax_h3.py (MiniMaxH3ImageToVideo, MiniMaxH3AddGuide).
"""

from __future__ import annotations

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
    end = 0 if pictures.end is None else pictures.frames - pictures.end.shape[2]
    shown = [(0, pictures.start), *pictures.middle, (end, pictures.end)]
    keyframes = [(frame, video) for frame, video in shown if video is not None]
    if not keyframes:
        raise FamilyError("No picture is given. Connect a start picture, an end picture or both.")
    taken = sum(video.shape[2] for _, video in keyframes)
    if taken >= pictures.frames:
        raise FamilyError(
            f"The pictures have {taken} frames and the video {pictures.frames}: nothing is left to make. Give fewer, "
            "or make the video longer."
        )
    entries = [{"resolved_frame_index": frame, "latent": pictures.encode(video)} for frame, video in keyframes]
    height, width = keyframes[0][1].shape[-2:]
    samples = torch.zeros(1, *variant.geometry.latent_shape(width, height, pictures.frames))
    weaker = {} if pictures.strength == 1 else {"minimax_visual_cond_noise_aug": SHOWN_SHARES[0] * pictures.strength}
    return Guided({"minimax_keyframes": entries, **weaker}, samples)
