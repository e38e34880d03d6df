"""The files that the registry's archive holds, and what its scanners complain about."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

MIB = 2**20
# The largest size of a file of each ending, in bytes: anything above is something that does not belong here.
LARGEST = {
    ".py": MIB // 8,
    ".js": MIB // 16,
    ".json": MIB // 8,
    ".po": MIB // 2,
    ".md": MIB // 16,
    ".toml": MIB // 16,
    ".txt": MIB // 16,
    "": MIB // 16,
    ".jpg": MIB // 4,
    ".safetensors": 16 * MIB,
}
ARCHIVE_LARGEST = 24 * MIB
LONGEST_LINE = 200  # characters; longer lines are how minified code looks
# Every place that ships, and which files may lie there.
PLACES = (
    r"(__init__\.py|pyproject\.toml|requirements\.txt|LICENSE|README\.md|CHANGELOG\.md)",
    r"(nodes|finetune|headless|loaders|families|base|sampling|media|host)/([a-z0-9_]+/)*[a-z0-9_]+\.py",
    r"web/([a-z0-9_]+/)*[a-z0-9_]+\.js",
    r"web/docs/OpenT2V\w+(/[a-zA-Z-]+)?\.md",
    r"locales/[a-zA-Z-]+/(nodeDefs|main|settings|commands)\.json",
    r"locales/[a-z]+/LC_MESSAGES/opent2v\.po",
    r"workflows/[\w.-]+\.(json|jpg)",
    r"subgraphs/[\w ()-]+\.json",
    r"models/\w+/[\w.-]+/(\w+/)?([\w.-]+\.(json|safetensors)|README\.md)",
    r"models/loras/([\w.-]+\.safetensors|README\.md)",
)
# Tokens that the registry's scanners flag, by ending of the file; most do not look whether it is code or prose.
PROGRAMS = r"\bsubprocess\b|\bos\.(system|popen|exec\w*|spawn\w*|fork)\b|\bPopen\b|\bpty\.|rm -rf"
NETWORK = r"^\s*(import|from)\s+(urllib|requests|httpx?|aiohttp|socket|ftplib|smtplib|websockets?|paramiko|ssl)\b"
PYTHON = {
    "starts programs": PROGRAMS,
    "uses the network": NETWORK + r"|\burlopen\b|\bhf_hub_download\b|\bsnapshot_download\b",
    "reads or sets the environment": r"\bos\.environb?\b|\bos\.(get|put|unset)env\b",
    "runs texts as code": r"(?<![\w.])(eval|exec|compile|__import__)\s*\(|\b__builtins__\b",
    "may open a pickle": r"^\s*(import|from)\s+(pickle|cPickle|dill|joblib|shelve|marshal|cloudpickle)\b"
    r"|\btorch\.load\b|\bpickle\.loads?\b|\ballow_pickle\b|\bnp\.load\b|\bnumpy\.load\b|\bread_pickle\b",
    "hides what it does": r"\bb(16|32|64|85)decode\b|\bzlib\.decompress\b|\bfromhex\b|\bctypes\b",
}
CALLS = r"\.(connect|bind|send)\("
SCRIPT = {
    "looks like network code": CALLS + r"|\bXMLHttpRequest\b|\bWebSocket\b|\bEventSource\b|(?<![\w.])fetch\s*\("
    r"|https?://|\bimportScripts\b",
    "runs texts as code": r"(?<![\w.])eval\s*\(|\bnew Function\b|\bdocument\.write\b|\batob\b",
    "is not our own, or not as written": r"@license|/\*!|sourceMappingURL|\bCopyright\b",
}
DATA = {
    "looks like network code": CALLS,
    "starts programs": PROGRAMS,
    "runs texts as code": r"(?<![\w.])(eval|exec|__import__)\(",
}
TOKENS = {".py": PYTHON, ".js": SCRIPT, ".json": DATA}


def shipped(root: Path) -> list[PurePosixPath]:
    """Files of the archive: what git tracks or would track, less what .comfyignore names; without git, the folder's
    files less what .gitignore names."""
    ignored = patterns(root / ".comfyignore")
    files = _from_git(root)
    if files is None:
        ignored = ["/.git", *patterns(root / ".gitignore"), *ignored]
        files = [PurePosixPath(p.relative_to(root).as_posix()) for p in root.rglob("*") if p.is_file()]
    return sorted(file for file in files if not any(matches(file, pattern) for pattern in ignored))


def _from_git(root: Path) -> list[PurePosixPath] | None:
    """None where this is no git work tree of its own, or git is not there."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [PurePosixPath(name) for name in set(listed.split("\0")) if name and (root / name).is_file()]


def patterns(path: Path) -> list[str]:
    """The lines of an ignore file; ValueError for what `matches` does not understand."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    found = [line for line in lines if line and not line.startswith("#")]
    for line in found:
        if line.startswith("!") or "**" in line or "/" in line.strip("/"):
            raise ValueError(f"{path.name}: {line!r}; write plain names and *-patterns, one level deep")
    return found


def matches(file: PurePosixPath, pattern: str) -> bool:
    """Whether a line of an ignore file leaves this file out.

    >>> [matches(PurePosixPath("a/tests/x.py"), p) for p in ("tests/", "/tests/", "*.py", "/a", "x.py/")]
    [True, False, True, True, False]
    """
    name = pattern.strip("/")
    parts = file.parts[:-1] if pattern.endswith("/") else file.parts
    return any(fnmatch(part, name) for part in (parts[:1] if pattern.startswith("/") else parts))


def faults(root: Path, files: list[PurePosixPath]) -> list[str]:
    """Everything the scanners would flag, as "file: what" or "file:line: what"."""
    found = [f"{file}: {what}" for file in files for what in _file_faults(root, file)]
    total = sum((root / file).stat().st_size for file in files)
    if total > ARCHIVE_LARGEST:
        found.append(f"the archive: {total:,} bytes; at most {ARCHIVE_LARGEST:,}")
    return found


def _file_faults(root: Path, file: PurePosixPath) -> Iterator[str]:
    if not any(re.fullmatch(place, str(file)) for place in PLACES):
        yield "unclassified: neither a known place (archive.py, PLACES) nor named in .comfyignore"
    if re.search(r"\.min\.|(^|/)(vendor|third_party|node_modules|dist)/", str(file)):
        yield "vendored or minified code"
    size = (root / file).stat().st_size
    if size > LARGEST.get(file.suffix, 0):
        yield f"{size:,} bytes; at most {LARGEST.get(file.suffix, 0):,} for {file.suffix or 'such a file'}"
    if file.suffix in TOKENS:
        text = (root / file).read_text(encoding="utf-8")
        for what, tokens in TOKENS[file.suffix].items():
            for token in re.finditer(tokens, text, re.MULTILINE):
                line = text.count("\n", 0, token.start() + len(token[0]) - len(token[0].lstrip())) + 1
                yield f"line {line}: {what} ({token[0].strip()})"
        if file.suffix != ".json":
            longest = max(map(len, text.splitlines()), default=0)
            if longest > LONGEST_LINE:
                yield f"a line of {longest} characters looks minified; at most {LONGEST_LINE}"


def literal_ids(source: str, name: str) -> list[str]:
    """The node ids that a static scan reads: the keys of the dictionary that is written out and assigned to `name`.

    Raises:
        ValueError: no such dictionary, a computed key, or a change later on; a scan would miss nodes.
    """
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if not any(isinstance(target, ast.Name) and target.id == name for target in targets):
            continue
        value = node.value
        keys = value.keys if isinstance(value, ast.Dict) else [None]
        for key in keys:
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                raise ValueError(f"line {node.lineno}: {name} must be a dictionary with all its keys written out")
            found.append(key.value)
    if not found or re.search(rf"{name}(\[.*\]\s*=|\.update|\s*\|=)", source):
        raise ValueError(f"{name} must be a dictionary written out once, and not changed later")
    return found
