"""Prompts on disk: what comes back equals what was kept, or nothing does. Tests: loaders/kept_prompts.py"""

from __future__ import annotations

import os

import pytest
import torch

from opent2v.loaders import KeptPrompt, KeptPrompts, kept_prompts


def prompt(seed=0, **values):
    torch.manual_seed(seed)
    return KeptPrompt([[torch.randn(1, 5, 8), {"pooled_output": None, **values}]], 24, 3)


def kept(folder, **options):
    return KeptPrompts(folder, "encoder", **options)


VALUES = {
    "attention_mask": torch.tensor([[True, False]]),
    "tags": torch.tensor([[1, 2**40]]),
    "pooled_output": torch.randn(1, 8, dtype=torch.float64),
    "half": torch.randn(2, 2).to(torch.bfloat16),
    "as half": torch.randn(2, 2).half().float(),
    "nothing": torch.zeros(0, 3),
    "number": torch.tensor(0.1),
    "unprocessed": True,
    "opent2v_family": "wan",
    "rates": [1, 2.5, None, "x"],
}


def test_everything_comes_back_as_it_was(tmp_path):
    prompts, whole = kept(tmp_path / "new"), prompt(**VALUES)
    assert prompts.put("a", whole) is True
    again = prompts.get("a")
    assert (again.limit, again.count) == (24, 3)
    ((context, values),) = again.conditioning
    assert torch.equal(context, whole.conditioning[0][0]) and list(values) == list(whole.conditioning[0][1])
    for name, value in whole.conditioning[0][1].items():
        if isinstance(value, torch.Tensor):
            assert values[name].dtype == value.dtype and torch.equal(values[name], value), name
        else:
            assert values[name] == value and type(values[name]) is type(value), name


def test_several_entries_and_not_a_number(tmp_path):
    broken = torch.tensor([[[float("nan"), float("inf"), -0.0]]])
    kept(tmp_path).put("a", KeptPrompt([[broken, {}], [torch.ones(1, 2, 3), {"x": torch.ones(1)}]], 0, 0))
    first, second = kept(tmp_path).get("a").conditioning
    assert torch.equal(first[0].view(torch.int32), broken.view(torch.int32)) and first[1] == {}
    assert torch.equal(second[0], torch.ones(1, 2, 3)) and torch.equal(second[1]["x"], torch.ones(1))


def test_numbers_of_an_encoder_in_bf16_take_two_bytes(tmp_path):
    exact = torch.randn(1, 512, 64).bfloat16().float()
    kept(tmp_path).put("a", KeptPrompt([[exact, {}]], 0, 0))
    kept(tmp_path).put("b", KeptPrompt([[exact + 1e-4, {}]], 0, 0))
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in "ab"]
    assert sizes[0] < 2 * exact.numel() + 1000 < sizes[1]
    assert kept(tmp_path).get("a").conditioning[0][0].dtype == torch.float32
    assert torch.equal(kept(tmp_path).get("a").conditioning[0][0], exact)


@pytest.mark.parametrize("damage", ["cut", "empty", "turned bit", "text", "another's", "folder"])
def test_a_damaged_file_is_no_prompt_and_is_written_anew(tmp_path, damage):
    prompts = kept(tmp_path)
    prompts.put("a", prompt())
    path = tmp_path / "a.safetensors"
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-7])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "turned bit":
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 4]) + content[-2:])
    elif damage == "text":
        path.write_text("{}")
    elif damage == "another's":
        prompts.put("b", prompt(1))
        (tmp_path / "b.safetensors").replace(path)
    else:
        path.unlink()
        path.mkdir()
    assert prompts.get("a") is None
    if damage == "folder":
        path.rmdir()
    prompts.put("a", prompt(2))
    assert torch.equal(prompts.get("a").conditioning[0][0], prompt(2).conditioning[0][0])


def test_what_no_file_can_hold_is_not_kept(tmp_path):
    for value in (object(), (1, 2), {1: 2}, [torch.ones(1)]):
        assert kept(tmp_path).put("a", prompt(value=value)) is False
    assert not list(tmp_path.glob("*"))


def test_a_key_is_of_encoder_words_pictures_and_versions(tmp_path, monkeypatch):
    picture, other = torch.zeros(1, 4, 4, 3), torch.zeros(1, 4, 4, 3)
    other[0, 3, 3, 2] = 1e-3
    prompts = kept(tmp_path)
    asked = [
        ("a", ()),
        ("b", ()),
        ("", ()),
        ("a", [("image", picture)]),
        ("a", [("image", other)]),
        ("a", [("image", picture)] * 2),
        ("a", [("image", picture.view(1, 2, 8, 3))]),
        ("a", [("audio", None)]),
    ]
    keys = [prompts.key(*one) for one in asked]
    assert len({*keys}) == len(keys) and keys == [kept(tmp_path).key(*one) for one in asked]
    assert KeptPrompts(tmp_path, "other").key("a") != keys[0]
    monkeypatch.setattr(kept_prompts, "ENCODING", kept_prompts.ENCODING + 1)
    assert prompts.key("a") != keys[0]
    monkeypatch.undo()
    monkeypatch.setattr(kept_prompts, "_transformers", lambda: "0.0")
    assert prompts.key("a") != keys[0]
    assert prompts.key("\ud800 a lone surrogate")


def test_beyond_the_limit_what_was_not_read_longest_goes(tmp_path):
    kept(tmp_path).put("a", prompt())
    size = (tmp_path / "a.safetensors").stat().st_size
    prompts = kept(tmp_path, most_bytes=3 * size + size // 2)
    for n, name in enumerate("abc"):
        prompts.put(name, prompt(n))
        os.utime(tmp_path / f"{name}.safetensors", (n, n))
    assert prompts.get("a") is not None  # read now, so that "b" was not read longest
    prompts.put("d", prompt(4))
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "c", "d"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        kept(tmp_path / "file" / "below").put("a", prompt())
    assert kept(tmp_path / "file" / "below").get("a") is None
