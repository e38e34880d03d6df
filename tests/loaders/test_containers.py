"""A file of tensors is opened by its first bytes, and everything that is none is named for what it is."""

from __future__ import annotations

import json
import pickle
import struct
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file

from opent2v.loaders import ModelFileError, TensorInfo, containers, open_container, tensor_bytes
from opent2v.loaders.weights import fill


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}, path, metadata={"format": "pt"})
    return path


def message(path) -> str:
    with pytest.raises(ModelFileError) as error:
        open_container(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_names_dtypes_and_shapes(good):
    header = open_container(good).header
    assert header == {"a": TensorInfo("F32", (2, 3)), "b": TensorInfo("BF16", (4,))}
    assert tensor_bytes(header) == 2 * 3 * 4 + 4 * 2


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("F8_E4M3", 1), ("F8_E5M2", 1), ("U8", 1), ("I8", 1), ("BF16", 2), ("F16", 2), ("F32", 4), ("F64", 8)],
)
def test_the_size_of_a_file_is_that_of_its_dtypes(dtype, size):
    assert tensor_bytes({"a": TensorInfo(dtype, (16, 3)), "b": TensorInfo(dtype, (2,))}) == 50 * size


def test_a_file_cut_in_its_tensors(good):
    size = good.stat().st_size
    good.write_bytes(good.read_bytes()[:-5])
    assert message(good) == (
        f"the file is cut short. Found {size - 5:,} bytes, expected {size:,}. "
        "The download or copy did not finish: get the file again."
    )


def test_a_file_cut_in_its_header(good):
    (length,) = struct.unpack("<Q", good.read_bytes()[:8])
    for kept in (20, 8):
        good.write_bytes(good.read_bytes()[:kept])
        assert message(good).startswith(f"the file is cut short. Found {kept} bytes, expected {8 + length:,}.")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_under_any_name(tmp_path, zipped):
    path = tmp_path / "model.safetensors"
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=zipped)
    assert message(path) == (
        "this is a Python pickle (a .pt or .ckpt file), whatever its name says. Pickles can run code and are not "
        "opened. Get the safetensors version of this model, or convert the file with scripts/convert.py, "
        "which comes with the repository alone: git clone https://github.com/OpenT2V/opent2v, then python3 "
        "opent2v/scripts/convert.py model.safetensors"
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_bare_pickle(tmp_path, protocol):
    path = tmp_path / "model.safetensors"
    for content in ({}, {"a": [1.0] * 100}):
        path.write_bytes(pickle.dumps(content, protocol))
        assert message(path).startswith("this is a Python pickle")


@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 0x4B50])
def test_a_header_as_long_as_a_pickles_first_bytes_is_no_pickle(tmp_path, length):
    path = tmp_path / "model.safetensors"
    text = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).ljust(length)
    path.write_bytes(struct.pack("<Q", length) + text.encode() + bytes(4))
    assert open_container(path).header == {"a": TensorInfo("F32", (1,))}


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", 48),
        (b"", 0),
        (b"abc", 3),
        (struct.pack("<Q", 2**63) + b"{}", 10),
        (struct.pack("<Q", 100_000_001) + b"{}", 10),
        (struct.pack("<Q", 16) + b"no json in here!", 24),
    ],
    ids=["web page", "empty", "three bytes", "absurd length", "length just over the limit", "no brace"],
)
def test_what_is_no_safetensors_file(tmp_path, content, size):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert message(path) == (
        f"{size} bytes that are neither a safetensors nor a GGUF file (no valid header). The download may have saved "
        "a web page or an error text: download the file again."
    )


@pytest.mark.parametrize(
    "header",
    [
        '{"a": ',
        '{"a": 1}',
        '{"a": {"dtype": "F32"}}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": []}}',
        '{"\xff": 1}',
    ],
)
def test_a_damaged_header(tmp_path, header):
    path = tmp_path / "model.safetensors"
    raw = header.encode("latin-1")
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)
    said = message(path)
    assert said.startswith("the safetensors header is damaged (") and said.endswith("Download the file again.")


def test_a_missing_file_and_a_folder(tmp_path):
    assert message(tmp_path / "none.safetensors") == "cannot be read (No such file or directory)."
    assert message(tmp_path) == "cannot be read (Is a directory)."


# --- a container of the tests' own ---


class TextFile:
    """A line for each tensor: its name and its numbers."""

    def __init__(self, path):
        self.path, self.metadata = path, {"made by": "hand"}
        lines = [line.split() for line in path.read_text().splitlines()[1:]]
        self.rows = {name: [float(number) for number in numbers] for name, *numbers in lines}
        self.header = {name: TensorInfo("F32", (len(numbers),)) for name, numbers in self.rows.items()}

    @contextmanager
    def tensors(self):
        yield lambda name: torch.tensor(self.rows[name])


class TextFormat:
    endings = (".txt",)

    def matches(self, start):
        return start.startswith(b"numbers")

    def open(self, path):
        return TextFile(path)


def test_a_further_format_is_one_entry_and_loads_a_module(tmp_path, monkeypatch):
    """In the pack it is one file of the folder."""
    path = tmp_path / "model.txt"
    path.write_text("numbers\nlayer.weight 1 2\nlayer.bias 3 4\n")
    assert " bytes that are neither a safetensors nor a GGUF file" in message(path)
    monkeypatch.setattr(containers, "FORMATS", [*containers.FORMATS, TextFormat()])
    assert open_container(path).metadata == {"made by": "hand"}
    module = fill(torch.nn.ModuleDict({"layer": torch.nn.LayerNorm(2)}), (path,), dtype=torch.float64)
    assert module["layer"].weight.tolist() == [1, 2] and module["layer"].bias.tolist() == [3, 4]
    assert module["layer"].bias.dtype == torch.float64


@pytest.mark.parametrize(
    "entry",
    [
        None, [], "F32", {"dtype": "F32"}, {"shape": "2,3"}, {"shape": [[2], [3]]}, {"shape": [-2, 3]},
        {"shape": [True]}, {"shape": [2.0, 3]}, {"shape": [2, 4]}, {"dtype": ["F32"]}, {"data_offsets": [0]},
        {"data_offsets": [8, 0]}, {"data_offsets": ["0", "24"]},
    ],
)  # fmt: skip
def test_an_odd_entry_of_the_header_is_a_damaged_header(tmp_path, entry):
    whole = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    text = json.dumps({"a": whole | entry if isinstance(entry, dict) and "dtype" not in entry else entry}).encode()
    (tmp_path / "odd.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))
    assert message(tmp_path / "odd.safetensors").startswith("the safetensors header is damaged (")


@pytest.mark.parametrize("metadata", [[1], "text", 3, "[" * 50_000, {"a": "\ud800"}])
def test_metadata_that_are_no_texts_by_name(tmp_path, metadata):
    text = json.dumps({"__metadata__": metadata}).encode()
    if metadata == "[" * 50_000:  # deeper than Python reads
        text = b'{"__metadata__": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    (tmp_path / "odd.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    assert message(tmp_path / "odd.safetensors").startswith("the safetensors header is damaged (")


@pytest.mark.parametrize("end", [".aria2", ".part", ".dl-meta", ".crdownload"])
@pytest.mark.parametrize("state", ["empty", "cut", "tail of zeros", "hole"])
def test_a_file_that_is_still_downloading(tmp_path, end, state):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(100_000)}, path)
    raw = bytearray(path.read_bytes())
    (tmp_path / f"model.safetensors{end}").write_bytes(b"")
    assert set(open_container(path).header) == {"a"}  # a companion that was left behind harms no whole file
    raw[-50_000:] = bytes(50_000) if state == "tail of zeros" else raw[-50_000:]
    raw[100_000:200_000] = bytes(100_000) if state == "hole" else raw[100_000:200_000]
    path.write_bytes(raw[: {"empty": 0, "cut": 200_000}.get(state, len(raw))])
    said = message(path)
    assert said.startswith(f"is still downloading: model.safetensors{end} lies beside it") and "Wait until" in said
