"""The contract of a host: the functions that both sides of the door provide to the pack.

`host/comfyui` and `host/embedded` are modules that have every function of `Host`; a type checker proves it, see
`host/__init__.py`. Each function is described here, and only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import torch
from torch import Tensor, nn

from ..base import LateTextEncoder, Shown, SoundVAE, Target, TextEncoder, Variant, VideoModel, VideoVAE, WeightChange
from ..base.few_steps import FewStepsLora
from ..base.guidance import Conditioning
from ..base.strengths import Strengths
from ..sampling import Run
from ..sampling.caches import CacheRequest, CacheRun, StepCache
from ..sampling.travel import Place
from ..sampling.windows import Windows
from .memory import DeviceMemory
from .sound import AudioDecoder
from .training import TrainingModel

# Objects that a side puts on the wires. Nodes only hand them back to the host.
Model = TypeVar("Model")
Clip = TypeVar("Clip")
Vae = TypeVar("Vae")
AudioVae = TypeVar("AudioVae", covariant=True)  # only `audio_decoder` takes it, which takes any VAE
ModelOrClip = TypeVar("ModelOrClip")

# A function that reads a LoRA file's tensors as changes of a MODEL's or CLIP's weights. Third argument: whether to
# refuse a file of which nothing fits the MODEL.
ReadLora = Callable[[Target, Mapping[str, Tensor], bool], Sequence[WeightChange]]


class Host(Protocol[Model, Clip, Vae, AudioVae]):
    """One side of the door: a module, whose functions these are."""

    # --- at the start ---

    def install(self, read_lora: ReadLora) -> None:
        """Make the pack known to the host: its models/ as a further place to look, and `read_lora` to its LoRA loaders.

        Importing a side changes nothing in the host; this does. A second call changes nothing more.
        """
        ...

    # --- loading ---

    def device_dtypes(
        self, asked: torch.dtype | None, stored: torch.dtype | None, numbers: int = 0
    ) -> dict[str, torch.dtype | None]:
        """Dtypes to load the parts in: "model_dtype", "text_dtype" and "vae_dtype".

        Args:
            asked: what the user chose for the video model; None: the host decides.
            stored: what the model's file holds.
            numbers: how many the video model has; fp8 files stay fp8 where so many would not fit into memory as bf16.
        """
        ...

    def device_memory(self, part: str = "transformer") -> DeviceMemory:
        """The memory that is free for a model and its run.

        Args:
            part: "transformer", "text_encoder" or "vae", which may compute on different devices.
        """
        ...

    def packed_arithmetic(self, layout: str, part: str) -> str:
        """How layers of a packed format compute here, in words.

        Args:
            layout: as `WeightFormat.layout`.
            part: "transformer", "text_encoder", "vae" or "audio_vae".
        """
        ...

    def model(self, part: VideoModel) -> Model:
        """A MODEL around a loaded model."""
        ...

    def clip(self, part: TextEncoder) -> Clip:
        """A CLIP around a loaded text encoder."""
        ...

    def late_clip(self, part: LateTextEncoder) -> Clip:
        """A CLIP that loads its text encoder when something is asked of it that takes one, and is as `clip`'s then.

        `variant`, `path`, `shows` and `text_identity` are answered without.
        """
        ...

    def text_identity(self, clip: Clip) -> str:
        """A text that changes with everything that this CLIP's embeddings depend on besides prompts.

        "" where it is not known: for a CLIP of another maker, and where a LoRA, hooks or a layer are set on it.
        """
        ...

    @overload
    def vae(self, part: VideoVAE) -> Vae:
        """A VAE around a loaded video VAE."""
        ...

    @overload
    def vae(self, part: SoundVAE) -> AudioVae:
        """A VAE around a loaded audio VAE, for `audio_decoder`."""
        ...

    def clip_vision(self, encoder: nn.Module) -> Any:
        """A CLIP_VISION around transformers' CLIPVisionModel; the weights are shared, not copied."""
        ...

    # --- what is on a wire ---

    def variant(self, thing: Any) -> Variant | None:
        """What is known about a MODEL, CLIP or VAE; None for a CLIP or VAE of another maker.

        A MODEL of the host's own loaders is known by its transformer's names and shapes and its class.

        Raises:
            base.FamilyError: a family knows such a MODEL, and our nodes cannot sample it as its makers do.
        """
        ...

    def title(self, thing: Any) -> str:
        """Title of a MODEL of the host's own loaders; "" for any other."""
        ...

    def fingerprint(self, thing: Any) -> tuple[str, str]:
        """(fingerprint of the weights, fingerprint of the LoRAs or "") of a MODEL or VAE of any maker."""
        ...

    def path(self, thing: Any) -> Path | None:
        """The file or folder that a MODEL, CLIP or VAE of ours was loaded from; None for those of another maker."""
        ...

    def latent_channels(self, vae: Vae) -> int:
        """Number of latent channels that this VAE decodes."""
        ...

    def clip_frames(self, vae: Vae, latent: Tensor) -> int:
        """Number of frames that each clip of LATENT samples decodes to."""
        ...

    def audio_decoder(self, vae: Any) -> AudioDecoder | None:
        """A decoder of sound with this VAE; None for a VAE for pictures."""
        ...

    def nested(self, streams: Sequence[Tensor]) -> Any:
        """The samples of a LATENT, the picture's stream first: a NestedTensor, or the Tensor of a single stream."""
        ...

    def video(self, path: Path) -> Any:
        """A VIDEO that is read from its file when it is asked for."""
        ...

    def missing(self, message: str) -> Any:
        """A placeholder for an absent output: nodes that need it do not run, and the user reads the message."""
        ...

    # --- changes ---

    def patch_target(self, thing: Any) -> Target:
        """The weights of a MODEL or CLIP, of ours or of the host's own loaders, that LoRA files may change."""
        ...

    def apply_patches(
        self,
        thing: ModelOrClip,
        patches: Sequence[WeightChange],
        strength: float,
        strengths: Strengths | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ModelOrClip:
        """A MODEL or CLIP with these changes added to those it has; no weight is changed before a run.

        Args:
            strengths: factors of the strength over the steps that a MODEL makes in `sample`; elsewhere the first one
                counts in all steps.
            metadata: of the LoRA's file, for the host's own nodes that read it from the result.
        """
        ...

    def with_few_steps(self, model: Model, lora: FewStepsLora) -> Model:
        """A MODEL that remembers, in every further copy, that a LoRA of few steps is on it."""
        ...

    def few_steps(self, model: Model) -> tuple[FewStepsLora, ...]:
        """The LoRAs of few steps on a MODEL, in the order in which they were applied."""
        ...

    def apply_step_cache(self, model: Model, step_cache: CacheRequest | StepCache) -> Model:
        """A MODEL that uses a step cache in every sampler; it replaces a cache that the MODEL has.

        Raises:
            sampling.SamplingError: TeaCache is asked for and the model has no coefficients.
        """
        ...

    def apply_windows(self, model: Model, windows: Windows) -> Model:
        """A MODEL that is sampled in windows over time, in every sampler; they replace those that the MODEL has.

        Raises:
            sampling.SamplingError: a setting is out of its range, or the MODEL's length is not known.
        """
        ...

    def travelling(self, place: Place) -> dict[str, Any]:
        """Entries of a CONDITIONING whose prompt is reached at a moment of the video.

        Models that read one prompt for the whole video refuse it, where windows over time do not choose by it.
        """
        ...

    def training_model(self, model: Model, from_file: Callable[[Path], VideoModel] | None = None) -> TrainingModel:
        """The transformer of a MODEL, for training.

        Args:
            from_file: loads the network of a file, for a MODEL of the host's own loader; None refuses those.
        Raises:
            ValueError: the MODEL is of a loader that does not tell its file, or LoRAs are applied to it.
        """
        ...

    # --- computing ---

    def tokens(self, clip: Clip, text: str) -> tuple[int, int] | None:
        """(tokens that count, tokens in the whole prompt); None for a CLIP of another maker."""
        ...

    def embed(self, clip: Clip, text: str, shown: Sequence[Shown] = ()) -> Conditioning:
        """CONDITIONING for a prompt.

        Args:
            shown: what the prompt shows besides; only for a CLIP that `shows`.
        """
        ...

    def shows(self, clip: Clip) -> bool:
        """Whether a CLIP, of ours or of the host's own loaders, reads prompts with pictures, clips and sounds."""
        ...

    def sample(
        self,
        model: Model,
        positive: Conditioning,
        negative: Conditioning,
        latent: dict[str, Any],
        run: Run,
        *,
        second_expert: Model | None = None,
        step_cache: CacheRun | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Denoise a LATENT by the steps of a run, under the host's masks, previews and interrupt.

        Args:
            latent: {"samples" [B, C, T, h, w] or [B, C, h, w], optional "noise_mask", "batch_index"}; mask 1 is made
                anew, 0 is kept. Both may be nested, of several streams.
            run: made for this call; its schedule carries the solver's state.
            second_expert: the MODEL of the run's steps whose expert is 1.
            step_cache: a fresh run of a step cache, in place of the MODEL's own.
            on_step: called with the number of steps done, before the host's own preview and progress; may raise to
                stop the run.
        Returns:
            VAE latents [B, C, T, h, w] float32 where the host keeps them between nodes; nested where `latent` is.
        """
        ...

    def encode(self, vae: Vae, images: Tensor) -> Tensor:
        """IMAGE [F, H, W, 3] in 0..1, one video -> LATENT samples [1, C, T, h, w]."""
        ...

    def decode(self, vae: Vae, latent: Tensor) -> Tensor:
        """LATENT samples [B, C, T, h, w] or [B, C, h, w] -> IMAGE [B * F, H, W, 3] in 0..1, in tiles where memory is
        short."""
        ...

    def upscale(self, vae: Vae, network: nn.Module, latent: Tensor) -> Tensor:
        """A video's latent [B, C, T, h, w] made larger by a latent upscaler, which works on the VAE's own numbers.

        Args:
            vae: whose latent it is; it normalises what it encodes.
            network: (latent) -> larger latent, in one dtype; it is moved to the device.
        Raises:
            FamilyError: the VAE does not tell how it normalises.
        """
        ...

    def decode_stream(
        self, vae: Vae, latent: Tensor, on_progress: Callable[[int], None] | None = None
    ) -> Iterator[Tensor]:
        """LATENT samples -> the result of `decode` in pieces, [n, H, W, 3] in 0..1; one piece is in memory at a time.

        VAEs that can go on where the piece before stopped do, and the frames equal `decode`'s. Others are decoded in
        overlapping stretches, see `pieces.overlapped`.

        Args:
            on_progress: called with the latent frames decoded so far, over all clips of a batch.
        """
        ...

    # --- folders and files ---

    def model_roots(self, kind: str) -> list[Path]:
        """Folders that hold models of a kind ("diffusers", "loras"), the bundled one first."""
        ...

    def model_files(self, kind: str, endings: tuple[str, ...] = ()) -> dict[str, Path]:
        """Every model file of a kind ("diffusion_models", "vae"), by its name below the folders.

        Args:
            endings: of names, in small letters (".gguf"), that are listed besides those that the host lists itself.
        """
        ...

    def tokenizer_folder(self, class_name: str) -> Path | None:
        """Folder of the tokenizer that the host ships for a text encoder's class, or None."""
        ...

    def output_folder(self) -> Path:
        """Where saved files go."""
        ...

    def file_folders(self) -> dict[str, Path]:
        """Folders of files that nodes read, by ComfyUI's names for them in brackets behind a file's name."""
        ...

    def profile_folder(self) -> Path:
        """Folder for profiles of step caches; it may not exist yet."""
        ...

    def prompt_folder(self) -> Path:
        """Folder for encoded prompts; it may not exist yet."""
        ...

    def file_metadata(
        self, prompt: Any, extra_pnginfo: Any, node: str | None = None, info: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """Metadata of a saved file, see `tags.graph_tags`; empty where the user switched it off."""
        ...

    def node_outputs(self, class_name: str) -> tuple[str, ...]:
        """The kinds of a node's outputs, "MODEL", "INT" ..., of a node of any maker; none where they are not known."""
        ...

    # --- telling the user ---

    def language(self) -> str:
        """The language of the person who reads what nodes say: "en", "zh" ..."""
        ...

    def say(self, remarks: list[str], node: str | None) -> None:
        """Show remarks on a node while it still runs."""
        ...

    def show(self, remarks: list[str], node: str | None) -> None:
        """Show remarks on a node for the moment: as `say`, and not in the log."""
        ...

    def progress(
        self, total: int, node: str | None = None, name: str = "", is_bytes: bool = False
    ) -> Callable[[int], None]:
        """A function that reports how many of the total are done; it raises when the user interrupts.

        Args:
            name: of the work, for a line in the terminal; "": none.
            is_bytes: what is counted are bytes.
        """
        ...
