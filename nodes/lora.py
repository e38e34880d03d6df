"""LoRA: a small file that changes a MODEL's weights, applied with a verdict on what it is and what of it fits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..base import FamilyError, Target, WeightChange
from ..base.few_steps import FewStepsLora
from ..base.strengths import Strengths, parse
from ..host import host
from ..loaders.lora import LoraFile, Verdict, load_patches, match, read_lora, rebased
from .charts import CHART_TOOLTIP, lora_panels, picture_of
from .inputs import NONE, chosen, combo, files_of, states_of
from .lora_pairs import KIND, PARTNER, over_steps_input, partner_file
from .remarks import with_remarks
from .shared import files_state

SLOTS = 5
_MODEL = ("MODEL", {"tooltip": "The video model, ours or of ComfyUI's own loaders."})
_CLIP = ("CLIP", {"tooltip": "The text encoder, for LoRAs that change it too."})
_BLOCKS = (
    "STRING",
    {
        "advanced": True,
        "default": "",
        "tooltip": "Empty: all of the model. Else which blocks and layers are changed: 0-9, 15 or attn1, ffn.",
    },
)


def _strength(tooltip: str) -> tuple[str, dict[str, Any]]:
    return ("FLOAT", {"default": 1.0, "min": -20.0, "max": 20.0, "step": 0.01, "tooltip": tooltip})


class Applied:
    """Applies files to a MODEL and a CLIP, and remembers what it read of them for the next run."""

    def __init__(self) -> None:
        self._read: dict[Any, tuple[Verdict, tuple[WeightChange, ...]]] = {}

    def run(
        self,
        model: Any,
        clip: Any,
        files: Sequence[tuple[Path, float, float]],
        blocks: str,
        node: str | None,
        over_steps: Strengths | None = None,
    ) -> tuple[Any, Any, list[str], str]:
        """(MODEL, CLIP, lines for the node, report) with the files applied in their order, all of them or none.

        The report has, behind the lines, every name that has no place in the model.

        Args:
            files: (path, strength for the MODEL, strength for the CLIP).
            over_steps: factors of the strength for the MODEL over the steps; None: one in all.
        """
        lines, unplaced, kept, todo = [], [], {}, []
        if over_steps is not None:
            lines.append(f"Strength over the steps of Video Sampler: {over_steps.text}")
        targets: dict[str, Target] = {}
        for path, *strengths in files:
            file = read_lora(path)
            if not file.adapters and clip is None:
                raise FamilyError(
                    f"{path.name} changes the text encoder only ({len(file.text_adapters)} layers). Connect the CLIP."
                )
            parts = [("model", model, file.adapters), ("clip", clip, file.text_adapters)]
            for (name, thing, adapters), strength in zip(parts, strengths, strict=True):
                if thing is None or not adapters:
                    continue
                target = targets[name] = targets.get(name) or host.patch_target(thing)
                fitted = rebased(file, target)
                inputs = fitted.inputs.key if fitted.inputs else ""
                # The key holds the model's names, shapes and expert, on which reading depends; strengths and other
                # LoRAs have no effect.
                expert = target.variant.expert if target.variant else ""
                key = str(path), files_state(path), blocks, target.title, expert, hash(tuple(target.shapes.items()))
                key = *key, inputs
                applied = self._read.get(key) or self._new(fitted, target, blocks, node)
                kept[key] = applied
                todo.append((name, applied, strength))
                lines += verdict_lines(applied[0], strength)
                unplaced += applied[0].unplaced()
            if clip is None and file.text_adapters:
                lines.append(
                    f"{len(file.text_adapters)} changes of the text encoder were left out: connect the CLIP too"
                )
        self._read = kept
        for name, (verdict, patches), strength in todo:
            metadata = verdict.file.metadata
            if strength and name == "model":
                model = host.apply_patches(model, patches, strength, over_steps, metadata)
                few = verdict.few_steps
                if few is not None and strength > 0:
                    model = host.with_few_steps(model, FewStepsLora(few, verdict.file.path.name, strength))
            elif strength:
                clip = host.apply_patches(clip, patches, strength, metadata=metadata)
        for line in lines:
            (logging.warning if line.startswith("WARNING") else logging.info)(line)
        return model, clip, lines, "\n".join([*lines, *unplaced])

    @property
    def verdicts(self) -> list[Verdict]:
        """Of the files of the last run, in their order."""
        return [verdict for verdict, _ in self._read.values()]

    @property
    def changes(self) -> list[WeightChange]:
        """What the files of the last run change of the MODEL."""
        return [
            change for verdict, part in self._read.values() if not verdict.target.is_text_encoder for change in part
        ]

    def _new(
        self, file: LoraFile, target: Target, blocks: str, node: str | None
    ) -> tuple[Verdict, tuple[WeightChange, ...]]:
        verdict = match(file, target, "" if target.is_text_encoder else blocks)
        verdict.check()
        return verdict, load_patches(verdict, host.progress(verdict.matched, node, "Reading LoRA"))


def verdict_lines(verdict: Verdict, strength: float) -> list[str]:
    """The verdict as lines for the user, and how the LoRA is applied."""
    target = verdict.target
    if not strength:
        way = "Strength 0: nothing is applied"
    elif not target.is_merged:
        precision = "in its computing precision"
        way = f"Applied while the model computes, {precision}; the {target.storage} weights stay as they are"
    else:
        way = f"Merged into the {target.storage} weights while the model is loaded, and taken out again"
    return [*verdict.lines(), way]


class OpenT2VLoadLora:
    """Applies one LoRA file."""

    CATEGORY = "OpenT2V"
    FUNCTION = "load"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("MODEL", "CLIP", "STRING", "MODEL", "IMAGE")
    RETURN_NAMES = ("model", "clip", "report", "low_noise_model", "chart")
    OUTPUT_TOOLTIPS = (
        "The model with the LoRA.",
        "The text encoder with the LoRA; as it came in where the file does not change it.",
        "What the file is, what of it fits this model, and how it was applied.",
        "The low-noise model with its LoRA, where one is connected.",
        CHART_TOOLTIP,
    )
    DESCRIPTION = "Apply a LoRA of any format and say what it is, what of it fits this model and what was done."
    SEARCH_ALIASES: ClassVar = [
        "lora loader",
        "lora",
        "lycoris",
        "lokr",
        "loha",
        "style",
        "lightx2v",
        "dora",
        "video lora",
        "load lora",
        "lora 加载",
        "视频 LoRA",
    ]

    def __init__(self) -> None:
        self._applied, self._low = Applied(), Applied()
        self._drawn: tuple[list[Any], Any] | None = None

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": _MODEL,
                "lora": combo("A file in models/loras.", KIND),
                "strength_model": _strength("How much the video model is changed. 0: not at all, 1: as trained."),
                "strength_clip": _strength("How much the text encoder is changed. 0: not at all, 1: as trained."),
            },
            "optional": {
                "clip": _CLIP,
                "blocks": _BLOCKS,
                "low_noise_model": ("MODEL", {"tooltip": "The second expert of a model with two (Wan 2.2 A14B)."}),
                "lora_low_noise": (
                    [PARTNER, NONE, *files_of(KIND)],
                    {
                        "default": PARTNER,
                        "tooltip": "The file for low_noise_model. auto: the file of the same name with low for high, "
                        "or, where there is none, the same file. none: low_noise_model stays as it is.",
                    },
                ),
                "strength_low_noise": _strength("How much low_noise_model is changed. 0: not at all, 1: as trained."),
                "strength_over_steps": over_steps_input("strength_model"),
                "low_noise_over_steps": over_steps_input("strength_low_noise"),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, lora: str, lora_low_noise: str = PARTNER, **_: Any) -> str:
        return states_of([lora, partner_file(lora)[0] if lora_low_noise == PARTNER else lora_low_noise], KIND)

    def load(
        self,
        model: Any,
        lora: str,
        strength_model: float,
        strength_clip: float,
        clip: Any = None,
        blocks: str = "",
        low_noise_model: Any = None,
        lora_low_noise: str = PARTNER,
        strength_low_noise: float = 1.0,
        strength_over_steps: str = "",
        low_noise_over_steps: str = "",
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        strengths, low_strengths = parse(strength_over_steps), parse(low_noise_over_steps)
        files = [(chosen(lora, KIND), strength_model, strength_clip)]
        model, clip, lines, report = self._applied.run(model, clip, files, blocks, unique_id, strengths)
        if low_noise_model is None:
            low = host.missing("No low_noise_model is connected to Load Video LoRA, so it has none to hand on.")
        elif lora_low_noise == NONE:
            low = low_noise_model
        else:
            name, remark = partner_file(lora) if lora_low_noise == PARTNER else (lora_low_noise, "")
            second = [(chosen(name, KIND), strength_low_noise, 0.0)]
            low, _, low_lines, low_report = self._low.run(
                low_noise_model, None, second, blocks, unique_id, low_strengths
            )
            lines += [remark or f"For low_noise_model: {name}", *low_lines]
            report = "\n".join([report, remark or f"For low_noise_model: {name}", low_report])
        return with_remarks((model, clip, report, low, self._chart(lora)), lines)

    def _chart(self, name: str) -> Any:
        """The picture of the last run's verdict, drawn once for as long as the verdict holds."""
        verdicts = self._applied.verdicts
        shown = [host.language(), *(id(verdict) for verdict in verdicts)]
        if self._drawn is None or self._drawn[0] != shown:
            chart = picture_of(
                f"{name}: layers that match, and what changes", lora_panels(verdicts, self._applied.changes)
            )
            self._drawn = shown, chart
        return self._drawn[1]


class OpenT2VLoraStack:
    """Applies several LoRA files, one behind the other."""

    CATEGORY = "OpenT2V"
    FUNCTION = "load"
    HAS_INTERMEDIATE_OUTPUT = True
    RETURN_TYPES = ("MODEL", "CLIP", "STRING")
    RETURN_NAMES = ("model", "clip", "report")
    OUTPUT_TOOLTIPS = (
        "The model with all LoRAs.",
        "The text encoder with all LoRAs; as it came in where no file changes it.",
        "What each file is, what of it fits this model, and how it was applied.",
    )
    DESCRIPTION = "Apply several LoRAs in their order, each with its strength, and say of each what of it fits."
    SEARCH_ALIASES: ClassVar = [
        "lora stack",
        "multiple loras",
        "lora loader stack",
        "video lora",
        "lora 叠加",
        "视频 LoRA",
    ]

    def __init__(self) -> None:
        self._applied = Applied()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = [NONE, *files_of(KIND)]
        slots: dict[str, Any] = {}
        for n in range(1, SLOTS + 1):
            slots[f"lora_{n}"] = (names, {"default": NONE, "tooltip": "A file in models/loras, or none."})
            slots[f"strength_{n}"] = _strength("How much model and text encoder are changed by the file above.")
        return {
            "required": {"model": _MODEL, **slots},
            "optional": {"clip": _CLIP, "blocks": _BLOCKS},
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> str:
        return states_of([value for name, value in inputs.items() if name.startswith("lora_")], KIND)

    def load(
        self, model: Any, clip: Any = None, blocks: str = "", unique_id: str | None = None, **slots: Any
    ) -> dict[str, Any]:
        files = []
        for n in range(1, SLOTS + 1):
            name, strength = slots.get(f"lora_{n}", NONE), slots.get(f"strength_{n}", 1.0)
            if name != NONE:
                files.append((chosen(name, KIND), strength, strength))
        model, clip, lines, report = self._applied.run(model, clip, files, blocks, unique_id)
        return with_remarks((model, clip, report), lines)
