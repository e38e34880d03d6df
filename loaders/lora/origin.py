"""Who made a LoRA file and for which model, as far as names, shapes and metadata tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...base import LoraNames, Variant
from ...base.few_steps import LORA, FewSteps, of_file
from ...base.file_names import is_distilled
from ...base.keys import Rule
from ...families import families
from .file import Adapter, LoraFile
from .keys import FLAT_PREFIXES, forms, is_flat
from .names import Layout

_KINDS = {"loha": "LoHa", "lokr": "LoKr", "glora": "GLoRA", "oft": "OFT", "boft": "BOFT"}
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
# Metadata keys in which trainers name the base model.
_BASE = ("modelspec.architecture", "ss_base_model_version", "base_model", "base_model_name_or_path", "ss_sd_model_name")


def format_of(file: LoraFile) -> str:
    """The naming convention and the kinds of change: "kohya (lora_unet_), LoKr"."""
    every = [*file.adapters, *file.text_adapters]
    stem, keys = every[0].stem, [key for adapter in every[:8] for key in adapter.keys.values()]
    kinds = [_KINDS[kind] for kind in dict.fromkeys(adapter.kind for adapter in every) if kind in _KINDS]
    if any("dora" in adapter.keys for adapter in every):
        kinds.append("DoRA")
    if any(adapter.kind == "diff" for adapter in every):
        kinds.append("whole differences")
    return ", ".join([_trainer(file, stem, keys), *kinds])


def _trainer(file: LoraFile, stem: str, keys: list[str]) -> str:
    software = file.metadata.get("software", "") + file.metadata.get("ss_tag", "")
    if stem.startswith("lora_unet__"):
        return "VideoX-Fun (lora_unet__)"
    if is_flat(stem):
        prefix = next(prefix for prefix in (*FLAT_PREFIXES, "lora_te") if stem.startswith(prefix))
        return f"kohya ({prefix})"
    if "ai-toolkit" in software:
        return "ai-toolkit (diffusion_model.)"
    if "lora_config" in file.metadata and stem.startswith("transformer."):
        return "finetrainers (transformer.)"
    for prefix, name in (
        ("base_model.model.", "PEFT"),
        ("transformer.", "diffusers"),
        ("text_encoder", "diffusers"),
        ("model.diffusion_model.", "ComfyUI"),
        ("diffusion_model.", "ComfyUI"),
    ):
        if stem.startswith(prefix):
            return f"{name} ({prefix.rstrip('.')}.)"
    return "DiffSynth (no prefix)" if any(".lora_A.default" in key for key in keys) else "no prefix"


def origin_text(file: LoraFile, title: str | None = None) -> str:
    """ "made for Wan 2.1 I2V 14B"; "" where nothing tells.

    Args:
        title: the title that `origin` returns; None calls it.
    """
    title = origin(file)[1] if title is None else title
    stated = next((file.metadata[key] for key in _BASE if file.metadata.get(key)), "")[:60]
    if title:
        return f'made for {title} (its metadata say "{stated}")' if stated else f"made for {title}"
    return f'made for "{stated}", its metadata say' if stated else ""


def origin(file: LoraFile) -> tuple[str, str]:
    """(id of the family, title of the model) that the layers' names and sizes belong to; empty where none has them."""
    # Layers that differ only in their block's number are examined once.
    alike: dict[tuple[str, tuple[int, int]], tuple[Adapter, int]] = {}
    for adapter in file.adapters:
        key = _spelled(adapter.stem), adapter.size
        alike[key] = alike.get(key, (adapter, 0))[0], alike.get(key, (adapter, 0))[1] + 1
    numbers = [
        int(number[0]) for adapter in file.adapters if (number := _NUMBER.search(adapter.stem.replace("_", ".")))
    ]
    blocks = max(numbers, default=-1) + 1
    best: tuple[int, str, str] = 0, "", ""
    for family in families().values():
        names = family.lora
        if names is None:
            continue
        for layout in ((), *names.layouts({}).values()):
            signs, count = _signs(names, layout, alike.values())
            title = names.title(signs, blocks) if signs else ""
            # At equal counts the first family wins: HunyuanVideo before Open-Sora, for which few LoRAs exist.
            if title and count > best[0]:
                best = count, family.id, title
    return best[1:]


def _signs(
    names: LoraNames, layout: Sequence[Rule], alike: Iterable[tuple[Adapter, int]]
) -> tuple[dict[str, tuple[int, int]], int]:
    """(the family's signs that are in the file, in how many layers) if its names are of this layout."""
    signs = {_spelled(sign.format(0)): sign for sign in names.signs}
    walks = {flat: Layout(layout, flat) for flat in (False, True)}
    sizes: dict[str, tuple[int, int]] = {}
    layers = 0
    for adapter, count in alike:
        flat = is_flat(adapter.stem)
        renamed = walks[flat].translate(forms(adapter.stem)[0]).names
        matching = [signs[name] for name in map(_spelled, renamed) if name in signs]
        if adapter.kind != "diff":
            outputs, inputs = adapter.size
            sizes |= {sign: (outputs // len(renamed), inputs) for sign in matching}
        layers += count * bool(matching)
    return sizes, layers


def few_steps_of(file: LoraFile, variant: Variant | None) -> FewSteps | None:
    """What is known of a LoRA of few steps; None for all others, and for those of which nothing is.

    Args:
        variant: of the model that it is on; None where the LoRA's own layers are to tell the family.
    """
    family = families().get(origin(file)[0]) if variant is None else variant.family
    if family is None:
        return None
    names = file.path.name, file.path.parent.name
    return of_file(family.sampling.few_steps, names, file.metadata, LORA, variant.name if variant else "")


def step_remark(file: LoraFile, variant: Variant | None = None) -> str:
    """A remark on the settings for a LoRA that was distilled to few steps; "" for all others."""
    few = few_steps_of(file, variant)
    if few is not None:
        low, high = few.strength
        strength = f"strength {low:g}" + (f" to {high:g}" if high != low else "")
        takes = "Video Sampler takes these where its own values are 0"
        advice = "its maker may name others" if few.is_guess else takes
        return f"Few steps ({few.title}): {few.values}, {strength}; {advice}. Without a step cache"
    # lightx2v's files say it in the name of their folder only.
    names = [
        file.path.name,
        file.path.parent.name,
        *(file.metadata.get(key, "") for key in ("title", "modelspec.title", "ss_output_name")),
    ]
    if not any(map(is_distilled, names)):
        return ""
    return "Distilled to few steps, by its name: sample with cfg 1 and 4 to 8 steps, without a step cache"


def _spelled(name: str) -> str:
    """The layer's name with "{}" for its number and points for underscores."""
    return _NUMBER.sub("{}", name.replace("_", "."), count=1)
