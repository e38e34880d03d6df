"""The LoRA file: diffusers' names, and metadata as kohya's trainers write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..loaders.tensor_file import write_tensors
from .effect import Effect
from .loop import Training
from .optimizer import OPTIMIZERS
from .plan import bucket_counts


def tensors_of(training: Training, weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The matrices by diffusers' names: "transformer.blocks.0.attn1.to_q.lora_A.weight".

    The scale is multiplied into the second matrix, so that every reader, with or without alpha, computes the same.
    """
    slot, scale = training.model.part.variant.family.network.slot, training.adapter.scale
    named: dict[str, Tensor] = {}
    for name, weight in weights.items():
        scaled = weight * scale if ".lora_B." in name else weight
        named[f"{slot}.{name.replace('.default.', '.')}"] = scaled.detach().to("cpu", dtype).contiguous()
    return named


def metadata_of(training: Training, name: str) -> dict[str, str]:
    """What the file says of itself."""
    settings, variant, prepared = training.settings, training.model.part.variant, training.prepared
    slot, rank = variant.family.network.slot, settings.rank
    adapter = {"r": rank, "lora_alpha": rank, "peft_type": "LORA", "target_modules": training.adapter.layers}
    texts: dict[str, Any] = {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": name,
        "modelspec.architecture": f"{variant.title}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.date": datetime.now(timezone.utc).replace(microsecond=0).isoformat(),
        "modelspec.trigger_phrase": settings.trigger,
        "ss_output_name": name,
        "ss_base_model_version": variant.title,
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank,
        "ss_network_alpha": rank,
        "ss_learning_rate": training.rate,
        "ss_optimizer": "AdamW8bit" if training.optimizer_name == OPTIMIZERS[2] else "AdamW",
        "ss_lr_scheduler": "warmup_stable_decay" if settings.decay else "constant_with_warmup",
        "ss_lr_warmup_steps": settings.warmup,
        "ss_max_train_steps": settings.steps,
        "ss_steps": training.step,
        "ss_batch_size_per_device": settings.batch,
        "ss_seed": settings.seed,
        "ss_gradient_checkpointing": settings.checkpointing,
        "ss_num_train_videos": len(training.learned),
        "ss_num_validation_videos": len(training.validation),
        "ss_bucket_info": json.dumps(bucket_counts(prepared.items)),
        "opent2v.base_fingerprint": training.model.fingerprint,
        "opent2v.expert": variant.expert,
        "lora_adapter_metadata": json.dumps({f"{slot}.{key}": value for key, value in adapter.items()}),
    }
    return {key: str(value) for key, value in texts.items() if value != ""}


def export(training: Training, path: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Write the weights with the lowest validation loss, or the last ones, and a card (Markdown) beside the file."""
    write_tensors(path, tensors_of(training, training.weights, dtype), metadata_of(training, path.stem))
    write_card(training, path)
    return path


def write_card(training: Training, path: Path, effect: Effect = Effect()) -> None:  # noqa: B008 - frozen
    """Write the card of a LoRA's file, with what the LoRA changes where that is measured."""
    path.with_suffix(".md").write_text(card(training, path, effect), encoding="utf-8")


def card(training: Training, path: Path, effect: Effect = Effect()) -> str:  # noqa: B008 - frozen
    """What a person who gets the file wants to know, in Markdown."""
    settings, variant, prepared = training.settings, training.model.part.variant, training.prepared
    last = training.history[-1].loss if training.history else None
    lines = [f"# {path.stem}", "", f"A LoRA for {variant.title}{_expert(variant.expert)}.", ""]
    lines += [f"Trigger words: {settings.trigger}", ""] if settings.trigger else []
    rows = {
        "File": path.name,
        "Base model": f"{variant.title}, weights {training.model.fingerprint}",
        "Clips": f"{len(training.learned)} learned, {len(training.validation)} to measure, "
        f"{len(prepared.refused)} refused",
        "Sizes": "; ".join(f"{count} x {title}" for title, count in bucket_counts(prepared.items).items()),
        "Steps": f"{training.step} of {settings.steps}, {settings.batch} clips each"
        + (", ended since the validation loss had stopped falling" if training.ended_early else ""),
        "Rank": f"{settings.rank}, alpha {settings.alpha or settings.rank:g} (multiplied in), {settings.layers} layers",
        "Rate": f"{training.rate:g}, {training.optimizer_name}, {settings.warmup} steps of warmup"
        + (f", falling in the last {settings.decay:.0%} of the steps" if settings.decay else ""),
        "Loss of the last step": "" if last is None else f"{last:.5f}",
        "Lowest validation loss": f"{training.lowest:.5f}" if training.best else "",
        **effect.rows,
    }
    lines += ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items() if text), ""]
    examples = [item.clip.caption.splitlines()[0] for item in prepared.items[:3]]
    return "\n".join([*lines, "Captions it was trained on begin like this:", "", *(f"- {e}" for e in examples), ""])


def _expert(expert: str) -> str:
    return f", the {expert}-noise model" if expert else ""
