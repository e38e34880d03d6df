"""Inside ComfyUI's Python: a negative prompt by attention on LTX-2's MODELs, what core's node reads of a LoRA, and how
soon core's nodes stop in our VAEs."""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import tiny_ltx2 as tiny
import torch
from boot import call, case
from cases_ltx2 import apart, start
from safetensors.torch import save_file

from opent2v.families.ltx2.network import COMFYUI, MAKERS
from opent2v.host import embedded
from opent2v.sampling import Guidance, SamplerRequest, plan_run
from opent2v.tests.families.layouts.ltx2 import VERSIONS
from opent2v.tests.tiny.ltx2 import transformer, variant_of

NAG = {"nag": 7.0, "nag_tau": 1.5, "nag_alpha": 0.4}


@case
def nag_of_both_streams() -> dict[str, Any]:
    """On core's MODEL and on ours with core's arithmetic, on both hosts, and without it."""
    from opent2v.host import comfyui as real

    rows = {}
    for version in VERSIONS:
        positive, negative, latent = start(version, "words")
        shape, entry = tuple(latent["samples"].shape), {**negative[0][1], "cross_attn": negative[0][0]}

        def sampled(
            model: Any, side: Any, positive: Any, negative: Any, latent: Any, shape: Any, entry: Any,
            guidance: Guidance | None = None,
        ) -> list[torch.Tensor]:  # fmt: skip
            request = SamplerRequest(seed=7, steps=3, cfg=1.0, guidance=guidance or Guidance(**NAG))
            run = plan_run(side.variant(model), request, shape, negative=entry)
            return list(side.sample(model, positive, negative, dict(latent), run).unbind())

        given = (positive, negative, latent, shape, entry)
        core, ours = (sampled(model, real, *given) for model in (tiny.cores(version), tiny.ours(version, COMFYUI)))
        hosts = [sampled(tiny.ours(version, MAKERS, side), side, *given) for side in (real, embedded)]
        rows[version] = {
            "core": apart(core, ours), "hosts": apart(*hosts),
            "without": apart(hosts[0], sampled(tiny.ours(version, MAKERS), real, *given, Guidance())),
        }  # fmt: skip
    return rows


@case
def what_a_lora_says_of_itself() -> dict[str, Any]:
    """Core's GetICLoRAParameters behind our loader and core's, on our MODEL and on core's."""
    name = "transformer_blocks.1.attn1.to_q"
    rows, columns = transformer("2.3")[f"{name}.weight"].shape
    assert rows == variant_of("2.3")[0]["cross_attention_dim"]
    lora = {
        f"diffusion_model.{name}.lora_A.weight": torch.randn(2, columns),
        f"diffusion_model.{name}.lora_B.weight": torch.randn(rows, 2),
    }
    metadata = {"reference_downscale_factor": "2"}
    save_file(lora, tiny.FOLDER / "ic.safetensors", metadata)
    save_file(lora, tiny.FOLDER / "plain.safetensors")
    factors = {}
    for owner, model in (("core's", tiny.cores("2.3")), ("ours", tiny.ours("2.3", MAKERS))):
        for file in ("ic", "plain"):
            ours = call("OpenT2VLoadLora", model=model, lora=f"{file}.safetensors")[0]
            core = call("LoraLoaderModelOnly", model=model, lora_name=f"{file}.safetensors", strength_model=1.0)
            for loader, changed in (("our loader", ours), ("core's loader", core)):
                parameters = call("GetICLoRAParameters", iclora_model=changed)
                factors[f"{file}, {owner}, {loader}"] = parameters["reference_downscale_factor"]
    return factors


@case
def layers_after_an_interrupt() -> dict[str, int]:
    """How many layers of our VAEs compute in core's nodes after the user has interrupted; -1: nothing has stopped."""
    video = tiny.our_vae(tiny.video_vae_file("2.3"))
    sound = tiny.our_vae(tiny.sound_vae_file(next(iter(tiny.VOCODERS))))
    latent, tones = {"samples": torch.zeros(1, 128, 4, 2, 3)}, {"samples": torch.zeros(1, 8, 11, 16)}
    audio = {"waveform": torch.zeros(1, 2, 40960), "sample_rate": 44100}
    runs = {
        "VAEDecode": (video, lambda: call("VAEDecode", samples=latent, vae=video)),
        "VAEDecodeTiled": (video, lambda: call("VAEDecodeTiled", samples=latent, vae=video, tile_size=64, overlap=0)),
        "VAEEncode": (video, lambda: call("VAEEncode", pixels=torch.zeros(9, 64, 96, 3), vae=video)),
        "LTXVAudioVAEDecode": (sound, lambda: call("LTXVAudioVAEDecode", samples=tones, audio_vae=sound)),
        "LTXVAudioVAEEncode": (sound, lambda: call("LTXVAudioVAEEncode", audio=audio, audio_vae=sound)),
    }
    return {node: _computed(vae.first_stage_model, run) for node, (vae, run) in runs.items()}


def _computed(network: torch.nn.Module, run: Any) -> int:
    begun = 0

    def begin(*_: Any) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            mm.interrupt_current_processing()

    layers = [module for module in network.modules() if next(module.children(), None) is None]
    handles = [layer.register_forward_pre_hook(begin) for layer in layers]
    try:
        run()
        return -1
    except mm.InterruptProcessingException:
        return begun - 1
    finally:
        mm.interrupt_current_processing(False)
        for handle in handles:
            handle.remove()
        assert not any(layer._forward_pre_hooks for layer in layers)
