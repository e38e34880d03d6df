"""What a family tells the rest of the pack. Tensors and plain values only: no host, no files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .errors import FamilyError
from .geometry import Geometry, Sound
from .pictures import Guided, Pictures
from .types import Entry, Shapes

if TYPE_CHECKING:
    from .lora import LoraNames
    from .recognise import Recognised
    from .stg import OwnStg
    from .teacache import TeaCache


# A video VAE works on one frame alone first and on groups after it.
ONE_FRAME = 0.28


@dataclass(frozen=True)
class Defaults:
    """What is used where the user leaves 0 or an empty text.

    Attributes:
        guidance: classifier-free guidance scale; 1 switches it off. For a guidance-distilled model (see
            `Variant.embeds_guidance`) the scale that the transformer is told.
        low_noise_guidance: the same for the low-noise expert of a model with two; None: as `guidance`.
        picture_guidance: how closely pictures are followed, for a family with `Family.picture_guidance`; 1 is off.
        negative: recommended negative prompt.
    """

    width: int
    height: int
    frames: int
    fps: float
    steps: int
    guidance: float
    low_noise_guidance: float | None = None
    negative: str = ""
    picture_guidance: float = 1.0


@dataclass(frozen=True)
class Prompt:
    """How one of the model's text encoders reads a prompt.

    Attributes:
        slot: folder of the encoder; "text_encoder_2" goes with "tokenizer_2".
        max_tokens: length that prompts are padded or cut to, special tokens included.
        prepare: prompt as typed -> as the tokenizer gets it.
        pad: id that short prompts are filled up with; None: the tokenizer's own.
    """

    max_tokens: int
    prepare: Callable[[str], str] = str.strip
    slot: str = "text_encoder"
    pad: int | None = None

    @property
    def tokenizer(self) -> str:
        return self.slot.replace("text_encoder", "tokenizer")


@dataclass(frozen=True)
class Variant:
    """All that is true of one checkpoint: found by the family in the folder's configs or the file's shapes.

    Attributes:
        mean, std: per latent channel; what the transformer sees is (latent - mean) / std.
        scheduler: the folder's scheduler config, with `_class_name`.
        prompts: how the text encoders read a prompt; the first one's length is shown to the user.
        prediction: what the transformer returns: "flow" (noise minus clean), "v" or "eps"; the latter two walk the
            betas of `scheduler`.
        task: "text" (text to video), "image" (starts from a picture).
        expert: "high" or "low" for one of two transformers that share a run, else "".
        boundary: share of noise from which on the high-noise expert works; 0 for models without experts.
        embeds_guidance: the transformer is told the guidance scale; no second call for the negative prompt.
        keeps_clean: latents outside a mask enter the transformer clean, with a timestep of 0 of their own, instead of
            with noise.
        sigmas: for distilled checkpoints: the only noise levels it knows, falling, without the final 0.
        latent_format: name of the host's latent format class with the same numbers, where it has one.
        rgb: [channels][3] factors and [3] bias that turn a normalised latent into a preview, or None.
        context_width: width of the prompt embedding the transformer reads.
        further_widths: others that it reads as well, of embeddings that are prepared further.
        sound: what comes with the picture, None for most.
        memory_factor: ComfyUI's memory_usage_factor for this transformer.
        decode_floats, encode_floats: values alive per pixel of one frame while the VAE works (it goes through a
            clip in small groups of frames, so length does not enter; a single frame takes `ONE_FRAME` of it).
        whole_clip: the VAE takes the clip at once: the two are for each latent frame (decode) or frame (encode).
        one_frame: share of the two that a single frame takes.
        pairs: folder of ComfyUI's models -> the files that go with this model, in the user's words.
        facts: further facts that only the family itself reads.
        remark: what the user should know of this checkpoint, or "".
    """

    family: Family
    name: str
    geometry: Geometry
    defaults: Defaults
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scheduler: Mapping[str, Any]
    prompts: tuple[Prompt, ...] = (Prompt(512),)
    prediction: str = "flow"
    task: str = "text"
    expert: str = ""
    boundary: float = 0.0
    embeds_guidance: bool = False
    keeps_clean: bool = False
    sigmas: tuple[float, ...] = ()
    latent_format: str = ""
    rgb: tuple[tuple[tuple[float, ...], ...], tuple[float, ...]] | None = None
    context_width: int = 0
    further_widths: tuple[int, ...] = ()
    sound: Sound | None = None
    memory_factor: float = 2.0
    decode_floats: float = 7000.0
    encode_floats: float = 6000.0
    whole_clip: bool = False
    one_frame: float = ONE_FRAME
    pairs: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""

    def sample_memory(self, shape: tuple[int, ...], item_bytes: int) -> float:
        """Bytes that one call of the transformer on latents [B, C, T, h, w] takes, weights apart.

        Attention counts without its matrix of weights: on a GPU it never exists (fused attention).
        Source: ComfyUI's way of counting (BaseModel.memory_required); tests/families/test_memory.py measures it.
        """
        batch, _, frames, height, width = shape
        return batch * frames * height * width * item_bytes * 0.01 * self.memory_factor * 1024**2

    def decode_memory(self, shape: tuple[int, ...], item_bytes: int) -> float:
        """Bytes that decoding latents [B, C, T, h, w] takes at its peak, the finished video included."""
        batch, _, frames, height, width = shape
        pixels = batch * height * width * self.geometry.spatial**2
        return pixels * (self._alive(self.decode_floats, frames) * item_bytes + self.geometry.frames(frames) * 3 * 4)

    def encode_memory(self, shape: tuple[int, ...], item_bytes: int) -> float:
        """Bytes that encoding a video [B, 3, F, H, W] takes at its peak."""
        batch, _, frames, height, width = shape
        return batch * height * width * (self._alive(self.encode_floats, frames) + frames * 3) * item_bytes

    def _alive(self, floats: float, frames: int) -> float:
        """Values alive per pixel while the VAE works on so many frames."""
        if self.whole_clip:
            return floats * frames
        return floats * self.one_frame if frames == 1 else floats

    @property
    def title(self) -> str:
        return f"{self.family.title} {self.name}".strip()

    def normalise(self, latent: Tensor) -> Tensor:
        """VAE latent [B, C, T, H, W] -> what the transformer sees."""
        return (latent - self._column(self.mean, latent)) / self._column(self.std, latent)

    def denormalise(self, latent: Tensor) -> Tensor:
        """What the transformer sees [B, C, T, H, W] -> VAE latent."""
        return latent * self._column(self.std, latent) + self._column(self.mean, latent)

    @staticmethod
    def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1, 1)


def only_context(variant: Variant, entry: Entry, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The conditions of a transformer that reads the prompt's embedding and nothing else."""
    return {"context": entry["cross_attn"]}


def by_the_host(*_: Any) -> Any:
    """Stands where only the host's own loaders build a family's models; `Family.loads` is False then."""
    raise FamilyError("This model is built and run by ComfyUI itself.")


def nothing_found(shapes: Shapes, name: str) -> str:
    return "single files are not supported"


@dataclass(frozen=True)
class Family:
    """One model family. The functions are the family's own; the tables say which classes a folder may name.

    A family that only the host loads has neither pipelines nor components, and no functions of the parts.

    Attributes:
        pipelines: the pipelines of model_index.json it answers to.
        components: slot in model_index.json -> class names that may stand there.
        optional: the slots that a folder may lack or leave empty.
        read: (configs by slot, with "index" and optional "opent2v") -> Variant; raises FamilyError.
        condition: (variant, entry, shape of the latents [B, C, T, h, w]) -> the tensors that `predict` reads, by
            name, each with a batch of 1 or B. Called once for each conditioning of a run.
        predict: (variant, transformer, x [B, C, T, H, W], t [B] in 0..1000, conditions) -> the variant's prediction,
            like x.
        embed: (encoders by slot, {slot: (ids [B, L], mask [B, L])}) -> (context [B, L, D], further entries of the
            CONDITIONING's dictionary).
        sigmas: (variant, steps, shift or None, shape of the latents) -> [steps] noise levels, falling, without the
            final 0; None leaves it to the scheduler's own config.
        decode: (vae, latent [B, C, T, h, w], seed) -> [B, 3, F, H, W] in -1..1; the seed is for decoders that add
            noise.
        encode: (vae, [B, 3, F, H, W] in -1..1) -> latent [B, C, T, h, w].
        recognise: (shapes of a file, its name) -> Recognised, or the reason why it is none of this family's. The name
            counts only where tensors cannot tell. Asked of the family it never raises but FamilyError, and a denoiser
            is one of this family's only with the very names and shapes that `tensors` says.
        tensors: (variant, config of the denoiser, both as `recognise` has found them) -> name and shape of every tensor
            of that denoiser, in its library's names. None: they are not compared.
        image_to_video: (variant, pictures) -> Guided; raises FamilyError for pictures the variant cannot use. None
            where no variant takes pictures.
        guidance: (variant, one of `cfg_schedules`, cfg, timesteps [steps]) -> one cfg for each step. None where the
            model's makers use one for all.
        cfg_schedules: how cfg can go over the steps, the makers' own first; "constant" never reaches `guidance`.
        picture_guidance: (variant, one of `cfg_schedules`, scale, dictionary of the positive CONDITIONING, steps,
            latent frames) -> [steps, latent frames], or None for words alone. A second guidance: what this times the
            difference between the negative prompt with and without the pictures gives, in place of 1 times it.
        finished: (variant, dictionary of the positive CONDITIONING, samples) -> what is done to the finished LATENT.
        clips: lengths in frames, rising, of videos that `image_to_video` takes in place of a picture.
        tell: (prompt, frames per second, motion score or 0 for the model's own) -> the prompt as the model was trained
            to read it. None where these are not told in words.
        latents: id of the family whose VAE makes the very latents, "" for one with its own.
        blocks: path of the transformer's block list, where caches and block-wise tools attach.
        teacache: (variant) -> what TeaCache needs of it, None where nobody has published it.
        stg: (variant) -> how its makers use spatio-temporal guidance, None where they do not.
        tied: parameter name -> the name it shares its weight with, per slot, for files that store it once.
        decode_frames: (vae, latent [B, C, T, h, w], in tiles of space) -> the pieces of what `decode` returns, in
            order, made one after the other and without looking ahead, so that each can be let go before the next.
            None: the VAE cannot; hosts then decode overlapping stretches of the latent and blend them.
        reads_rate: `condition` reads "frame_rate" of the CONDITIONING's dictionary, which Encode Video Prompt may set.
        denoiser: the folder's slot of the network that is called at each step.
        look: (variant, names of the denoiser's tensors) -> variant, for what a folder's configs do not tell. None: they
            tell all.
        extend: (variant, denoiser as its library builds it) adds the layers that the library's class lacks. None: none.
        hosts: of a family that only the host loads, the host's nodes that do so, in the user's words.
        hosts_pictures: the host's node that prepares pictures for it, "" where there is none.
        lora: the names that LoRA files use. None: only those of the transformer's own modules are read.
    """

    id: str
    title: str
    source: str
    pipelines: frozenset[str] = frozenset()
    components: Mapping[str, frozenset[str]] = field(default_factory=dict)
    read: Callable[[Mapping[str, Mapping[str, Any]]], Variant] = by_the_host
    predict: Callable[[Variant, nn.Module, Tensor, Tensor, Mapping[str, Tensor]], Tensor] = by_the_host
    embed: Callable[[Mapping[str, nn.Module], Mapping[str, tuple[Tensor, Tensor]]], tuple[Tensor, dict[str, Any]]] = (
        by_the_host
    )
    decode: Callable[[nn.Module, Tensor, int], Tensor] = by_the_host
    encode: Callable[[nn.Module, Tensor], Tensor] = by_the_host
    condition: Callable[[Variant, Entry, tuple[int, ...]], dict[str, Tensor]] = only_context
    sigmas: Callable[[Variant, int, float | None, tuple[int, ...]], Sequence[float] | None] = lambda *_: None
    recognise: Callable[[Shapes, str], Recognised | str] = nothing_found
    tensors: Callable[[Variant, Mapping[str, Any]], Shapes] | None = None
    image_to_video: Callable[[Variant, Pictures], Guided] | None = None
    guidance: Callable[[Variant, str, float, Tensor], Sequence[float]] | None = None
    cfg_schedules: tuple[str, ...] = ("constant",)
    picture_guidance: Callable[[Variant, str, float, Entry, int, int], Tensor | None] | None = None
    finished: Callable[[Variant, Entry, Tensor], Tensor] | None = None
    clips: tuple[int, ...] = ()
    tell: Callable[[str, float, float], str] | None = None
    latents: str = ""
    optional: frozenset[str] = frozenset()
    blocks: str = "blocks"
    teacache: Callable[[Variant], TeaCache | None] = lambda _: None
    stg: Callable[[Variant], OwnStg | None] = lambda _: None
    tied: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    decode_frames: Callable[[nn.Module, Tensor, bool], Iterator[Tensor]] | None = None
    reads_rate: bool = False
    denoiser: str = "transformer"
    look: Callable[[Variant, Collection[str]], Variant] | None = None
    extend: Callable[[Variant, nn.Module], None] | None = None
    hosts: str = ""
    hosts_pictures: str = ""
    lora: LoraNames | None = None

    def __post_init__(self) -> None:
        from .recognise import whole  # which imports this module

        object.__setattr__(self, "recognise", whole(self, self.recognise))

    @property
    def loads(self) -> bool:
        """Whether the pack loads this family's files; else only the host's own MODELs of it are known."""
        return bool(self.components)
