"""A tiny MiniMax H3 folder with random weights, saved by the libraries' own classes, for tests to load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opent2v.tests.tiny import minimax_h3 as tiny
from opent2v.tests.tiny import minimax_h3_parts as parts
from opent2v.tests.tiny import shared_folder

OWN = {"title": "tiny", "width": 96, "height": 64, "frames": 22}
_INDEX = {
    "_class_name": "MiniMaxH3ModularPipeline", "_diffusers_version": "0.42.1",
    "transformer": ["diffusers", "MiniMaxH3Transformer3DModel"],
    "transformer_ref": ["diffusers", "MiniMaxH3Transformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLMiniMaxH3"], "audio_vae": ["diffusers", "AutoencoderKLMiniMaxH3Audio"],
    "text_encoder": ["transformers", "Qwen3VLForConditionalGeneration"],
    "tokenizer": ["transformers", "Qwen2TokenizerFast"], "processor": ["transformers", "Qwen3VLProcessor"],
    "scheduler": ["diffusers", "MiniMaxH3Scheduler"], "audio_scheduler": ["diffusers", "MiniMaxH3Scheduler"],
}  # fmt: skip


def _filled(module: Any, weights: dict[str, Tensor]) -> Any:
    missing, unexpected = module.load_state_dict(weights, strict=False)
    assert not unexpected and not [name for name in missing if "statistics" in name], (missing, unexpected)
    return module.eval()


def encoder() -> Any:
    """Qwen3-VL with a layer behind those that are read, its last norm and its head."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    text = {**parts.LANGUAGE, "vocab_size": parts.VOCABULARY, "head_dim": 128, "rope_theta": 5e6}
    text |= {"rope_scaling": {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True}}
    vision = {**parts.VISION, "num_heads": 16, "out_hidden_size": parts.WIDTH, "num_position_embeddings": 2304}
    module = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision))
    weights = {f"model.language_model.{name.removeprefix('model.')}": w for name, w in parts.language().items()}
    return _filled(module, weights | {f"model.{name}": w for name, w in parts.vision().items()})


def _tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: n for n, word in enumerate(["[UNK]", "a", "man", "walks", "blurry"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    path.mkdir()
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def make(path: Path) -> None:
    import diffusers

    def vae(class_name: str, config: dict[str, Any], weights: dict[str, Tensor]) -> Any:
        config = {**config, **{name: weights[name].tolist() for name in ("latents_mean", "latents_std")}}
        plain = {name: w for name, w in weights.items() if not name.startswith("latents_")}
        return _filled(getattr(diffusers, class_name)(**config), plain)

    path.mkdir(parents=True, exist_ok=True)
    (path / "model_index.json").write_text(json.dumps(_INDEX))
    (path / "opent2v.json").write_text(json.dumps(OWN))
    transformer = diffusers.MiniMaxH3Transformer3DModel(**tiny.variant_of("full")[0] | {"text_dim": parts.WIDTH})
    _filled(transformer, tiny.transformer("full", parts.WIDTH)).save_pretrained(
        path / "transformer", max_shard_size="200KB"
    )
    vae("AutoencoderKLMiniMaxH3", parts.VIDEO_VAE, parts.video_vae()).save_pretrained(path / "vae")
    vae("AutoencoderKLMiniMaxH3Audio", parts.SOUND_VAE, parts.sound_vae()).save_pretrained(path / "audio_vae")
    encoder().to(torch.float32).save_pretrained(path / "text_encoder")
    _tokenizer(path / "tokenizer")
    for name, shift in (("scheduler", 12.0), ("audio_scheduler", 3.0)):
        diffusers.MiniMaxH3Scheduler(shift=shift).save_pretrained(path / name)


folder = shared_folder(make)
