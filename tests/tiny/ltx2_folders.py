"""Tiny LTX-2 folders with random weights, saved by diffusers' and transformers' own classes, for tests to load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from opent2v.tests.tiny import ltx2, shared_folder

OWN = {"title": "tiny", "width": 96, "height": 64, "frames": 17}
_VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
           "image_size": 28, "patch_size": 14}  # fmt: skip


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    path.mkdir(parents=True)
    tokenizer = Tokenizer.from_str(ltx2.tokenizer_json().decode())
    first = tokenizer.token_to_id("<bos>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", first)])
    tokenizer.save(str(path / "tokenizer.json"))
    marks = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), **marks)


def _drawn(module: torch.nn.Module, seed: int) -> Any:
    """The module with weights that neither explode nor vanish."""
    own = module.state_dict()
    weights = ltx2.drawn({name: tuple(tensor.shape) for name, tensor in own.items()}, seed)
    module.load_state_dict({name: weights[name] if own[name].is_floating_point() else own[name] for name in own})
    return module.eval()


def encoder(version: str) -> Any:
    """The Gemma of a version, pictures and all."""
    if version == "2.5":
        from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration

        text = ltx2.GEMMA4 | {"attention_k_eq_v": True}
        return _drawn(Gemma4UnifiedForConditionalGeneration(Gemma4UnifiedConfig(text_config=text)), 1)
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    config = Gemma3Config(text_config=ltx2.GEMMA | {"query_pre_attn_scalar": 16}, vision_config=_VISION)
    module = _drawn(Gemma3ForConditionalGeneration(config), 1)
    for name, weight in module.named_parameters():
        if "norm" in name:
            weight.data.mul_(0.3)
    return module


def connectors(version: str, **changes: Any) -> Any:
    """diffusers' one class of connectors and projection."""
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    _, variant = ltx2.variant_of(version)
    is_first, widths = version == "2.0", variant.facts["context_widths"]
    text = ltx2.GEMMA4 if version == "2.5" else ltx2.GEMMA
    config: dict[str, Any] = {
        "caption_channels": text["hidden_size"], "text_proj_in_factor": text["num_hidden_layers"] + 1,
        "rope_type": "split", "per_modality_projections": not is_first, "video_hidden_dim": widths[0],
        "audio_hidden_dim": widths[1], "proj_bias": not is_first,
    }  # fmt: skip
    for side in ("video", "audio"):
        of_side = variant.facts["connectors"][f"{side}_connector"]
        keys = ("num_attention_heads", "attention_head_dim", "num_layers", "num_learnable_registers")
        config |= {f"{side}_connector_{key}": of_side[key] for key in keys}
        config[f"{side}_gated_attn"] = of_side.get("gated_attention", False)
    return _drawn(LTX2TextConnectors(**config | changes), 2)


def make(path: Path, version: str) -> None:
    """Write a folder of version "2.0", "2.3" or "2.5"."""
    import diffusers
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder, LTX2VocoderWithBWE

    config, _ = ltx2.variant_of(version)
    is_first = version == "2.0"
    wide = {"hidden_channels": 64, "bwe_hidden_channels": 64}
    vocoder = LTX2Vocoder(hidden_channels=64) if is_first else LTX2VocoderWithBWE(**wide)
    vae = diffusers.AutoencoderKLLTX2Video(**ltx2.VIDEO_VAES["2.0" if is_first else "2.3"])
    sound = diffusers.AutoencoderKLLTX2Audio(ch_mult=(1, 1, 1), num_res_blocks=1)
    for module, seed in ((vae, 3), (sound, 4), (vocoder, 5)):
        module.load_state_dict(ltx2.settled(module, seed))
    transformer = diffusers.LTX2VideoTransformer3DModel(**config, perturbed_attn=True)
    pipeline = diffusers.LTX2Pipeline(
        transformer=_drawn(transformer, 0), connectors=connectors(version), text_encoder=encoder(version),
        tokenizer=_tokenizer(path / "tokenizer"), vae=vae.eval(), audio_vae=sound.eval(), vocoder=vocoder.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024,
            max_image_seq_len=4096, shift_terminal=0.1,
        ),
    )  # fmt: skip
    pipeline.save_pretrained(path)
    (path / "opent2v.json").write_text(json.dumps(OWN))


folder = shared_folder(make)
