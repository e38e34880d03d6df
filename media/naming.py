"""Where a result is saved and under which name, without ever overwriting a file or leaving the output folder."""

import errno
import os
import re
import secrets
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

# Room for the counter, the suffix and the temporary name's decoration within the 255 bytes file systems allow.
MAX_NAME_BYTES = 200

# Windows refuses these; refusing them everywhere keeps a workflow's file names the same on every machine.
_FORBIDDEN_CHARACTERS = frozenset('<>:"|?*')
_FORBIDDEN_CATEGORIES = {
    "Cc": "a control character",
    "Cs": "a lone surrogate, half an emoji",
    "Zl": "a line break",
    "Zp": "a line break",
}
_RESERVED_NAMES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"]
)

# What happened, what to do besides choosing another output folder.
_REASONS = {
    errno.ENOSPC: ("the disk is full", "Free some space"),
    errno.EDQUOT: ("the disk quota is used up", "Free some space"),
    errno.EFBIG: ("the file became larger than allowed there", "Save a shorter video"),
    errno.ENOENT: ("the folder does not exist (any more)", "Create it"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "Move that file"),
    errno.EEXIST: ("a file stands where a folder is needed", "Move that file"),
    errno.EACCES: ("no permission to write there", "Change the folder's permissions"),
    errno.EPERM: ("no permission to write there", "Change the folder's permissions"),
    errno.EROFS: ("the disk is read-only", "Make it writable"),
    errno.ENAMETOOLONG: ("the path is too long", "Shorten filename_prefix"),
}


class OutputError(OSError):
    """The output folder cannot be used: the message names the folder, what happened and what to do; `errno` is kept."""


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn any OSError of the block (PyAV's are among them) into an OutputError about `folder`."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason, advice = _REASONS.get(error.errno or 0, (f"{error.strerror or error}", "Check the folder"))
        output_error = OutputError(f"Cannot save to {folder}: {reason}. {advice} or choose another output folder.")
        output_error.errno = error.errno
        raise output_error from error


def save_location(output: Path, prefix: str, width: int, height: int) -> tuple[Path, str]:
    """Split a filename prefix into an existing folder inside `output` and the stem of the file.

    Args:
        output: the folder no result may leave; created when missing.
        prefix: "stem" or "folder/stem", `/` and `\\` both separate on every OS; may hold %date:yyyy-MM-dd% (of d M h m
            s y) %width% %height% %year% %month% %day% %hour% %minute% %second%.
        width, height: in pixels, for %width% and %height%.
    Returns:
        The folder (`output` joined with the prefix's folders, created) and the stem.
    Raises:
        ValueError: the prefix is absolute, holds "..", another %word%, a forbidden name or character, or leads out
            through a link.
        OutputError: the folder cannot be created.
    """
    folder, stem = check_prefix(output, prefix, width, height)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder, stem


def check_prefix(output: Path, prefix: str, width: int = 1, height: int = 1) -> tuple[Path, str]:
    """What `save_location` will give, with its errors, but nothing is created: for a check before the work starts."""
    if not isinstance(prefix, str):
        raise ValueError(f"filename_prefix is {prefix!r}; expected a text such as 'OpenT2V' or 'folder/OpenT2V'.")
    filled = _fill_tokens(prefix, width, height)
    unknown = re.search(r"%\w[^%]*(?<!\s)%", filled)
    if unknown:
        raise ValueError(
            f"filename_prefix {_short(prefix)} holds {_short(unknown[0])}, which stands for nothing here. Use "
            "%date:yyyy-MM-dd%, %width% or %height%; only ComfyUI's page fills in values of nodes, such as "
            "%Video Sampler.seed%, by a node's title (or its 'Node name for S&R') and the input's name."
        )
    names = filled.strip().replace("\\", "/").split("/")
    if names[0] == "" and len(names) > 1:
        raise ValueError(
            f"filename_prefix {_short(prefix)} is absolute; give a path inside the output folder, such as 'a/b'."
        )
    if names[-1] in ("", "."):
        raise ValueError(
            f"filename_prefix {_short(prefix)} names no file; end it with a name, such as 'folder/OpenT2V'."
        )
    names = [name for name in names if name not in ("", ".")]
    for name in names:
        check_name(name)

    output = Path(output)
    folder = output.joinpath(*names[:-1])
    with disk_errors(folder):
        # Before anything is created: mkdir would follow a link, even a dangling one, and create folders outside.
        _refuse_leaving(output, folder)
        nearest = next(p for p in (folder, *folder.parents) if p.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(nearest))
        if not os.access(nearest, os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied", str(nearest))
    return folder, names[-1]


def list_inputs(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Names of the files of these kinds right inside a folder, sorted; none where the folder is missing."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.name.lower().endswith(suffixes) and entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []


def split_folder(name: str) -> tuple[str, str]:
    """(name without the folder noted behind it, that folder: "input", "output" or "temp").

    >>> split_folder("sub/clip.mp4 [output]"), split_folder("clip.mp4")
    (('sub/clip.mp4', 'output'), ('clip.mp4', 'input'))
    """
    noted = re.fullmatch(r"(.*\S)\s*\[(input|output|temp)\]", name, re.DOTALL)
    return (noted[1], noted[2]) if noted else (name, "input")


def check_input(folders: Mapping[str, Path], name: str, is_folder: bool = False) -> Path:
    """The file of a name below a folder, such as "clip.mp4", "sub/clip.mp4" or "clip.mp4 [output]".

    Args:
        folders: "input", "output" and "temp" -> where they are. A name without one of them in brackets, as ComfyUI's
            page writes it for files that it lists from there, is of the input folder.
        is_folder: the name is that of a folder.
    Raises:
        ValueError: the name is absolute, holds "..", leads out through a link, or there is no such file.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ValueError(f"file is {name!r}; expected the name of a file in the input folder.")
    plain, which = split_folder(name)
    folder, names = folders[which], plain.replace("\\", "/").split("/")
    if names[0] == "" or ".." in names:
        raise ValueError(f"file {_short(name)} leads out of the {which} folder; choose a file inside it.")
    path = folder.joinpath(*names)
    try:
        real = path.resolve()
        is_inside = real.is_relative_to(folder.resolve())
        is_there = path.is_dir() if is_folder else path.is_file()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"file {_short(name)} cannot be opened ({error}); choose another one.") from error
    if not is_inside:
        raise ValueError(f"file {_short(name)} is a link out of the {which} folder; copy the file into it instead.")
    if not is_there:
        raise ValueError(f"file {_short(name)} is not in the {which} folder {folder}; put it there or upload it.")
    return path


def check_name(name: str) -> None:
    """Raise ValueError unless `name` can be one file or folder name (no path) on Linux, macOS and Windows."""

    def refuse(fault: str, advice: str) -> None:
        raise ValueError(f"The file or folder name {_short(name)} {fault}; {advice}.")

    if not name:
        refuse("is empty", "give it at least one letter")
    if name == "..":
        refuse("leads out of its folder", "give a path inside the output folder")
    for character in name:
        kind = _FORBIDDEN_CATEGORIES.get(unicodedata.category(character))
        if kind:
            refuse(f"holds {kind} ({character!r})", "remove it")
        if character in _FORBIDDEN_CHARACTERS or character in "/\\":
            refuse(f"holds {character!r}, which not every system allows", "remove it or use '-' instead")
    if name[-1] in ". ":
        refuse("ends in a dot or a space, which Windows drops", "remove it")
    if name.split(".")[0].rstrip().upper() in _RESERVED_NAMES:
        refuse("is reserved by Windows", "choose another one")
    size = len(name.encode())
    if size > MAX_NAME_BYTES:
        refuse(f"is {size} bytes long in UTF-8, at most {MAX_NAME_BYTES} fit", "shorten it")


def create_temporary(folder: Path, stem: str, suffix: str) -> Path:
    """Create an empty hidden file `.<stem>-<random><suffix>.part` in `folder`, with the user's usual permissions."""
    path = folder / f".{stem}-{secrets.token_hex(4)}{suffix}.part"
    # Not tempfile: its files are readable by their owner only, and the finished video keeps the file's mode.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return path


def create_temporary_folder(folder: Path, stem: str) -> Path:
    """Create an empty hidden folder `.<stem>-<random>.part` in `folder`."""
    path = folder / f".{stem}-{secrets.token_hex(4)}.part"
    path.mkdir()
    return path


def give_final_name(temporary: Path, stem: str, suffix: str) -> Path:
    """Move a finished file, or folder (suffix ""), to the first free `<stem>_00001<suffix>` beside it.

    Safe with several writers at once.

    The number is one past the highest there is, so that names sort by age even after files were deleted.
    """
    folder = temporary.parent
    number = _highest_number(folder, stem) + 1
    while True:
        final = folder / f"{stem}_{number:05d}{suffix}"
        try:
            move = _move_folder if temporary.is_dir() else _move_without_overwriting
            move(temporary, final)
            return final
        except FileExistsError:
            number += 1


def _highest_number(folder: Path, stem: str) -> int:
    """The highest n of `<stem>_0000n.<any>` in `folder`, core's `<stem>_0000n_.<any>` included; 0 when there is none.

    Folders count without a suffix.
    Five to nine digits count, so that a file such as `clip_2024.mp4` or `clip_20240131235959.mp4` is not one of ours.
    """
    pattern = re.compile(rf"{re.escape(stem.casefold())}_([0-9]{{5,9}})_?(\.[^.]+)?")
    matches = ((name, pattern.fullmatch(name.casefold())) for name in os.listdir(folder))
    numbers = (int(match[1]) for name, match in matches if match and (match[2] or (folder / name).is_dir()))
    return max(numbers, default=0)


def _move_without_overwriting(source: Path, target: Path) -> None:
    """Rename, raising FileExistsError when `target` exists. (os.rename overwrites on POSIX.)"""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        # No hard links on exFAT and some network drives: reserve the name with an empty file, then replace that.
        target.open("xb").close()
        try:
            os.replace(source, target)
        except BaseException:
            if source.exists():
                target.unlink(missing_ok=True)
            raise
    else:
        source.unlink(missing_ok=True)


def _move_folder(source: Path, target: Path) -> None:
    """Rename a folder, raising FileExistsError when `target` exists."""
    # Reserves the name; POSIX then replaces the empty folder in one step. Windows never replaces one.
    if os.name != "nt":
        target.mkdir()
    try:
        os.rename(source, target)
    except BaseException:
        if os.name != "nt":
            with suppress(OSError):
                target.rmdir()
        raise


def _fill_tokens(prefix: str, width: int, height: int) -> str:
    """Replace %width% and so on as the host's own save nodes do, and %date:...% as its page does for them."""
    now = time.localtime()
    values = {"width": f"{width}", "height": f"{height}", "year": f"{now.tm_year}"}
    values |= {"month": f"{now.tm_mon:02d}", "day": f"{now.tm_mday:02d}"}
    values |= {"hour": f"{now.tm_hour:02d}", "minute": f"{now.tm_min:02d}", "second": f"{now.tm_sec:02d}"}
    dated = re.sub("%date:([^%]*)%", lambda match: _date(match[1], now), prefix)
    return re.sub("%(" + "|".join(values) + ")%", lambda match: values[match[1]], dated)


def _date(pattern: str, now: time.struct_time) -> str:
    """A date by a pattern of dd d MM M hh h mm m ss s yyyy yy; other letters stay.

    Source: Comfy-Org/ComfyUI_frontend 1.49, formatUtil.ts (formatDate).
    """
    parts = {"d": now.tm_mday, "M": now.tm_mon, "h": now.tm_hour, "m": now.tm_min, "s": now.tm_sec}
    years = {"yyyy": f"{now.tm_year}", "yy": f"{now.tm_year}"[2:], "yyy": "yyy"}
    return re.sub(
        "dd?|MM?|hh?|mm?|ss?|yyy?y?",
        lambda match: years.get(match[0]) or f"{parts[match[0][0]]}".rjust(len(match[0]), "0"),
        pattern,
    )


def _refuse_leaving(output: Path, folder: Path) -> None:
    """Raise ValueError when a symbolic link on the way to `folder` leads out of `output`."""
    try:
        real_output, real_folder = output.resolve(), folder.resolve()
    except RuntimeError as error:  # Python below 3.13 says so when links go round in a circle
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error
    if not real_folder.is_relative_to(real_output):
        raise ValueError(
            f"The folder {folder} leads out of the output folder, to {real_folder}. "
            "Choose a folder without such a link, or make that place the output folder."
        )


def _short(text: str) -> str:
    """The text in quotes, escaped where a terminal could not show it, at most about 80 characters."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
