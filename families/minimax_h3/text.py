"""MiniMax H3's prompts: words, pictures and clips as Qwen3-VL reads them, and the state that the model reads.

A prompt is no chat: labels ("<Picture 1>: "), pictures and the words stand behind each other as they are. Clips are
seen twice a second, two frames at a time, with their time in front. Sounds have a label only; the model itself reads
them.

Source: ComfyUI 0.33.0, comfy/text_encoders/minimax.py and qwen_vl.py; diffusers 0.42.1,
modular_pipelines/minimax_h3/encoders.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...base import FamilyError
from ...base.shown import Shown

TAGS = "minimax_token_tags"  # key of the CONDITIONING: 1 for a token of words, 0 for one of a picture
PAIRS_A_SECOND = 2  # frames of a clip that the encoder sees each second
_START, _PICTURE, _END, _NOTHING = 151652, 151655, 151653, 151643  # ids of Qwen's tokens
_PATCH, _MERGED = 16, 2  # pixels of a patch, patches of a token, along each side
_FEWEST, _MOST = 3136, 12845056  # pixels of a picture

# A token's id, or the one or two frames [n, H, W, 3] in 0..1 whose tokens stand there.
Row = list[int | Tensor]


def tokens(tokenizer: Any, text: str, shown: Sequence[Shown]) -> Row:
    """The prompt with what it shows before its words, each labelled and counted by kind."""
    row: Row = []
    counts = {"image": 0, "video": 0, "audio": 0}

    def words(segment: str) -> None:
        row.extend(tokenizer(segment, add_special_tokens=False).input_ids if segment else ())

    def picture(frames: Tensor) -> None:
        row.extend((_START, frames, _END))

    for item in shown:
        counts[item.kind] += 1
        words(f"<{'Picture' if item.kind == 'image' else item.kind.capitalize()} {counts[item.kind]}>: ")
        if item.frames is None:
            continue
        if item.kind == "image":
            picture(item.frames[:1])
            continue
        times = [n / PAIRS_A_SECOND for n in range(len(item.frames))]
        frames = item.frames
        if len(times) % 2:
            times, frames = [*times, times[-1]], torch.cat([frames, frames[-1:]])
        for n in range(0, len(times), 2):
            words(f"<{(times[n] + times[n + 1]) / 2:.1f} seconds>")
            picture(frames[n : n + 2])
    words(text)
    return row or [_NOTHING]


def embed(encoders: Mapping[str, nn.Module], row: Row, device: torch.device | str) -> tuple[Tensor, dict[str, Any]]:
    """(state behind the last layer [1, L, D], the tokens' tags).

    Raises:
        FamilyError: a picture, and no vision tower to see it.
    """
    language: Any = encoders["text_encoder"]
    pictures = {n: _seen(encoders, item, device) for n, item in enumerate(row) if isinstance(item, Tensor)}
    ids: list[int] = []
    spans: list[tuple[int, int, tuple[int, int]]] = []
    for n, item in enumerate(row):
        if n in pictures:
            tokens, _, grid = pictures[n]
            spans.append((len(ids), len(ids) + len(tokens), grid))
            ids += [_PICTURE] * len(tokens)
        else:
            ids.append(item)  # pyright: ignore[reportArgumentType]
    embeds = language.embed_tokens(torch.tensor([ids], device=device))
    tags, mask = torch.ones(len(ids), dtype=torch.long), torch.zeros(1, len(ids), dtype=torch.bool, device=device)
    for (start, end, _), (tokens, _, _) in zip(spans, pictures.values(), strict=True):
        embeds[0, start:end] = tokens.to(embeds)
        tags[start - 1 : end + 1] = 0  # with the tokens of its start and end
        mask[0, start:end] = True
    deep: dict[str, Any] = {}
    if pictures:
        layers = zip(*(features for _, features, _ in pictures.values()), strict=True)
        deep = {"visual_pos_masks": mask, "deepstack_visual_embeds": [torch.cat(layer) for layer in layers]}
    places = _places(len(ids), spans).to(device)[:, None]
    state = language(inputs_embeds=embeds, position_ids=places, use_cache=False, **deep).last_hidden_state
    return state, {TAGS: tags}


def _seen(
    encoders: Mapping[str, nn.Module], frames: Tensor, device: torch.device | str
) -> tuple[Tensor, list[Tensor], tuple[int, int]]:
    """(a picture's tokens [n, D], the same for each of the language model's first layers, rows and columns)."""
    tower: Any = encoders.get("vision")
    if tower is None:
        raise FamilyError(
            "The prompt holds a picture, and this text encoder has no vision tower. Choose its mmproj GGUF file as "
            "file_2 of Load Video Text Encoder, or a file that holds both (qwen3vl_32b_minimax_h3_nvfp4_awq)."
        )
    patches, rows, columns = patches_of(frames[..., :3].to(device, torch.float32))
    outcome = tower(patches, grid_thw=torch.tensor([[1, rows, columns]], device=device))
    return outcome.pooler_output, outcome.deepstack_features, (rows // _MERGED, columns // _MERGED)


def patches_of(frames: Tensor) -> tuple[Tensor, int, int]:
    """One picture or two frames [n, H, W, 3] in 0..1 -> (patches, a token's together [rows * columns, values], rows,
    columns), scaled to whole tokens."""
    height, width = (_side(*sides) for sides in (frames.shape[1:3], frames.shape[2:0:-1]))
    pixels = functional.interpolate(frames.permute(0, 3, 1, 2), (height, width), mode="bilinear", align_corners=False)
    pixels = (pixels - 0.5) / 0.5
    if len(pixels) == 1:
        pixels = pixels.expand(2, -1, -1, -1)
    rows, columns = height // _PATCH, width // _PATCH
    apart = pixels.reshape(2, 3, rows // _MERGED, _MERGED, _PATCH, columns // _MERGED, _MERGED, _PATCH)
    return apart.permute(2, 5, 3, 6, 1, 0, 4, 7).reshape(rows * columns, -1), rows, columns


def _side(side: int, across: int) -> int:
    """A side of a picture as the encoder reads it, in pixels."""
    step = _PATCH * _MERGED
    whole, second = (round(length / step) * step for length in (side, across))
    if whole * second > _MOST:
        return max(step, math.floor(side / math.sqrt(side * across / _MOST) / step) * step)
    if whole * second < _FEWEST:
        return math.ceil(side * math.sqrt(_FEWEST / (side * across)) / step) * step
    return whole


def _places(count: int, pictures: Sequence[tuple[int, int, tuple[int, int]]]) -> Tensor:
    """Places of the tokens in time, height and width [3, count].

    Those of words rise by one in all three; a picture takes one moment, and as many places as its longer side.
    """
    places = torch.arange(count).expand(3, -1).clone()
    for start, end, (rows, columns) in pictures:
        first = int(places[0, start])
        places[0, start:end] = first
        places[1, start:end] = first + torch.arange(rows).repeat_interleave(columns)
        places[2, start:end] = first + torch.arange(columns).repeat(rows)
        places[:, end:] = first + max(rows, columns) + torch.arange(count - end)
    return places
