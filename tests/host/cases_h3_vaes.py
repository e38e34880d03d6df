"""Inside ComfyUI's Python: MiniMax H3's VAEs from our loaders against core's own, and in each other's nodes."""

from __future__ import annotations

from typing import Any

import tiny_h3_parts as tiny
import torch
from boot import call, case, largest
from tiny_h3_parts import drawn, pictures

from opent2v.base.packed import PackedTensor
from opent2v.host import embedded
from opent2v.host import host as real
from opent2v.loaders import load_vae, open_file

torch.set_grad_enabled(False)


@case
def video_vaes_equal_cores() -> dict[str, Any]:
    """Core's nodes with both VAEs: pictures and clips encoded, latents of every kind of length decoded."""
    core, ours = tiny.video_vaes()
    results: dict[str, Any] = {}
    for frames in (1, 5, 22, 39):
        images = pictures(frames)
        encoded = [call("VAEEncode", pixels=images, vae=vae)["samples"] for vae in (core, ours)]
        results[f"encode {frames}"] = [largest(*encoded), list(encoded[1].shape)]
    for count in (1, 2, 7, 12):
        latent = {"samples": drawn(1, 24, count, 4, 6, seed=count)}
        decoded = [call("VAEDecode", vae=vae, samples=latent) for vae in (core, ours)]
        results[f"decode {count}"] = [largest(*decoded), list(decoded[1].shape)]
    # Above 256 pixels the VAE works in tiles that are part of its result.
    wide = {"samples": drawn(1, 24, 7, 4, 20, seed=5)}
    decoded = [call("VAEDecode", vae=vae, samples=wide) for vae in (core, ours)]
    results["tiles"] = [largest(*decoded), list(decoded[1].shape)]
    tiled = call("VAEDecodeTiled", vae=ours, samples=wide, tile_size=128, overlap=32)
    results["tiled"] = [largest(tiled, decoded[1]), list(tiled.shape)]
    results["spread"] = decoded[0].std().item()
    return results


@case
def both_hosts_compute_the_same() -> dict[str, float]:
    """Our VAEs on this ComfyUI, whether it has MiniMax H3 or not, and on the embedded host."""
    sides = [(side, tiny.video_vaes(side)[1], tiny.sound_vaes(side)[1]) for side in (real, embedded)]
    latent, images = drawn(1, 24, 7, 4, 6, seed=1), pictures(22)
    sound, audio = drawn(1, 32, 2, 5, seed=2), {"waveform": 0.3 * drawn(1, 1, 5000, seed=3), "sample_rate": 44100}
    return {
        "decode": largest(*(side.decode(vae, latent) for side, vae, _ in sides)),
        "encode": largest(*(side.encode(vae, images) for side, vae, _ in sides)),
        "sound": largest(*(side.audio_decoder(vae).decode(sound)["waveform"] for side, _, vae in sides)),
        "sound's latent": largest(*(side.audio_decoder(vae).encode(audio) for side, _, vae in sides)),
    }


@case
def a_packed_video_vae_equals_its_numbers() -> dict[str, Any]:
    """An int8 convrot file of ours, and of core's, against the numbers that it stands for."""
    weights = tiny.tiny.original_video_vae(tiny.tiny.video_vae())
    path = tiny.packed_file("vae", weights, "int8_convrot", "decoder.transformer_blocks")
    plain = path.with_name("vae-int8_convrot-exact.safetensors")
    latent = drawn(1, 24, 7, 4, 6, seed=1)
    ours, expected = (real.vae(load_vae(open_file(file), torch.float32)) for file in (path, plain))
    kept = [n for n, w in ours.first_stage_model.named_parameters() if isinstance(w, PackedTensor)]
    results = {"ours": largest(real.decode(ours, latent), real.decode(expected, latent)), "layers": len(kept)}
    if tiny.HAS_H3:
        core = real.decode(tiny.cores_video_vae(path), latent)
        results["core"] = largest(core, real.decode(expected, latent))
    return results


@case
def streams_equal_whole_videos() -> dict[str, Any]:
    """Pieces of both hosts, and core's VAE through our node, against core's whole video."""
    core, ours = tiny.video_vaes()
    other = tiny.video_vaes(embedded)[1]
    latent = drawn(1, 24, 17, 4, 6, seed=3)
    expected = core.decode(latent)[0]
    pieces = list(real.decode_stream(ours, latent))
    results = {
        "ours": largest(torch.cat(pieces), expected),
        "embedded": largest(torch.cat(list(embedded.decode_stream(other, latent))), expected),
        "embedded, whole": largest(embedded.decode(other, latent), expected),
        "frames at a time": max(len(piece) for piece in pieces),
        "frames": [real.clip_frames(vae, latent) for vae in (core, ours)],
    }
    images = call("OpenT2VDecode", vae=core, latent={"samples": latent})[0]
    return {**results, "core's in our node": largest(images, expected)}


@case
def sound_vaes_equal_cores() -> dict[str, Any]:
    core, ours = tiny.sound_vaes()
    other = tiny.sound_vaes(embedded)[1]
    latent, wave = drawn(1, 32, 2, 11, seed=2), 0.3 * drawn(1, 2, 8000, seed=3)
    audio = {"waveform": wave, "sample_rate": 32000}
    nested = real.nested([drawn(1, 24, 2, 2, 2, seed=1), latent])
    heard = [call("LTXVAudioVAEDecode", samples={"samples": nested}, audio_vae=vae) for vae in (core, ours)]
    encoded = [call("VAEEncodeAudio", audio=audio, vae=vae)["samples"] for vae in (core, ours)]
    decoders = [real.audio_decoder(core), real.audio_decoder(ours), embedded.audio_decoder(other)]
    return {
        "decode": largest(*(one["waveform"] for one in heard)),
        "spread": heard[0]["waveform"].std().item(),
        "rates": [one["sample_rate"] for one in heard],
        "encode": largest(*encoded),
        "shapes": [list(encoded[1].shape), list(heard[1]["waveform"].shape)],
        "decoders": [largest(one.decode(latent)["waveform"], heard[0]["waveform"]) for one in decoders],
        "encoders": [largest(one.encode(audio), encoded[0]) for one in decoders],
        "time axes": [one.time_axis for one in decoders],
    }


@case
def a_loud_sound_keeps_its_loudness() -> dict[str, float]:
    """Core's VAEDecodeAudio divides a loud sound by its spread; the nodes for MiniMax H3 do not."""
    core, ours = tiny.sound_vaes()
    latent = 60 * drawn(1, 32, 2, 11, seed=2)
    expected = core.decode(latent).movedim(-1, 1)
    return {
        "spread": expected.std().item(),
        **{n: largest(real.audio_decoder(v).decode(latent)["waveform"], expected) for n, v in
           (("core's", core), ("ours", ours))},
    }  # fmt: skip


@case
def a_sound_goes_into_a_latent() -> dict[str, Any]:
    """Encode Sound fills the sound of a latent along its time, with core's VAE and ours."""
    results = {}
    for name, vae in zip(("core's", "ours"), tiny.sound_vaes(), strict=True):
        latent = {"samples": real.nested([torch.zeros(1, 24, 2, 4, 4), torch.zeros(1, 32, 2, 12)])}
        audio = {"waveform": 0.3 * drawn(1, 2, 6400, seed=3), "sample_rate": 32000}
        filled = call("OpenT2VEncodeAudio", audio_vae=vae, audio=audio, latent=latent, keep=1.0)
        sound, mask = filled["samples"].unbind()[1], filled["noise_mask"].unbind()[1]
        results[name] = {
            "shape": list(sound.shape), "silent behind": sound[..., 8:].abs().max().item(),
            "filled": sound[..., :8].std().item(), "kept": mask[0, 0, 0].tolist(),
        }  # fmt: skip
    return results
