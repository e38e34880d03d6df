"""The network of MiniMax H3: diffusers' transformer, with what its published files have in place of some layers.

A pruned file holds a table of the embedded timesteps in place of the layers that embed them, and modulations that read
it without an activation, in fp32. In both kinds of files modulations are computed in the dtype of their bias: their
matrix may be stored in fp8, in which nothing is computed.

Source: ComfyUI 0.33.0, comfy/ldm/minimax/model.py and comfy/model_base.py (MiniMaxH3); diffusers 0.42.1,
models/transformers/transformer_minimax_h3.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...base import Entry, FamilyError, Variant
from . import layout

MODALITIES = 3  # the modulations of a timestep: of video, text and sound
# What is shown keeps this share of itself, the rest is noise: of pictures and of sounds.
SHOWN_SHARES = (0.999, 1.0)
_TAGS = torch.tensor([1, 0, 2, 2, 0])  # modality of each kind of row; a prompt's pictures are tagged as video


class TimeTable(nn.Module):
    """Embedded timesteps, read off a table between its rows."""

    def __init__(self, rows: int, width: int):
        super().__init__()
        self.adaln_t_table = nn.Parameter(torch.empty(rows, width))

    def forward(self, timestep: Tensor) -> Tensor:
        """[N] in 0..1 -> [N, width], fp32."""
        table = self.adaln_t_table.to(timestep.device, torch.float32)
        place = timestep.float().clamp(0, 1) * (len(table) - 1)
        lower = place.long().clamp(max=len(table) - 2)
        return torch.lerp(table[lower], table[lower + 1], (place - lower)[:, None])


class Modulation(nn.Module):
    """Shift, scale and gate of a block's two halves, for each timestep and modality: [N * 3, hidden] each.

    Attributes:
        dtype: in which they are returned, that of the block's input.
    """

    dtype = torch.float32

    def __init__(self, linear: nn.Linear, is_activated: bool):
        super().__init__()
        self.linear, self.is_activated = linear, is_activated

    def forward(self, embedded: Tensor) -> tuple[Tensor, ...]:
        modulation = _modulated(self.linear, embedded, self.is_activated).to(self.dtype)
        return modulation.unflatten(1, (MODALITIES, -1)).flatten(0, 1).chunk(6, dim=-1)

    def follow(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Hook before the block."""
        self.dtype = inputs[0].dtype


class ModulatedNorm(nn.Module):
    """The norm behind the blocks, with shift and scale of each row's timestep."""

    def __init__(self, norm: nn.Module, linear: nn.Linear, is_activated: bool):
        super().__init__()
        self.norm, self.linear, self.is_activated = norm, linear, is_activated

    def forward(self, hidden: Tensor, embedded: Tensor, levels: Tensor) -> Tensor:
        shift, scale = _modulated(self.linear, embedded, self.is_activated).chunk(2, dim=-1)
        return self.norm(hidden) * (1 + scale[levels]) + shift[levels]


def _modulated(linear: nn.Linear, embedded: Tensor, is_activated: bool) -> Tensor:
    return linear((functional.silu(embedded) if is_activated else embedded).to(linear.bias.dtype))


def extend(variant: Variant, transformer: Any) -> None:
    """Put our modulations in the place of diffusers', and the table of a pruned file in that of its embedder."""
    rows = variant.facts["table_rows"]
    for block in transformer.transformer_blocks:
        block.adaln_proj = Modulation(block.adaln_proj.linear, not rows)
        block.register_forward_pre_hook(block.adaln_proj.follow)
    last = transformer.norm_out
    transformer.norm_out = ModulatedNorm(last.norm, last.linear, not rows)
    if rows:
        transformer.time_proj = nn.Identity()
        transformer.time_embedder = TimeTable(rows, last.linear.in_features)
        transformer._keep_in_fp32_modules = [*transformer._keep_in_fp32_modules, "linear"]


def condition(variant: Variant, entry: Entry, shape: Any) -> dict[str, Tensor]:
    """The text, the sequence that it starts (see `layout`), and what of the LATENT is kept.

    What is shown stays two-dimensional: hosts turn what has more dimensions into the computing dtype. It gets its
    noise here, every picture the same: ComfyUI's entries "minimax_visual_cond_noise_aug" and
    "minimax_audio_cond_noise_aug" are how much of itself it keeps, `SHOWN_SHARES` without them.

    Raises:
        FamilyError: entries that do not fit the text or the video.
    """
    context = entry["cross_attn"]
    tokens, (video, sound) = context.shape[1], shape
    rows = layout.packed(tokens, video[2:], sound[-1], entry)
    kinds = torch.cat(rows.kinds)
    tags, text_tags = _TAGS[kinds], entry.get("minimax_token_tags")
    if text_tags is not None:
        if text_tags.numel() != tokens:
            raise FamilyError(
                f"The conditioning has {tokens} tokens and minimax_token_tags for {text_tags.numel()}. A node between "
                "the text encoder and the sampler has changed one of them: take it out."
            )
        tags[:tokens] = text_tags.flatten().to(tags)
    shares = [
        default if entry.get(name) is None else float(entry[name])
        for name, default in zip(
            ("minimax_visual_cond_noise_aug", "minimax_audio_cond_noise_aug"), SHOWN_SHARES, strict=True
        )
    ]
    conditions = {
        "context": context,
        "kinds": kinds[None],
        "tags": tags[None],
        "places": torch.cat(rows.places).float().flatten()[None],
        "shown_shares": torch.tensor([shares]),
    }
    seed = int(entry.get("seed") or 0)
    for name, shown, share, noise_seed in (
        ("shown_video", rows.video, shares[0], seed),
        ("shown_sound", rows.sound, shares[1], seed + 1),
    ):
        if shown:
            noised = [_noised(latent, share, noise_seed) for latent in shown]
            conditions[name] = torch.cat(noised).flatten()[None]
    return {**conditions, **_kept(entry.get("denoise_mask"))}


def _noised(rows: Tensor, share: float, seed: int) -> Tensor:
    if share >= 1:
        return rows
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed % 2**64)).to(rows.device)
    return share * rows + (1 - share) * noise


def _kept(masks: Any) -> dict[str, Tensor]:
    """Share of the noise that each row of the two streams has, where not all have all of it."""
    kept: dict[str, Tensor] = {}
    for name, mask, rows in zip(
        ("video_mask", "sound_mask"), masks or (), (layout.video_rows, layout.sound_rows), strict=False
    ):
        if mask is not None and bool((mask < 1).any()):
            kept[name] = rows(token_mask(mask[:1]))[..., 0]
    return kept


def token_mask(mask: Tensor) -> Tensor:
    """A stream's mask [B, C, ...] with one number for each row of the network: the largest in it.

    Rounded up to 1/256, as ComfyUI 0.33.0 does (MiniMaxH3._token_grid_masks).
    """
    mask = mask.amax(1, keepdim=True)
    if mask.ndim == 5:
        pooled = functional.max_pool3d(mask, (1, layout.PATCH, layout.PATCH))
        mask = pooled.repeat_interleave(layout.PATCH, 3).repeat_interleave(layout.PATCH, 4)
    return (mask * 256).ceil() / 256


def kept(variant: Variant, clean: list[Tensor], noise: list[Tensor], sigma: Tensor) -> list[Tensor]:
    """See `Masking.kept`: pictures and sounds with their `SHOWN_SHARES`, the sound as it is carried."""
    assert variant.sound is not None
    carried = (sigma / variant.sound.own_sigma(sigma.clamp(min=1e-6))).clamp(min=1) / variant.sound.ratio
    streams = zip(clean, noise, SHOWN_SHARES, strict=False)
    video, *sounds = [share * latent + (1 - share) * drawn for latent, drawn, share in streams]
    return [video, *(sound * carried.view(-1, *[1] * (sound.ndim - 1)).to(sound) for sound in sounds)]


def grown(masks: list[Tensor]) -> list[Tensor]:
    """See `Masking.grown`."""
    return [token_mask(mask).expand_as(mask) for mask in masks]


def predict(variant: Variant, transformer: Any, x: Any, t: Tensor, conditions: Mapping[str, Tensor]) -> Any:
    """Flow (noise minus clean) of both streams at timestep t = sigma * 1000 of the video.

    The sound comes and goes as a sampler of the video's noise levels carries it, see `SoundStream.ratio`; the network
    gets it at its own.

    Raises:
        FamilyError: the rows of a batch lie in different sequences.
    """
    video, carried = x[0], x[1].float()
    sigma = (t[:1].float() / 1000).clamp(min=1e-6)
    assert variant.sound is not None
    sound_sigma = variant.sound.own_sigma(sigma)
    sound = carried * (sound_sigma / sigma)
    sequence = {name: _shared(conditions[name]) for name in ("kinds", "tags", "places", "shown_shares")}
    kinds, times = sequence["kinds"], 1 - sigma
    levels, of_rows = _levels(conditions, kinds, times, 1 - sound_sigma, sequence["shown_shares"])
    places = [(kinds == kind).nonzero().flatten() for kind in range(5)]
    video_rows = [layout.video_rows(video.float())]
    sound_rows = [layout.sound_rows(sound)]
    for name, rows in (("shown_video", video_rows), ("shown_sound", sound_rows)):
        if name in conditions:
            rows.insert(0, conditions[name].float().unflatten(1, (-1, rows[0].shape[-1])))
    outputs = transformer(
        hidden_states=torch.cat(video_rows, 1),
        audio_hidden_states=torch.cat(sound_rows, 1),
        encoder_hidden_states=conditions["context"],
        timestep=levels,
        timestep_indices=of_rows,
        token_tags=sequence["tags"],
        position_ids=sequence["places"].unflatten(0, (-1, 3)),
        video_indices=torch.cat([places[layout.SHOWN_VIDEO], places[layout.VIDEO]]),
        audio_indices=torch.cat([places[layout.SHOWN_SOUND], places[layout.SOUND]]),
        text_indices=places[layout.TEXT],
        return_dict=False,
    )
    # The network's velocity points to the clean latent.
    flow, sound_flow = (
        -output[:, -rows[-1].shape[1] :].float() for output, rows in zip(outputs, (video_rows, sound_rows), strict=True)
    )
    return [
        layout.video_latent(flow, video.shape[2:]),
        variant.sound.carried_flow(sound, layout.sound_latent(sound_flow), sound_sigma),
    ]


def _shared(values: Tensor) -> Tensor:
    if len(values) > 1 and not bool((values == values[:1]).all()):
        raise FamilyError(
            "MiniMax H3 is to compute two conditionings at once whose texts or pictures lie differently. Sample with "
            "cfg 1, which is its own: it was made to need no negative prompt."
        )
    return values[0]


def _levels(
    conditions: Mapping[str, Tensor], kinds: Tensor, time: Tensor, sound_time: Tensor, shares: Tensor
) -> tuple[Tensor, Tensor]:
    """(distinct timesteps in 0..1, 1 is clean; which of them each row has)."""
    shown, heard = torch.maximum(time, shares[:1]), torch.maximum(sound_time, shares[1:])
    levels = torch.cat([time, shown, heard, sound_time, time])
    if "video_mask" not in conditions and "sound_mask" not in conditions:
        return levels, kinds
    of_rows = levels[kinds]
    for name, kind, of_stream, share in (
        ("video_mask", layout.VIDEO, time, SHOWN_SHARES[0]),
        ("sound_mask", layout.SOUND, sound_time, SHOWN_SHARES[1]),
    ):
        if name in conditions:
            kept_times = 1 - _shared(conditions[name]).float() * (1 - of_stream)
            of_rows[kinds == kind] = torch.minimum(kept_times, of_stream.clamp(min=share))
    return torch.unique(of_rows, return_inverse=True)
