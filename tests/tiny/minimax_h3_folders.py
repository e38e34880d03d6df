"""A tiny MiniMax H3 folder with random weights, saved by the libraries' own classes, for tests to load."""

from __future__ import annotations

import json
import shutil
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


# MiniMaxAI's own names of a transformer's entries.
_MAKERS = {
    "num_refiner_layers": "token_refiner_num_layers", "ffn_dim": "ffn_hidden_size", "in_channels": "latents_dim",
    "audio_in_channels": "audio_latents_dim", "freq_dim": "timestep_input_dim",
    "time_embed_hidden_dim": "time_embed_hidden_size", "rope_freq_dim": "rope_inv_freq_len",
}  # fmt: skip


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_makers(path: Path, partition: str = "fl2va") -> Path:
    """The same model as MiniMaxAI's own folder has it (FL2VA, Ref2VA)."""
    usual = folder()
    index = {
        "_class_name": "MiniMaxH3Pipeline", "_diffusers_version": "0.32.2",
        "text_encoder": ["transformers", "MiniMaxH3Qwen3VLHFEncoder"],
        "tokenizer": ["transformers", "Qwen2TokenizerFast"], "processor": ["transformers", "Qwen3VLProcessor"],
        "video_vae": ["diffusers", "MiniMaxH3VideoVAE"], "audio_vae": ["diffusers", "MiniMaxH3AudioVAE"],
        "scheduler": None, "transformer": ["diffusers", "MiniMaxH3DiTModel"],
        "_minimax_h3": {"partition": partition, "sigma_shift_scales": {"video": 12.0, "audio": 3.0}},
    }  # fmt: skip
    _write(path / "model_index.json", index)
    _write(path / "opent2v.json", OWN)
    config = json.loads((usual / "transformer/config.json").read_text()) | {"_class_name": "MiniMaxH3DiTModel"}
    _write(path / "transformer/config.json", {_MAKERS.get(name, name): value for name, value in config.items()})
    weights = tiny.originals("full", parts.WIDTH, interleaved=tiny.HEAD)
    names = sorted(weights)
    shards = [f"model-{n:05}-of-00002.safetensors" for n in (1, 2)]
    for n, shard in enumerate(shards):
        tiny.save(path / "transformer" / shard, {name: weights[name] for name in names[n::2]})
    places = {name: shards[n] for n in range(2) for name in names[n::2]}
    _write(path / "transformer/model.safetensors.index.json", {"weight_map": places})
    video, sound = parts.video_vae(), parts.sound_vae()
    told = {name: video[name].tolist() for name in ("latents_mean", "latents_std")}
    source = {"source_path": "source", "source_safetensors_path": "model.safetensors"}
    clips = {"vae_clip_length": 17, "vae_token_drop": 3, "vae_tile_size": 256, "vae_tile_overlap_min": 64}
    _write(path / "video_vae/config.json", {"_class_name": "MiniMaxH3VideoVAE", **source, **clips, **told})
    decoder = {"num_layers": 2, "heads": 2, "dim_head": 64, "rope_theta": 100.0, "rope_dim_ratio": 0.75}
    inner = {
        "ch": 32, "ch_mult": [1, 1, 1, 1, 1, 2], "num_res_blocks": 1, "z_channels": 24,
        "space_down": [2, 2, 2, 2, 1, 1], "time_down": [1, 2, 2, 1, 1, 1], "vit_decoder_kwargs": decoder,
    }  # fmt: skip
    _write(path / "video_vae/source/config.json", {"_class_name": "AutoencoderKLLegacy", **inner})
    plain = {name: weight for name, weight in video.items() if not name.startswith("latents_")}
    tiny.save(path / "video_vae/source/model.safetensors", parts.original_video_vae(plain))
    told = {name: sound[name].tolist() for name in ("latents_mean", "latents_std")}
    rates = {"latent_channels": 32, "sample_rate": 32000}
    _write(path / "audio_vae/config.json", {"_class_name": "MiniMaxH3AudioVAE", **rates, **told})
    from diffusers import AutoencoderKLMiniMaxH3Audio

    built = dict(AutoencoderKLMiniMaxH3Audio(**parts.SOUND_VAE).config)
    names = ("encoder_dim", "encoder_rates", "latent_dim", "decoder_dim", "decoder_rates")
    kwargs = {name: built[name] for name in names} | {"decoder_type": "bigvgan", "attn_proj": True}
    kwargs |= {"vae_latent_channels": 32, "sample_rate": 32000}
    _write(path / "audio_vae/metadata.json", {"metadata": {"kwargs": kwargs}})
    tiny.save(
        path / "audio_vae/model.safetensors",
        {name: weight for name, weight in sound.items() if not name.startswith("latents_")},
    )
    for component in ("text_encoder", "tokenizer"):
        shutil.copytree(usual / component, path / component)
    return path
