"""Headers of MiniMax H3's published files: all names and shapes at full size, without a byte of weights.

Names of transformers are ComfyUI's, those of the encoder and the VAEs come from the libraries' classes. Storage as the
repositories' pages and public readers of the files describe it: the pruned int8 file has 932 tensors, 200 of its layers
are int8, its table is [1025, 8].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from opent2v.base import Shapes
from opent2v.loaders.header import TensorInfo
from opent2v.loaders.weights import build
from opent2v.tests.families.headers import shapes_of
from opent2v.tests.families.layouts import minimax_h3 as layout
from opent2v.tests.tiny import minimax_h3_parts as parts
from opent2v.tests.tiny import packed

TABLE = (1025, 8)
_FULL_PRECISION = ("_patch_proj.", "time_embedder.", "_out.", "rope.", "adaln_t_table")


@dataclass(frozen=True)
class HeaderOnly:
    """A `Container` whose only tensors are the marks of its layers in few bits."""

    path: Path
    header: dict[str, TensorInfo] = field(repr=False)
    marks: Mapping[str, Tensor] = field(repr=False)
    metadata: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def tensors(self) -> Iterator[Callable[[str], Tensor]]:
        yield self.marks.__getitem__


def container(name: str, shapes: Shapes, kind: str, packs: Callable[[str], bool], plain: Callable[[str], str]):
    """
    Args:
        kind: how the matrices that `packs` names are stored, one of `packed.KINDS`; "" for none.
        plain: dtype of every other tensor.
    """
    header: dict[str, TensorInfo] = {}
    marks: dict[str, Tensor] = {}
    for stored, shape in shapes.items():
        if not (kind and packs(stored)):
            header[stored] = TensorInfo(plain(stored), shape)
            continue
        stem = stored.removesuffix("weight")
        header |= {f"{stem}{role}": info for role, info in _STORED[kind](*shape).items()}
        marks[f"{stem}comfy_quant"] = packed.mark(
            {"format": packed.KINDS[kind][0], **packed.settings_of(kind, shape[1])}
        )
    header |= {mark: TensorInfo("U8", tuple(tensor.shape)) for mark, tensor in marks.items()}
    return HeaderOnly(Path("models") / name, header, marks)


def _nvfp4_awq(rows: int, columns: int) -> dict[str, TensorInfo]:
    tiles = -(-rows // 128) * 128, -(-columns // 64) * 4
    return {
        "weight": TensorInfo("U8", (rows, columns // 2)), "weight_scale": TensorInfo("F8_E4M3", tiles),
        "weight_scale_2": TensorInfo("F32", ()), "pre_quant_scale": TensorInfo("BF16", (columns,)),
    }  # fmt: skip


_STORED: dict[str, Callable[[int, int], dict[str, TensorInfo]]] = {
    "int8_convrot": lambda rows, columns: {
        "weight": TensorInfo("I8", (rows, columns)), "weight_scale": TensorInfo("F32", (rows, 1)),
    },
    "fp8": lambda rows, columns: {
        "weight": TensorInfo("F8_E4M3", (rows, columns)), "weight_scale": TensorInfo("F32", ()),
    },
    "nvfp4_awq": _nvfp4_awq,
}  # fmt: skip


def transformer(task: str, is_pruned: bool, storage: str) -> HeaderOnly:
    """
    Args:
        task: "fl2va" or "ref2va".
        storage: the end of the file's name: "bf16", "int8_convrot" or "fp8_scaled".
    """
    table = TABLE if is_pruned else None
    shapes = layout.published(table)[1]
    kind = {"bf16": "", "fp8_scaled": "fp8"}.get(storage, storage)

    def packs(name: str) -> bool:
        is_matrix = name.startswith("blocks.") and name.endswith(".weight") and "norm" not in name
        return is_matrix and not (is_pruned and "adaln" in name)  # eight columns are no group of a rotation

    def plain(name: str) -> str:
        if any(part in name for part in _FULL_PRECISION):
            return "F32"
        return "F16" if is_pruned and "adaln" in name else "BF16"

    name = f"minimax_h3_{task}{'_pruned' if is_pruned else ''}_{storage}.safetensors"
    return container(name, shapes, kind, packs, plain)


def encoder(storage: str) -> HeaderOnly:
    """Qwen3-VL 32B, cut behind its fiftieth layer, with its vision tower."""
    text = {
        "vocab_size": 151936, "hidden_size": 5120, "num_hidden_layers": 50, "head_dim": 128, "intermediate_size": 25600,
        "num_attention_heads": 64, "num_key_value_heads": 8,
    }  # fmt: skip
    vision = {
        "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "out_hidden_size": 5120,
        "num_position_embeddings": 2304, "deepstack_visual_indexes": [8, 16, 24],
    }  # fmt: skip
    language = _shapes("Qwen3VLTextModel", text)
    del language["norm.weight"]
    shapes = {f"model.{name}": shape for name, shape in language.items()}
    shapes |= {f"visual.{name}": shape for name, shape in _shapes("Qwen3VLVisionModel", vision).items()}

    def packs(name: str) -> bool:
        return name.startswith("model.layers.") and "norm" not in name

    kind = "" if storage == "bf16" else storage
    return container(f"qwen3vl_32b_minimax_h3_{storage}.safetensors", shapes, kind, packs, lambda _: "BF16")


def _shapes(class_name: str, config: dict[str, object]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in build(class_name, config).named_parameters()}


def _network(class_name: str) -> nn.Module:
    import diffusers

    with torch.device("meta"):
        return getattr(diffusers, class_name)()


def video_vae(storage: str) -> HeaderOnly:
    module = _network("AutoencoderKLMiniMaxH3")
    weights = parts.original_video_vae({name: weight.data for name, weight in module.named_parameters()})
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    shapes |= {"latents_mean": (24,), "latents_std": (24,)}

    def packs(name: str) -> bool:
        return name.startswith("decoder.transformer_blocks.") and name.endswith(
            ("to_qkv.weight", "to_out.weight", "w1.weight", "w2.weight")
        )

    # By its size the int8 file has all that is not int8 in fp32.
    kind, rest = ("", "F16") if storage == "fp16" else (storage, "F32")
    return container(
        f"minimax_h3_video_vae_{storage}.safetensors",
        shapes,
        kind,
        packs,
        lambda name: "F32" if name.startswith("latents_") else rest,
    )


def sound_vae() -> HeaderOnly:
    """Its weights are multiplied out: of direction and length only the product is there."""
    shapes = {
        name.replace("weight_v", "weight"): shape
        for name, shape in shapes_of(_network("AutoencoderKLMiniMaxH3Audio")).items()
        if not name.endswith("weight_g")
    }
    shapes |= {"latents_mean": (32,), "latents_std": (32,)}
    return container("minimax_h3_audio_vae_fp32.safetensors", shapes, "", lambda _: False, lambda _: "F32")
