"""CLIP: the host's class around a family's text encoder and tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_management as mm
import comfy.sd
import torch
from torch import Tensor, nn

from ...base import LateTextEncoder, Shown, TextEncoder
from ...base.packed import PackedTensor
from ..tags import PROMPT_FAMILY
from ..watch import watched
from .finish_loading import finish_each_load
from .ops import move_orphans_on_load, switch_to_casting
from .patcher import make_reloadable
from .place import blocks_bar
from .saving import refuse_saving

Clip = comfy.sd.CLIP


class Tokenizer:
    """Prompt -> tokens as the host passes them on: {name: [[(id, weight), ...]]}.

    Weights are all 1: these models were trained on plain sentences and read brackets as brackets.
    """

    def __init__(self, part: TextEncoder):
        self.part = part

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> dict[str, Any]:
        ids, _ = self.part.tokens(text, self._shown(**kwargs))
        return {
            slot: [[(i, 1.0, n + 1) if return_word_ids else (i, 1.0) for n, i in enumerate(row)]]
            for slot, row in ids.items()
        }

    def _shown(
        self, images: Sequence[Tensor] = (), minimax_ref_items: Sequence[dict[str, Any]] | None = None, **_: Any
    ) -> list[Shown]:
        """What core's nodes for MiniMax H3 let a prompt show: pictures, or references in the order of their labels."""
        if not self.part.shows:
            return []
        if minimax_ref_items:
            return [Shown(item["type"], item.get("data")) for item in minimax_ref_items]
        return [Shown("image", image) for image in images]

    def untokenize(self, pairs: list[tuple[int, float]]) -> list[tuple[tuple[int, float], str]]:
        first = self.part.tokenizers[self.part.variant.prompts[0].slot]
        return [(pair, first.convert_ids_to_tokens(pair[0])) for pair in pairs]

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        first = self.part.tokenizers[self.part.variant.prompts[0].slot]
        return first.decode(ids, skip_special_tokens=skip_special_tokens)

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors for the host's saving nodes beside the weights: the tokenizer, where it is one tensor.

        Raises:
            ValueError: the model has several text encoders; the nodes know no names for them in one file.
        """
        variant = self.part.variant
        first, *others = variant.prompts
        if others:
            raise ValueError(
                f"{variant.title} reads its prompts with {len(variant.prompts)} text encoders, which ComfyUI's saving "
                "nodes cannot keep apart. Nothing was saved. Save the model alone (ModelSave), and keep the text "
                "encoders' own files."
            )
        raw = _serialised(self.part.tokenizers[first.slot])
        text = variant.family.text
        name = text.encoders[first.slot].tokenizer_json if text is not None else ""
        return {} if raw is None else {name or "spiece_model": torch.frombuffer(bytearray(raw), dtype=torch.uint8)}

    def clone(self) -> Tokenizer:
        return self


def _serialised(tokenizer: Any) -> bytes | None:
    """The one tensor of a tokenizer of the loaders' own, or the sentencepiece model of transformers'."""
    if hasattr(tokenizer, "serialized"):
        return tokenizer.serialized()
    file = Path(getattr(tokenizer, "vocab_file", None) or "")
    return file.read_bytes() if file.suffix == ".model" and file.is_file() else None


class TextModel(nn.Module):
    """The text encoders behind the methods the host's CLIP calls: `transformer`, `transformer_2`, ..."""

    opent2v: TextEncoder
    transformer: nn.Module

    def __init__(self, part: TextEncoder, device: torch.device):
        super().__init__()
        first = part.variant.prompts[0].slot  # "text_encoder", or the slot of a version with another encoder
        for slot, encoder in part.encoders.items():
            name = "transformer" if slot == first else slot.replace("text_encoder", "transformer")
            setattr(self, name, switch_to_casting(encoder, is_text_encoder=True))
        object.__setattr__(self, "opent2v", part)
        self.execution_device = self.load_device = device
        self.dtypes = {next(encoder.parameters()).dtype for encoder in part.encoders.values()}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The state dict without duplicates: T5's embedding has two names, and safetensors refuses shared tensors."""
        kept, seen = {}, set()
        for name, tensor in super().state_dict(*args, **kwargs).items():
            place = None
            stored = next(iter(tensor.packed.tensors.values())) if isinstance(tensor, PackedTensor) else tensor
            if type(stored) is Tensor or type(stored) is nn.Parameter:
                place = stored.untyped_storage()._cdata, stored.storage_offset(), stored.shape
            if place is None or place not in seen:
                kept[name] = tensor
                seen.add(place)
        return kept

    def reset_clip_options(self) -> None:
        self.execution_device = self.load_device

    def set_clip_options(self, options: dict[str, Any]) -> None:
        # "layer" (CLIP skip) does not apply: these models read the last layer.
        self.execution_device = options.get("execution_device") or self.execution_device

    def encode_token_weights(self, tokens: dict[str, Any]) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        part = self.opent2v
        ids = [{slot: [p[0] for p in rows[n]] for slot, rows in tokens.items()} for n in range(_row_count(tokens))]
        embedded = [part.embed(row, self.execution_device) for row in ids]
        device = mm.intermediate_device()
        context = torch.cat([row for row, _ in embedded]).float().to(device)
        entries = {name: _joined([entries[name] for _, entries in embedded], device) for name in embedded[0][1]}
        return context, entries.pop("pooled_output", None), {**entries, PROMPT_FAMILY: part.variant.family.id}

    def generate(self, *_: Any, **__: Any) -> Any:
        """Called by the host's text nodes, which expect a language model.

        Raises:
            ValueError: always.
        """
        part = self.opent2v
        raise ValueError(
            f"This CLIP holds the text encoder of {part.variant.title}: it reads prompts and cannot write text. "
            "Connect the CLIP of a language model."
        )

    def load_sd(self, sd: dict[str, Tensor]) -> Any:
        return self.transformer.load_state_dict(sd, strict=False)


def _joined(values: list[Any], device: torch.device) -> Any:
    """An entry of several prompts: tensors in one batch, anything else as the first prompt has it."""
    return torch.cat(values).to(device) if isinstance(values[0], Tensor) else values[0]


def _row_count(tokens: dict[str, Any]) -> int:
    return len(next(iter(tokens.values())))


class OpenT2VCLIP(comfy.sd.CLIP):
    """The host's CLIP. Its text encoders follow its patcher, also when the host replaces the patcher."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "patcher":
            super().__setattr__("cond_stage_model", value.model)

    def get_sd(self) -> dict[str, Any]:
        refuse_saving(self.cond_stage_model.parameters(), "This CLIP's")
        return super().get_sd()  # pyright: ignore[reportAttributeAccessIssue]

    def state_dict_for_saving(self) -> dict[str, Any]:  # ComfyUI 0.33's saving nodes
        refuse_saving(self.cond_stage_model.parameters(), "This CLIP's")
        return super().state_dict_for_saving()  # pyright: ignore[reportAttributeAccessIssue]

    def clone(self, *args: Any, **kwargs: Any) -> comfy.sd.CLIP:
        copy = super().clone(*args, **kwargs)
        copy.__class__ = type(self)
        if copy.patcher.model is not self.patcher.model:  # the host has rebuilt it without dynamic loading
            copy.cond_stage_model = copy.patcher.model
        return copy


class LateCLIP(OpenT2VCLIP):
    """A CLIP without its text encoder. It becomes a plain one when any part of it is asked for.

    The host asks every output for its patcher, size and kind of loading, whoever reads it: those load nothing.
    """

    def __init__(self, late: LateTextEncoder) -> None:
        self.late = late

    def __getattr__(self, name: str) -> Any:
        if name == "patcher":
            return LatePatcher(self)
        if name not in _PARTS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.loaded(), name)

    def loaded(self) -> OpenT2VCLIP:
        """This CLIP, with its text encoder."""
        self.__dict__.update(clip(self.late.load()).__dict__)
        object.__setattr__(self, "__class__", OpenT2VCLIP)
        return self

    def is_dynamic(self) -> bool:
        return False

    def get_ram_usage(self) -> int:  # ComfyUI 0.8 with --cache-ram
        return 0

    def load_model(self, *args: Any, **kwargs: Any) -> Any:
        return self.loaded().load_model(*args, **kwargs)


class LatePatcher:
    """Stands for the patcher of a CLIP that has none yet, and is no `ModelPatcher`; its first attribute loads it."""

    def __init__(self, late: LateCLIP) -> None:
        object.__setattr__(self, "_late", late)

    def _patcher(self) -> Any:
        late = object.__getattribute__(self, "_late")
        return (late.loaded() if isinstance(late, LateCLIP) else late).patcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._patcher(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._patcher(), name, value)


# What the host's class sets when it is built.
_PARTS = frozenset(
    {
        "apply_hooks_to_conds",
        "cond_stage_model",
        "layer_idx",
        "patcher",
        "tokenizer",
        "tokenizer_options",
        "use_clip_schedule",
    }
)


def late_clip(part: LateTextEncoder) -> comfy.sd.CLIP:
    return LateCLIP(part)


def text_identity(clip: comfy.sd.CLIP) -> str:
    if isinstance(clip, LateCLIP):
        return clip.late.identity
    if not isinstance(clip, OpenT2VCLIP) or not isinstance(clip.tokenizer, Tokenizer):
        return ""
    patcher = clip.patcher
    changes = (patcher.patches, patcher.object_patches, patcher.weight_wrapper_patches, patcher.forced_hooks)
    settings = (clip.apply_hooks_to_conds, clip.tokenizer_options)
    return "" if any((*changes, *settings)) or clip.layer_idx is not None else clip.tokenizer.part.identity


def clip(part: TextEncoder, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """Made by the host's own constructor. `disable_dynamic`: as of `model.model`."""
    weight = next(next(iter(part.encoders.values())).parameters())
    text_model = TextModel(part, mm.text_encoder_device())
    target = SimpleNamespace(params={}, clip=lambda **_: text_model, tokenizer=lambda **_: Tokenizer(part))
    is_packed = any(isinstance(weight, PackedTensor) for weight in text_model.parameters())
    kind = {}
    if "disable_dynamic" in signature(comfy.sd.CLIP.__init__).parameters:  # not in 0.8
        kind["disable_dynamic"] = disable_dynamic or part.again is None or is_packed
    new_clip = OpenT2VCLIP(target, model_options={"dtype": weight.dtype, "initial_device": weight.device}, **kind)
    make_reloadable(new_clip.patcher, lambda part, plain: clip(part, plain).patcher, part.again)
    move_orphans_on_load(new_clip.patcher)
    finish_each_load(new_clip.patcher)
    return new_clip


def tokens(clip: comfy.sd.CLIP, text: str) -> tuple[int, int] | None:
    if not isinstance(clip.tokenizer, Tokenizer):
        return None
    part = clip.tokenizer.part
    ids, whole = part.tokens(text)
    return len(ids[part.variant.prompts[0].slot]), whole


def shows(clip: comfy.sd.CLIP) -> bool:
    if isinstance(clip, LateCLIP):
        return clip.late.shows
    if isinstance(clip.tokenizer, Tokenizer):
        return clip.tokenizer.part.shows
    return type(clip.tokenizer).__name__ == "MiniMaxH3Tokenizer"


def embed(clip: comfy.sd.CLIP, text: str, shown: Sequence[Shown] = ()) -> list[list[Any]]:
    """The CONDITIONING of core's CLIPTextEncode, or of its nodes for MiniMax H3 where the prompt shows something."""
    items = [{"type": item.kind, **({} if item.frames is None else {"data": item.frames})} for item in shown]
    tokens = clip.tokenize(text, minimax_ref_items=items) if items else clip.tokenize(text)
    with watched([clip.cond_stage_model], blocks_bar("Encoding text")):
        return clip.encode_from_tokens_scheduled(tokens)
