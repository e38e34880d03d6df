"""Inside ComfyUI's Python: LTX-2 from our loaders against core's own MODEL, and on both hosts."""

from __future__ import annotations

from typing import Any

import tiny_ltx2 as tiny
import torch
from boot import call, case, largest
from comfy_extras import nodes_lt
from comfy_extras.nodes_lt import LTXVAddGuide

from opent2v.families.ltx2.network import COMFYUI, MAKERS
from opent2v.host import embedded
from opent2v.loaders import load_folder_sound, load_pipeline, open_folder
from opent2v.sampling import SamplerRequest, plan_run
from opent2v.tests.families.layouts.ltx2 import VERSIONS
from opent2v.tests.tiny import ltx2_folders
from opent2v.tests.tiny.ltx2 import UPSCALERS

torch.set_grad_enabled(False)
FRAMES, ROWS, COLUMNS, SOUNDS = 3, 4, 5, 10
CASES = (
    "words", "a kept picture", "masks in both", "an appended guide", "picture alone", "weighed guides", "a voice",
    "generated keyframes",
)  # fmt: skip


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def start(version: str, name: str) -> tuple[Any, Any, dict[str, Any]]:
    """(positive, negative, LATENT) of a case."""
    video, sound = torch.zeros(1, 128, FRAMES, ROWS, COLUMNS), torch.zeros(1, 8, SOUNDS, 16)
    both = [tiny.conditioning(version, 21, 1), tiny.conditioning(version, 9, 2)]
    if name == "picture alone":
        return *both, {"samples": video}
    latent: dict[str, Any] = {}
    if name == "a kept picture":
        video[:, :, 0] = drawn(128, ROWS, COLUMNS, seed=3)
        latent["noise_mask"] = torch.ones(1, 1, FRAMES, 1, 1)
        latent["noise_mask"][:, :, 0] = 0.0
    elif name == "masks in both":
        video, sound = drawn(*video.shape, seed=4), drawn(*sound.shape, seed=5)
        masks = torch.ones(1, 1, FRAMES, ROWS, COLUMNS), torch.ones(1, 1, SOUNDS, 16)
        masks[0][..., :2], masks[1][:, :, :4] = 0.2, 0
        latent["noise_mask"] = tiny.nested(*masks)
    elif name == "an appended guide":
        mask = torch.ones(1, 1, FRAMES, 1, 1)
        *both, video, latent["noise_mask"] = LTXVAddGuide.append_keyframe(
            *both, 16, video, mask, drawn(1, 128, 1, ROWS, COLUMNS, seed=6), 1.0, (8, 32, 32), causal_fix=True
        )
    elif name == "weighed guides":
        mask = torch.ones(1, 1, FRAMES, 1, 1)
        for place, strength in ((8, 0.7), (16, 1.5)):
            guide = drawn(1, 128, 1, ROWS, COLUMNS, seed=place)
            *both, video, mask = LTXVAddGuide.append_keyframe(
                *both, place, video, mask, guide, strength, (8, 32, 32), causal_fix=True
            )
            both = nodes_lt._append_guide_attention_entry(*both, ROWS * COLUMNS, [1, ROWS, COLUMNS], strength)
        latent["noise_mask"] = mask
    elif name == "a voice":
        voice = {"ref_audio": {"tokens": drawn(1, 6, 128, seed=8)}}
        both = [[[context, {**entries, **voice}] for context, entries in prompt] for prompt in both]
    elif name == "generated keyframes":
        slots = {"first_latent_frame": 1, "num_keyframes": 1, "tokens_per_frame": ROWS * COLUMNS}
        both = [[[c, {**entries, "generated_keyframes": slots}] for c, entries in prompt] for prompt in both]
    return *both, {**latent, "samples": tiny.nested(video, sound)}


def walked(model: Any, version: str, name: str) -> list[torch.Tensor]:
    """What core's own graph makes of it, with three steps of Euler."""
    positive, negative, latent = start(version, name)
    samples = call(
        "SamplerCustom", model=model, add_noise=True, noise_seed=7, cfg=3.0, positive=positive, negative=negative,
        sampler=call("KSamplerSelect", sampler_name="euler"), sigmas=torch.tensor([1.0, 0.8, 0.4, 0.0]),
        latent_image=latent,
    )[0]["samples"]  # fmt: skip
    return list(samples.unbind()) if samples.is_nested else [samples]


def apart(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    return max(largest(*pair) for pair in zip(some, others, strict=True))


@case
def equals_cores_model() -> dict[str, float]:
    """Core's graph on core's MODEL and on ours with core's arithmetic: the largest difference of both streams."""
    return {
        f"{version}, {name}": apart(
            walked(tiny.cores(version), version, name), walked(tiny.ours(version, COMFYUI), version, name)
        )
        for version in VERSIONS
        for name in CASES
    }


@case
def differs_from_cores_model() -> dict[str, float]:
    """The same with the makers' arithmetic, which is not core's."""
    return {
        version: apart(
            walked(tiny.cores(version), version, "words"), walked(tiny.ours(version, MAKERS), version, "words")
        )
        for version in VERSIONS
    }


@case
def equal_on_both_hosts() -> dict[str, float]:
    """Our sampler on both hosts."""
    from opent2v.host import comfyui as real

    differences = {}
    for version in VERSIONS:
        models = {side: tiny.ours(version, MAKERS, side) for side in (real, embedded)}
        variant = models[real].model.opent2v.variant
        for name in CASES:
            positive, negative, latent = start(version, name)
            results = []
            for side, model in models.items():
                shape = latent["samples"].shape
                run = plan_run(variant, SamplerRequest(seed=7, steps=3, cfg=3.0), tuple(shape))
                samples = side.sample(model, positive, negative, dict(latent), run)
                results.append(list(samples.unbind()) if samples.is_nested else [samples])
            differences[f"{version}, {name}"] = apart(*results)
    return differences


@case
def folders_equal_on_both_hosts() -> dict[str, float]:
    """A folder's prompt, the latents of both streams, and the sound."""
    from opent2v.host import comfyui as real

    dtypes = dict.fromkeys(("model_dtype", "text_dtype", "vae_dtype"), torch.float32)
    differences = {}
    for version in VERSIONS:
        results = []
        for side in (real, embedded):
            folder = open_folder(ltx2_folders.folder(version))
            parts = load_pipeline(folder, **dtypes)
            model, clip = side.model(parts.models[0]), side.clip(parts.text)
            streams = [torch.zeros(1, 128, FRAMES, ROWS, COLUMNS), torch.zeros(1, 8, SOUNDS, 16)]
            samples = side.nested(streams)
            run = plan_run(folder.variant, SamplerRequest(seed=7, steps=3, cfg=3.0), tuple(samples.shape))
            prompts = [side.embed(clip, text) for text in ("a red circle moves to the right", "")]
            video, sound = side.sample(model, *prompts, {"samples": samples}, run).unbind()
            decoder = side.audio_decoder(side.vae(load_folder_sound(folder, torch.float32)))
            results.append([video, sound, decoder.decode(sound)["waveform"]])
        differences[version] = apart(*results)
    return differences


@case
def conditioning_equals_cores() -> dict[str, Any]:
    """Prompts through our CLIP on both hosts, against core's classes."""
    from opent2v.host import comfyui as real

    results = {}
    for version in VERSIONS:
        for name, text in (("a prompt", "a red circle moves to the right"), ("nothing", "")):
            ((context, further),) = real.embed(tiny.our_clip(version), text)
            ((other, _),) = embedded.embed(tiny.our_clip(version, embedded), text)
            (ids,) = tiny.our_clip(version).tokenizer.part.tokens(text)[0].values()
            expected, entries = tiny.cores_embedding(version, ids)
            results[f"{version}, {name}"] = {
                "core": largest(context, expected),
                "embedded": largest(context, other),
                "spread": expected.std().item(),
                "shape": list(context.shape),
                "tokens": len(ids),
                "first": ids[0],
                **({"same": ids == tiny.cores_tokens(text)} if version == "2.5" else {}),
                "unprocessed": [further.get("unprocessed_ltxav_embeds"), entries.get("unprocessed_ltxav_embeds")],
            }
    return results


@case
def video_vaes_equal_cores() -> dict[str, Any]:
    """Encoding and decoding by both VAEs of a file, and the statistics that core's latent upsampler reads."""
    results = {}
    for kind in tiny.VIDEO_VAES:
        path = tiny.video_vae_file(kind)
        core, own = tiny.cores_vae(path), tiny.our_vae(path)
        images, latent = (
            torch.rand(17, 64, 96, 3, generator=torch.Generator().manual_seed(1)),
            drawn(1, 128, 3, 2, 3, seed=2),
        )
        statistics = [vae.first_stage_model.per_channel_statistics for vae in (core, own)]
        results[kind] = {
            "encode": largest(core.encode(images), own.encode(images)),
            "decode": largest(core.decode(latent), own.decode(latent)),
            "spread": own.decode(latent).std().item(),
            "normalize": largest(*(one.normalize(latent) for one in statistics)),
            "un_normalize": largest(*(one.un_normalize(latent) for one in statistics)),
        }
    return results


@case
def sound_vaes_equal_cores() -> dict[str, Any]:
    results = {}
    for kind in tiny.VOCODERS:
        path = tiny.sound_vae_file(kind)
        core, own = tiny.cores_vae(path), tiny.our_vae(path)
        latent, wave = drawn(1, 8, 11, 16, seed=2), 0.3 * drawn(1, 2, 40960, seed=3)
        audio = {"waveform": wave, "sample_rate": 44100}
        heard = [call("LTXVAudioVAEDecode", samples={"samples": latent}, audio_vae=vae) for vae in (core, own)]
        encoded = [call("LTXVAudioVAEEncode", audio=audio, audio_vae=vae)["samples"] for vae in (core, own)]
        empty = [
            call("LTXVEmptyLatentAudio", frames_number=33, frame_rate=24.0, batch_size=1, audio_vae=vae)["samples"]
            for vae in (core, own)
        ]
        results[kind] = {
            "decode": largest(*(one["waveform"] for one in heard)),
            "spread": heard[0]["waveform"].std().item(),
            "rates": [one["sample_rate"] for one in heard],
            "encode": largest(*encoded),
            "shapes": [list(encoded[0].shape), list(heard[0]["waveform"].shape), *(list(one.shape) for one in empty)],
        }
    return results


@case
def guidance_equals_cores_nodes() -> dict[str, float]:
    """Our sampler's four passes against core's guider and its nodes for them, on core's MODEL."""
    differences = {}
    for version in VERSIONS:
        model = tiny.cores(version)
        positive, negative, latent = start(version, "words")
        guided = call(
            "LTXVSpatioTemporalGuidance", model=model, scale=1.0, blocks="1", start_percent=0.0, end_percent=1.0
        )
        guided = call("LTXVModalityGuidance", model=guided, modality_scale=3.0, start_percent=0.0, end_percent=1.0)
        guider = call(
            "LTXVDualCFGGuider", model=guided, positive=positive, negative=negative, video_cfg=3.0, audio_cfg=7.0
        )
        sigmas = torch.tensor([1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0])
        expected = call(
            "SamplerCustomAdvanced", noise=call("RandomNoise", noise_seed=7), guider=guider,
            sampler=call("KSamplerSelect", sampler_name="euler"), sigmas=sigmas, latent_image=dict(latent),
        )[0]["samples"].unbind()  # fmt: skip
        guidance = call("OpenT2VGuidance", sound_cfg=7.0, stg=1.0, stg_rescale=0.0, stg_blocks="1", modality=3.0)
        result = call(
            "OpenT2VSampler", model=model, positive=positive, negative=negative, latent=dict(latent), seed=7, steps=8,
            cfg=3.0, guidance=guidance,
        )[0]["samples"].unbind()  # fmt: skip
        differences[version] = apart(list(result), list(expected))
    return differences


@case
def cores_nodes_take_our_vaes() -> dict[str, Any]:
    """What core's nodes for LTX-2 make with our VAEs, against core's."""
    results = {}
    for kind in tiny.VIDEO_VAES:
        latents = []
        for vae in (tiny.cores_vae(tiny.video_vae_file(kind)), tiny.our_vae(tiny.video_vae_file(kind))):
            video = call("EmptyLTXVLatentVideo", width=96, height=64, length=17, batch_size=1)
            image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(1))
            video = call("LTXVImgToVideoInplace", vae=vae, image=image, latent=video, strength=0.7)
            both = call("LTXVConcatAVLatent", video_latent=video, audio_latent={"samples": torch.zeros(1, 8, 18, 16)})
            latents.append(both)
        masks = [latent["noise_mask"].unbind()[0] for latent in latents]
        results[kind] = {
            "latent": apart(*(list(latent["samples"].unbind()) for latent in latents)), "mask": largest(*masks),
        }  # fmt: skip
    return results


@case
def cores_guidance_nodes_work_on_our_model() -> dict[str, float]:
    """STG, modality and the voice's identity guidance by core's nodes, on core's MODEL and on ours."""
    differences = {}
    for version in VERSIONS:
        results = []
        for model in (tiny.cores(version), tiny.ours(version, COMFYUI)):
            positive, negative, latent = start(version, "a voice")
            guided = call(
                "LTXVSpatioTemporalGuidance", model=model, scale=1.0, blocks="1", start_percent=0.0, end_percent=1.0
            )
            guided = call("LTXVModalityGuidance", model=guided, modality_scale=3.0, start_percent=0.0, end_percent=1.0)
            audio = {"waveform": 0.3 * drawn(1, 2, 8000, seed=3), "sample_rate": 16000}
            guided, positive, negative = call(
                "LTXVReferenceAudio", model=guided, positive=positive, negative=negative, reference_audio=audio,
                audio_vae=tiny.cores_vae(tiny.sound_vae_file("2.0")), identity_guidance_scale=2.0, start_percent=0.0,
                end_percent=1.0,
            )  # fmt: skip
            samples = call(
                "SamplerCustom", model=guided, add_noise=True, noise_seed=7, cfg=3.0, positive=positive,
                negative=negative, sampler=call("KSamplerSelect", sampler_name="euler"),
                sigmas=torch.tensor([1.0, 0.8, 0.0]), latent_image=latent,
            )[0]["samples"]  # fmt: skip
            results.append(list(samples.unbind()))
        differences[version] = apart(*results)
    return differences


@case
def upscalers_equal_cores() -> dict[str, Any]:
    """Our node with our VAE and with core's, against core's own node, for every kind of upscaler."""
    results = {}
    for kind in UPSCALERS:
        core, latent = tiny.cores_upscaler(kind), {"samples": drawn(1, 128, 3, 4, 6, seed=2)}
        vaes = [tiny.cores_vae(tiny.video_vae_file("2.3")), tiny.our_vae(tiny.video_vae_file("2.3"))]
        expected = call("LTXVLatentUpsampler", samples=latent, upscale_model=core, vae=vaes[0])["samples"]
        ours = [
            call("OpenT2VUpscaleLatent", latent=latent, vae=vae, file=f"{kind}.safetensors")["samples"] for vae in vaes
        ]
        cores_with_ours = call("LTXVLatentUpsampler", samples=latent, upscale_model=core, vae=vaes[1])["samples"]
        results[kind] = {
            "ours": largest(ours[1], expected), "ours, core's VAE": largest(ours[0], expected),
            "core's, our VAE": largest(cores_with_ours, expected), "spread": expected.std().item(),
        }  # fmt: skip
    return results


@case
def five_nodes_take_both() -> dict[str, float]:
    """Tiled decode, advanced sampler, EasyCache, masks of both streams and audio decode."""
    runs = []
    for model in (tiny.cores("2.3"), tiny.ours("2.3", COMFYUI)):
        positive, negative, latent = start("2.3", "masks in both")
        guided = call("EasyCache", model=model, reuse_threshold=0.2, start_percent=0.1, end_percent=0.9, verbose=False)
        guider = call("CFGGuider", model=guided, positive=positive, negative=negative, cfg=2.0)
        samples = call(
            "SamplerCustomAdvanced", noise=call("RandomNoise", noise_seed=7), guider=guider,
            sampler=call("KSamplerSelect", sampler_name="euler"), sigmas=torch.linspace(1, 0, 7), latent_image=latent,
        )[0]["samples"]  # fmt: skip
        runs.append(list(samples.unbind()))
    video, sound = runs[0]
    pictures, heard = [], []
    for load in (tiny.cores_vae, tiny.our_vae):
        vae, audio_vae = (load(file("2.3")) for file in (tiny.video_vae_file, tiny.sound_vae_file))
        pictures.append(
            call(
                "VAEDecodeTiled",
                samples={"samples": video},
                vae=vae,
                tile_size=64,
                overlap=32,
                temporal_size=16,
                temporal_overlap=8,
            )
        )
        heard.append(call("LTXVAudioVAEDecode", samples={"samples": sound}, audio_vae=audio_vae)["waveform"])
    return {
        "advanced sampler, EasyCache, masks": apart(*runs), "tiled decode": largest(*pictures),
        "audio decode": largest(*heard), "spread": pictures[0].std().item(),
    }  # fmt: skip
