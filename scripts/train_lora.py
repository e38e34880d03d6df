"""Trains a LoRA for any video model of the pack, from a folder of clips with captions.

    python3 scripts/train_lora.py --model FOLDER_OR_FILE --data CLIPS --output my_lora.safetensors

CLIPS is a folder of videos or pictures, each with a .txt file of the same stem, or a .jsonl or .csv list with
video_path and caption. The clips are checked and a plan is printed first. Checkpoint, cache, samples and training.html
lie in a folder beside the output; the same command goes on with what is there. A model in single files takes --vae and
--text-encoder; of two experts, --expert chooses. On several GPUs: accelerate launch scripts/train_lora.py ...
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import console
import environment
import pack
import train_parts

# Option -> (type, help); names are those of finetune.Settings, whose defaults count.
SETTINGS: dict[str, tuple[Any, str]] = {
    "width": (int, "width in pixels of clips as wide as the model's own size; 0: the model's own"),
    "height": (int, "height in pixels; 0: the model's own"),
    "frames": (int, "longest length in frames; 0: the model's own"),
    "rank": (int, "of the LoRA: more holds more, and makes a larger file"),
    "alpha": (float, "strength is alpha / rank; 0: the rank"),
    "rate": (float, "learning rate; 0: 1e-4, and more for a transformer narrower than 1536"),
    "optimizer": (str, "auto (8-bit AdamW on a GPU where bitsandbytes is installed), adamw or 'adamw 8-bit'"),
    "steps": (int, "at most"),
    "batch": (int, "clips a step"),
    "together": (int, "clips in one call of the model; more is faster and takes more memory"),
    "warmup": (int, "steps in which the rate rises"),
    "decay": (float, "share of the steps, at the end, in which the rate falls to zero; 0: it stays"),
    "layers": (str, "'attention and feed-forward', 'attention' or 'all linear'"),
    "shift": (float, "of the noise levels; 0: the model's own"),
    "pictures": (str, "whether the first frame is given: auto, never or always"),
    "trigger": (str, "words put in front of captions that lack them"),
    "caption": (str, "of clips without a caption, which are refused otherwise"),
    "validation": (float, "share of the clips that only measure"),
    "validate_every": (int, "steps between two measurements"),
    "patience": (int, "measurements without a new lowest loss that end the training; 0: never"),
    "save_every": (int, "steps between two checkpoints"),
    "seed": (int, "another seed, another training"),
}


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    environment.ensure(["peft", "accelerate"])
    pack.hide_scripts()
    pack.mount()
    from opent2v import finetune  # pyright: ignore[reportMissingImports]

    names = {name: getattr(arguments, name) for name in SETTINGS}
    settings = finetune.Settings(
        **{name: value for name, value in names.items() if value is not None},
        checkpointing=not arguments.no_checkpointing,
    )
    settings.check()
    if arguments.judge < 0:
        raise ValueError(f"--judge is {arguments.judge}; expected 0 (none) or more prompts")
    output, work = _places(arguments.output, arguments.work)
    processes = finetune.Processes.launched(cpu=not _has_gpu())
    parts = train_parts.load(arguments)
    say = _say if processes.is_first else lambda lines: None
    encoders = finetune.Encoders(parts.variant, parts.clip, parts.vae, parts.audio_vae, parts.clip_vision)
    bar = console.Stages()
    prepared = finetune.prepare(
        encoders, arguments.data, arguments.cache or work / "cache", settings,
        report=_reporter(bar) if processes.is_first else lambda *_: None, processes=processes,
        streams=arguments.stream,
    )  # fmt: skip
    say(finetune.data_lines(prepared))
    if processes.is_first:
        say([finetune.ceiling_of(encoders, prepared, work).line])
    prompts = arguments.prompt or list(dict.fromkeys(item.clip.caption for item in prepared.items))[:2]
    shots = finetune.shots_of(encoders, prepared, prompts, arguments.sample_seed) if arguments.sample_every else []
    unseen = finetune.held_out_shots(
        encoders, prepared, settings, arguments.judge_prompt or [], arguments.judge, arguments.sample_seed
    )
    parts.clip = encoders = None  # the text encoder leaves memory
    model = parts.model()
    training = finetune.Training(train_parts.host().training_model(model), prepared, settings, work, processes)
    judge = finetune.Judge(training)
    try:
        say(finetune.plan_lines(training))
        if arguments.plan:
            return 0
        _train(finetune, training, arguments, work, shots, model, parts.vae, processes.is_first)
        if processes.is_first:
            finetune.export(training, output, _dtype(arguments.save_as))
            if arguments.judge:
                judge.held_out()
            say([f"LoRA     {output}", f"card     {output.with_suffix('.md')}", f"page     {work / 'training.html'}"])
    finally:
        training.close()
    if processes.is_first:
        _judge(finetune, judge, output, model, parts.vae, unseen, arguments.sample_steps)
    processes.wait()
    return 0


def _judge(finetune: Any, judge: Any, output: Path, model: Any, vae: Any, unseen: Sequence[Any], steps: int) -> None:
    """Say what the file changes, and write it into its card."""
    from opent2v.loaders.lora import load_patches, match, read_lora  # pyright: ignore[reportMissingImports]

    if unseen:
        host = train_parts.host()
        trained = host.apply_patches(model, load_patches(match(read_lora(output), host.patch_target(model))), 1.0)
        judge.samples(model, trained, vae, unseen, steps)
    finetune.write_card(judge.training, output, judge.effect)
    _say([f"{name}: {text}" for name, text in judge.effect.rows.items()])


def _train(
    finetune: Any, training: Any, arguments: Any, work: Path, shots: Sequence[Any], model: Any, vae: Any, is_first: bool
) -> None:
    drawn: list[Any] = []

    def draw() -> None:
        if is_first and shots and not (drawn and drawn[-1].step == training.step):
            drawn.append(finetune.draw(model, vae, shots, work / "samples", training.step, arguments.sample_steps))
        if is_first:
            finetune.write_page(work / "training.html", training, shots, drawn)

    stages = console.Stages()
    if is_first:
        stages.start("train")

    def on_step(record: Any) -> None:
        if not is_first:
            return
        stages.update(record.step, training.settings.steps)
        if record.validation is not None or record.step % 10 == 0:
            measured = "" if record.validation is None else f", validation {record.validation:.5f}"
            console.say(f"  step {record.step}: loss {record.loss:.5f}{measured}")
        if arguments.sample_every and record.step % arguments.sample_every == 0:
            draw()

    if not training.step:
        draw()
    training.run(on_step)
    if training.ended_early and is_first:
        step, worse = training.step, training.worse
        console.say(f"Ended at step {step}: the validation loss has not fallen for {worse} measurements.")
    draw()


def _places(output: Path, work: Path | None) -> tuple[Path, Path]:
    """(the LoRA file, the folder of everything else)."""
    output = output.expanduser().resolve()
    if output.suffix != ".safetensors":
        raise ValueError(f"--output {output.name} is no .safetensors file; name it like my_lora.safetensors")
    if output.exists():
        raise FileExistsError(f"{output} exists already, and a LoRA is never overwritten; choose another name")
    folder = work.expanduser().resolve() if work else output.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    return output, folder


def _reporter(bar: Any) -> Any:
    began = time.perf_counter()

    def report(what: str, done: int, total: int) -> None:
        nonlocal began
        if what != bar.name:
            began = time.perf_counter()
            bar.start(what)
        bar.update(done, total)
        if done == total:
            bar.end(time.perf_counter() - began)

    return report


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        console.say(line)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _dtype(name: str) -> Any:
    import torch

    return getattr(torch, name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", type=Path, required=True, help="a diffusers folder, or a model's file")
    add("--data", type=Path, required=True, help="folder of clips, or a .jsonl or .csv list")
    add("--output", type=Path, required=True, help="the LoRA's file; it must not exist yet")
    add("--work", type=Path, help="folder for checkpoint, cache and samples (default: beside the output)")
    add("--cache", type=Path, help="folder for latents and prompts, which trainings may share")
    add("--stream", action="store_true", help="store no latents, encode clips in each step: for data beyond the disk")
    add("--text-encoder", type=Path, action="append", help="of a model in a single file; may be repeated")
    add("--vae", type=Path, help="of a model in a single file")
    add("--audio-vae", type=Path, help="of a model with sound")
    add("--connectors", type=Path, help="file with the parts that the model's own lacks (LTX-2)")
    add("--expert", choices=("high", "low"), help="which of two experts is trained")
    add("--dtype", default="auto", choices=train_parts.DTYPES, help="how the model's weights are held; nf4: QLoRA")
    for name, (kind, text) in SETTINGS.items():
        add(f"--{name.replace('_', '-')}", type=kind, help=text)
    add("--no-checkpointing", action="store_true", help="keep all of a step in memory: a third faster")
    add("--prompt", action="append", help="of the samples; may be repeated (default: the first captions)")
    add("--sample-every", type=int, default=250, help="steps between samples; 0: none")
    add("--sample-steps", type=int, default=0, help="of the sampler for samples; 0: the model's own")
    add("--sample-seed", type=int, default=0, help="of the first sample; the next ones count on")
    add("--judge", type=int, default=4, help="held-out prompts drawn with and without the LoRA, for its card; 0: none")
    add("--judge-prompt", action="append", help="of those; may be repeated (default: captions of held-out clips)")
    add("--save-as", default="bfloat16", choices=("bfloat16", "float16", "float32"), help="numbers of the LoRA's file")
    add("--plan", action="store_true", help="check the clips, print the plan and stop")
    console.add_common(parser)
    return parser


if __name__ == "__main__":
    sys.exit(console.guard(main))
