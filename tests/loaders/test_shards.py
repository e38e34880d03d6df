"""A component's weights are found as people have them: plain, variants, shards with an index and without."""

from __future__ import annotations

import json

import pytest

from opent2v.loaders import ModelFileError
from opent2v.loaders.shards import weight_files

MODEL = "diffusion_pytorch_model"
SHARDS = [f"{MODEL}-0000{n}-of-00002.safetensors" for n in (1, 2)]
BF16 = [f"{MODEL}.bf16-0000{n}-of-00002.safetensors" for n in (1, 2)]


def put(folder, *names, index="", shards=()):
    for name in names:
        (folder / name).write_bytes(b"")
    if index:
        (folder / index).write_text(json.dumps({"weight_map": {f"layer{n}": name for n, name in enumerate(shards)}}))


def names(folder) -> list[str]:
    return [path.name for path in weight_files(folder)]


@pytest.mark.parametrize(
    ("present", "taken"),
    [
        ([f"{MODEL}.safetensors"], [f"{MODEL}.safetensors"]),
        (["model.safetensors"], ["model.safetensors"]),
        ([f"{MODEL}.fp16.safetensors"], [f"{MODEL}.fp16.safetensors"]),
        (["model.non_ema.safetensors", "model.fp16.safetensors"], ["model.fp16.safetensors"]),
        ([f"{MODEL}.fp16.safetensors", f"{MODEL}.bf16.safetensors"], [f"{MODEL}.bf16.safetensors"]),
        ([f"{MODEL}.fp16.safetensors", f"{MODEL}.safetensors"], [f"{MODEL}.safetensors"]),
        (SHARDS, SHARDS),
        (BF16, BF16),
        ([*SHARDS, f"{MODEL}.safetensors"], [f"{MODEL}.safetensors"]),
        ([SHARDS[0], f"{MODEL}.fp16.safetensors"], [f"{MODEL}.fp16.safetensors"]),
        (["model-00001-of-00002.fp16.safetensors", "model-00002-of-00002.fp16.safetensors"],) * 2,
        (["wan_vae.safetensors", "config.json"], ["wan_vae.safetensors"]),
    ],
)
def test_without_an_index(tmp_path, present, taken):
    put(tmp_path, *present)
    assert names(tmp_path) == taken


@pytest.mark.parametrize("index", ["safetensors.index.bf16", "safetensors.bf16.index", "bf16.safetensors.index"])
def test_the_index_of_a_variant(tmp_path, index):
    put(tmp_path, *BF16, index=f"{MODEL}.{index}.json", shards=BF16)
    assert names(tmp_path) == BF16


def test_a_whole_variant_is_taken_where_only_the_plain_ones_index_came_along(tmp_path):
    """As genmo/mochi-1-preview is downloaded in bf16: the indexes of both come with it."""
    put(tmp_path, index=f"{MODEL}.safetensors.index.json", shards=SHARDS)
    put(tmp_path, *BF16, index=f"{MODEL}.safetensors.index.bf16.json", shards=BF16)
    assert names(tmp_path) == BF16


@pytest.mark.parametrize(
    ("present", "said"),
    [
        ([SHARDS[1]], f"1 of 2 shards are missing, first {SHARDS[0]}. The download is not complete."),
        ([BF16[0]], f"1 of 2 shards are missing, first {BF16[1]}. The download is not complete."),
        (["pytorch_model.bin"], "has pytorch_model.bin, a pickle, but no safetensors file."),
        (["config.json"], f"no weights in it. Expected {MODEL}.safetensors or model.safetensors"),
        (["a.safetensors", "b.safetensors"], "no weights in it."),
    ],
)
def test_what_is_missing_is_said(tmp_path, present, said):
    put(tmp_path, *present)
    with pytest.raises(ModelFileError) as error:
        weight_files(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}: {said}")
