"""MiniMaxAI's own shards, head by head, give what a file with stacked rows gives; any shard stands for all.

Tests: families/minimax_h3/files.py, loaders/shards.py, loaders/single.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, load_model, open_file
from opent2v.nodes.doctor import report
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import minimax_h3 as tiny

pytest.importorskip("diffusers", "0.40")


def sharded(folder: Path, weights: dict[str, Tensor], stem: str = "model", count: int = 3) -> list[Path]:
    """A network in shards with its index, as MiniMaxAI's folder has it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(weights)
    paths = [folder / f"{stem}-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    for n, path in enumerate(paths):
        tiny.save(path, {name: weights[name] for name in names[n::count]})
    places = {name: paths[n].name for n in range(count) for name in names[n::count]}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return paths


def parameters(path: Path, rows: str = "auto") -> dict[str, Tensor]:
    return dict(load_model(open_file(path), torch.float32, rope_layout=rows).transformer.named_parameters())


@pytest.mark.parametrize("kind", ["full", "pruned"])
def test_shards_by_head_and_a_stacked_file_are_one_model(tmp_path, kind):
    expected = parameters(tiny.save(tmp_path / "minimax_h3_fl2va.safetensors", tiny.originals(kind)))
    by_head = sharded(tmp_path / "FL2VA", tiny.originals(kind, interleaved=tiny.HEAD))
    stacked = sharded(tmp_path / "stacked", tiny.originals(kind))
    others = [*(parameters(path) for path in by_head), parameters(stacked[0], "stacked")]
    library = sharded(tmp_path / "library", tiny.transformer(kind), "diffusion_pytorch_model")
    for found in (*others, parameters(library[0])):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    wrong = parameters(stacked[0])
    assert not torch.equal(*(weights["transformer_blocks.0.attn.to_q.weight"] for weights in (wrong, expected)))


def test_the_nodes_take_any_shard_and_say_so(tmp_path):
    embedded.configure(models=tmp_path, output=tmp_path / "output")
    folder = tmp_path / "diffusion_models" / "FL2VA"
    paths = sharded(folder, tiny.originals("pruned", interleaved=tiny.HEAD))
    results, ui = call("OpenT2VLoadDiffusionModel", file=f"FL2VA/{paths[1].name}", dtype="auto")
    assert "Read from 3 shards" in remarks(ui)
    held = dict(results[0].part.transformer.named_parameters())
    expected = parameters(tiny.save(tmp_path / "one.safetensors", tiny.originals("pruned")))
    assert all(torch.equal(held[name].float(), weight) for name, weight in expected.items())
    lines = report(paths[0])
    assert "Read together with the other shards: 3 files" in lines and lines[1].startswith("MiniMax H3 pruned transf")
    paths[2].unlink()
    with pytest.raises(ModelFileError, match=r"1 of 3 shards are missing, first model-00003-of-00003"):
        open_file(paths[0])


def test_a_bank_of_heads_is_refused_by_name_and_with_what_to_do(tmp_path):
    weights = tiny.originals("full")
    for name in ("final_layer.video_out.weight", "final_layer.video_out.bias"):
        weights[name] = weights[name].repeat(8, *[1] * (weights[name].ndim - 1))
    path = tiny.save(tmp_path / "minimax_h3_fl2va_pdd_8step.safetensors", weights)
    with pytest.raises(FamilyError, match=r"bank of output heads for PDD.*ComfyUI's own Load Diffusion Model \(0\.35"):
        open_file(path)
    assert "bank of output heads for PDD" in report(path)[1]
