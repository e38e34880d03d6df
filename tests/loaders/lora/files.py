"""LoRA files in every format, for tiny models, with the weights that they must lead to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from opent2v.tests.loaders.lora import algorithms
from opent2v.tests.loaders.lora.sites import Site, Sites

RANK, ALPHA = 2, 3.0  # alpha / rank is not 1: a scale left out shows


@dataclass(frozen=True)
class Format:
    """One row of the published table.

    Attributes:
        title: the row's name.
        prefix: what every name starts with.
        layout: "diffusers" or "original": whose names stand behind the prefix.
        is_flat: dots of the layer's name are underscores.
        down, up: ends of the low-rank pair.
        scale: how the file tells alpha: "" (it is the rank), "key" (`.alpha`), or the metadata's way, see `metadata`.
        algorithm: how a weight's change is stored.
        magnitude: end of DoRA's magnitude, and whether it is a vector.
        layers: which layers it changes: "matrices", "conv", "norms", "tables", "biases".
        only: a part that the names of changed layers have, one of several.
        families: the ones it is written for; empty: all.
        other: what is different for some families.
    """

    title: str
    prefix: str
    layout: str = "diffusers"
    is_flat: bool = False
    down: str = ".lora_A.weight"
    up: str = ".lora_B.weight"
    scale: str = ""
    algorithm: algorithms.Algorithm = algorithms.lora
    magnitude: tuple[str, bool] = (".dora_scale", False)
    layers: tuple[str, ...] = ("matrices",)
    only: tuple[str, ...] = ("",)
    families: tuple[str, ...] = ()
    other: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, family: str) -> Format:
        """As it is written for a family."""
        return replace(self, **self.other.get(family, {}))

    def name(self, layer: str) -> str:
        return self.prefix + (layer.replace(".", "_") if self.is_flat else layer)

    def factor(self, layer: str) -> float:
        """What a layer's low-rank product is multiplied by."""
        alpha = 5.0 if self.scale == "genmo" and ".proj_" in layer else ALPHA
        return {"": 1.0, "rslora": alpha / RANK**0.5}.get(self.scale, alpha / RANK)


def _kohya(title: str, **given) -> Format:
    settings = {"prefix": "lora_unet_", "layout": "original", "is_flat": True, "scale": "key"}
    settings |= {"down": ".lora_down.weight", "up": ".lora_up.weight"}
    return Format(title, **settings | given)


# What turns the rows of a fused layer into each other is no change of its parts alone.
_SPLIT = {family: {"layout": "diffusers"} for family in ("cogvideox", "mochi", "hunyuan_video", "open_sora")}
_TURNED = {"open_sora": {"layout": "diffusers"}}  # nor what turns rows whose order differs
_STEP_DISTILLED = {"prefix": "diffusion_model.", "layout": "original", "is_flat": False}
FORMATS: dict[str, Format] = {
    # Where the names come from
    "diffusers": Format("diffusers (`transformer.`)", "transformer."),
    "peft": Format("PEFT (`base_model.model.`)", "base_model.model."),
    "bare": Format("bare names", ""),
    "adapter_name": Format("adapter names (`lora_A.my_style.weight`)", "transformer.", down=".lora_A.my_style.weight",
                           up=".lora_B.my_style.weight"),
    "old_diffusers": Format("old diffusers (`.lora.down.weight`)", "transformer.", down=".lora.down.weight",
                            up=".lora.up.weight"),
    "original": Format("original layout (`diffusion_model.`)", "diffusion_model.", "original"),
    "model_original": Format("original layout (`model.diffusion_model.`), with alpha", "model.diffusion_model.",
                             "original", down=".lora_down.weight", up=".lora_up.weight", scale="key"),
    "kohya": _kohya("kohya, musubi-tuner (`lora_unet_`)"),
    "kohya_diffusers": _kohya("kohya with diffusers' names", layout="diffusers"),
    "videox_fun": _kohya("VideoX-Fun (`lora_unet__`)", prefix="lora_unet__",
                         other={f: {"layout": "diffusers"} for f in ("cogvideox", "hunyuan_video")}),
    "lycoris_names": _kohya("SimpleTuner (`lycoris_`)", prefix="lycoris_", layout="diffusers"),
    "onetrainer": _kohya("OneTrainer (`lora_transformer_`)", prefix="lora_transformer_", layout="diffusers"),
    "ai_toolkit": Format("ai-toolkit", "diffusion_model.", "original", families=("wan", "quickstart")),
    "diffusion_pipe": Format("diffusion-pipe", "diffusion_model.", "original", other={
                             "hunyuan_video": {"prefix": "transformer."}},
                             families=("wan", "ltx_video", "hunyuan_video", "quickstart")),
    "finetrainers": Format("finetrainers (alpha in `lora_config`)", "transformer.", scale="lora_config"),
    "diffsynth": Format("DiffSynth (`lora_A.default.weight`)", "", "original", down=".lora_A.default.weight",
                        up=".lora_B.default.weight"),
    "genmo": Format("genmo's Mochi trainer (alpha in `kwargs`)", "", "original", down=".lora_A", up=".lora_B",
                    scale="genmo", only=(".qkv_", ".proj_"), families=("mochi",)),
    # How the change is stored
    "adapter_metadata": Format("alpha in diffusers' `lora_adapter_metadata`", "transformer.", scale="adapter"),
    "rslora": Format("rank-stabilised alpha", "transformer.", scale="rslora"),
    "dora": _kohya("DoRA (`dora_scale`)", algorithm=algorithms.dora),
    "dora_peft": Format("DoRA (PEFT's magnitude vector)", "transformer.", algorithm=algorithms.dora,
                        magnitude=(".lora_magnitude_vector", True)),
    "loha": _kohya("LoHa", algorithm=algorithms.loha),
    "lokr": _kohya("LoKr", algorithm=algorithms.lokr),
    "lokr_products": _kohya("LoKr, both factors as products", algorithm=algorithms.lokr_products),
    "lokr_whole": _kohya("LoKr, both factors whole", algorithm=algorithms.lokr_whole),
    "lokr_diffusers": _kohya("LoKr, `lycoris_` names", algorithm=algorithms.lokr, prefix="lycoris_",
                             layout="diffusers"),
    "glora": _kohya("GLoRA", algorithm=algorithms.glora),
    "oft": _kohya("OFT", algorithm=algorithms.oft, scale="", other=_TURNED),
    "oft_rescaled": _kohya("OFT, rescaled", algorithm=algorithms.oft_rescaled, scale="", other=_TURNED),
    "boft": _kohya("BOFT", algorithm=algorithms.boft, scale="", other=_SPLIT),
    "difference": _kohya("full difference (`diff`, `diff_b`)", **_STEP_DISTILLED, algorithm=algorithms.difference,
                         layers=("matrices", "biases", "norms")),
    "lora_with_biases": _kohya("step-distill: low rank with `diff_b`", **_STEP_DISTILLED,
                               layers=("matrices", "biases", "norms")),
    "tables": _kohya("modulation tables (`diff_m`)", **_STEP_DISTILLED, layers=("matrices", "tables")),
    "peft_bias": Format("PEFT's `lora_B.bias`", "transformer.", layers=("matrices", "lora_bias")),
    "conv": _kohya("convolutions", layers=("matrices", "conv")),
    "conv_peft": Format("convolutions, PEFT", "transformer.", layers=("matrices", "conv")),
    "conv_tucker": _kohya("convolutions, Tucker (`lora_mid`)", algorithm=algorithms.tucker, layers=("conv",)),
    "conv_loha": _kohya("convolutions, LoHa", algorithm=algorithms.loha, layers=("conv",)),
    "conv_lokr": _kohya("convolutions, LoKr", algorithm=algorithms.lokr, layers=("conv",)),
}  # fmt: skip


def write(
    path: Path, fmt: Format, sites: Sites, state: Mapping[str, Tensor], seed: int = 0, only: str = ""
) -> dict[str, Tensor]:
    """Write a LoRA for a module of diffusers with these weights.

    Args:
        only: what the names of all parameters that change start with.
    Returns:
        the parameters that change, as they are at strength 1, fp32; merged by hand.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    merged: dict[str, Tensor] = {}
    for site in _layers(fmt, sites):
        if not f"{site.original}.".startswith(only):
            continue
        stored, new = fmt.algorithm(site.weight(state), RANK, fmt.factor(site.original), generator)
        merged |= site.split(new, state)
        tensors |= {fmt.name(site.original) + _end(fmt, kind): _stored(fmt, kind, t) for kind, t in stored.items()}
        if fmt.scale == "key":
            tensors[fmt.name(site.original) + ".alpha"] = torch.tensor(ALPHA)
        if {"biases", "lora_bias"} & set(fmt.layers) and f"{site.parts[0]}.bias" in state:
            bias = site.weight(state, "bias").double()
            change = torch.randn(bias.shape, generator=generator, dtype=torch.float64) * 0.1
            tensors[fmt.name(site.original) + (".diff_b" if "biases" in fmt.layers else ".lora_B.bias")] = change
            merged |= site.split(bias + change, state, "bias")
    for kind, end, pairs in (("norms", ".diff", sites.norms), ("tables", ".diff_m", sites.tables)):
        for original, own in pairs if kind in fmt.layers else ():
            parameter = own if kind == "tables" else f"{own}.weight"
            change = torch.randn(state[parameter].shape, generator=generator, dtype=torch.float64) * 0.1
            tensors[fmt.name(original if fmt.layout == "original" else own) + end] = change
            merged[parameter] = state[parameter].double() + change
    save(path, tensors, metadata(fmt))
    return {name: new.float() for name, new in merged.items()}


def _layers(fmt: Format, sites: Sites) -> list[Site]:
    chosen = list(sites.matrices) if "matrices" in fmt.layers else []
    if "conv" in fmt.layers:
        assert sites.conv is not None
        chosen.append(sites.conv)
    chosen = [site for site in chosen if any(part in site.original for part in fmt.only)]
    return chosen if fmt.layout == "original" else [part for site in chosen for part in site.alone()]


def _end(fmt: Format, kind: str) -> str:
    known = {"down": fmt.down, "up": fmt.up, "mid": ".lora_mid.weight", "magnitude": fmt.magnitude[0]}
    return known.get(kind, f".{kind}")


def _stored(fmt: Format, kind: str, tensor: Tensor) -> Tensor:
    return tensor.flatten() if kind == "magnitude" and fmt.magnitude[1] else tensor


def metadata(fmt: Format) -> dict[str, str]:
    """What the header says beside the tensors.

    Source: finetrainers trainer/sft_trainer/trainer.py (f476c37); genmo mochi demos/fine_tuner (0c86aeb); diffusers
    loaders/lora_base.py.
    """
    if fmt.scale == "lora_config":
        config = {"r": RANK, "lora_alpha": ALPHA, "init_lora_weights": True, "target_modules": "(blocks).*(to_q)"}
        return {"format": "pt", "lora_config": json.dumps(config, indent=4)}
    if fmt.scale in ("adapter", "rslora"):
        told = {"r": RANK, "lora_alpha": ALPHA, "use_rslora": fmt.scale == "rslora", "alpha_pattern": {}}
        told = {f"transformer.{key}": value for key, value in (told | {"rank_pattern": {}}).items()}
        return {"format": "pt", "lora_adapter_metadata": json.dumps(told, sort_keys=True)}
    if fmt.scale == "genmo":
        told = {"qkv_proj_lora_rank": RANK, "qkv_proj_lora_alpha": ALPHA, "qkv_proj_lora_dropout": 0.0}
        told |= {"out_proj_lora_rank": RANK, "out_proj_lora_alpha": 5.0, "out_proj_lora_dropout": 0.0}
        return {"kwargs": json.dumps(told)}
    return {"format": "pt"}


def save(path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str] | None = None) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, path, metadata=dict(told or {}))


def merge(module: torch.nn.Module, merged: Mapping[str, Tensor]) -> torch.nn.Module:
    """Put the weights into a module, in place."""
    assert merged
    module.load_state_dict({**module.state_dict(), **merged})
    return module
