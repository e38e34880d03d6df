"""Encoded prompts that are kept on disk: Encode Video Prompt reads and writes them, loaders leave their encoder out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base import LateTextEncoder, Shown, TextEncoder, Variant
from ..host import host
from ..loaders import KeptPrompt, KeptPrompts, files_identity

_READER, _SWITCH = "OpenT2VEncodePrompt", "prompt_cache"


class PromptReader:
    """Encodes prompts with a CLIP, or reads them where they are kept.

    Args:
        is_kept: whether prompts are read from disk and written there.
    """

    def __init__(self, clip: Any, is_kept: bool) -> None:
        self._clip = clip
        identity = host.text_identity(clip) if is_kept else ""
        self._prompts = KeptPrompts(host.prompt_folder(), identity) if identity else None
        self._is_kept = is_kept
        self._read = self._encoded = 0
        self._fault = ""

    def read(self, text: str, shown: Sequence[Shown] = ()) -> KeptPrompt:
        """The prompt's CONDITIONING, with the tokens that the encoder reads and those of the whole prompt."""
        key = self._prompts.key(text, [(item.kind, item.frames) for item in shown]) if self._prompts else ""
        prompt = self._prompts.get(key) if self._prompts else None
        if prompt is not None:
            self._read += 1
            return prompt
        limit, count = host.tokens(self._clip, text) or (0, 0)
        prompt = KeptPrompt(host.embed(self._clip, text, shown), limit, count)
        if self._prompts:
            self._encoded += 1
            try:
                if not self._prompts.put(key, prompt):
                    self._fault = "this model's conditioning holds what no file can"
            except OSError as error:
                self._fault = f"{host.prompt_folder()} cannot be written to: {error.strerror or error}"
        return prompt

    def remarks(self) -> list[str]:
        """What a user should know of it."""
        if not self._is_kept:
            return []
        if self._prompts is None:
            return [
                "Prompt cache: not used, since it is not known what this CLIP's embeddings depend on. Connect the CLIP "
                "of an OpenT2V loader, without a LoRA on it."
            ]
        if self._fault:
            return [f"Prompt cache: {self._encoded} encoded and not kept, {self._fault}."]
        return [f"Prompt cache: {self._read} read, {self._encoded} encoded and kept."]


def text_identity(variant: Variant, files: Sequence[Path], *facts: str) -> str:
    """The identity of a text encoder that these files hold, for a model; "" where one of them cannot be read."""
    try:
        return files_identity(files, variant.family.id, variant.name, *facts)
    except OSError:
        return ""


def clip_of(variant: Variant, path: Path, identity: str, load: Callable[[], TextEncoder], is_late: bool) -> Any:
    """A CLIP.

    Args:
        path: of the model or its encoder.
        is_late: whether the encoder is loaded when it is needed; see `only_kept_prompts`.
    """

    def identified() -> TextEncoder:
        return load().identified(identity)

    if is_late and identity:
        return host.late_clip(LateTextEncoder(variant, path, identity, identified))
    return host.clip(identified())


def only_kept_prompts(prompt: Any, node: str | None, output: int) -> bool:
    """Whether everything that reads a node's output is an Encode Video Prompt that keeps its prompts.

    Args:
        prompt: the graph in API format, as the host gives it to nodes; None where it gives none.
        output: number of the node's output.
    """
    if not isinstance(prompt, Mapping) or node not in prompt:
        return False
    readers = [
        entry
        for entry in prompt.values()
        for value in entry.get("inputs", {}).values()
        if isinstance(value, list) and len(value) == 2 and (str(value[0]), value[1]) == (node, output)
    ]
    return bool(readers) and all(
        reader.get("class_type") == _READER and reader["inputs"].get(_SWITCH) is True for reader in readers
    )
