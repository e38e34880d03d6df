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
def packed_encoders_equal_their_numbers() -> dict[str, Any]:
    """Encoders in few bits, with a picture in the prompt, against the numbers that they stand for."""
    from opent2v.base import Shown
    from opent2v.loaders import load_text, open_text_files
    from opent2v.nodes.load_text import find_tokenizer

    shown, results = [Shown("image", pictures(1, 96, 64))], {}
    for kind in ("int8_convrot", "nvfp4_awq"):
        path = tiny.packed_file("encoder", tiny.tiny.encoder(), kind, "layers.")
        made = []
        for file in (path, path.with_name(f"encoder-{kind}-exact.safetensors")):
            part = load_text(open_text_files(file), tiny.variant(), torch.float32, find_tokenizer)
            made.append(real.embed(real.clip(part), PROMPT, shown))
        results[kind] = apart(*made)
    return results


@case
def our_references_equal_cores() -> dict[str, Any]:
    """Video References with our parts and with core's, against core's node with core's parts."""
    from comfy_extras.nodes_minimax_h3 import MiniMaxH3ReferenceToVideo

    ours = tiny.our_clip(), tiny.video_vaes()[1], tiny.sound_vaes()[1]
    cores = tiny.cores_clip(), tiny.video_vaes()[0], tiny.sound_vaes()[0]
    sound = {"waveform": 0.3 * tiny.drawn(1, 2, 16000, seed=7), "sample_rate": 32000}
    mono = {"waveform": 0.3 * tiny.drawn(1, 1, 8000, seed=8), "sample_rate": 32000}
    images = pictures(1, 80, 120), pictures(1, 200, 150, seed=3)
    clip = pictures(45, 70, 100, seed=4)
    results = {}
    for size in ("match", "max"):
        expected, latent = MiniMaxH3ReferenceToVideo.execute(
            *cores, PROMPT, 96, 64, 56, size, ref_images=dict(enumerate(images)), ref_videos={"ref_video_0": clip},
            ref_video_audios={"ref_video_audio_0": sound}, ref_audios={"ref_audio_0": mono},
        ).result  # fmt: skip
        for name, (text, vae, audio_vae) in (("ours", ours), ("core's", cores)):
            conditioning, empty, *_ = call(
                "OpenT2VReferences", model=tiny.our_model(), clip=text, vae=vae, audio_vae=audio_vae, prompt=PROMPT,
                roles="", width=96, height=64, frames=56, reference_size=size, clip_fps=0.0, picture_1=images[0],
                picture_2=images[1], clip_1=clip, clip_sound_1=sound, sound_1=mono,
            )  # fmt: skip
            blocks = conditioning[0][1]["minimax_refs"], expected[0][1]["minimax_refs"]
            results[f"{size}, {name}"] = {
                "text": apart(conditioning, expected),
                "facts": [_facts(block) for block in blocks],
                "latents": max(largest(*pair) for pair in zip(*map(_latents, blocks), strict=True)),
                "empty": [[list(s.shape) for s in one["samples"].unbind()] for one in (empty, latent)],
            }
    return results


@case
def continuation_equals_cores_guide() -> dict[str, Any]:
    """The end of a clip with its sound as core's Add Guide writes it at frame 0, by the family's function."""
    from comfy_extras.nodes_minimax_h3 import EmptyMiniMaxH3LatentAV, MiniMaxH3AddGuide

    from opent2v.base.references import Tail
    from opent2v.nodes.references import stretched

    core_vae, vae = tiny.video_vaes()
    core_audio, audio_vae = tiny.sound_vaes()
    latent, results = EmptyMiniMaxH3LatentAV.execute(96, 64, 56).result[0], {}
    for frames, samples in ((1, 800), (5, 6400), (22, 28800), (39, 52000)):
        clip, sound = pictures(frames), {"waveform": 0.3 * tiny.drawn(1, 2, samples, seed=7), "sample_rate": 32000}
        expected = MiniMaxH3AddGuide.execute(
            [[torch.zeros(1, 3, 48), {}]], latent, 0, core_vae, core_audio, clip, sound
        ).result[0][0][1]["minimax_keyframes"]
        # Core rounds the frames down to whole 255ths.
        tail = Tail(
            stretched(clip, 96, 64),
            sound,
            lambda images: real.encode(vae, images),
            real.audio_decoder(audio_vae).encode,
        )
        (keyframe,) = tiny.variant().family.continuation.prepare(tiny.variant(), tail, 56)["minimax_keyframes"]
        results[str(frames)] = {
            "latent": largest(keyframe["latent"], expected[0]["latent"]),
            "sound": largest(keyframe["audio_latent"], expected[0]["audio_latent"]),
            "at": [keyframe["resolved_frame_index"], expected[0]["resolved_frame_index"]],
        }
    return results


@case
def pictures_at_any_frame_equal_cores_guides() -> dict[str, Any]:
    """Image to Video with our VAE against core's Add Guide with its own, once for each picture."""
    from comfy_extras.nodes_minimax_h3 import EmptyMiniMaxH3LatentAV, MiniMaxH3AddGuide

    from opent2v.nodes.references import stretched

    core_vae, vae = tiny.video_vaes()
    core = ours = [[torch.zeros(1, 3, 48), {}]]
    latent, shown = EmptyMiniMaxH3LatentAV.execute(96, 64, 56).result[0], pictures(3)
    for picture, frame in zip(shown, (0, 20, 31), strict=True):
        core = MiniMaxH3AddGuide.execute(core, latent, frame, core_vae, None, picture[None]).result[0]
    shown = stretched(shown, 96, 64)  # core rounds pictures down to whole 255ths
    results = call(
        "OpenT2VImageToVideo", model=tiny.our_model(), vae=vae, positive=ours, negative=ours, width=96, height=64,
        frames=56, strength=1.0, start_image=shown[:1], middle_images=shown[1:], middle_frames="20, 31",
    )  # fmt: skip
    expected, keyframes = (made[0][1]["minimax_keyframes"] for made in (core, results[0]))
    return {
        "at": [[frame["resolved_frame_index"] for frame in frames] for frames in (expected, keyframes)],
        "latents": max(largest(*(frame["latent"] for frame in pair)) for pair in zip(expected, keyframes, strict=True)),
        "shapes": [list(stream.shape) for stream in results[2]["samples"].unbind()],
    }


def _facts(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All of the references but their latents."""
    return [{n: v for n, v in block.items() if isinstance(v, int | str)} for block in blocks]


def _latents(blocks: list[dict[str, Any]]) -> list[torch.Tensor]:
    return [v for block in blocks for n, v in sorted(block.items()) if isinstance(v, torch.Tensor)]


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
