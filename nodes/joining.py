"""Video files, latents and frames joined to one file, in the memory of one clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..host import host
from ..media import SaveSettings, VideoWriter, check_input, save_location
from ..media.copying import copy_joined, why_encoded
from ..media.finishing import Step, finish
from ..media.joining import Clips, FileClip, GrowingSound, Source
from ..media.naming import split_folder
from ..media.stream import save_stream
from .clips import frame_clips, latent_clips
from .inputs import audio_vae_input, finishing_input
from .preview import preview
from .remarks import with_remarks
from .saving import HIDDEN, SavingNode, optional_inputs, required_inputs, save_settings, saved_video
from .stream import file_formats


class OpenT2VJoinFiles(SavingNode):
    """Joins video files, latents or clips of frames to one file."""

    INPUT_IS_LIST = True
    RETURN_TYPES = ("VIDEO", "STRING", "INT")
    RETURN_NAMES = ("video", "file", "frames")
    OUTPUT_TOOLTIPS = (
        "The saved video; it is read when it is asked for.",
        "Path of the saved file.",
        "Number of frames.",
    )
    DESCRIPTION = (
        "Join any number of video files, latents or clips of frames to one file, with their sound, cross-faded and "
        "finished. Memory does not grow with their number."
    )
    SEARCH_ALIASES: ClassVar = [
        "concatenate videos",
        "merge videos",
        "join videos",
        "combine clips",
        "crossfade",
        "long video",
        "合并视频",
        "拼接视频",
    ]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        saving = {name: entry for name, entry in optional_inputs().items() if name not in ("audio", "audio_length")}
        needed = {name: entry for name, entry in required_inputs().items() if name != "fps"}
        rate_kind, rate = required_inputs()["fps"]
        return {
            "required": {
                "files": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "tooltip": "A file a line, in order, as Load Video Frames names them: in the input folder, or "
                        "with [output] or [temp] behind it. * stands for any text: OpenT2V/shot_*.mp4 [output]. A list "
                        "of files may be connected.",
                    },
                ),
                "overlap": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 1000,
                        "tooltip": "Frames over which each clip fades into the next, sound too. 0: cuts. A list: of "
                        "each clip, how many it fades in over (Storyboard's transition).",
                    },
                ),
                **needed,
            },
            "optional": {
                **saving,
                "format": (file_formats(), saving["format"][1]),
                "finishing": finishing_input(),
                "encode_again": (
                    "BOOLEAN",
                    {
                        "advanced": True,
                        "default": False,
                        "tooltip": "Off: files of one kind, with cuts between them, are copied without loss. On: all "
                        "are encoded by quality, crf and preset.",
                    },
                ),
                "latents": ("LATENT", {"tooltip": "In place of files: a list of latents, decoded one after another."}),
                "vae": ("VAE", {"tooltip": "The VAE that belongs to the video model, for latents."}),
                "audio_vae": audio_vae_input(),
                "images": ("IMAGE", {"tooltip": "In place of files: a list of clips of frames."}),
                "audio": ("AUDIO", {"tooltip": "A list with the sound of each clip of images."}),
                "fps": (
                    rate_kind,
                    {
                        **rate,
                        "advanced": True,
                        "default": 0.0,
                        "min": 0.0,
                        "tooltip": "Frames per second of latents and images. 0: those of the latents' model. Files "
                        "state their own.",
                    },
                ),
            },
            "hidden": {**HIDDEN},
        }

    @classmethod
    def VALIDATE_INPUTS(
        cls,
        filename_prefix: Any = None,
        format: Any = "mp4 h264",
        fps: Any = None,
        quality: Any = 80,
        crf: Any = -1.0,
        preset: Any = "",
        bit_depth: Any = "8",
    ) -> bool:
        values = (filename_prefix, format, listed(fps)[0] or None, quality, crf, preset, bit_depth)
        return super().VALIDATE_INPUTS(*(listed(value)[0] for value in values))

    @classmethod
    def IS_CHANGED(cls, files: Any = None, **inputs: Any) -> str:
        """The state of every file, so that a clip that was made anew is joined anew."""
        names = [name for name in listed(files) if name is not None]
        states = [(path, path.stat()) for path in _paths("\n".join(names))]
        return " ".join(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states)

    def save(
        self, files: Any, overlap: Any, latents: Any = None, images: Any = None, audio: Any = None, **inputs: Any
    ) -> dict[str, Any]:
        """Join the clips; as ComfyUI calls a node that takes lists, each input is a list.

        Raises:
            ValueError: clips of several kinds, or inputs that belong to another kind.
        """
        single = {name: listed(value)[0] for name, value in inputs.items()}
        vaes, fps = (single.pop("vae", None), single.pop("audio_vae", None)), single.pop("fps", 0.0)
        paths = _paths("\n".join(listed(files)))
        kinds = {"files": paths, "latents": _entries(latents), "images": _entries(images)}
        kind = _only_kind(kinds)
        if audio is not None and kind != "images":
            raise ValueError("audio belongs to images. Connect the model's audio VAE for the sound of latents.")
        if kind == "latents":
            sources = latent_clips(kinds[kind], *vaes, fps)
        elif kind == "images":
            sources = frame_clips(kinds[kind], _entries(audio), fps)
        else:
            sources = [FileClip(path) for path in paths]
        return self._join(sources, listed(overlap), **single)

    def _join(
        self,
        sources: Sequence[Source],
        overlaps: list[int],
        filename_prefix: str,
        finishing: tuple[Step, ...] = (),
        encode_again: bool = False,
        prompt: Any = None,
        extra_pnginfo: Any = None,
        unique_id: str | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        output, saving = host.output_folder(), save_settings(**settings)
        clips = Clips.of(sources, overlaps)
        metadata = host.file_metadata(prompt, extra_pnginfo, unique_id)
        bar = host.progress(clips.frames, unique_id, "Joining")
        reason, has_files = "", isinstance(sources[0], FileClip)
        if has_files:
            reason = "encode_again is on" if encode_again else "finishing changes them" if finishing else ""
            reason = reason or why_encoded(clips, saving)
        if has_files and not reason:
            location = save_location(output, filename_prefix, clips.width, clips.height)
            path, notes = copy_joined(clips, saving, location, metadata, bar)
            line = "The frames were copied, not encoded again; quality, crf and preset do not count."
            return self._saved(clips, path, saving, bool(metadata), [line, *notes])
        sound, damage = None if clips.sound is None else GrowingSound(*clips.sound), list[str]()
        done = 0

        def reporting() -> Any:
            nonlocal done
            for piece in clips.pieces(sound, damage):
                yield piece
                done += len(piece)
                bar(done)

        pieces, rate, notes = finish(finishing, reporting(), clips.fps)

        def open_writer(width: int, height: int) -> VideoWriter:
            folder, stem = save_location(output, filename_prefix, width, height)
            return VideoWriter(
                folder, stem, saving, fps=rate, width=width, height=height, audio=sound, metadata=metadata
            )

        writer = save_stream(pieces, open_writer)
        lines = [*([f"Encoded again: {reason}."] if reason else []), *damage, *notes, *writer.remarks]
        return self._saved(clips, writer.path, saving, bool(metadata), lines)

    @staticmethod
    def _saved(clips: Clips, path: Path, saving: SaveSettings, has_metadata: bool, lines: list[str]) -> dict[str, Any]:
        """The node's result for a joined file."""
        ui, remarks = preview(path, host.output_folder(), saving.kind, has_metadata)
        line = f"{len(clips.sources)} clips, {clips.frames} frames at {float(clips.fps):g} fps"
        starts = ", ".join(map(str, clips.joints[:12])) + (" ..." if len(clips.joints) > 12 else "")
        result = (saved_video(path, saving), str(path), clips.frames)
        return with_remarks(result, [line, f"Joints at frames {starts}.", *lines, *remarks], **ui)


def listed(value: Any) -> list[Any]:
    """The entries of an input of a node that takes lists; a value by itself is one.

    ComfyUI gives a tuple of None for a link whose value is not known yet.
    """
    return [*value] if isinstance(value, list) or value == (None,) else [value]


def _entries(value: Any) -> list[Any]:
    """What is connected to an input that takes a list; empty where nothing is."""
    return [entry for entry in listed(value) if entry is not None]


def _only_kind(kinds: Mapping[str, list[Any]]) -> str:
    """The kind of clips that is connected; files where none is.

    Raises:
        ValueError: several are.
    """
    connected = [kind for kind, entries in kinds.items() if entries]
    if len(connected) > 1:
        raise ValueError(
            f"{' and '.join(connected)} are all connected, and clips of one kind are joined at a time. Disconnect all "
            "but one of them."
        )
    return connected[0] if connected else "files"


def _paths(files: str) -> list[Path]:
    """The files that the lines name.

    Raises:
        ValueError: a line that names no file, by its number.
    """
    paths = []
    for number, line in enumerate(files.splitlines(), 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        try:
            paths += _matching(name) if "*" in name else [check_input(host.file_folders(), _inside(name))]
        except ValueError as error:
            raise ValueError(f"Line {number} of files: {error}") from error
    return paths


def _inside(name: str) -> str:
    """The name of a file that a node gives by its whole path, as Decode to Video File does."""
    path = Path(name)
    for kind, folder in host.file_folders().items() if path.is_absolute() else ():
        if path.is_relative_to(folder):
            return f"{path.relative_to(folder).as_posix()} [{kind}]"
    return name


def _matching(name: str) -> list[Path]:
    """The files of a pattern, in the order of their names."""
    folders, (pattern, kind) = host.file_folders(), split_folder(name)
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ValueError(f"{pattern!r} leads out of the {kind} folder. Name a file inside it.")
    matches = sorted(path for path in folders[kind].glob(pattern) if path.is_file())
    if not matches:
        raise ValueError(f"No file in the {kind} folder matches {pattern!r}.")
    return [check_input(folders, f"{path.relative_to(folders[kind]).as_posix()} [{kind}]") for path in matches]
