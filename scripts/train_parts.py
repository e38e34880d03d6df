"""The parts of the model that a LoRA is trained on, from a diffusers folder or from single files."""

from __future__ import annotations

import argparse
from typing import Any

# How a model's weights are held: in a number format of theirs, or packed here by bitsandbytes.
NF4 = "nf4"
DTYPES = ("auto", "bf16", "fp16", "fp32", "fp8", NF4)


class Parts:
    """What a model's files come to.

    Attributes:
        model: loads the MODEL, or returns it.
    """

    def __init__(self, variant: Any, clip: Any, vae: Any, model: Any, audio_vae: Any = None, clip_vision: Any = None):
        self.variant, self.clip, self.vae, self.model = variant, clip, vae, model
        self.audio_vae, self.clip_vision = audio_vae, clip_vision


def load(arguments: argparse.Namespace) -> Parts:
    from opent2v.finetune.errors import trainer_library  # pyright: ignore[reportMissingImports]

    if arguments.dtype == NF4:
        trainer_library("bitsandbytes")  # refused before anything is loaded
    from opent2v import loaders  # pyright: ignore[reportMissingImports]

    side, path = host(), arguments.model
    dtypes = side.device_dtypes(loaders.DTYPES.get(arguments.dtype), None)
    if path.is_dir():
        for option in ("vae", "text_encoder", "audio_vae", "connectors"):
            if getattr(arguments, option):
                name = option.replace("_", "-")
                raise ValueError(f"--{name} is for a model in a single file; {path} is a folder that has everything")
        pipeline = loaders.load_pipeline(loaders.open_folder(path), **dtypes)
        experts = {part.variant.expert: part for part in pipeline.models}
        if len(experts) > 1 and arguments.expert not in experts:
            raise ValueError(f"{path} has two experts, each with a LoRA of its own: choose --expert high or low")
        part = experts.get(arguments.expert) or pipeline.models[0]
        _pack(part, arguments.dtype)
        encoder = pipeline.image_encoder
        clip_vision = None if encoder is None else side.clip_vision(encoder)
        clip, vae = side.clip(pipeline.text), side.vae(pipeline.vae)
        return Parts(part.variant, clip, vae, lambda: side.model(part), None, clip_vision)
    return _load_files(arguments, loaders, dtypes)


def _load_files(arguments: argparse.Namespace, loaders: Any, dtypes: dict[str, Any]) -> Parts:
    from opent2v.nodes import load_files, load_text  # pyright: ignore[reportMissingImports]

    side, path = host(), arguments.model
    opened = loaders.open_file(path)
    if "transformer" not in opened.parts:
        raise ValueError(f"{path} holds no video model but {', '.join(opened.parts)}")
    variant = opened.parts["transformer"].variant
    sources = arguments.text_encoder or ([path] if opened.text_prefixes else [])
    if not sources:
        raise ValueError(f"{path} holds no text encoder: name its file with --text-encoder")
    encoders: list[Any] = []
    for source in sources:
        prefixes = [opened.text_prefixes] if source == path else []
        inside = loaders.open_text_files(source, *prefixes)
        encoders += load_text.encoders_for(variant, inside) if len(inside) > 1 else inside
    encoders += load_text.layers_behind(variant, encoders, path)
    text = loaders.load_text(encoders, variant, dtypes["text_dtype"], load_text.find_tokenizer)
    vae_file = opened if "vae" in opened.parts and not arguments.vae else None
    if vae_file is None:
        if not arguments.vae:
            raise ValueError(f"{path} holds no VAE: name its file with --vae")
        vae_file = loaders.open_file(arguments.vae, loaders.LOAD_VAE)
    vae = side.vae(loaders.load_vae(vae_file, dtypes["vae_dtype"]))
    sound = loaders.open_file(arguments.audio_vae, loaders.LOAD_VAE) if arguments.audio_vae else opened
    audio_vae = None
    if "audio_vae" in sound.parts:
        audio_vae = side.vae(loaders.load_sound_vae(sound, load_files.SOUND_DTYPE))
    beside = {"beside": arguments.connectors} if arguments.connectors else {}

    def model() -> Any:
        is_packed = bool(opened.quantisation.layers) and arguments.dtype == "auto"
        dtype = None if is_packed else dtypes["model_dtype"]
        part = loaders.load_model(opened, dtype, keeps_packed=is_packed, **beside)
        _pack(part, arguments.dtype)
        return side.model(part)

    return Parts(variant, side.clip(text), vae, model, audio_vae)


def _pack(part: Any, dtype: str) -> None:
    from opent2v.finetune import nf4  # pyright: ignore[reportMissingImports]

    if dtype == NF4:
        nf4.pack(part.transformer)


def host() -> Any:
    """The host, once the pack is mounted."""
    from opent2v.host import host as mounted  # pyright: ignore[reportMissingImports]

    return mounted
