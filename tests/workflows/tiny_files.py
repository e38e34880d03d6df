"""Small random weights as the single files that the templates name, in layouts that are published; and a clip."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from opent2v.families import mochi
from opent2v.families.wan.variants import VAES
from opent2v.tests.families.layouts import ltx_video as ltx_names
from opent2v.tests.families.layouts import mochi as mochi_names
from opent2v.tests.families.layouts import wan as wan_names
from opent2v.tests.loaders import text_files
from opent2v.tests.media import clips
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import ltx2 as tiny_ltx2
from opent2v.tests.tiny import ltx_video as tiny_ltx_video
from opent2v.tests.tiny import minimax_h3 as tiny_h3
from opent2v.tests.tiny import minimax_h3_parts as tiny_h3_parts
from opent2v.tests.tiny import mochi as tiny_mochi
from opent2v.tests.tiny import open_sora as tiny_open_sora
from opent2v.tests.tiny import videocrafter as tiny_videocrafter
from opent2v.tests.tiny import wan_variants as tiny_wan

Tensors = dict[str, torch.Tensor]
WIDTH = 16  # of the text encoders
CLIP_WORDS = 49408  # of ComfyUI's own CLIP tokenizer


def put(models: Path, files: Iterable[tuple[str, str]]) -> None:
    """Write files ((folder, published name)) below `models`."""
    for directory, name in files:
        path = models / directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make = next(maker for start, maker in MAKERS.items() if name.startswith(start))
        text_files.save(path, make(name), carries_tokenizer="xxl" in name)
        if name.startswith("qwen3vl") and not (models / "diffusers" / "MiniMaxH3").exists():
            _write_words(models / "diffusers" / "MiniMaxH3")
        folder = models / "diffusers" / "HunyuanVideo"
        # Those without a tokenizer find that of a folder.
        if name.startswith(("llava", "clip_l", "videocrafter")) and not folder.exists():
            tiny_hunyuan.make(folder)
            _fill_vocabulary(folder / "tokenizer_2" / "tokenizer.json", CLIP_WORDS)


def put_clip(folder: Path, frames: int, side: int) -> str:
    """Write a clip of a moving bar that sounds, at MiniMax H3's 24 frames per second, and return its name."""
    bars = torch.full((frames, side, side, 3), 0.2)
    for n, bar in enumerate(bars):
        bar[:, n % side] = torch.tensor([1.0, 0.8, 0.1])
    return clips.save(folder, bars, "moving", fps=24, audio=clips.sound(frames / 24)).name


def _write_words(folder: Path) -> None:
    """A tokenizer of Qwen3-VL's size that knows no word, where the loader looks for one."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0} | {f"unused{n}": n for n in range(1, tiny_h3_parts.VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder / "tokenizer")
    (folder / "text_encoder").mkdir()
    (folder / "text_encoder" / "config.json").write_text('{"architectures": ["Qwen3VLTextModel"]}', encoding="utf-8")
    (folder / "model_index.json").write_text('{"_class_name": "MiniMaxH3Pipeline"}', encoding="utf-8")


def _fill_vocabulary(file: Path, size: int) -> None:
    """Add words that no prompt has: a tokenizer of another size belongs to another text encoder."""
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {f"unused{number}": number for number in range(len(vocabulary), size)}
    file.write_text(json.dumps(tokenizer), encoding="utf-8")


def asked(flow: dict) -> list[tuple[str, str]]:
    """(folder, name) of every file that a template asks for; one without a link is an all-in-one to be converted."""
    found = {(one["directory"], one["name"]) for node in flow["nodes"] for one in node["properties"].get("models", ())}
    loaders = [node for node in flow["nodes"] if node["type"] == "OpenT2VLoadDiffusionModel"]
    return sorted(found | {("checkpoints", n["widgets_values"][0]) for n in loaders if "models" not in n["properties"]})


def _t5(name: str) -> Tensors:
    return text_files.once(text_files.t5(name.startswith("umt5"), WIDTH).state_dict())


def _wan(name: str) -> Tensors:
    from diffusers import WanTransformer3DModel

    further: dict = {"in_channels": 16, "out_channels": 16}
    if "i2v_480p" in name:
        further = {"in_channels": 36, "image_dim": tiny_wan.IMAGE_DIM, "added_kv_proj_dim": 128}
    elif "ti2v" in name:
        further = {"in_channels": 48, "out_channels": 48}
    torch.manual_seed(0)
    module = WanTransformer3DModel(**wan_names.TINY, **further)
    return {wan_names.original(key): value for key, value in module.state_dict().items()}


def _wan_vae(channels: int) -> Tensors:
    from diffusers import AutoencoderKLWan

    torch.manual_seed(1)
    further = {"decoder_base_dim": 12} if channels == 48 else {}
    module = AutoencoderKLWan(**VAES[channels] | {"base_dim": 8} | further)
    return {wan_names.original_vae(key, channels == 48): value for key, value in module.state_dict().items()}


def _ltx(name: str) -> Tensors:
    """Transformer and VAE in one file."""
    from diffusers import LTXVideoTransformer3DModel

    torch.manual_seed(0)
    transformer = LTXVideoTransformer3DModel(
        num_attention_heads=32, attention_head_dim=2, cross_attention_dim=64, num_layers=1, caption_channels=WIDTH
    )
    tensors = {
        f"model.diffusion_model.{ltx_names.original_transformer(key)}": value
        for key, value in transformer.state_dict().items()
    }
    vae = tiny_ltx_video.vae("0.9.5")
    return tensors | {f"vae.{ltx_names.original_vae(key, '0.9.5')}": value for key, value in vae.state_dict().items()}


def _mochi(name: str) -> Tensors:
    shapes = mochi_names.original_transformer(2, width=24, text=16, head=12, t5=WIDTH, time_dim=16)
    found = mochi.find(shapes, name)
    assert not isinstance(found, str), found
    return mochi_names.original_of(tiny_mochi.transformer(), found.rules, shapes)


def _mochi_vae(name: str) -> Tensors:
    from diffusers import AutoencoderKLMochi

    torch.manual_seed(1)
    widths = (32, 64, 128, 192)
    return AutoencoderKLMochi(decoder_block_out_channels=widths, encoder_block_out_channels=widths).state_dict()


def _cogvideox(name: str) -> Tensors:
    """One block as wide as that of the 1.5 5B: the variant is told by its width."""
    from diffusers import CogVideoXTransformer3DModel

    with torch.device("meta"):
        module = CogVideoXTransformer3DModel(
            num_attention_heads=48, attention_head_dim=64, time_embed_dim=16, text_embed_dim=WIDTH, num_layers=1,
            patch_size_t=2, patch_bias=False, use_rotary_positional_embeddings=True,
        )  # fmt: skip
    shapes = {key: value.shape for key, value in module.state_dict().items()}
    # 113 million random numbers would take seconds; a wave does as well.
    wave = torch.linspace(0, 1e5, max(map(torch.Size.numel, shapes.values()))).sin().mul(0.05).bfloat16()
    return {key: wave[: shape.numel()].view(shape) for key, shape in shapes.items()}


def _cogvideox_vae(name: str) -> Tensors:
    from diffusers import AutoencoderKLCogVideoX

    torch.manual_seed(1)
    return AutoencoderKLCogVideoX(block_out_channels=(32, 32, 32, 32), layers_per_block=1).state_dict()


def _hunyuan_part(part: str) -> Callable[[str], Tensors]:
    from safetensors.torch import load_file

    return lambda name: load_file(next((tiny_hunyuan.folder() / part).glob("*.safetensors")))


def _clip_l(name: str) -> Tensors:
    """transformers 5 leaves out a prefix that published files have; and CLIP's own tokenizer knows more words."""
    tensors = _hunyuan_part("text_encoder_2")(name)
    named = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in tensors.items()}
    words = "text_model.embeddings.token_embedding.weight"
    return named | {words: torch.randn(CLIP_WORDS, named[words].shape[1], generator=torch.Generator().manual_seed(2))}


def _hunyuan(name: str) -> Tensors:
    """One head of the published width: a file does not tell how its positions are divided."""
    return tiny_hunyuan.transformer(
        num_attention_heads=1, attention_head_dim=128, rope_axes_dim=(16, 56, 56)
    ).state_dict()


def _hunyuan_vae(name: str) -> Tensors:
    from diffusers import AutoencoderKLHunyuanVideo

    torch.manual_seed(1)
    return AutoencoderKLHunyuanVideo(block_out_channels=(32, 32, 32, 32), layers_per_block=1).state_dict()


def _videocrafter(name: str) -> Tensors:
    """All in one, with as many words as ComfyUI's tokenizer has."""
    return tiny_videocrafter.whole(CLIP_WORDS)


# Start of a file's name -> its tensors; the first that fits.
MAKERS: dict[str, Callable[[str], Tensors]] = {
    "umt5": _t5,
    "t5xxl": _t5,
    "llava": _hunyuan_part("text_encoder"),
    "clip_l": _clip_l,
    "wan_2.1_vae": lambda name: _wan_vae(16),
    "wan2.2_vae": lambda name: _wan_vae(48),
    "wan2": _wan,
    "clip_vision_h": lambda name: {"unread": torch.ones(1)},  # core_nodes.py brings its own
    "ltx-2.3-spatial-upscaler": lambda name: tiny_ltx2.upscaler("spatial"),
    "ltx-2.3": lambda name: tiny_ltx2.all_in_one("2.3"),
    "ltx-2.5-video-vae": lambda name: tiny_ltx2.video_vae("2.3"),
    "ltx-2.5-audio-vae": lambda name: tiny_ltx2.sound_vae("2.3"),
    "ltx-2.5": lambda name: tiny_ltx2.originals(tiny_ltx2.transformer("2.5"), tiny_ltx2.PREFIX),
    "gemma4": lambda name: tiny_ltx2.gemma4(),
    "gemma_3": lambda name: tiny_ltx2.gemma(),
    "minimax_h3_video_vae": lambda name: tiny_h3_parts.video_vae(),
    "minimax_h3_audio_vae": lambda name: tiny_h3_parts.sound_vae(),
    "minimax_h3": lambda name: tiny_h3.originals("pruned", text=tiny_h3_parts.WIDTH),
    "qwen3vl": lambda name: tiny_h3_parts.encoder(),
    "ltx-video": _ltx,
    "mochi_vae": _mochi_vae,
    "mochi": _mochi,
    "cogvideox_vae": _cogvideox_vae,
    "CogVideoX": _cogvideox,
    "Open_Sora": lambda name: tiny_open_sora.recorded("weights"),
    "hunyuan_video_vae": _hunyuan_vae,
    "hunyuan_video": _hunyuan,
    "videocrafter": _videocrafter,
}
