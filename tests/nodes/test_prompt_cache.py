"""Prompts that are kept save the text encoder, and give what it would. Tests: nodes/prompt_cache.py"""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file

from opent2v.host import embedded
from opent2v.loaders import open_text_files
from opent2v.loaders import weights as weights_of_files
from opent2v.nodes import NODE_CLASS_MAPPINGS, load_text
from opent2v.nodes.prompt_cache import only_kept_prompts
from opent2v.tests.loaders import text_files
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import mochi as tiny_mochi
from opent2v.tests.tiny import wan as tiny_wan

GRAPH = {
    "1": {"class_type": "OpenT2VLoadModel", "inputs": {}},
    "2": {"class_type": "OpenT2VEncodePrompt", "inputs": {"clip": ["1", 1], "prompt_cache": True}},
}


@pytest.fixture
def models(tmp_path, monkeypatch):
    for name in ("diffusers", "text_encoders"):
        (tmp_path / "models" / name).mkdir(parents=True)
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output", prompts=tmp_path / "prompts")
    return tmp_path / "models"


@pytest.fixture
def built(monkeypatch):
    """The classes of the networks that were built, in order."""
    from opent2v.loaders import pipeline, text_file

    classes = []

    def noted(name, *arguments):
        classes.append(name)
        return weights_of_files.build(name, *arguments)

    monkeypatch.setattr(pipeline, "build", noted)
    monkeypatch.setattr(text_file, "build", noted)
    return classes


def encode(clip, positive="a red circle", negative="noisy", **inputs):
    """(both conditionings, remarks)."""
    results, ui = call(
        "OpenT2VEncodePrompt", clip=clip, positive=positive, negative=negative, prompt_cache=True, **inputs
    )
    return results, remarks(ui)


def same(a, b):
    (context, values), (other, others) = a[0], b[0]
    assert torch.equal(context, other) and list(values) == list(others)
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, others[name]) and value.dtype == others[name].dtype, name
        else:
            assert value == others[name], name


def load(name, prompt=GRAPH):
    return NODE_CLASS_MAPPINGS["OpenT2VLoadModel"]().load(name, "auto", "1", prompt)["result"][1]


@pytest.mark.parametrize("tiny", [tiny_wan, tiny_hunyuan])
def test_a_second_start_builds_no_text_encoder_and_encodes_to_the_same(models, built, tiny):
    shutil.copytree(tiny.folder(), models / "diffusers" / "tiny")
    without = load("tiny", None)
    plain, _ = call("OpenT2VEncodePrompt", clip=without, positive="a red circle", negative="noisy")
    encoders = {name for name in built if "Encoder" in name or "Llama" in name or "CLIP" in name}
    del without
    built.clear()
    clip = load("tiny")
    assert encoders and not encoders & {*built}
    fresh, said = encode(clip)
    assert encoders <= {*built} and "Prompt cache: 0 read, 2 encoded and kept." in said
    again, said = encode(clip)
    assert "Prompt cache: 2 read, 0 encoded and kept." in said
    del clip
    built.clear()
    late = load("tiny")
    read, said = encode(late)
    assert not encoders & {*built} and "Prompt cache: 2 read, 0 encoded and kept." in said
    for conditionings in (fresh, again, read):
        for got, expected in zip(conditionings, plain, strict=True):
            same(got, expected)
    other, said = encode(late, positive="a blue star")
    assert "Prompt cache: 1 read, 1 encoded and kept." in said and encoders <= {*built}
    assert not torch.equal(other[0][0][0], read[0][0][0])


def test_too_many_tokens_are_told_by_a_kept_prompt_too(models):
    shutil.copytree(tiny_wan.folder(), models / "diffusers" / "tiny")
    text = "red " * 40
    first, again = encode(load("tiny"), text)[1], encode(load("tiny"), text)[1]
    assert "The prompt has 41 tokens; this model reads the first 24." in first
    assert again == first.replace("0 read, 2 encoded", "2 read, 0 encoded")


@pytest.mark.parametrize("change", ["weights", "tokenizer", "settings"])
def test_a_changed_encoder_is_asked_anew(models, change):
    folder = models / "diffusers" / "tiny"
    tiny_wan.copy(folder)
    encode(load("tiny"))
    if change == "weights":
        weights = folder / "text_encoder" / "model.safetensors"
        tensors = load_file(weights)
        save_file(tensors, weights)
        state = weights.stat()
        encode(load("tiny"))
        save_file({name: value + 0.5 for name, value in tensors.items()}, weights)
        assert weights.stat().st_size == state.st_size
        os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif change == "tokenizer":
        (folder / "tokenizer" / "special_tokens_map.json").write_text("{ }")
    else:
        settings = json.loads((folder / "opent2v.json").read_text())
        (folder / "opent2v.json").write_text(json.dumps(settings | {"steps": 4}))
    (positive, _), said = encode(load("tiny"))
    assert "0 read, 2 encoded and kept." in said
    same(positive, embedded.embed(load("tiny", None), "a red circle"))


def test_a_text_encoders_file_is_left_out_too(models, built, monkeypatch):
    nodes = []
    monkeypatch.setattr(load_text, "reading", lambda node, _: nodes.append(node))
    text_files.save(
        models / "text_encoders" / "t5.safetensors", text_files.once(text_files.t5(False).state_dict()), True
    )
    graph = {
        "1": {"class_type": "OpenT2VLoadTextEncoder", "inputs": {}},
        "2": {"class_type": "OpenT2VEncodePrompt", "inputs": {"clip": ["1", 0], "prompt_cache": True}},
    }
    inputs = {"model": tiny_mochi.hosted()[0], "file": "t5.safetensors", "file_2": "none"}
    built.clear()
    first, said = encode(call("OpenT2VLoadTextEncoder", **inputs, unique_id="1", prompt=graph)[0][0])
    assert "0 read, 2 encoded and kept." in said and built == ["T5EncoderModel"]
    again, said = encode(call("OpenT2VLoadTextEncoder", **inputs, unique_id="1", prompt=graph)[0][0])
    assert "2 read, 0 encoded and kept." in said and built == ["T5EncoderModel"]
    assert nodes == [None, None]  # the loader has ended when a late encoder is read
    call("OpenT2VLoadTextEncoder", **inputs, unique_id="1")
    assert nodes[2:] == ["1"]
    for got, expected in zip(again, first, strict=True):
        same(got, expected)


@pytest.mark.parametrize("suffix", ["safetensors", "gguf"])
def test_another_shard_or_part_makes_another_encoder(models, suffix):
    """The file that was chosen stays the same to the byte."""
    folder = models / "text_encoders"
    if suffix == "gguf":
        parts = [folder / f"t5-{n:05}-of-00002.gguf" for n in (1, 2)]
        for part in parts:
            part.write_bytes(part.name.encode())
        files = [SimpleNamespace(path=parts[0], files=(parts[0],), tokenizer="x")]
    else:
        state = text_files.once(text_files.t5(False).state_dict())
        parts = [folder / f"t5-{n:05}-of-00002.safetensors" for n in (1, 2)]
        names = sorted(state)
        for part, half in zip(parts, (names[::2], names[1::2]), strict=True):
            save_file({name: state[name].contiguous() for name in half}, part)
        files = list(open_text_files(parts[0]))
        assert files[0].files == tuple(parts)
    variant = embedded.variant(tiny_mochi.hosted()[0])

    def late():
        with patch.object(load_text, "match_text"):
            return load_text.clip_of_files(variant, files, torch.float32, True)

    before = embedded.text_identity(late())
    assert before and embedded.text_identity(late()) == before and embedded.path(late()) == parts[0]
    raw = bytearray(parts[1].read_bytes())
    raw[-1] ^= 1
    parts[1].write_bytes(raw)
    assert embedded.text_identity(late()) != before


def test_a_clip_that_nobody_knows_is_not_kept(models, tmp_path):
    shutil.copytree(tiny_wan.folder(), models / "diffusers" / "tiny")
    bare = tiny_wan.shared()[1]
    clip = load("tiny")
    changed = embedded.apply_patches(clip, [], 1.0)
    for unknown in (bare, changed):
        _, said = encode(unknown)
        assert "Prompt cache: not used, since it is not known what this CLIP's embeddings depend on." in said
    assert not (tmp_path / "prompts").exists()


def test_a_full_disk_is_told_and_stops_nothing(models, tmp_path):
    (tmp_path / "prompts").write_text("a file in the folder's place")
    shutil.copytree(tiny_wan.folder(), models / "diffusers" / "tiny")
    (positive, _), said = encode(load("tiny"))
    assert "Prompt cache: 2 encoded and not kept, " in said and "cannot be written to" in said
    same(positive, embedded.embed(load("tiny", None), "a red circle"))


def test_an_encoder_is_left_out_only_where_nobody_else_reads_it():
    def asked(**nodes):
        return only_kept_prompts({**GRAPH, **nodes}, "1", 1)

    assert asked() and asked(**{"3": GRAPH["2"]})
    assert asked(**{"3": {"class_type": "KSampler", "inputs": {"model": ["1", 0]}}})
    assert not asked(**{"3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1]}}})
    assert not asked(**{"3": {"class_type": "OpenT2VEncodePrompt", "inputs": {"clip": ["1", 1]}}})
    assert not asked(**{"2": {"class_type": "OpenT2VEncodePrompt", "inputs": {}}})
    assert not only_kept_prompts(None, "1", 1) and not only_kept_prompts(GRAPH, "9", 1)
    assert not only_kept_prompts(GRAPH, None, 1)


def test_what_is_asked_of_a_late_clip_without_loading_it(models, built):
    shutil.copytree(tiny_wan.folder(), models / "diffusers" / "tiny")
    clip = load("tiny")
    built.clear()
    assert embedded.variant(clip).title == "Wan tiny" and embedded.path(clip) == models / "diffusers" / "tiny"
    assert embedded.shows(clip) is False and embedded.text_identity(clip)
    assert not built
    assert embedded.tokens(clip, "red circle") and built == ["UMT5EncoderModel"]
    assert type(clip) is embedded.Clip and embedded.text_identity(clip)
