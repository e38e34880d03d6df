"""Training a LoRA inside the host, on the models of a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ..base import VideoModel
from ..finetune import (
    Encoders,
    Judge,
    Record,
    Settings,
    Training,
    TrainingError,
    ceiling_of,
    data_lines,
    export,
    held_out_shots,
    plan_lines,
    prepare,
    write_card,
)
from ..finetune.clips import LISTS, PICTURES, VIDEOS
from ..finetune.optimizer import OPTIMIZERS
from ..host import host
from ..loaders import load_model, open_file
from ..loaders.lora import load_patches, match, read_lora
from ..media.naming import check_name
from .charts import CHART_TOOLTIP, picture_of, training_panels
from .inputs import AUDIO_VAES, by_name, number, require_variant
from .remarks import with_remarks

NOTHING = "put a folder of clips into the input folder"
# Folders of the input folder are listed this many levels down.
_DEPTH = 3


def _whole(default: int, low: int, high: int, tooltip: str, **options: Any) -> tuple[str, dict[str, Any]]:
    return ("INT", {"default": default, "min": low, "max": high, "tooltip": tooltip, **options})


class OpenT2VTrainLora:
    """Trains a LoRA on a folder of clips with captions."""

    CATEGORY = "OpenT2V"
    FUNCTION = "train"
    HAS_INTERMEDIATE_OUTPUT = True
    OUTPUT_NODE = True
    RETURN_TYPES = ("MODEL", "STRING", "STRING", "IMAGE")
    RETURN_NAMES = ("model", "file", "report", "chart")
    OUTPUT_TOOLTIPS = (
        "The model with the new LoRA applied, to try it at once.",
        "Path of the LoRA's file; put it into models/loras for Load Video LoRA.",
        "Clips, refused clips, plan and losses.",
        CHART_TOOLTIP,
    )
    DESCRIPTION = (
        "Train a LoRA on a folder of clips with captions. A run that is interrupted goes on where it was when it is "
        "started again."
    )
    SEARCH_ALIASES: ClassVar = ["train lora", "lora trainer", "fine-tune", "finetune", "lora training", "训练", "微调"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = list(_data_sets()) or [NOTHING]
        advanced = {"advanced": True}
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model to train on, from this pack's load nodes, without LoRAs."}),
                "clip": ("CLIP", {"tooltip": "The model's text encoder; it reads the captions."}),
                "vae": ("VAE", {"tooltip": "The model's VAE; it encodes the clips."}),
                "data": (
                    names,
                    {
                        "default": names[0],
                        "tooltip": "A folder in the input folder: videos or pictures, each with its caption in a .txt "
                        "file of the same name; or a .jsonl or .csv list with video_path and caption.",
                    },
                ),
                "name": (
                    "STRING",
                    {"default": "my_lora", "tooltip": "Of the LoRA's file in loras, in the output folder."},
                ),
                "trigger": (
                    "STRING",
                    {"default": "", "tooltip": "Words put in front of captions that lack them, to call the LoRA."},
                ),
                "steps": _whole(1000, 1, 1_000_000, "Steps at most; 500 to 2000 are usual."),
                "rank": _whole(32, 1, 1024, "Size of the LoRA. More: holds more, larger file, more memory."),
                "rate": number(
                    1e-4, 1e-6, 1.0, 1e-6, "Learning rate. More: learns faster, until it falls apart.", round=False
                ),
                "batch": _whole(4, 1, 1024, "Clips a step. More: steadier, and each step takes longer.", **advanced),
                "width": _whole(
                    0, 0, 16384, "Width in pixels that the clips' area comes from. 0: the model's own.", **advanced
                ),
                "height": _whole(
                    0, 0, 16384, "Height in pixels that the clips' area comes from. 0: the model's own.", **advanced
                ),
                "frames": _whole(0, 0, 16384, "Longest length of a clip in frames. 0: the model's own.", **advanced),
            },
            "optional": {
                "audio_vae": ("VAE", {"tooltip": f"To learn the sound too: the model's audio VAE ({AUDIO_VAES})."}),
                "clip_vision": (
                    "CLIP_VISION",
                    {"tooltip": "For models that read their picture with an image encoder (Wan 2.1 I2V)."},
                ),
                "caption": (
                    "STRING",
                    {
                        **advanced,
                        "default": "",
                        "tooltip": "Caption of clips that have none. Empty: such clips are refused.",
                    },
                ),
                "validation": number(
                    0.1,
                    0.0,
                    0.9,
                    0.01,
                    "Share of the clips that only measure, from 10 clips on. Training ends when their loss stops "
                    "falling. 0: none.",
                    **advanced,
                ),
                # The page would change a seed after every run, and an interrupted training could not go on.
                "seed": _whole(
                    0, 0, 2**32 - 1, "Another seed, another training.", control_after_generate=False, **advanced
                ),
                "checkpointing": (
                    "BOOLEAN",
                    {**advanced, "default": True, "tooltip": "Far less memory, and a third slower. Off: faster."},
                ),
                "optimizer": (
                    list(OPTIMIZERS),
                    {
                        **advanced,
                        "default": "auto",
                        "tooltip": "adamw 8-bit needs bitsandbytes and takes a quarter of AdamW's memory. auto: 8-bit "
                        "on a GPU where bitsandbytes is installed.",
                    },
                ),
                "judge": _whole(
                    2,
                    0,
                    100,
                    "Prompts of held-out clips that are drawn without and with the LoRA at the end, so that its card "
                    "says what it changes. 0: none.",
                    **advanced,
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, name: str | None = None) -> bool | str:
        """Refuse a name that is no file's."""
        try:
            if name is not None:  # None: the value comes from another node and is not known yet
                check_name(f"{name}.safetensors")
        except ValueError as error:
            return str(error)
        return True

    def train(
        self,
        model: Any,
        clip: Any,
        vae: Any,
        data: str,
        name: str,
        audio_vae: Any = None,
        clip_vision: Any = None,
        judge: int = 2,
        unique_id: str | None = None,
        **values: Any,
    ) -> dict[str, Any]:
        settings = Settings(**values)
        settings.check()
        check_name(f"{name}.safetensors")
        path = host.output_folder() / "loras" / f"{name}.safetensors"
        if path.exists():
            raise TrainingError(f"{path.name} is in the output folder already, and is never overwritten. Change name.")
        variant, folder = require_variant(model), path.with_suffix("")
        encoders = Encoders(variant, clip, vae, audio_vae, clip_vision)
        prepared = prepare(
            encoders, _data_set(data), folder / "cache", settings,
            report=_bars(unique_id), within=host.file_folders()["input"],
        )  # fmt: skip
        lines = [*data_lines(prepared), ceiling_of(encoders, prepared, folder).line]
        host.say(lines, unique_id)
        unseen = held_out_shots(encoders, prepared, settings, (), judge, settings.seed)
        training = Training(host.training_model(model, _network_of_file), prepared, settings, folder)
        measured = Judge(training)
        try:
            lines += plan_lines(training)
            host.say(lines, unique_id)
            bar = host.progress(settings.steps, unique_id, "Training")

            def on_step(record: Record) -> None:
                bar(record.step)

            training.run(on_step)
            lines += _outcome(training)
            export(training, path)
            if judge:
                measured.held_out()
        finally:
            training.close()
        verdict = match(read_lora(path), host.patch_target(model))
        trained = host.apply_patches(model, load_patches(verdict), 1.0)
        measured.samples(model, trained, vae, unseen)
        write_card(training, path, measured.effect)
        lines += [f"{name}: {text}" for name, text in measured.effect.rows.items()]
        lines.append(f"Saved as {path}")
        chart = picture_of(f"Training of {path.name}", training_panels(training.history))
        return with_remarks((trained, str(path), "\n".join(lines), chart), lines)


def _network_of_file(path: Path) -> VideoModel:
    """The network in a file of the host's own loader, with its weights as they are stored."""
    return load_model(open_file(path), None, keeps_packed=True)


def _outcome(training: Training) -> list[str]:
    """How the training went, line by line."""
    history = training.history
    tenth = max(1, len(history) // 10)
    means = [sum(record.loss for record in part) / len(part) for part in (history[:tenth], history[-tenth:])]
    lines = [f"Loss {means[0]:.4f} at first, {means[1]:.4f} at the end"]
    if training.best:
        lines[0] += f"; lowest validation loss {training.lowest:.4f}, whose weights are saved"
    if training.ended_early:
        lines.append(f"Ended at step {training.step}: the validation loss had stopped falling.")
    return lines


def _bars(node: str | None) -> Any:
    """A progress bar for each pass over the clips."""
    bars: dict[str, Any] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in bars:
            bars[what] = host.progress(max(1, total), node)
        bars[what](done)

    return report


def _data_sets() -> dict[str, Path]:
    """Folders of the input folder that hold clips, and lists, by their names below it."""
    root, sets = host.file_folders()["input"], dict[str, Path]()
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        suffixes = {entry.suffix.lower() for entry in entries}
        if folder != root and suffixes & {*VIDEOS, *PICTURES}:
            sets[folder.relative_to(root).as_posix()] = folder
        sets |= {e.relative_to(root).as_posix(): e for e in entries if e.suffix.lower() in LISTS}
        pending += [(e, depth + 1) for e in entries if depth < _DEPTH and e.is_dir() and not e.name.startswith(".")]
    return dict(sorted(sets.items()))


def _data_set(name: str) -> Path:
    path = by_name(_data_sets(), name)
    if path is None:
        raise TrainingError(
            f"The folder or list {name!r} is not in the input folder (any more). Put clips with captions there and "
            "press R to refresh the list."
        )
    return path
