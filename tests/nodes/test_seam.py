"""A clip of MiniMax H3 and one that goes on from it, joined: the step across the joint in picture and in sound.

Continue Video, Video Sampler, Decode Video and Join Clips on tiny random weights. These follow no motion: a still film
goes over into noise, and what is measured is the joint alone. It is to be no larger a step than those beside it.

Tests: nodes/continuing.py, families/minimax_h3/references.py, media/continuity.py
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from opent2v.host import embedded
from opent2v.loaders import load_model, load_sound_vae, load_vae, open_file
from opent2v.media.continuity import Joint, joints
from opent2v.tests.nodes.calls import call
from opent2v.tests.tiny import minimax_h3 as tiny
from opent2v.tests.tiny import minimax_h3_parts as tiny_parts

pytest.importorskip("diffusers", "0.40")
FIRST, NEW, OVERLAP, FPS, RATE = 39, 56, 22, 24.0, 32000


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """MODEL, VAE and audio VAE of tiny weights."""
    folder = tmp_path_factory.mktemp("h3")
    files = {
        name: open_file(tiny.save(folder / f"{name}.safetensors", weights))
        for name, weights in (
            ("model", tiny.originals("pruned")), ("vae", tiny_parts.original_video_vae(tiny_parts.video_vae())),
            ("audio_vae", tiny_parts.plain_sound_vae()),
        )
    }  # fmt: skip
    with torch.no_grad():
        yield {
            "model": embedded.model(load_model(files["model"], torch.float32)),
            "vae": embedded.vae(load_vae(files["vae"], torch.float32)),
            "audio_vae": embedded.vae(load_sound_vae(files["audio_vae"], torch.float32)),
        }


@pytest.fixture(scope="module")
def prompt():
    return [[torch.randn(1, 9, tiny.TEXT, generator=torch.Generator().manual_seed(1)), {}]]


def sampled(parts: dict[str, Any], positive: Any, latent: dict[str, Any], seed: int) -> dict[str, Any]:
    results, _ = call(
        "OpenT2VSampler", model=parts["model"], positive=positive, negative=positive, latent=latent, seed=seed, steps=2
    )
    return results[0]


def decoded(parts: dict[str, Any], latent: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    (frames, audio), _ = call("OpenT2VDecode", vae=parts["vae"], latent=latent, audio_vae=parts["audio_vae"])
    return frames, audio


def film() -> tuple[Tensor, dict[str, Any]]:
    """A slow film with a soft tone, as a user's camera may have taken it."""
    across = torch.linspace(0, 1, 64)
    frames = torch.stack([(across[:, None] + across + n / 200).remainder(1.5) / 1.5 for n in range(FIRST)])
    times = torch.arange(FIRST * RATE // int(FPS)) / RATE
    tone = 0.3 * torch.sin(2 * torch.pi * 220 * times)
    return frames[..., None].expand(-1, -1, -1, 3).contiguous(), {"waveform": tone.view(1, 1, -1), "sample_rate": RATE}


def continued(parts: dict[str, Any], prompt: Any, **clip: Any) -> tuple[Any, dict[str, Any], int]:
    """(CONDITIONING, LATENT, shared frames) of the clip that goes on."""
    results, _ = call(
        "OpenT2VContinue", model=parts["model"], vae=parts["vae"], positive=prompt, negative=prompt, frames=NEW,
        overlap=OVERLAP, **clip,
    )  # fmt: skip
    return results[0], results[2], results[3]


def measured(first: tuple[Tensor, dict[str, Any]], second: tuple[Tensor, dict[str, Any]], overlap: int) -> list[Joint]:
    """The steps where the second clip begins and where the first one has faded out."""
    results, _ = call(
        "OpenT2VJoinClips", first=first[0], second=second[0], overlap=overlap, match_colours=0.0,
        first_audio=first[1], second_audio=second[1], fps=FPS,
    )  # fmt: skip
    images, audio = results
    assert len(images) == FIRST + NEW - overlap
    assert audio["waveform"].shape[-1] == pytest.approx(len(images) * RATE / FPS, abs=2 * 800)
    starts = sorted({FIRST - overlap, FIRST})
    return joints(images, starts, FPS, (audio["waveform"][0], audio["sample_rate"]))


def test_the_joint_is_no_larger_a_step_than_those_beside_it(parts, prompt):
    frames, audio = film()
    positive, start, overlap = continued(parts, prompt, images=frames, audio=audio, audio_vae=parts["audio_vae"])
    assert overlap == OVERLAP
    second = decoded(parts, sampled(parts, positive, start, 4))
    for joint in measured((frames, audio), second, overlap):
        assert joint.loss < 1.0, f"{joint.psnr:.1f} dB across, {joint.psnr_inside:.1f} inside"
        assert joint.wave_jump is not None and joint.wave_jump < 1.0
    (cut,) = measured((frames, audio), second, 0)
    assert cut.loss > 3.0, f"a cut is to be seen: {cut.psnr:.1f} dB across, {cut.psnr_inside:.1f} inside"


def test_the_sound_of_the_end_is_encoded_from_its_waveform(parts, prompt):
    """The latents of the clip's sound are not handed on, though the LATENT that is gone on from has them."""
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=parts["model"], width=64, height=64, frames=FIRST)
    latent = sampled(parts, prompt, latent, 3)
    (*_, kept), (_, audio) = latent["samples"].unbind(), decoded(parts, latent)
    heard = {}
    for name, wave in (("clip's", audio["waveform"]), ("another", audio["waveform"].flip(-1))):
        sound = {"waveform": wave, "sample_rate": RATE}
        positive, *_ = continued(parts, prompt, latent=latent, audio=sound, audio_vae=parts["audio_vae"])
        (keyframe,) = positive[0][1]["minimax_keyframes"]
        tail = wave[..., (FIRST - OVERLAP) * RATE // int(FPS) :]
        expected = embedded.audio_decoder(parts["audio_vae"]).encode({"waveform": tail, "sample_rate": RATE})
        heard[name] = keyframe["audio_latent"]
        count = heard[name].shape[-1]
        assert count == OVERLAP * 40 // int(FPS)
        assert (heard[name] - expected[..., :count]).abs().max() < 1e-4
    assert (heard["clip's"] - heard["another"]).abs().max() > 0.01
    assert (heard["clip's"] - kept[..., -heard["clip's"].shape[-1] :]).abs().max() > 0.01
    positive, *_ = continued(parts, prompt, latent=latent)
    assert "audio_latent" not in positive[0][1]["minimax_keyframes"][0]
