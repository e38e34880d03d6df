"""MiniMax H3: video with its sound in one pass, from words, pictures, clips and sounds.

Guidance is distilled into it: one prompt, cfg 1, no negative prompt. The sound has noise levels of its own, see
`SoundStream`. A MODEL of ComfyUI's own loaders stays ComfyUI's.

Source: MiniMaxAI/MiniMax-H3 (MiniMax H3 Community License; facts, no code); diffusers 0.42.1,
MiniMaxH3Transformer3DModel and modular_pipelines/minimax_h3; ComfyUI 0.33.0, comfy/ldm/minimax and
comfy_extras/nodes_minimax_h3.py.
"""

from __future__ import annotations

from ...base import (
    Family,
    Files,
    Images,
    Masking,
    Network,
    PicturedText,
    Recognised,
    Recognition,
    Sampling,
    Shapes,
    Sound,
    Text,
    Variant,
    Video,
)
from ...base.folder_part import Configs
from ..text import qwen3_vl, qwen3_vl_vision
from . import files, folders, references, sound, text, vae
from .few_steps import FEW_STEPS
from .lora import LORA
from .network import condition, extend, grown, kept, predict
from .pictures import CLIPS, image_to_video
from .versions import of_parts, sigmas


def find(shapes: Shapes, name: str) -> Recognised | str:
    """The transformer, the video's VAE or the sound's."""
    transformer = files.recognise(FAMILY, shapes, name)
    if isinstance(transformer, Recognised):
        return transformer
    variant = of_parts(FAMILY)
    return vae.video_vae(variant, shapes) or sound.sound_vae(variant, shapes) or transformer


def read(configs: Configs) -> Variant:
    """See `Files.read`."""
    return folders.read(FAMILY, configs)


FAMILY = Family(
    id="minimax_h3",
    title="MiniMax H3",
    files=Files(
        folders.PIPELINES,
        folders.COMPONENTS,
        read,
        optional=folders.OPTIONAL,
        parts=folders.PARTS,
        other_names=folders.OTHER_NAMES,
    ),
    recognition=Recognition(find, files.tensors, rope_layouts=(files.INTERLEAVED, files.STACKED)),
    network=Network(
        predict,
        condition,
        blocks="transformer_blocks",
        extend=extend,
        masking=Masking(kept, grown),
        seeded=("minimax_refs", "minimax_keyframes"),
    ),
    sampling=Sampling(sigmas, few_steps=FEW_STEPS, reads_negative=False),
    text=Text(
        {"text_encoder": qwen3_vl.KIND, "vision": qwen3_vl_vision.KIND},
        pictured=PicturedText(text.tokens, text.embed),
    ),
    video=Video(vae.decode, vae.encode, vae.decode_frames, tiles_itself=True),
    sound=Sound(sound.decode, sound.output_rate, sound.encode, sound.input_rate),
    images=Images(image_to_video, CLIPS, at_any_frame=True),
    lora=LORA,
    references=references.REFERENCES,
    continuation=references.CONTINUATION,
)
