"""Inside ComfyUI's Python: core's own LTX-2 and MiniMax H3, whose latents hold picture and sound, in our nodes."""

from __future__ import annotations

import re
from typing import Any

import comfy.nested_tensor
import folder_paths
import tiny_joint as tiny
import torch
from boot import call, case, largest

from opent2v.host import host
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.sampling import Guidance, SamplingError
from opent2v.sampling.caches.rules import Sea

folder_paths.set_output_directory(str(tiny.FOLDER / "output"))
folder_paths.set_user_directory(str(tiny.FOLDER / "user"))
KINDS = [*tiny.versions(), *(["h3"] if tiny.has_h3() else [])]
STEPS = 4


def streams(latent: dict[str, Any]) -> list[torch.Tensor]:
    return latent["samples"].unbind()


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of two LATENTs, over all streams."""
    return max(largest(*pair) for pair in zip(streams(one), streams(other), strict=True))


def empty(kind: str, model: Any) -> dict[str, Any]:
    return call("OpenT2VEmptyLatent", model=model, width=96, height=64, frames=22 if kind == "h3" else 25)[0]


def filled(kind: str, model: Any, masked: int = 0) -> dict[str, Any]:
    """A latent that is not empty, of which so many streams are masked."""
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randn(one.shape, generator=generator) for one in streams(empty(kind, model))]
    latent: dict[str, Any] = {"samples": comfy.nested_tensor.NestedTensor(drawn)}
    masks = [torch.ones(1, 1, *one.shape[2:]) for one in drawn]
    masks[0][:, :, 0] = 0.3
    masks[1][..., 3:6] = 0
    if masked:
        latent["noise_mask"] = comfy.nested_tensor.NestedTensor(masks) if masked == 2 else masks[0]
    return latent


def sampled(kind: str, model: Any, latent: dict[str, Any], **given: Any) -> tuple[dict[str, Any], str]:
    positive, negative = tiny.prompts(kind)
    own = {"steps": STEPS, "cfg": 1.0 if kind == "h3" else 3.0, "seed": 3, **given}
    return call("OpenT2VSampler", model=model, positive=positive, negative=negative, latent=dict(latent), **own)


def cores(kind: str, model: Any, latent: dict[str, Any], sigmas: Any, cfg: float = 3.0) -> dict[str, Any]:
    """What core's own graph makes of the same, with Euler's steps."""
    positive, negative = tiny.prompts(kind)
    return call(
        "SamplerCustom", model=model, add_noise=True, noise_seed=3, cfg=1.0 if kind == "h3" else cfg, positive=positive,
        negative=negative, sampler=call("KSamplerSelect", sampler_name="euler"), sigmas=sigmas,
        latent_image=dict(latent),
    )[0]  # fmt: skip


def cores_sigmas(kind: str, model: Any, latent: dict[str, Any], steps: int = STEPS) -> torch.Tensor:
    if kind == "h3":
        return call("BasicScheduler", model=model, scheduler="simple", steps=steps, denoise=1.0)
    if steps == 8:
        return torch.tensor([1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0])
    return call(
        "LTXVScheduler", steps=steps, max_shift=2.05, base_shift=0.95, stretch=True, terminal=0.1, latent=latent
    )


@case
def hosts() -> dict[str, Any]:
    """What this ComfyUI has."""
    return {"kinds": KINDS}


@case
def known() -> dict[str, Any]:
    found = {}
    for kind in KINDS:
        variant = host.variant(tiny.model(kind))
        assert variant is not None
        latent, width, height, frames, fps = call(
            "OpenT2VEmptyLatent", model=tiny.model(kind), width=0, height=0, frames=0
        )
        found[kind] = {
            "title": variant.title,
            "size": [width, height, frames, fps],
            "streams": [list(one.shape) for one in streams(latent)],
        }
    return found


@case
def empty_latents() -> dict[str, Any]:
    """Shapes of ours and of core's own nodes for the same request."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        model, pairs = tiny.model(kind), []
        for frames in (5, 22, 107) if kind == "h3" else (9, 25, 121):
            ours = call("OpenT2VEmptyLatent", model=model, width=96, height=64, frames=frames)[0]
            if kind == "h3":
                cores = call("EmptyMiniMaxH3LatentAV", width=96, height=64, length=frames)
            else:
                picture = call("EmptyLTXVLatentVideo", width=96, height=64, length=frames, batch_size=1)
                cores = {"samples": comfy.nested_tensor.NestedTensor([picture["samples"], _ltx_sound(frames, 25)])}
            pairs.append([[list(one.shape) for one in streams(latent)] for latent in (ours, cores)])
        found[kind] = pairs
    return found


def _ltx_sound(frames: int, fps: float) -> torch.Tensor:
    latent = call(
        "LTXVEmptyLatentAudio", frames_number=frames, frame_rate=fps, batch_size=1, audio_vae=tiny.audio_vae()
    )
    return latent["samples"]


@case
def sampler() -> dict[str, Any]:
    """How far Video Sampler is from core's own graph: same seed, noise levels and cfg."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        model = tiny.model(kind)
        rows = {}
        for name, latent, steps in (
            ("empty", empty(kind, model), STEPS),
            ("distilled", empty(kind, model), 8),
            ("picture masked", filled(kind, model, 1), STEPS),
            ("both masked", filled(kind, model, 2), STEPS),
        ):
            ours, _ = sampled(kind, model, latent, steps=steps)
            theirs = cores(kind, model, latent, cores_sigmas(kind, model, latent, steps))
            rows[name] = [apart(ours, theirs), min(one.std().item() for one in streams(ours))]
        latent = filled(kind, model)
        sigmas = cores_sigmas(kind, model, latent, 2 * STEPS)[STEPS:]
        rows["half"] = [
            apart(sampled(kind, model, latent, denoise=0.5)[0], cores(kind, model, latent, sigmas)),
            min(one.std().item() for one in streams(latent)),
        ]
        found[kind] = rows
    return found


@case
def further_settings() -> dict[str, Any]:
    """Solvers, rescaled guidance and previews: each finite, each with its effect on both streams."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        model = tiny.model(kind)
        latent = empty(kind, model)
        plain, report = sampled(kind, model, latent)
        rows: dict[str, Any] = {"report": report}
        given = {"unipc": {"solver": "unipc"}, "dpm++ 2m": {"solver": "dpm++ 2m"}, "shift": {"shift": 5.0}}
        if kind != "h3":
            given["rescaled"] = {"guidance": Guidance(cfg_rescale=0.7)}
        for name, one in given.items():
            made = streams(sampled(kind, model, latent, **one)[0])
            rows[name] = [largest(*pair) for pair in zip(made, streams(plain), strict=True)]
        found[kind] = rows
    return found


@case
def previews() -> dict[str, Any]:
    """Shapes of what core's preview is shown at each step, and whether it moves."""
    import latent_preview

    found: dict[str, Any] = {}
    before = latent_preview.prepare_callback
    for kind in KINDS:
        model, shown = tiny.model(kind), []
        latent_preview.prepare_callback = lambda *_, shown=shown: lambda step, clean, x, total: shown.append(clean)
        try:
            sampled(kind, model, empty(kind, model))
        finally:
            latent_preview.prepare_callback = before
        found[kind] = {
            "shapes": sorted({str(list(one.shape)) for one in shown}),
            "picture": str(list(streams(empty(kind, model))[0].shape)),
            "count": len(shown),
        }
    return found


@case
def step_cache() -> dict[str, Any]:
    """Under step caches: how far from the run without, and what the report says."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        model = tiny.model(kind)
        latent = empty(kind, model)
        full, _ = sampled(kind, model, latent, steps=12)
        rows = {}
        for name, settings in {
            "computed": {"policy": "plan", "plan": "1"},
            "plan": {"policy": "plan", "plan": "cccrcrccrccc"},
            "plan, blocks": {"policy": "plan", "plan": "cccrcrccrccc", "boundary": "blocks"},
            "easycache": {"policy": "easycache", "threshold": 1.0},
            "seacache": {"policy": "seacache", "threshold": 1.0},
            "first block": {"policy": "first block", "threshold": 1.0},
        }.items():
            cache = call("OpenT2VStepCache", **settings)
            made, report = sampled(kind, model, latent, steps=12, step_cache=cache)
            near = [(largest(*pair), pair[1].std().item()) for pair in zip(streams(made), streams(full), strict=True)]
            rows[name] = {"apart": near, "computed": re.findall(r"(\d+) of (\d+) steps computed", report)}
        found[kind] = rows
    return found


@case
def seen_by_seacache() -> dict[str, Any]:
    """Shapes of the latents that SeaCache judges in our sampler and in core's, and of the picture."""
    shapes: dict[str, Any] = {}
    reuse = Sea.reuse
    for kind in KINDS:
        model, judged = tiny.model(kind), set()
        latent = empty(kind, model)
        settings = {"policy": "seacache", "threshold": 1.0, "few_steps": True}

        def spy(rule: Any, entering: Any, judged: set[Any] = judged) -> bool:
            judged.add(tuple(entering.latent.shape))
            return reuse(rule, entering)

        Sea.reuse = spy
        try:
            sampled(kind, model, latent, step_cache=call("OpenT2VStepCache", **settings))
            cache = call("OpenT2VStepCache", **settings)
            ksampled(kind, call("OpenT2VApplyStepCache", model=model, step_cache=cache), latent, steps=STEPS)
        finally:
            Sea.reuse = reuse
        shapes[kind] = {"judged": sorted(judged), "picture": tuple(streams(latent)[0].shape)}
    return shapes


@case
def step_cache_in_ksampler() -> dict[str, Any]:
    """Apply Step Cache in core's KSampler: calls of the model with and without, and how far apart."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        model = tiny.model(kind)
        latent = empty(kind, model)
        rows = {}
        for name, settings in {
            "computed": {"policy": "plan", "plan": "1"},
            "half": {"policy": "plan", "plan": "2"},
        }.items():
            settings["few_steps"] = True
            applied = call("OpenT2VApplyStepCache", model=model, step_cache=call("OpenT2VStepCache", **settings))
            counts, made = [], []
            for one in (model, applied):
                counted = []
                network = model.model.diffusion_model
                last = getattr(network, "transformer_blocks", None) or network.blocks
                hook = last[-1].register_forward_hook(lambda *_, counted=counted: counted.append(1))
                made.append(ksampled(kind, one, latent))
                hook.remove()
                counts.append(len(counted))
            rows[name] = {"apart": apart(*made), "calls": counts}
        found[kind] = rows
    return found


def ksampled(kind: str, model: Any, latent: dict[str, Any], steps: int = 8) -> dict[str, Any]:
    positive, negative = tiny.prompts(kind)
    return call(
        "KSampler", model=model, seed=3, steps=steps, cfg=1.0 if kind == "h3" else 3.0, sampler_name="euler",
        scheduler="simple", positive=positive, negative=negative, latent_image=dict(latent), denoise=1.0,
    )  # fmt: skip


@case
def calibrated() -> dict[str, Any]:
    """Calibrate Step Cache, then policies by its profile, on a joint model."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        model = tiny.model(kind)
        positive, negative = tiny.prompts(kind)
        run = {
            "model": model, "positive": positive, "negative": negative, "steps": 12, "seed": 3,
            "cfg": 1.0 if kind == "h3" else 3.0,
        }  # fmt: skip
        profile, latent, report, *_ = call(
            "OpenT2VCalibrateCache", **run, latent=empty(kind, model), name=f"joint_{kind}"
        )
        full, _ = sampled(kind, model, empty(kind, model), steps=12)
        cache = call("OpenT2VStepCache", policy="auto", profile=profile, target_speedup=1.5)
        _, said = sampled(kind, model, empty(kind, model), steps=12, step_cache=cache)
        psnr = call("OpenT2VCompareCache", latent=latent, reference_latent=full)
        found[kind] = {"report": report, "apart": apart(latent, full), "cached": said, "compared": list(psnr[:2])}
    return found


@case
def sweep() -> dict[str, Any]:
    """Sweep Step Cache decodes each run's picture."""
    kind = KINDS[0]
    model = tiny.model(kind)
    positive, negative = tiny.prompts(kind)
    report, latent, *_ = call(
        "OpenT2VSweepCache", model=model, positive=positive, negative=negative, latent=empty(kind, model), steps=12,
        seed=3, cfg=3.0, vae=tiny.video_vae(), strengths="1.0", step_cache=call("OpenT2VStepCache", policy="easycache"),
    )  # fmt: skip
    return {"report": report, "streams": len(streams(latent))}


@case
def decoded() -> dict[str, Any]:
    """Picture and sound beside those of core's own nodes."""
    found: dict[str, Any] = {}
    for kind in sorted({"h3" if kind == "h3" else "ltx2" for kind in KINDS}):
        vae, audio_vae = (tiny.h3_vae(), tiny.h3_audio_vae()) if kind == "h3" else (tiny.video_vae(), tiny.audio_vae())
        latent = filled(kind, tiny.model("h3" if kind == "h3" else "2.0"))
        images, audio = call("OpenT2VDecode", vae=vae, latent=latent, audio_vae=audio_vae)
        pictures = call("VAEDecode", vae=vae, samples=latent)
        # Of ComfyUI's two nodes the one that leaves a loud sound as it is.
        sound = call("LTXVAudioVAEDecode", samples=latent, audio_vae=audio_vae)
        found[kind] = {
            "images": largest(images, pictures),
            "shape": list(images.shape),
            "waveform": largest(audio["waveform"], sound["waveform"]),
            "heard": audio["waveform"].std().item(),
            "rate": [audio["sample_rate"], sound["sample_rate"]],
            "seconds": audio["waveform"].shape[-1] / audio["sample_rate"],
            **_swapped(vae, audio_vae, latent),
        }
    return found


def _swapped(vae: Any, audio_vae: Any, latent: dict[str, Any]) -> dict[str, str]:
    return {
        "picture's in audio_vae": refusal(lambda: call("OpenT2VDecode", vae=vae, latent=latent, audio_vae=vae)),
        "sound's in vae": refusal(lambda: call("OpenT2VDecode", vae=audio_vae, latent=latent)),
    }


def refusal(run: Any) -> str:
    try:
        run()
    except (ValueError, RuntimeError) as error:
        return str(error)
    return "not refused"


@case
def streamed() -> dict[str, Any]:
    """Decode to Video File: both streams in one file, of one length."""
    import av

    found: dict[str, Any] = {}
    for kind in sorted({"h3" if kind == "h3" else "ltx2" for kind in KINDS}):
        vae, audio_vae = (tiny.h3_vae(), tiny.h3_audio_vae()) if kind == "h3" else (tiny.video_vae(), tiny.audio_vae())
        fps = 24.0 if kind == "h3" else 25.0
        latent = filled(kind, tiny.model("h3" if kind == "h3" else "2.0"))
        with torch.inference_mode():
            made = NODE_CLASS_MAPPINGS["OpenT2VDecodeToVideo"]().save(
                vae=vae, latent=latent, fps=fps, filename_prefix=f"joint/{kind}", quality=80, audio_vae=audio_vae,
            )  # fmt: skip
        video, file, audio = made["result"]
        with av.open(file) as container:
            picture, sound = container.streams.video[0], container.streams.audio[0]
            found[kind] = {
                "frames": picture.frames,
                "picture": float(picture.duration * picture.time_base),
                "sound": float(sound.duration * sound.time_base),
                "loud": max(abs(frame.to_ndarray()).max().item() for frame in container.decode(sound)),
                "remarks": made["ui"]["opent2v_remarks"],
                "components": list(video.get_components().images.shape),
                "audio": list(audio["waveform"].shape),
            }
    return found


@case
def lora() -> dict[str, Any]:
    """A LoRA of the model's own names: the verdict, and what core's loader makes of the same file."""
    from safetensors.torch import save_file

    found: dict[str, Any] = {}
    for kind in KINDS:
        model = tiny.model(kind)
        generator, weights = torch.Generator().manual_seed(9), {}
        layer = re.compile(r"blocks\.\d+\..*(to_q|to_v|qkv_proj|out_proj|ff\.net\.2|fc2)\.weight$")
        names = [n for n in model.model.diffusion_model.state_dict() if layer.search(n)]
        for name in names:
            rows, columns = model.model.diffusion_model.state_dict()[name].shape
            stem = f"diffusion_model.{name.removesuffix('.weight')}"
            weights[f"{stem}.lora_A.weight"] = torch.randn(4, columns, generator=generator) * 0.1
            weights[f"{stem}.lora_B.weight"] = torch.randn(rows, 4, generator=generator) * 0.1
        save_file(weights, tiny.FOLDER / f"lora_{kind}.safetensors")
        nowhere = {"diffusion_model.nowhere.lora_A.weight": torch.ones(4, 8)}
        nowhere["diffusion_model.nowhere.lora_B.weight"] = torch.ones(8, 4)
        save_file(nowhere, tiny.FOLDER / "nowhere.safetensors")
        ours, _, report, *_ = call("OpenT2VLoadLora", model=model, lora=f"lora_{kind}.safetensors", strength_model=0.8)
        theirs = call("LoraLoaderModelOnly", model=model, lora_name=f"lora_{kind}.safetensors", strength_model=0.8)
        latent = empty(kind, model)
        plain, mine, cores = (sampled(kind, one, latent)[0] for one in (model, ours, theirs))
        found[kind] = {
            "report": report,
            "other": refusal(lambda model=model: call("OpenT2VLoadLora", model=model, lora="nowhere.safetensors")),
            "layers": len(names),
            "apart": apart(mine, cores),
            "effect": apart(mine, plain),
            "restored": apart(sampled(kind, model, latent)[0], plain),
        }
    return found


@case
def inspected() -> dict[str, Any]:
    """What Inspect Model File and Load Video Diffusion Model say of the files."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        file = (tiny.h3_file() if kind == "h3" else tiny.ltx2_file(kind)).name
        found[kind] = {
            "report": call("OpenT2VInspectFile", file=file)[0],
            "loader": refusal(lambda file=file: call("OpenT2VLoadDiffusionModel", file=file)),
        }
    return found


@case
def refused() -> dict[str, Any]:
    """What cannot be is refused by name, before anything is computed."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        model = tiny.model(kind)
        latent = empty(kind, model)
        picture = {"samples": streams(latent)[0]}
        wrong = {"samples": comfy.nested_tensor.NestedTensor([streams(latent)[0], torch.zeros(1, 5, 10, 16)])}
        positive, _ = tiny.prompts(kind)
        other = [[positive[0][0][..., :-1], {}]]
        found[kind] = {
            "picture alone": refusal(lambda model=model, one=picture, kind=kind: sampled(kind, model, one)),
            "another sound": refusal(lambda model=model, one=wrong, kind=kind: sampled(kind, model, one)),
            "another prompt": refusal(
                lambda model=model, latent=latent, other=other: call(
                    "OpenT2VSampler", model=model, positive=other, negative=other, latent=latent, steps=2
                )
            ),
            "start picture": refusal(
                lambda model=model, one=positive: call(
                    "OpenT2VImageToVideo", model=model, vae=None, positive=one, negative=one
                )
            ),
        }
    return found


# Optional inputs that another model, or a finished picture, would be needed for.
LEFT_FREE = ("low_noise_model", "audio_vae", "images", "reference_images", "guidance")


@case
def every_node() -> dict[str, Any]:
    """What each of our nodes with a LATENT input says to picture and sound beside a model that makes pictures."""
    model, positive, vae = _ours()
    streams = [torch.randn(1, 16, 3, 4, 4), torch.randn(1, 8, 10, 16)]
    masks = [torch.ones(1, 1, 3, 4, 4), torch.ones(1, 1, 10, 16)]
    latent = {name: comfy.nested_tensor.NestedTensor(of) for name, of in (("samples", streams), ("noise_mask", masks))}
    parts = {"MODEL": model, "VAE": vae, "CONDITIONING": positive, "LATENT": latent}
    parts["OPENT2V_STEP_CACHE"] = call("OpenT2VStepCache")
    found = {}
    for name, cls in NODE_CLASS_MAPPINGS.items():
        declared = cls.INPUT_TYPES()
        kinds = {one: kind[0] for one, kind in {**declared["required"], **declared.get("optional", {})}.items()}
        # A node that needs a sound is asked in tests/nodes/test_sound.py.
        if "LATENT" not in kinds.values() or "AUDIO" in [kind[0] for kind in declared["required"].values()]:
            continue
        given = {
            one: parts[kind]
            for one, kind in kinds.items()
            if isinstance(kind, str) and kind in parts and one not in LEFT_FREE
        }
        try:
            call(name, **given)
            found[name] = ""
        except (ValueError, SamplingError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _ours() -> tuple[Any, Any, Any]:
    """A tiny Wan of the pack's own: MODEL, a prompt, VAE."""
    from opent2v.loaders import load_pipeline, open_folder
    from opent2v.tests.tiny import wan as wan

    parts = load_pipeline(
        open_folder(wan.folder()), model_dtype=torch.float32, text_dtype=torch.float32, vae_dtype=torch.float32
    )
    return host.model(parts.models[0]), host.embed(host.clip(parts.text), "a star"), host.vae(parts.vae)
