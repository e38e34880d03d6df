"""GGUF files in several parts: any of them stands for the whole model; a part that is missing or another's is named.

Tests: loaders/gguf_parts.py, loaders/containers/gguf.py
"""

from __future__ import annotations

import pytest
import torch

from opent2v.loaders import ModelFileError, load_model, open_container, open_file
from opent2v.loaders.gguf_parts import part_names
from opent2v.loaders.quantised import read_layer, split_header
from opent2v.nodes.shared import files_state
from opent2v.tests.loaders.gguf_files import random_blocks, written
from opent2v.tests.tiny import packed_models

TENSORS = [
    {},  # llama-gguf-split can leave the first part without tensors
    {"a.weight": random_blocks("Q4_K", (6, 512)), "a.bias": torch.arange(6.0)},
    {"b.weight": torch.randn(3, 5).half()},
]
FIRST = {"general.architecture": "wan", "words": ["a", "b"]}


@pytest.fixture
def parts(tmp_path):
    return split(tmp_path, TENSORS, {**FIRST, "split.tensors.count": 3})


def split(folder, tensors, metadata):
    paths = part_names(folder / f"model-Q4_K_M-00001-of-{len(tensors):05}.gguf")
    for number, (path, part) in enumerate(zip(paths, tensors, strict=True)):
        place = {"split.no": number, "split.count": len(tensors)}
        path.write_bytes(written(part, {**place, **(metadata if number == 0 else {})}))
    return paths


def said_of(path) -> str:
    with pytest.raises(ModelFileError) as error:
        open_container(path)
    return str(error.value)


@pytest.mark.parametrize("chosen", range(3))
def test_any_part_stands_for_the_whole(parts, chosen):
    file = open_container(parts[chosen])
    assert (file.path, list(file.header)) == (parts[0], ["a.weight", "a.bias", "b.weight"])
    assert file.metadata["general.architecture"] == "wan" and file.array("words") == ["a", "b"]
    _, quantisation = split_header(file)
    with file.tensors() as read:
        assert torch.equal(read("b.weight"), TENSORS[2]["b.weight"])
        assert torch.equal(read("a.bias"), TENSORS[1]["a.bias"])
        weight = read_layer(quantisation.layers["a.weight"], read)
    assert torch.equal(weight.tensors["weight"].flatten(), TENSORS[1]["a.weight"].stored)


def test_a_model_in_parts_loads_as_in_one_piece(tmp_path):
    state = packed_models.state("wan")
    names = sorted(state)
    halves = [{name: state[name] for name in names[start::2]} for start in (0, 1)]
    paths = split(tmp_path, halves, {})
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(written(state))
    models = [load_model(open_file(path), torch.float32).transformer.state_dict() for path in (paths[1], whole)]
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_parts_as_the_package_writes_them(tmp_path):
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "wan", split_max_tensors=2)
    weights = {f"{n}.weight": torch.randn(4, 32) for n in range(5)}
    for name, weight in weights.items():
        writer.add_tensor(name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 3
    file = open_container(paths[2])
    with file.tensors() as read:
        assert {name: read(name).tolist() for name in file.header} == {n: w.tolist() for n, w in weights.items()}


def test_a_missing_part_is_named(parts):
    parts[2].unlink()
    folder = parts[0].parent
    assert said_of(parts[1]) == (
        f"{parts[1]}: is part 2 of 3 of a split GGUF, and 1 of the parts are not beside it, first {parts[2].name}. Get "
        f"all 3 into one folder; any of them can then be chosen."
    )
    parts[0].rename(folder / "renamed.gguf")
    assert "is part 1 of 3 of a split GGUF, and its name does not say so. Expected" in said_of(folder / "renamed.gguf")


def test_a_part_that_is_still_downloading(parts):
    parts[2].with_name(parts[2].name + ".aria2").touch()
    parts[2].write_bytes(parts[2].read_bytes()[:-64] + bytes(64))
    assert said_of(parts[0]).startswith(f"{parts[2]}: is still downloading: {parts[2].name}.aria2 lies beside it")


@pytest.mark.parametrize(
    ("tensors", "metadata", "said"),
    [
        (
            [{"a": torch.ones(2)}, {"a": torch.ones(2)}],
            {},
            "-00002-of-00002.gguf: the tensor a is in another part too.",
        ),
        ([{}, {}], {}, "-00001-of-00002.gguf: holds metadata and no tensor (a vocabulary alone)."),
        (
            [{"a": torch.ones(2)}, {"b": torch.ones(2)}],
            {"split.tensors.count": 3},
            "-00001-of-00002.gguf: its 2 parts hold 2 tensors, and it states 3: they are parts of several models.",
        ),
    ],
)
def test_parts_that_do_not_go_together(tmp_path, tensors, metadata, said):
    assert said in said_of(split(tmp_path, tensors, metadata)[0])


def test_a_part_under_anothers_name(parts):
    parts[1].write_bytes(parts[2].read_bytes())
    assert said_of(parts[0]).startswith(f"{parts[1]}: is not part 2 of the 3 that {parts[0].name} begins.")


def test_a_damaged_part_is_named(parts):
    parts[1].write_bytes(parts[1].read_bytes()[:-40])
    assert said_of(parts[0]).startswith(f"{parts[1]}: the file is cut short. Found ")


def test_a_changed_part_is_another_model(parts):
    before = files_state(parts[0])
    parts[2].write_bytes(written({"b.weight": torch.zeros(3, 6)}, {"split.no": 2, "split.count": 3}))
    assert files_state(parts[0]) != before


def test_a_changed_shard_is_another_model(tmp_path):
    shards = [tmp_path / f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for shard in [*shards, tmp_path / "model-fp8-00002-of-00002.safetensors"]:
        shard.write_bytes(b"x")
    before = files_state(shards[0])
    (tmp_path / "model-00002-of-00002.safetensors.bak").write_bytes(b"another file")
    assert files_state(shards[0]) == before
    shards[1].write_bytes(b"xx")
    assert files_state(shards[0]) != before
