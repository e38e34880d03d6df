"""Inside ComfyUI's Python: MiniMax H3's text encoder from our loaders against core's, in each other's nodes."""

from __future__ import annotations

from typing import Any

import tiny_h3_parts as tiny
import torch
from boot import call, case, largest
from tiny_h3_parts import pictures

from opent2v.host import embedded
from opent2v.host import host as real

torch.set_grad_enabled(False)
PROMPT = "a red circle 红色的圆 moves (to the right:1.3) <Picture 1>  "


def apart(some: Any, others: Any) -> dict[str, Any]:
    """How far two CONDITIONINGs are apart."""
    ((context, entries), (other, expected)) = some[0], others[0]
    return {
        "context": largest(context, other),
        "spread": other.std().item(),
        "shape": list(context.shape),
        "tags": torch.equal(entries["minimax_token_tags"], expected["minimax_token_tags"]),
        "seen": int((expected["minimax_token_tags"] == 0).sum()),
        "pooled": [entries.get("pooled_output") is None, expected.get("pooled_output") is None],
    }


@case
def words_equal_cores() -> dict[str, Any]:
    core, ours, other = tiny.cores_clip(), tiny.our_clip(), tiny.our_clip(embedded)
    results = {}
    for name, text in (("words", PROMPT), ("nothing", ""), ("long", "a blue star over hills. " * 80)):
        expected = call("CLIPTextEncode", clip=core, text=text)
        results[name] = apart(call("CLIPTextEncode", clip=ours, text=text), expected)
        results[f"{name}, embedded"] = apart(embedded.embed(other, text), expected)
        results[f"{name}, core's in our node"] = apart(
            call("OpenT2VEncodePrompt", clip=core, positive=text, negative="")[0], expected
        )
    return results


@case
def pictures_equal_cores() -> dict[str, Any]:
    """MiniMaxH3ImageToVideo with both CLIPs: its CONDITIONING, with pictures of odd sizes."""
    from comfy_extras.nodes_minimax_h3 import MiniMaxH3ImageToVideo

    _, vae = tiny.video_vaes()
    results = {}
    for name, frames in (
        ("none", {}),
        ("first", {"first_frame": pictures(1, 100, 150)}),
        ("both", {"first_frame": pictures(1), "last_frame": pictures(1, 40, 200, seed=2)}),
    ):
        made = [
            MiniMaxH3ImageToVideo.execute(clip, vae, PROMPT, 96, 64, 22, **frames).result[0]
            for clip in (tiny.our_clip(), tiny.cores_clip())
        ]
        results[name] = apart(*made)
    return results


@case
def references_equal_cores() -> dict[str, Any]:
    """MiniMaxH3ReferenceToVideo with our CLIP and VAEs against core's: the text, and every reference's latents."""
    from comfy_extras.nodes_minimax_h3 import MiniMaxH3ReferenceToVideo

    ours = tiny.our_clip(), tiny.video_vaes()[1], tiny.sound_vaes()[1]
    cores = tiny.cores_clip(), tiny.video_vaes()[0], tiny.sound_vaes()[0]
    sound = {"waveform": 0.3 * tiny.drawn(1, 2, 16000, seed=7), "sample_rate": 32000}
    references = {
        "ref_images": {"ref_image_0": pictures(1, 80, 120), "ref_image_1": pictures(1, 64, 64, seed=3)},
        "ref_videos": {"ref_video_0": pictures(45, 64, 96, seed=4)},
        "ref_video_audios": {"ref_video_audio_0": sound},
        "ref_audios": {"ref_audio_0": sound},
    }
    made = [MiniMaxH3ReferenceToVideo.execute(*parts, PROMPT, 96, 64, 56, **references).result[0]
            for parts in (ours, cores)]  # fmt: skip
    blocks = [conditioning[0][1]["minimax_refs"] for conditioning in made]
    differences = {
        f"{n} {name}": largest(value, blocks[1][n][name]) if isinstance(value, torch.Tensor) else value
        for n, block in enumerate(blocks[0])
        for name, value in block.items()
    }
    return {"text": apart(*made), "blocks": differences, "kinds": [block["kind"] for block in blocks[1]]}


@case
def shown_on_both_hosts() -> dict[str, Any]:
    """The same prompt with a picture, a clip of three frames and a sound, by our contract."""
    from opent2v.base import Shown

    shown = [Shown("image", pictures(1, 96, 64)), Shown("audio"), Shown("video", pictures(3, 64, 64, seed=5))]
    clips = tiny.our_clip(), tiny.our_clip(embedded)
    expected = real.embed(clips[0], PROMPT, shown)
    results = {
        "embedded": apart(embedded.embed(clips[1], PROMPT, shown), expected),
        "shows": [real.shows(clips[0]), embedded.shows(clips[1])],
    }
    if tiny.HAS_H3:
        core = tiny.cores_clip()
        results["core"] = apart(real.embed(core, PROMPT, shown), expected)
        results["shows"].append(real.shows(core))
    return results
