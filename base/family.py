"""Facts and functions of a model family, grouped by capability. Tensors and plain values only: no host, no files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .crossing import TextCrossing
from .few_steps import FewSteps
from .folder_part import FolderPart
from .guidance import Guide
from .joint import JointAttention
from .lora import LoraNames
from .pictures import Guided, Pictures
from .recognise import Near, Recognised, Recognition, recognise
from .references import Continuation, References
from .scheduler import OwnScheduler
from .shown import Shown
from .stg import OwnStg
from .teacache import TeaCache
from .text import TextEncoderKind, tokenizer_slot
from .types import Entry, Shapes
from .upscaler import RecogniseUpscaler
from .variant import Variant

# Encoder slot -> (token ids [B, L], mask [B, L], 1 where a token belongs to the prompt, 0 for padding).
Tokens = Mapping[str, tuple[Tensor, Tensor]]


def only_context(variant: Variant, entry: Entry, shape: Any) -> dict[str, Tensor]:
    """The conditions of a transformer that reads the prompt's embedding and nothing else."""
    return {"context": entry["cross_attn"]}


@dataclass(frozen=True)
class Files:
    """The diffusers folders that the pack loads.

    Attributes:
        pipelines: the pipelines of model_index.json it answers to.
        components: slot in model_index.json -> class names that may stand there; text encoders and their tokenizers are
            `Text.encoders`.
        read: (configs by slot, with "index", "folder" and optional "opent2v") -> Variant; raises FamilyError.
        optional: the slots that a folder may lack or leave empty.
        inspect: (variant, names of the denoiser's tensors) -> variant, for what a folder's configs do not tell. None:
            they tell all.
        parts: slot -> the network of that slot, where folders hold it otherwise than it is built. One holds for folders
            that name one of its classes.
        other_names: slot -> what some folders call it.
    """

    pipelines: frozenset[str]
    components: Mapping[str, frozenset[str]]
    read: Callable[[Mapping[str, Mapping[str, Any]]], Variant]
    optional: frozenset[str] = frozenset()
    inspect: Callable[[Variant, Collection[str]], Variant] | None = None
    parts: Mapping[str, FolderPart] = field(default_factory=dict)
    other_names: Mapping[str, str] = field(default_factory=dict)

    def component(self, slot: str) -> str:
        """The folder's component that tells of a network."""
        return self.parts[slot].component if slot in self.parts else slot


@dataclass(frozen=True)
class Masking:
    """What a model makes of the parts of a LATENT that its mask keeps. All are lists of its streams' tensors.

    Attributes:
        kept: (variant, normalised latents, noise, sigma [B]) -> what is in their place while the run is at sigma.
        grown: (masks, 1 is made anew) -> the masks by which the network sees the two blended, nowhere smaller.
    """

    kept: Callable[[Variant, list[Tensor], list[Tensor], Tensor], list[Tensor]]
    grown: Callable[[list[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class Network:
    """The denoiser: the network that is called at each step.

    Attributes:
        predict: (variant, transformer, x [B, C, T, H, W], t [B] in 0..1000, conditions) -> the variant's prediction,
            like x. None: only the host builds and calls it.
        condition: (variant, entry, shape of the latents [B, C, T, h, w]) -> the tensors that `predict` reads, by
            name, each with a batch of 1 or B. Called once for each conditioning of a run. The entry's "denoise_mask"
            is None, or of the latents' shape but for its channels and batch, which may be 1; "seed" is the run's.
        slot: the folder's component.
        blocks: path of its list of blocks, where block-wise guidance attaches.
        extend: (variant, denoiser as its library builds it) adds the layers that the library's class lacks. None: none.
        prepare: (variant, denoiser, what `condition` returned, on the denoiser's device) -> the same with what the
            denoiser makes of it whatever x and t are. Called once for each conditioning of a run. None: nothing.
        crossings: names of the blocks' attention from one stream to the other, for guidance by it; empty: none.
        masking: for a model that neither gets the kept parts of a LATENT with the run's noise nor clean, see
            `Variant.keeps_clean`. None: one of the two.
        text_crossing: its attention to the prompt, where that is apart from the picture's; None: they share one.
        joint: how it carries a second prompt, where prompt and picture share one attention; None: it cannot.
        reads_rate: it reads "frame_rate" of the CONDITIONING's dictionary, which Encode Video Prompt may set.
        seeded: entries of the CONDITIONING's dictionary whose content gets noise of the run's seed.
        cut: (variant, name of a condition, the condition, places of the frames that a window over time shows of each
            stream, shape as `condition` gets it) -> the condition for that window; raises FamilyError where that
            cannot be. None: `base.frames.cut_by_frames`.

    Where a variant has several streams, x, the prediction, the shape and the mask are lists, with
    one item for each stream in the run's LATENT, the video's first.
    """

    predict: Callable[[Variant, nn.Module, Any, Tensor, Mapping[str, Tensor]], Any] | None = None
    condition: Callable[[Variant, Entry, Any], dict[str, Tensor]] = only_context
    slot: str = "transformer"
    blocks: str = "blocks"
    extend: Callable[[Variant, nn.Module], None] | None = None
    prepare: Callable[[Variant, nn.Module, Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    crossings: tuple[str, ...] = ()
    text_crossing: TextCrossing | None = None
    joint: JointAttention | None = None
    reads_rate: bool = False
    seeded: tuple[str, ...] = ()
    cut: Callable[[Variant, str, Tensor, Sequence[Sequence[int]], Any], Tensor] | None = None
    masking: Masking | None = None


@dataclass(frozen=True)
class PicturedText:
    """How prompts become conditionings that may show pictures, clips and sounds.

    Attributes:
        tokens: (tokenizer, prompt, what it shows) -> the prompt's ids; a tensor stands for the tokens of a picture.
        embed: (encoders by slot, what `tokens` returns, device) -> as `Text.embed`.
    """

    tokens: Callable[[Any, str, Sequence[Shown]], list[Any]]
    embed: Callable[[Mapping[str, nn.Module], list[Any], Any], tuple[Tensor, dict[str, Any]]]


@dataclass(frozen=True)
class Text:
    """How prompts become conditionings.

    Attributes:
        encoders: slot in model_index.json -> the kind of text encoder that stands there.
        embed: (encoders by slot, tokens by slot) -> (context [B, L, D], further entries of the CONDITIONING's
            dictionary). None: `pictured` does it.
        complete: (prompt, frames per second, motion score or 0 for the model's own) -> the prompt as the model was
            trained to read it. None where the prompt states neither.
        pictured: None where prompts hold words only.
    """

    encoders: Mapping[str, TextEncoderKind]
    embed: Callable[[Mapping[str, nn.Module], Tokens], tuple[Tensor, dict[str, Any]]] | None = None
    complete: Callable[[str, float, float], str] | None = None
    pictured: PicturedText | None = None


@dataclass(frozen=True)
class Video:
    """How the VAE is called.

    Attributes:
        decode: (vae, latent [B, C, T, h, w], seed) -> [B, 3, F, H, W] in -1..1; the seed is for decoders that add
            noise.
        encode: (vae, [B, 3, F, H, W] in -1..1) -> latent [B, C, T, h, w].
        decode_frames: (vae, latent [B, C, T, h, w], in tiles of space) -> the pieces of what `decode` returns, in
            order, made one after the other and without looking ahead, so that each can be let go before the next.
            None: the VAE cannot; hosts then decode overlapping stretches of the latent and blend them.
        latents: id of the family whose VAE encodes to the same latents; "" where the VAE is the family's own.
        tiles_itself: its tiles are part of what it was trained to do, so that hosts never cut a latent for it.
        statistics: (vae, latent) -> mean and standard deviation of the latents, [1, C, 1, 1, 1], of a VAE whose latents
            `encode` normalises. None: the latents are the VAE's own.
    """

    decode: Callable[[nn.Module, Tensor, int], Tensor]
    encode: Callable[[nn.Module, Tensor], Tensor]
    decode_frames: Callable[[nn.Module, Tensor, bool], Iterator[Tensor]] | None = None
    latents: str = ""
    tiles_itself: bool = False
    statistics: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]] | None = None


@dataclass(frozen=True)
class Sound:
    """How the VAE of the sound is called, for models that make one with the video.

    Attributes:
        decode: (vae, latent [B, C, ...]) -> waveform [B, 1 or 2, samples] in -1..1.
        rate: (vae) -> samples a second of what `decode` returns.
        encode: (vae, waveform [B, 1 or 2, samples] in -1..1, samples a second) -> latent [B, C, ...]. None: sounds are
            not encoded.
        input_rate: (vae) -> samples a second of what `encode` reads without converting it.
    """

    decode: Callable[[nn.Module, Tensor], Tensor]
    rate: Callable[[nn.Module], int]
    encode: Callable[[nn.Module, Tensor, int], Tensor] | None = None
    input_rate: Callable[[nn.Module], int] | None = None


@dataclass(frozen=True)
class Images:
    """How a run starts from pictures.

    Attributes:
        prepare: (variant, pictures) -> Guided; raises FamilyError for pictures the variant cannot use.
        clips: lengths in frames, rising, of videos that `prepare` takes in place of a picture.
        guidance: (variant, one of `Sampling.cfg_schedules`, scale, dictionary of the positive CONDITIONING, steps,
            latent frames) -> [steps, latent frames], or None for words alone. The difference between the negative
            prompt with and without the pictures is multiplied by this, in place of 1. None: no such guidance.
        finish: (variant, dictionary of the positive CONDITIONING, samples [B, C, T, h, w]) -> the finished
            LATENT's samples. None: they stay as they are.
        at_any_frame: `prepare` takes pictures between the first and the last frame too, `Pictures.middle`.
    """

    prepare: Callable[[Variant, Pictures], Guided]
    clips: tuple[int, ...] = ()
    guidance: Callable[[Variant, str, float, Entry, int, int], Tensor | None] | None = None
    finish: Callable[[Variant, Entry, Tensor], Tensor] | None = None
    at_any_frame: bool = False


@dataclass(frozen=True)
class Sampling:
    """How the makers sample.

    Attributes:
        sigmas: (variant, steps, shift or None, shape of the latents) -> [steps] noise levels, falling, without the
            final 0; None leaves it to the scheduler's own config.
        cfg_schedules: how cfg can go over the steps, the makers' own first; "constant" never reaches `cfg`.
        cfg: (variant, one of `cfg_schedules`, scale, timesteps [steps]) -> one cfg for each step. None where the
            model's makers use one for all.
        stg: (variant) -> how they use spatio-temporal guidance, None where they do not.
        teacache: (variant) -> what TeaCache needs of it, None where nobody has published it.
        reads_negative: whether a negative prompt is of any use; False for models that were made for cfg 1.
        rescales_clean: what guidance adds to the spread is taken back once behind all of it, and measured on the clean
            latents; False: behind each guidance, on the model's own output.
        guides: (variant, dictionary of the positive CONDITIONING, sigma, cfg) -> the guidance of one step that this
            family alone has, with passes of its own; it works after all other.
        few_steps: what is known of checkpoints and LoRAs that were distilled to few steps; the first row that a name
            belongs to counts.
        schedulers: class name, as a scheduler config has it -> (config, `sampling.Prediction`) -> the family's own
            scheduler, where diffusers has none, or where its step takes arguments that no other scheduler has.
    """

    sigmas: Callable[[Variant, int, float | None, tuple[int, ...]], Sequence[float] | None] = lambda *_: None
    cfg_schedules: tuple[str, ...] = ("constant",)
    cfg: Callable[[Variant, str, float, Tensor], Sequence[float]] | None = None
    stg: Callable[[Variant], OwnStg | None] = lambda _: None
    teacache: Callable[[Variant], TeaCache | None] = lambda _: None
    reads_negative: bool = True
    rescales_clean: bool = False
    guides: Callable[[Variant, Entry, float, float], Sequence[Guide]] = lambda *_: ()
    schedulers: Mapping[str, Callable[[Mapping[str, Any], Any], OwnScheduler]] = field(default_factory=dict)
    few_steps: tuple[FewSteps, ...] = ()


@dataclass(frozen=True)
class Family:
    """One model family.

    Attributes:
        recognition: how its parts are known, be they in a file or in another loader's MODEL.
        files, text, video: None where the pack loads no folders, encoders or VAEs of the family.
        sound: None where no variant makes a sound, or the host decodes it.
        images: None where no variant takes pictures that the pack prepares.
        references: None where no variant makes a video after pictures, clips and sounds.
        continuation: None where the family goes on from a video's end by its latents or pictures alone.
        upscaler: recognises the files of its latent upscalers. None: it has none.
        lora: the names that LoRA files use. None: only those of the transformer's own modules are read.
    """

    id: str
    title: str
    recognition: Recognition
    network: Network = Network()
    sampling: Sampling = Sampling()
    files: Files | None = None
    text: Text | None = None
    video: Video | None = None
    sound: Sound | None = None
    images: Images | None = None
    upscaler: RecogniseUpscaler | None = None
    lora: LoraNames | None = None
    references: References | None = None
    continuation: Continuation | None = None

    @property
    def components(self) -> dict[str, frozenset[str]]:
        """Slot in model_index.json -> class names that may stand there, text encoders and tokenizers included."""
        networks = dict(self.files.components) if self.files else {}
        parts = self.files.parts if self.files else {}
        texts: dict[str, frozenset[str]] = {}
        for slot, kind in self.text.encoders.items() if self.text else ():
            part = parts.get(slot)
            name, classes = (part.component, part.classes) if part else (slot, frozenset({kind.class_name}))
            texts[name] = texts.get(name, frozenset()) | classes
            if kind.reads_prompts:
                tokenizer = tokenizer_slot(name)
                texts[tokenizer] = texts.get(tokenizer, frozenset()) | kind.tokenizers
        schedulers = {slot: networks.pop(slot) for slot in ("scheduler",) if slot in networks}
        return {**networks, **texts, **schedulers}

    def recognise(
        self, shapes: Shapes, name: str, metadata: Mapping[str, str] | None = None
    ) -> Recognised | Near | str:
        """The part of this family that has tensors of these names and shapes, or the reason why there is none.

        A denoiser is one of this family's only with the very names and shapes that `Recognition.tensors` states.

        Args:
            name: of the file; it counts only where neither tensors nor metadata tell.
            metadata: the texts in the file's header; None where there is no file.
        Raises:
            FamilyError: a variant that the family knows and refuses.
        """
        return recognise(self.recognition, self.title, shapes, name, metadata or {})
