"""From a folder of clips to stored latents and prompts: what a training reads, and what is refused.

Everything is computed once and stored under the hash of its content and of what the encoders make of a test picture and
a test prompt, so a second training with the same clips, sizes and encoders begins at once. Afterwards neither text
encoder nor VAE is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..base import FamilyError, Variant
from ..base.guidance import Conditioning
from ..host import host
from .buckets import Bucket, bucket_of
from .clips import Clip, Refused, read_clips
from .encode import (
    CONTEXT,
    KNOWN,
    MASK,
    PICTURE,
    STREAMS,
    VISION,
    Encoders,
    completed,
    embedded,
    encoded,
    guided_by_first,
)
from .errors import TrainingError
from .frames import measure, read
from .objective import Sample
from .processes import Processes
from .settings import Settings
from .store import Store, key_of

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Item:
    """A clip that is learned.

    Attributes:
        latents, prompt: keys in the store.
    """

    clip: Clip
    bucket: Bucket
    latents: str
    prompt: str


@dataclass(frozen=True)
class Prepared:
    """
    Attributes:
        pictures: share of the steps in which the first frame is given.
        remarks: what the user should know.
        encoders: encode a clip anew each time it is learned; None: its latents are stored.
    """

    variant: Variant
    items: tuple[Item, ...]
    refused: tuple[Refused, ...]
    store: Store = field(repr=False)
    pictures: float = 0.0
    remarks: tuple[str, ...] = ()
    encoders: Encoders | None = field(default=None, repr=False)

    def _latents(self, item: Item) -> dict[str, Any]:
        if self.encoders is None:
            return self.store.get(item.latents)
        values = encoded(self.encoders, item.clip, item.bucket, self.pictures)
        return {name: _cloned(value) for name, value in values.items()}

    def video_latent(self, item: Item) -> Tensor:
        """LATENT samples of a clip's video, as the VAE made them."""
        return self._latents(item)[STREAMS][0]

    def sample(self, item: Item, with_picture: bool) -> Sample:
        """The clip as the model sees it."""
        stored, prompt = self._latents(item), self.store.get(item.prompt)
        latents: list[Tensor] = stored[STREAMS]
        pairs = list(zip(self.variant.streams, latents, strict=False))
        streams = tuple(stream.normalise(stream.pad_front(latent)) for stream, latent in pairs)
        entry: dict[str, Any] = {"cross_attn": prompt.pop(CONTEXT), **prompt}
        if not with_picture:
            return Sample(streams, entry)
        video = pairs[0][0]
        entry |= {name.removeprefix(PICTURE): v for name, v in stored.items() if name.startswith(PICTURE)}
        if VISION in stored:
            entry["clip_vision_output"] = SimpleNamespace(penultimate_hidden_states=stored[VISION])
        mask = stored.get(MASK)
        if mask is None:
            return Sample(streams, entry)
        return Sample(streams, entry, video.pad_front(mask), video.normalise(video.pad_front(stored[KNOWN])))


def prepare(
    encoders: Encoders,
    data: Path,
    cache: Path,
    settings: Settings,
    *,
    report: Report = lambda what, done, total: None,
    processes: Processes = Processes(),  # noqa: B008 - frozen
    within: Path | None = None,
    streams: bool = False,
) -> Prepared:
    """Measure, check and encode every clip of a data set.

    Args:
        data: as `read_clips`.
        cache: folder of the store.
        report: called with what is done, how many are done, and how many there are; may raise.
        within: as `read_clips`.
        streams: store no latents; clips are read once to see that they can be, and encoded in each step. For data
            beyond the disk; VAEs stay in memory, and each step takes longer.
    Raises:
        TrainingError: a setting, the data set or the model cannot be used, or every clip is refused.
    """
    settings.check()
    variant, store = encoders.variant, Store(cache)
    _check(encoders)
    clips, refused = read_clips(data, settings.caption, within)
    if not clips:
        raise TrainingError(
            f"No clip of {data} can be used.{_first(refused)} Expected videos or pictures with captions."
        )
    with_sound, remarks = _learns_sound(encoders)
    share = _picture_share(encoders, settings)
    items, more = _each(
        clips,
        lambda clip: _item(encoders, settings, store, clip, with_sound, share),
        lambda done: report("Measuring clips", done, len(clips)),
        processes,
    )
    items, damaged = _each(
        items,
        lambda item: _read(encoders, item) if streams else _encoded(encoders, store, item, share),
        lambda done: report("Reading clips" if streams else "Encoding clips", done, len(items)),
        processes,
    )
    refused += [*more, *damaged]
    if not items:
        raise TrainingError(f"Every clip of {data} is refused.{_first(refused)}")
    captions = list(dict.fromkeys(_prompt(settings, item.clip) for item in items))
    for n, caption in enumerate(captions):
        report("Reading captions", n, len(captions))
        if n % processes.count == processes.rank:
            _embedded(encoders, store, caption)
    if processes.is_first:
        store.save_digests()
    processes.wait()
    report("Reading captions", len(captions), len(captions))
    kept = replace(encoders, clip=None) if streams else None
    return Prepared(variant, tuple(items), tuple(refused), store, share, tuple(remarks), kept)


def _each(
    things: Sequence[Any], work: Callable[[Any], Item], report: Callable[[int], None], processes: Processes
) -> tuple[list[Item], list[Refused]]:
    """What `work` makes of each clip or item, shared by the processes, in order; and what it refuses."""
    outcomes: list[tuple[int, Item | Refused]] = []
    for n in range(processes.rank, len(things), processes.count):
        report(n)
        try:
            outcomes.append((n, work(things[n])))
        except TrainingError as error:
            name = things[n].name if isinstance(things[n], Clip) else things[n].clip.name
            outcomes.append((n, Refused(name, str(error))))
    report(len(things))
    ordered = [outcome for _, outcome in sorted(processes.gather(outcomes), key=lambda pair: pair[0])]
    kept = [outcome for outcome in ordered if isinstance(outcome, Item)]
    return kept, [outcome for outcome in ordered if isinstance(outcome, Refused)]


def prompt_of(encoders: Encoders, store: Store, text: str) -> Conditioning:
    """The CONDITIONING of a prompt, from the store where it is there."""
    stored = store.get(_embedded(encoders, store, text))
    return [[stored.pop(CONTEXT), stored]]


def _embedded(encoders: Encoders, store: Store, text: str) -> str:
    """The key of a prompt, which is in the store now."""
    key = _prompt_key(encoders, text)
    if not store.has(key):
        store.put(key, embedded(host.embed(encoders.clip, completed(encoders.variant, text))))
    return key


def _prompt_key(encoders: Encoders, text: str) -> str:
    return key_of("prompt", encoders.text_name, text)


def _check(encoders: Encoders) -> None:
    variant, channels = encoders.variant, host.latent_channels(encoders.vae)
    if variant.family.network.predict is None:
        raise TrainingError(f"{variant.title} is built by ComfyUI's own loaders only; it is not trained here.")
    if channels != variant.geometry.channels:
        raise TrainingError(
            f"The VAE makes {channels} latent channels; {variant.title} reads {variant.geometry.channels}. Use the VAE "
            "that belongs to the model."
        )


def _learns_sound(encoders: Encoders) -> tuple[bool, list[str]]:
    """Whether the sound of clips is learned; remarks."""
    stream = encoders.variant.sound
    if stream is None:
        return False, []
    decoder = None if encoders.audio_vae is None else host.audio_decoder(encoders.audio_vae)
    if decoder is not None and decoder.encode is not None:
        return True, []
    if stream.is_needed:
        raise TrainingError(f"{encoders.variant.title} makes no picture without its sound. Connect its audio VAE.")
    return False, ["The sound is not learned: there is no audio VAE that encodes."]


def _picture_share(encoders: Encoders, settings: Settings) -> float:
    """In which share of the steps the first frame is given."""
    variant = encoders.variant
    if variant.task == "image":
        if settings.pictures == "never":
            raise TrainingError(f"{variant.title} starts from a picture in every run. Set pictures to auto.")
        return 1.0
    if settings.pictures == "never" or variant.family.images is None:
        can, reason = False, f"{variant.title} takes no pictures."
    else:
        side = variant.geometry.multiple
        try:
            guided_by_first(encoders, torch.zeros(variant.geometry.frame_step + 1, side, side, 3))
            can, reason = True, ""
        except FamilyError as error:
            can, reason = False, str(error)
    if settings.pictures == "always" and not can:
        raise TrainingError(f"{reason} Set pictures to auto.")
    return {"always": 1.0, "auto": 0.5, "never": 0.0}[settings.pictures] if can else 0.0


def _item(encoders: Encoders, settings: Settings, store: Store, clip: Clip, with_sound: bool, share: float) -> Item:
    variant = encoders.variant
    measured = measure(clip, variant.defaults.fps)
    has_sound = with_sound and (measured.has_sound or clip.sound is not None)
    if variant.sound is not None and variant.sound.is_needed and not has_sound:
        raise TrainingError(f"It is silent; {variant.title} learns picture and sound together. Add its sound.")
    if clip.is_picture and share == 1:
        raise TrainingError("It is a picture, and nothing is left to learn of it behind the first frame. Use videos.")
    bucket = bucket_of(variant, settings, measured, clip.is_picture, has_sound)
    sound = store.digest(clip.sound) if clip.sound is not None and has_sound else ""
    place = [bucket.width, bucket.height, bucket.frames, bucket.has_sound, variant.defaults.fps]
    latents = key_of(
        "latents", variant.family.id, store.digest(clip.path), sound, *place, encoders.picture_name, share > 0
    )
    return Item(clip, bucket, latents, _prompt_key(encoders, _prompt(settings, clip)))


def _encoded(encoders: Encoders, store: Store, item: Item, share: float) -> Item:
    """The item, whose latents are in the store now."""
    if not store.has(item.latents):
        store.put(item.latents, encoded(encoders, item.clip, item.bucket, share))
    return item


def _read(encoders: Encoders, item: Item) -> Item:
    """The item, whose clip can be read whole."""
    read(item.clip, item.bucket, encoders.variant.defaults.fps)
    return item


def _cloned(value: Any) -> Any:
    """A copy, through which gradients go, of what a host computed in inference mode."""
    if isinstance(value, list):
        return [_cloned(item) for item in value]
    return value.clone() if isinstance(value, Tensor) else value


def _prompt(settings: Settings, clip: Clip) -> str:
    has_trigger = not settings.trigger or settings.trigger.casefold() in clip.caption.casefold()
    return clip.caption if has_trigger else f"{settings.trigger}, {clip.caption}"


def _first(refused: Sequence[Refused]) -> str:
    return f" {refused[0].name}: {refused[0].reason}" if refused else ""
