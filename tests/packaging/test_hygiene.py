"""What ships holds nothing that the registry's scanners flag: one finding, and the version is held back for weeks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.packaging.archive import LARGEST, faults, literal_ids, matches, patterns, shipped

ROOT = Path(__file__).resolve().parents[2]
MAPPINGS = ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS")


def test_what_ships_is_clean():
    assert faults(ROOT, shipped(ROOT)) == []


def test_what_ships_is_what_a_user_needs():
    places = {file.parts[0] for file in shipped(ROOT)}
    assert {"nodes", "loaders", "families", "sampling", "media", "host"} <= places
    assert {"web", "locales", "workflows", "subgraphs"} <= places
    assert {"models", "LICENSE", "README.md", "__init__.py", "pyproject.toml", "requirements.txt"} <= places
    assert not {"tests", "scripts", "training", "docs", ".git", ".ci", ".venv", "output"} & places


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """An empty pack, with the ignore files."""
    for name in (".comfyignore", ".gitignore"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_list_is_the_same_without_git(pack):
    expected = shipped(ROOT)
    left_out = ("tests/test_x.py", "scripts/x.py", "nodes/__pycache__/x.pyc", ".venv/bin/python", "output/x.mp4")
    for file in (*expected, *left_out):
        (pack / file).parent.mkdir(parents=True, exist_ok=True)
        (pack / file).touch()
    assert not (pack / ".git").exists()
    assert shipped(pack) == expected


def test_ignore_lines_mean_what_git_means_by_them():
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no git here")
    for name in (".comfyignore", ".gitignore"):
        git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached"]
        tracked = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split("\0")
        left_out = [*git, "--ignored", f"--exclude-from={name}"]
        expected = set(subprocess.run(left_out, capture_output=True, text=True, check=True).stdout.split("\0"))
        lines = patterns(ROOT / name)
        assert {f for f in tracked if any(matches(PurePosixPath(f), line) for line in lines)} == expected - {""}


@pytest.mark.parametrize("line", ["!keep.py", "docs/**", "docs/pictures"])
def test_an_ignore_line_beyond_us_is_refused(tmp_path, line):
    (tmp_path / ".comfyignore").write_text(f"/tests/\n{line}\n")
    with pytest.raises(ValueError, match="write plain names"):
        shipped(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("media/writer.py", "import subprocess\n", "starts programs (subprocess)"),
        ("media/writer.py", "os.system('ffmpeg')\n", "starts programs (os.system)"),
        ("media/writer.py", "# then rm -rf the folder\n", "starts programs (rm -rf)"),
        ("loaders/folder.py", "    from urllib.request import urlopen\n", "uses the network (from urllib)"),
        ("loaders/folder.py", "import requests\n", "uses the network (import requests)"),
        ("loaders/folder.py", "import socket\n", "uses the network (import socket)"),
        ("loaders/folder.py", "x = snapshot_download('a/b')\n", "uses the network (snapshot_download)"),
        ("host/tags.py", "x = os.environ['HOME']\n", "reads or sets the environment (os.environ)"),
        ("host/tags.py", "x = os.getenv('HOME')\n", "reads or sets the environment (os.getenv)"),
        ("families/wan.py", "x = eval('1')\n", "runs texts as code (eval()"),
        ("families/wan.py", "exec(text)\n", "runs texts as code (exec()"),
        ("families/wan.py", "__import__(name)\n", "runs texts as code (__import__()"),
        ("loaders/weights.py", "x = torch.load(path, weights_only=True)\n", "may open a pickle (torch.load)"),
        ("loaders/weights.py", "    import pickle\n", "may open a pickle (import pickle)"),
        ("loaders/weights.py", "x = np.load(path)\n", "may open a pickle (np.load)"),
        ("loaders/weights.py", "f(path, allow_pickle=True)\n", "may open a pickle (allow_pickle)"),
        ("loaders/weights.py", "from joblib import load\n", "may open a pickle (from joblib)"),
        ("nodes/load.py", "x = base64.b64decode(text)\n", "hides what it does (b64decode)"),
        ("nodes/load.py", f"x = {'1 + ' * 60}1\n", "looks minified; at most 200"),
        ("web/page.js", "button.connect(node);\n", "looks like network code (.connect()"),
        ("web/page.js", "this.draw = this.draw.bind(this);\n", "looks like network code (.bind()"),
        ("web/page.js", "line.send(text);\n", "looks like network code (.send()"),
        ("web/page.js", "const answer = await fetch('/prompt');\n", "looks like network code (fetch()"),
        ("web/page.js", "// see https://example.org\n", "looks like network code (https://)"),
        ("web/page.js", "new WebSocket(place);\n", "looks like network code (WebSocket)"),
        ("web/page.js", "eval(text);\n", "runs texts as code (eval()"),
        ("web/page.js", "new Function(text)();\n", "runs texts as code (new Function)"),
        ("web/page.js", "/*! by somebody */\n", "is not our own, or not as written (/*!)"),
        ("web/page.js", "//# sourceMappingURL=x\n", "is not our own, or not as written (sourceMappingURL)"),
        ("web/page.js", f"const x = [{'1,' * 100}];\n", "looks minified; at most 200"),
        ("web/page.min.js", "const x = 1;\n", "vendored or minified code"),
        ("web/vendor/page.js", "const x = 1;\n", "vendored or minified code"),
        (
            "locales/en/main.json",
            '{"a": "then node.connect(other) is called"}\n',
            "looks like network code (.connect()",
        ),
        ("workflows/new.json", '{"a": "press .send()"}\n', "looks like network code (.send()"),
        ("workflows/new.json", '{"a": "x.bind(y)"}\n', "looks like network code (.bind()"),
        ("workflows/new.json", '{"a": "os.system and so on"}\n', "starts programs (os.system)"),
        ("nodes/help.txt", "hello\n", "unclassified"),
        ("install.py", "print('hello')\n", "unclassified"),
        ("Dockerfile", "FROM python\n", "unclassified"),
        ("workflows/deeper/new.json", "{}\n", "unclassified"),
    ],
)
def test_a_planted_fault_is_found(pack, file, text, said):
    (pack / file).parent.mkdir(parents=True, exist_ok=True)
    (pack / file).write_text(text, encoding="utf-8")
    found = faults(pack, shipped(pack))
    assert any(said in fault for fault in found) and all(fault.startswith(f"{file}: ") for fault in found), found


def large(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    ("file", "limit"),
    [("workflows/new.jpg", "262,144 for .jpg"), ("models/vae/one/x.safetensors", "16,777,216 for .safetensors")],
)
def test_a_file_that_is_too_large_is_found(pack, file, limit):
    large(pack / file, LARGEST[PurePosixPath(file).suffix])
    assert faults(pack, shipped(pack)) == []
    large(pack / file, LARGEST[PurePosixPath(file).suffix] + 1)
    (found,) = faults(pack, shipped(pack))
    assert found.startswith(f"{file}: ") and found.endswith(f" bytes; at most {limit}")


def test_an_archive_that_is_too_large_is_found(pack):
    for n in range(2):
        large(pack / f"models/vae/one/{n}.safetensors", LARGEST[".safetensors"])
    assert faults(pack, shipped(pack)) == ["the archive: 33,554,432 bytes; at most 25,165,824"]


def test_a_planted_fault_says_its_line(pack):
    (pack / "media").mkdir()
    (pack / "media" / "new.py").write_text("import os\n\n\n    import socket\n", encoding="utf-8")
    assert faults(pack, shipped(pack)) == ["media/new.py: line 4: uses the network (import socket)"]


def test_node_ids_are_written_out_and_ours():
    source = (ROOT / "nodes" / "__init__.py").read_text(encoding="utf-8")
    classes, titles = (literal_ids(source, name) for name in MAPPINGS)
    assert classes == list(NODE_CLASS_MAPPINGS) and sorted(titles) == sorted(NODE_DISPLAY_NAME_MAPPINGS)
    assert [name for name in classes if not name.startswith("OpenT2V")] == []


@pytest.mark.parametrize(
    "source",
    [
        "M = {f'OpenT2V{n}': n for n in NODES}",
        "M = {PREFIX + 'Load': Load}",
        "M = {**OTHERS, 'OpenT2VLoad': Load}",
        "M = {'OpenT2VLoad': Load}\nM['OpenT2VSave'] = Save",
        "M = {'OpenT2VLoad': Load}\nM.update(more)",
        "M = {'OpenT2VLoad': Load}\nM |= more",
        "M = dict(OpenT2VLoad=Load)",
        "N = {'OpenT2VLoad': Load}",
    ],
)
def test_ids_that_a_static_scan_would_miss(source):
    with pytest.raises(ValueError, match="written out"):
        literal_ids(source, "M")


def test_no_test_switches_gradients_off_for_all_others():
    """`torch.set_grad_enabled` at import lasts for the whole run, and the trainings' tests then fail by their order.

    Scripts of tests/host run in processes of their own.
    """
    files = [file for file in (ROOT / "tests").rglob("*.py") if file.parent.name != "host"]
    assert [str(file) for file in files if "set_grad_enabled" + "(" in file.read_text(encoding="utf-8")] == []
