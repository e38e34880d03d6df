"""The bundled model in 4 steps: what a negative prompt by attention (nag) does at cfg 1, and what a step costs.

    python3 scripts/bench/few_steps.py [--scenes 24] [--nag 11] [--alpha 0.25] [--repeat 20]

Prints, for the LoRA of 4 steps at cfg 1 with and without nag on held-out scenes:

- for prompts that ask for noise or flicker, with these words as the negative prompt, and for plain prompts with the
  model's own negative prompt: the shares of scenes that come out as asked for, and grain and flicker of the ground
  (training/crispness.py);
- for prompts that leave the colour, the background or the shape open, with the one that comes out without nag as the
  negative prompt: how often another comes out, and how often the rest is still as asked for.

Then the time of a step with nag and with cfg over that of a step at cfg 1, the three taken in turns in one run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import pack

FOLDER = pack.ROOT / "models" / "diffusers" / "opent2v-quickstart"
LORA = pack.ROOT / "models" / "loras" / "opent2v-quickstart-4steps.safetensors"
# What a prompt asks for, and the negative prompt beside it; None: the plain prompt, and the model's own.
FLAWS = {"noisy": "noisy, grainy", "flicker": "flicker, flickering", None: None}
OPEN = {
    "colour": "a {shape} {motion} on a {background} background",
    "background": "a {colour} {shape} {motion}",
    "shape": "a {colour} shape {motion} on a {background} background",
}
# (prompt, seed, negative prompt or None for the model's own, sampler's settings) -> latents
Sampled = Callable[..., Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=24, help="how many of the 100 held-out scenes")
    parser.add_argument("--nag", type=float, default=11.0, help="scale of the guidance")
    parser.add_argument("--alpha", type=float, default=0.25, help="its share")
    parser.add_argument("--open", nargs="*", default=list(OPEN), choices=list(OPEN), help="what prompts leave open")
    parser.add_argument("--repeat", type=int, default=20, help="steps that are timed of each kind")
    arguments = parser.parse_args()
    environment.ensure([])
    pack.hide_scripts()
    pack.mount()
    import torch

    from opent2v.base.few_steps import with_few_steps
    from opent2v.host import embedded
    from opent2v.loaders import load_pipeline, open_folder
    from opent2v.loaders.lora import load_patches, match, read_lora
    from opent2v.sampling import Guidance, SamplerRequest, plan_run
    from opent2v.training import world

    parts = load_pipeline(open_folder(FOLDER), **embedded.device_dtypes(None, None))
    model, clip, vae = embedded.model(parts.models[0]), embedded.clip(parts.text), embedded.vae(parts.vae)
    verdict = match(read_lora(LORA), embedded.patch_target(model))
    verdict.check()
    model = embedded.apply_patches(model, load_patches(verdict), 1.0)
    assert verdict.few_steps is not None, "the LoRA states its schedule"
    variant = with_few_steps(model.part.variant, verdict.few_steps)
    defaults = variant.defaults
    shape = (1, *variant.geometry.latent_shape(defaults.width, defaults.height, defaults.frames))

    def sampled(prompt: str, seed: int, negative: str | None = None, **settings: Any) -> Any:
        away = embedded.embed(clip, negative or defaults.negative)
        entry = {**away[0][1], "cross_attn": away[0][0]}
        run = plan_run(variant, SamplerRequest(seed=seed, **settings), shape, negative=entry)
        return embedded.sample(model, embedded.embed(clip, prompt), away, {"samples": torch.zeros(shape)}, run)

    def video(*asked: Any, **settings: Any) -> Any:
        return (embedded.decode(vae, sampled(*asked, **settings)).permute(3, 0, 1, 2) * 2 - 1).clamp(-1, 1)

    scenes, guidance = world.split()[1][: arguments.scenes], Guidance(nag=arguments.nag, nag_alpha=arguments.alpha)
    for flaw, negative in FLAWS.items():
        asked_for_flaws(video, scenes, flaw, negative, guidance)
    for attribute in arguments.open:
        left_open(video, scenes, attribute, guidance)
    kinds = {"cfg 1": {"cfg": 1.0}, "nag": {"cfg": 1.0, "guidance": guidance}, "cfg 2.5": {"cfg": 2.5}}
    timed(sampled, kinds, defaults.steps, arguments.repeat)


def asked_for_flaws(video: Sampled, scenes: Any, flaw: str | None, negative: str | None, guidance: Any) -> None:
    """What comes of prompts that ask for a flaw, with and without guidance away from it."""
    from opent2v.training import captions, evaluate, score
    from opent2v.training.crispness import crispness

    for name, settings in (("without nag", {}), (f"nag {guidance.nag:g}", {"guidance": guidance})):
        records, crisp = [], []
        for seed, scene in enumerate(scenes):
            plain = captions.plain(scene)
            clip = video(plain if flaw is None else f"{flaw}, {plain}", seed, negative, **settings)
            records.append({"right": score.measure(clip).right(scene)})
            seen = score.shown(clip, scene)
            crisp += [crispness(clip, seen)] if seen else []
        words = [f"{key} {share:.0f} %" for key, share in evaluate.shares(records).items()]
        words += [f"{key} {statistics.mean(each[key] for each in crisp):.2f}" for key in ("grain", "flicker")]
        print(f"{flaw or 'plain'} prompts, {name}, {len(scenes)} scenes: {', '.join(words)}", flush=True)


def left_open(video: Sampled, scenes: Any, attribute: str, guidance: Any) -> None:
    """How often guidance away from what comes out of an open prompt makes something else of it."""
    from opent2v.training import captions, score

    asked, avoided, kept, kept_without = 0, 0, 0, 0
    others = [name for name in score.ATTRIBUTES if name != attribute]
    for seed, scene in enumerate(scenes):
        phrases = {name: captions.WORDS["en"][getattr(scene, name)][0] for name in score.ATTRIBUTES}
        prompt = OPEN[attribute].format(**phrases)
        before = score.measure(video(prompt, seed))
        shown = getattr(before, attribute)
        if shown == score.NONE:
            continue
        after = score.measure(video(prompt, seed, shown, guidance=guidance))
        asked += 1
        avoided += getattr(after, attribute) not in (shown, score.NONE)
        kept += all(getattr(after, name) == getattr(scene, name) for name in others)
        kept_without += all(getattr(before, name) == getattr(scene, name) for name in others)
    print(
        f"{attribute} left open, what comes out as the negative prompt, nag {guidance.nag:g}: another in {avoided} of "
        f"{asked} scenes, the rest right in {kept} (without nag {kept_without})",
        flush=True,
    )


def timed(sampled: Sampled, kinds: dict[str, Any], steps: int, repeat: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for n in range(max(1, repeat // steps) + 1):
        for name, settings in kinds.items():
            began = time.perf_counter()
            sampled("a red square moving to the left on a black background", 0, **settings)
            if n:  # the first round warms up
                times[name].append((time.perf_counter() - began) / steps)
    plain = statistics.median(times["cfg 1"])
    for name, seconds in times.items():
        print(f"{name}: {statistics.median(seconds) / plain:.2f} times a step at cfg 1", flush=True)


if __name__ == "__main__":
    main()
