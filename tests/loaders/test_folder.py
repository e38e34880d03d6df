"""What can be wrong with a model folder is found before anything is loaded, and said."""

from __future__ import annotations

import json
import shutil

import pytest

from opent2v.base import FamilyError
from opent2v.loaders import ModelFileError, is_model_folder, open_folder
from opent2v.tests.tiny import wan as tiny

MODEL = "diffusion_pytorch_model"


@pytest.fixture
def folder(tmp_path):
    return tiny.copy(tmp_path / "model")


def message(path, kind=ModelFileError) -> str:
    with pytest.raises(kind) as error:
        open_folder(path)
    return str(error.value)


def test_a_good_folder():
    path = tiny.folder()
    folder = open_folder(path)
    assert (folder.family.id, folder.variant.name, folder.path) == ("wan", "tiny", path)
    assert folder.weights["text_encoder"] == (path / "text_encoder" / "model.safetensors",)
    assert set(folder.configs) == {
        "index", "folder", "opent2v", "transformer", "vae", "text_encoder", "tokenizer", "scheduler",
    }  # fmt: skip
    assert folder.headers("transformer")["patch_embedding.weight"].shape == (24, 16, 1, 2, 2)


def test_a_sharded_folder_lists_the_same_tensors():
    one, many = open_folder(tiny.folder()), open_folder(tiny.folder("sharded"))
    assert len(many.weights["transformer"]) > 2
    assert many.headers("transformer") == one.headers("transformer")


def test_without_own_values_the_familys_hold(folder):
    (folder / "opent2v.json").unlink()
    variant = open_folder(folder).variant
    assert (variant.name, variant.defaults.width, variant.defaults.steps) == ("", 832, 50)


def test_a_scheduler_config_without_class_gets_the_indexs(folder):
    tiny.edit(folder / "scheduler" / "scheduler_config.json", remove=("_class_name",))
    assert open_folder(folder).variant.scheduler["_class_name"] == "UniPCMultistepScheduler"


def test_no_such_folder(tmp_path):
    assert not is_model_folder(tmp_path)
    assert message(tmp_path / "none") == (
        f"{tmp_path / 'none'}: no such folder. Expected a diffusers folder (with model_index.json in it)."
    )
    assert message(tmp_path) == (
        f"{tmp_path / 'model_index.json'}: the file is missing. The download is not complete: get it too."
    )


@pytest.mark.parametrize("component", ["transformer", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_component_folder(folder, component):
    (folder / component).rename(folder / "elsewhere")
    assert message(folder) == (
        f"{folder}: the folder {component}/ is missing. Expected: transformer, vae, text_encoder, tokenizer, "
        "scheduler. The download is not complete: get the missing folder too."
    )


@pytest.mark.parametrize("value", [None, [], [None, None], "AutoencoderKLWan", {"class": 1}, 3])
def test_an_index_that_names_no_class(folder, value):
    tiny.edit(folder / "model_index.json", vae=value)
    assert message(folder) == (
        f"{folder / 'model_index.json'}: names no vae. "
        "A Wan folder has: transformer, vae, text_encoder, tokenizer, scheduler."
    )


@pytest.mark.parametrize("pipeline", ["StableDiffusionPipeline", None, ["WanPipeline"]])
def test_a_foreign_pipeline(folder, pipeline):
    tiny.edit(folder / "model_index.json", _class_name=pipeline)
    said = message(folder)
    assert said.startswith(
        f"{folder / 'model_index.json'}: the pipeline {pipeline!r} belongs to no family this pack knows. Known: "
    )
    assert "Wan: WanImageToVideoPipeline, WanPipeline" in said


def test_a_foreign_class_in_the_index(folder):
    tiny.edit(folder / "model_index.json", transformer=["my_module", "EvilTransformer"])
    assert message(folder) == (
        f"{folder / 'model_index.json'}: names the class 'EvilTransformer' for transformer. A Wan folder may only name "
        "WanTransformer3DModel; nothing else is loaded, so that a model folder can never run code."
    )


@pytest.mark.parametrize(
    ("component", "file", "key"),
    [
        ("transformer", "config.json", "_class_name"),
        ("vae", "config.json", "_class_name"),
        ("scheduler", "scheduler_config.json", "_class_name"),
        ("tokenizer", "tokenizer_config.json", "tokenizer_class"),
    ],
)
@pytest.mark.parametrize("value", ["Evil", ["Evil"]])
def test_a_foreign_class_in_a_components_config(folder, component, file, key, value):
    tiny.edit(folder / component / file, **{key: value})
    said = message(folder)
    assert said.startswith(f"{folder / component}: names the class ") and "Evil" in said
    assert f"for {component}. A Wan folder may only name " in said


def test_the_two_experts_of_a14b(folder):
    tiny.edit(folder / "model_index.json", transformer_2=["diffusers", "WanTransformer3DModel"])
    assert message(folder).startswith(f"{folder}: the folder transformer_2/ is missing. Expected: transformer, vae,")
    shutil.copytree(folder / "transformer", folder / "transformer_2")
    assert "transformer_2 but no boundary_ratio" in message(folder, FamilyError)
    tiny.edit(folder / "model_index.json", boundary_ratio=0.875)
    opened = open_folder(folder)
    assert opened.variant.boundary == 0.875 and len(opened.weights["transformer_2"]) == 1
    tiny.edit(folder / "model_index.json", transformer_2=None, boundary_ratio=None)
    assert open_folder(folder).variant.boundary == 0


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../secret.safetensors", "'../../secret.safetensors'"),
        ("/etc/passwd", "'/etc/passwd'"),
        ("deeper/a.safetensors", "'deeper/a.safetensors'"),
        ("..", "'..'"),
        ("", "''"),
    ],
)
def test_a_shard_outside_its_folder(tmp_path, name, shown):
    folder = tiny.copy(tmp_path / "model", "sharded")
    index = folder / "transformer" / f"{MODEL}.safetensors.index.json"
    shards = json.loads(index.read_text())["weight_map"]
    tiny.edit(index, weight_map=shards | {next(iter(shards)): name})
    assert message(folder) == f"{index}: names {shown}, which is not a plain file name."


@pytest.mark.parametrize("shards", [None, {}, ["a.safetensors"], {"a": 1}, {"a": ["b"]}])
def test_a_shard_index_without_a_map(tmp_path, shards):
    folder = tiny.copy(tmp_path / "model", "sharded")
    index = folder / "transformer" / f"{MODEL}.safetensors.index.json"
    tiny.edit(index, weight_map=shards)
    assert message(folder) == f"{index}: has no weight_map. Get the file again."


def test_a_missing_shard(tmp_path):
    folder = tiny.copy(tmp_path / "model", "sharded")
    shards = sorted((folder / "transformer").glob("*.safetensors"))
    shards[1].unlink()
    assert message(folder) == (
        f"{folder / 'transformer'}: 1 of {len(shards)} shards are missing, first {shards[1].name}. "
        "The download is not complete."
    )


def test_only_a_pickle_is_there(folder):
    path = folder / "vae" / f"{MODEL}.safetensors"
    path.rename(path.with_suffix(".bin"))
    assert message(folder) == (
        f"{folder / 'vae'}: has {MODEL}.bin, a pickle, but no safetensors file. Pickles can run code and are not "
        "opened. Get the safetensors version of this model."
    )


def test_no_weights_at_all(folder):
    (folder / "vae" / f"{MODEL}.safetensors").unlink()
    assert message(folder) == (
        f"{folder / 'vae'}: no weights in it. Expected {MODEL}.safetensors or model.safetensors, also of a variant "
        "(.fp16.safetensors), or all their shards."
    )


def test_no_tokenizer_file(folder):
    (folder / "tokenizer" / "tokenizer.json").unlink()
    assert (
        message(folder) == f"{folder / 'tokenizer'}: no tokenizer.json and no spiece.model in it. Get the folder again."
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"in_channels": 16,', "cannot be read as JSON ("),
        ("", "cannot be read as JSON ("),
        ("<html>", "cannot be read as JSON ("),
        ("[1]", "expected a JSON object, found list."),
    ],
)
def test_broken_json(folder, content, said):
    (folder / "transformer" / "config.json").write_text(content)
    assert message(folder).startswith(f"{folder / 'transformer' / 'config.json'}: {said}")


def test_a_config_without_an_entry_or_with_a_wrong_one(folder):
    config = folder / "transformer" / "config.json"
    tiny.edit(config, patch_size=2)
    assert message(folder).startswith(f"{folder}: a config.json holds a value of the wrong kind (")
    tiny.edit(config, remove=("in_channels",))
    assert message(folder) == (
        f"{folder}: a config.json lacks the entry 'in_channels'. The folder is damaged or made for another version."
    )


@pytest.mark.parametrize(
    ("component", "method"), [("transformer", "bitsandbytes"), ("text_encoder", "torchao"), ("vae", "quanto")]
)
def test_weights_that_another_library_has_packed(folder, component, method):
    if method == "quanto":
        (folder / component / "quanto_qmap.json").write_text("{}")
    else:
        tiny.edit(folder / component / "config.json", quantization_config={"quant_method": method})
    text = message(folder)
    assert f"{component}: its weights are stored in few bits by {method} (quant" in text
    assert "bf16 folder, or load its int8 convrot" in text
