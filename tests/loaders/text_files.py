"""Tiny text encoders as the single files that people have."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file

WORDS = ["a red circle moves to the right", "a blue star grows on a grey background", "the sun rises over hills"]


@cache
def spiece() -> bytes:
    """A small sentencepiece model with pad 0, end 1 and unknown 2, as T5's."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS), model_writer=model, vocab_size=60, hard_vocab_limit=False, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


def t5(is_umt5: bool, width: int = 16, vocabulary: int = 64):
    from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    kind, config = (UMT5EncoderModel, UMT5Config) if is_umt5 else (T5EncoderModel, T5Config)
    return kind(
        config(
            vocab_size=vocabulary, d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            relative_attention_num_buckets=8, feed_forward_proj="gated-gelu", is_encoder_decoder=False,
        )
    ).eval()  # fmt: skip


def clip(width: int = 64):
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=99, hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1,
            max_position_embeddings=77, hidden_act="gelu", bos_token_id=97, eos_token_id=98,
        )
    ).eval()  # fmt: skip


def llama():
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    return LlamaModel(
        LlamaConfig(
            vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-5, rope_theta=500000.0,
        )
    ).eval()  # fmt: skip


def save(path: Path, tensors: dict[str, torch.Tensor], carries_tokenizer: bool = False) -> Path:
    if carries_tokenizer:
        tensors = tensors | {"spiece_model": torch.tensor(list(spiece()), dtype=torch.uint8)}
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path)
    return path


def once(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the second name of a shared embedding, as files have it."""
    return {name: tensor for name, tensor in tensors.items() if name != "encoder.embed_tokens.weight"}


def native_umt5(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of Wan's own file: wan/modules/t5.py."""
    layer = {
        "layer.0.layer_norm": "norm1", "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
        "layer.0.SelfAttention": "attn", "layer.1.layer_norm": "norm2", "layer.1.DenseReluDense.wi_0": "ffn.gate.0",
        "layer.1.DenseReluDense.wi_1": "ffn.fc1", "layer.1.DenseReluDense.wo": "ffn.fc2",
    }  # fmt: skip
    named = {}
    for name, tensor in once(tensors).items():
        name = name.replace("shared.", "token_embedding.").replace("encoder.final_layer_norm", "norm")
        name = name.replace("encoder.block", "blocks")
        for ours, theirs in layer.items():
            name = name.replace(ours, theirs)
        named[name] = tensor
    return named


def llama_cpp_t5(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names in GGUF files: gguf-py's tensor_mapping.py for MODEL_ARCH.T5ENCODER."""
    segments = {
        "layer.0.layer_norm": "attn_norm", "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b",
        "layer.0.SelfAttention.": "attn_", "layer.1.layer_norm": "ffn_norm", "layer.1.DenseReluDense.wi_0": "ffn_gate",
        "layer.1.DenseReluDense.wi_1": "ffn_up", "layer.1.DenseReluDense.wo": "ffn_down", "encoder.block": "enc.blk",
        "encoder.final_layer_norm": "enc.output_norm", "shared.": "token_embd.",
    }  # fmt: skip
    return {_replaced(name, segments): tensor for name, tensor in once(tensors).items()}


def llama_cpp_llama(tensors: dict[str, torch.Tensor], heads: int, kv_heads: int) -> dict[str, torch.Tensor]:
    """GGUF's names, and the rows of q and k in the order that convert_hf_to_gguf.py gives them."""
    segments = {
        "layers.": "blk.", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "embed_tokens": "token_embd",
    }  # fmt: skip
    named = {}
    for name, tensor in tensors.items():
        stored = _replaced(name, segments) if name != "norm.weight" else "output_norm.weight"
        for end, count in ((".attn_q.weight", heads), (".attn_k.weight", kv_heads)):
            if stored.endswith(end):
                halves = tensor.reshape(count, 2, tensor.shape[0] // count // 2, *tensor.shape[1:])
                tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        named[stored] = tensor
    return named


def _replaced(name: str, segments: dict[str, str]) -> str:
    for ours, theirs in segments.items():
        name = name.replace(ours, theirs)
    return name
