"""Runs inside ComfyUI's Python: a family of ours with two streams, beside the embedded host and in core's sampler."""

from __future__ import annotations

from typing import Any

import boot
from boot import call, case, largest

boot.start()

import torch  # noqa: E402

from opent2v.base import FamilyError  # noqa: E402
from opent2v.host import comfyui as real  # noqa: E402
from opent2v.host import embedded  # noqa: E402
from opent2v.sampling import make_run, make_schedule  # noqa: E402
from opent2v.sampling.guides import CfgRescale  # noqa: E402
from opent2v.tests.tiny import joint as tiny  # noqa: E402

SIDES = embedded, real
MODELS = [tiny.model(side) for side in SIDES]
POSITIVE, NEGATIVE = tiny.conditionings()
EMPTY = [torch.zeros(shape) for shape in tiny.SHAPES]


def drawn() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for shape in tiny.SHAPES]


def sampled(samples: Any = EMPTY, masks: Any = None, denoise: float = 1.0, **further: Any) -> list[list[torch.Tensor]]:
    """The streams that each host makes."""
    made = []
    for side, model in zip(SIDES, MODELS, strict=True):
        latent = {"samples": side.nested(samples)} | ({} if masks is None else {"noise_mask": side.nested(masks)})
        run = make_run(make_schedule(tiny.VARIANT.scheduler, steps=4, denoise=denoise), 3.0, 1, **further)
        made.append([stream.cpu() for stream in side.sample(model, POSITIVE, NEGATIVE, latent, run).unbind()])
    return made


def apart(streams: Any, others: Any) -> list[float]:
    return [largest(*pair) for pair in zip(streams, others, strict=True)]


@case
def refused() -> str:
    """What an older ComfyUI, which does not say how it packs streams, is told; "" where it samples."""
    try:
        sampled()
    except FamilyError as error:
        return str(error)
    return ""


@case
def hosts() -> dict[str, Any]:
    masks = [torch.ones(1, 1, 3, 2, 2), torch.ones(1, 1, *tiny.SHAPES[1][2:])]
    masks[0][:, :, 0], masks[1][:, :, :3] = 0.3, 0
    half = sampled(drawn(), denoise=0.5)
    return {
        "size": [stream.abs().max().item() for stream in half[0]],
        "apart": {
            "empty": apart(*sampled()),
            "half": apart(*half),
            "both masked": apart(*sampled(drawn(), masks)),
            "picture masked": apart(*sampled(drawn(), masks[:1])),
            "rescaled": apart(*sampled(guides=lambda step, cfg: (CfgRescale(0.7),))),
        },
    }


@case
def cores_sampler() -> list[list[float]]:
    walked = call(
        "SamplerCustom", model=MODELS[1], add_noise=True, noise_seed=1, cfg=3.0, positive=POSITIVE, negative=NEGATIVE,
        sampler=call("KSamplerSelect", sampler_name="euler"),
        sigmas=make_schedule(tiny.VARIANT.scheduler, steps=4).sigmas, latent_image={"samples": real.nested(EMPTY)},
    )  # fmt: skip
    return [apart(latent["samples"].unbind(), sampled()[1]) for latent in walked]


@case
def sound() -> dict[str, Any]:
    decoders = [side.audio_decoder(tiny.audio_vae(side)) for side in SIDES]
    heard = [decoder.decode(drawn()[1]) for decoder in decoders]
    cores = call("VAEDecodeAudio", vae=tiny.audio_vae(real), samples={"samples": drawn()[1]})
    return {
        "apart": largest(*(audio["waveform"] for audio in heard)),
        "shapes": [list(audio["waveform"].shape) for audio in (*heard, cores)],
        "rates": [audio["sample_rate"] for audio in (*heard, cores)],
        "channels": [decoder.channels for decoder in decoders],
    }


boot.run()
