"""The facts of one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .defaults import Defaults
from .few_steps import FewSteps
from .geometry import Geometry
from .prompt import Prompt
from .streams import SoundStream, Stream, VideoStream

if TYPE_CHECKING:
    from .family import Family

# A single frame takes this share of the VAE's memory: a causal VAE processes the first frame alone, later frames in
# groups.
ONE_FRAME = 0.28


@dataclass(frozen=True)
class Variant:
    """The facts of one checkpoint, read by its family from a folder's configs or a file's shapes.

    Attributes:
        streams: the tensors that its LATENTs hold: the video, which comes first, and the sound of a joint model.
        scheduler: the folder's scheduler config, with `_class_name`.
        prompts: how the text encoders read a prompt; the first one's length is shown to the user.
        prediction: what the transformer returns: "flow" (noise minus clean), "v" or "eps"; the latter two walk the
            betas of `scheduler`.
        task: "text" (text to video), "image" (starts from a picture).
        expert: "high" or "low" for one of two transformers that share a run, else "".
        boundary: share of noise from which on the high-noise expert works; 0 for models without experts.
        embeds_guidance: the guidance scale is an input of the transformer; no second call for the negative prompt.
        keeps_clean: latents outside a mask enter the transformer clean, with a timestep of 0 of their own, instead of
            with noise.
        sigmas: for distilled checkpoints: the only noise levels it knows, falling, without the final 0.
        latent_format: name of the host's latent format class with the same numbers, where it has one.
        rgb: [channels][3] factors and [3] bias that turn a normalised latent into a preview, or None.
        context_width: width of the prompt embedding the transformer reads.
        longer_context_widths: others that it reads as well, of embeddings that are prepared further.
        memory_factor: ComfyUI's memory_usage_factor for this transformer.
        decode_floats, encode_floats: values alive per pixel of one frame while the VAE works (it goes through a
            clip in small groups of frames, so length does not enter; a single frame takes `ONE_FRAME` of it).
        whole_clip: the VAE takes the clip at once: the two are for each latent frame (decode) or frame (encode).
        one_frame: share of the two that a single frame takes.
        piece_floats: values alive per pixel of one frame while a VAE that takes the clip at once decodes it piece by
            piece, what it holds between the pieces included; 0: as many as a single latent frame takes.
        pairs: folder of ComfyUI's models -> the files that go with this model, in the user's words.
        few_steps: how the checkpoint, or a LoRA on it, that was distilled to few steps is sampled; None for others.
        facts: further facts that only the family itself reads.
        remark: what the user should know of this checkpoint, or "".
    """

    family: Family
    name: str
    streams: tuple[Stream, ...]
    defaults: Defaults
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
    longer_context_widths: tuple[int, ...] = ()
    memory_factor: float = 2.0
    decode_floats: float = 7000.0
    encode_floats: float = 6000.0
    whole_clip: bool = False
    one_frame: float = ONE_FRAME
    piece_floats: float = 0.0
    pairs: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""
    few_steps: FewSteps | None = None

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

    def piece_memory(self, shape: tuple[int, ...], item_bytes: int) -> float:
        """Bytes that decoding latents [B, C, T, h, w] piece by piece takes at its peak, one piece included."""
        batch, channels, _, height, width = shape
        if not self.piece_floats:
            return self.decode_memory((batch, channels, 1, height, width), item_bytes)
        pixels = batch * height * width * self.geometry.spatial**2
        return pixels * (self.piece_floats * item_bytes + self.geometry.temporal * 3 * 4)

    def encode_memory(self, shape: tuple[int, ...], item_bytes: int) -> float:
        """Bytes that encoding a video [B, 3, F, H, W] takes at its peak."""
        batch, _, frames, height, width = shape
        return batch * height * width * (self._alive(self.encode_floats, frames) + frames * 3) * item_bytes

    def _alive(self, floats: float, frames: int) -> float:
        """Values alive per pixel while the VAE works on this many frames."""
        if self.whole_clip:
            return floats * frames
        return floats * self.one_frame if frames == 1 else floats

    @property
    def title(self) -> str:
        return f"{self.family.title} {self.name}".strip()

    @property
    def video(self) -> VideoStream:
        first = self.streams[0]
        assert isinstance(first, VideoStream)
        return first

    @property
    def sound(self) -> SoundStream | None:
        """The sound that a joint model makes with its video."""
        return next((stream for stream in self.streams if isinstance(stream, SoundStream)), None)

    def at_shift(self, shift: float, sound_shift: float = 0.0) -> Variant:
        """The variant as it is sampled with this shift of the video's noise levels; 0: as it is.

        Args:
            sound_shift: of a sound that has noise levels of its own; 0: as it is.
        """
        if not shift or self.sound is None or not self.sound.shift:
            return self
        streams = tuple(
            stream.at_shift(shift, sound_shift) if isinstance(stream, SoundStream) else stream
            for stream in self.streams
        )
        return replace(self, streams=streams, scheduler={**self.scheduler, "shift": shift})

    @property
    def is_joint(self) -> bool:
        """Whether it makes more than the video."""
        return len(self.streams) > 1

    @property
    def geometry(self) -> Geometry:
        """The video's."""
        return self.video.geometry

    def normalise(self, latent: Tensor) -> Tensor:
        """The video's VAE latent [B, C, T, h, w] -> what the transformer sees."""
        return self.video.normalise(latent)

    def denormalise(self, latent: Tensor) -> Tensor:
        """The transformer's latent of the video [B, C, T, h, w] -> VAE latent."""
        return self.video.denormalise(latent)
