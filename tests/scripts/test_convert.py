"""Legacy checkpoints become safetensors with the same names and numbers; what could run code is refused."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file


class Evil:
    def __reduce__(self):
        return (os.system, ("echo code was run",))


@pytest.fixture
def convert():
    import convert

    return convert


@pytest.mark.parametrize(
    "nest", [(), ("state_dict",), ("module",), ("model", "state_dict"), ("generator",), ("generator_ema",)]
)
def test_names_and_numbers_stay(tmp_path, convert, nest):
    weights = {"a.weight": torch.randn(3, 4).T, "b": torch.ones(2, dtype=torch.bfloat16)}
    weights["shared"] = weights["b"]
    content = weights
    for name in reversed(nest):
        content = {name: content, "epoch": 3}
    torch.save(content, tmp_path / "model.ckpt")
    target = tmp_path / "model.safetensors"
    convert.write(convert.read(tmp_path / "model.ckpt"), target)
    written = load_file(target)
    assert set(written) == set(weights)
    assert all(torch.equal(written[name], weights[name]) for name in weights)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_of_a_trained_generator_its_average_is_taken(tmp_path, convert):
    """Self-Forcing and CausVid save both; their makers sample with the average."""
    content = {"generator": {"a": torch.zeros(2)}, "generator_ema": {"a": torch.ones(2)}, "step": 3}
    torch.save(content, tmp_path / "model.pt")
    assert torch.equal(convert.read(tmp_path / "model.pt")["a"], torch.ones(2))


def test_a_file_that_could_run_code_is_refused(tmp_path, convert, capfd):
    torch.save({"state_dict": {"a": torch.ones(1)}, "extra": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(SystemExit, match="holds more than tensors, and what else it holds could run code"):
        convert.read(tmp_path / "evil.pt")
    assert "code was run" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>not found</html>", "not a checkpoint that torch can read|holds more than tensors"),
        (None, "no such file"),
    ],
)
def test_other_files_are_named(tmp_path, convert, content, said):
    path = tmp_path / "x.pt"
    if content:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match=said):
        convert.read(path)


def test_a_checkpoint_without_named_tensors(tmp_path, convert):
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    with pytest.raises(SystemExit, match="no tensors by name in it; expected a state dict"):
        convert.read(tmp_path / "list.pt")


def test_an_existing_file_is_never_overwritten(tmp_path, convert, monkeypatch):
    torch.save({"a": torch.ones(1)}, tmp_path / "m.pt")
    (tmp_path / "m.safetensors").write_bytes(b"mine")
    monkeypatch.setattr("sys.argv", ["convert.py", str(tmp_path / "m.pt")])
    monkeypatch.setattr(convert.environment, "ensure", lambda *a: None)
    with pytest.raises(SystemExit, match="exists already; give another name"):
        convert.main()
    assert (tmp_path / "m.safetensors").read_bytes() == b"mine"
