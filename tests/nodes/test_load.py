"""The loader node: which folders it lists, what it says, and what it refuses."""

from __future__ import annotations

import gc
import os
import shutil
import weakref

import pytest
import torch
from safetensors.torch import load_file, save_file

from opent2v.host import embedded, host
from opent2v.loaders import ModelFileError
from opent2v.nodes.load import NOTHING, OpenT2VLoadModel, model_folders
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan


@pytest.fixture
def models(tmp_path):
    """A models folder of the user's own, with a tiny model in it."""
    folder = tmp_path / "models" / "diffusers"
    folder.mkdir(parents=True)
    tiny.copy(folder / "tiny")
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    return folder


def test_folders_are_listed_by_name_the_bundled_first(models):
    tiny.copy(models / "maker" / "deeper")
    (models / "no model").mkdir()
    names = list(model_folders())
    assert names[-2:] == ["tiny", "maker/deeper"] and "no model" not in names
    if (tiny.BUNDLED / "model_index.json").is_file():
        assert names[0] == "opent2v-quickstart"
    assert OpenT2VLoadModel.INPUT_TYPES()["required"]["model"][0] == names


def test_without_any_model_the_list_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("opent2v.nodes.load.host.model_roots", lambda kind: [tmp_path / "none"])
    kind, options = OpenT2VLoadModel.INPUT_TYPES()["required"]["model"]
    assert kind == [NOTHING] and options["default"] == NOTHING == "put a diffusers folder into models/diffusers"


@pytest.mark.parametrize("name", ["gone", "../outside", "", NOTHING])
def test_an_unknown_name(models, name):
    with pytest.raises(ModelFileError) as error:
        call("OpenT2VLoadModel", model=name)
    assert str(error.value) == (
        f"The model folder {name!r} is not there (any more). Put a diffusers folder, the one with model_index.json in "
        "it, into models/diffusers and press R to refresh the list."
    )


@pytest.mark.parametrize(
    ("dtype", "stored", "said"),
    [
        ("auto", torch.float32, "float32"),
        ("bf16", torch.bfloat16, "bfloat16"),
        ("fp16", torch.float16, "float16"),
        ("fp8_e4m3fn", torch.float8_e4m3fn, "float8_e4m3fn"),
    ],
)
def test_dtype_is_how_the_video_model_is_stored(models, monkeypatch, dtype, stored, said):
    monkeypatch.setattr(embedded.machine, "device", lambda: torch.device("cpu"))
    (model, clip, vae, low, vision), ui = call("OpenT2VLoadModel", model="tiny", dtype=dtype)
    assert low is vision is None
    assert model.part.transformer.get_parameter("blocks.0.attn1.to_q.weight").dtype == stored
    assert {p.dtype for part in (clip.part.encoders["text_encoder"], vae.part.vae) for p in part.parameters()} == {
        torch.float32
    }
    assert remarks(ui).splitlines()[0] == f"Wan tiny: 0.0 million parameters as {said}"


def test_what_a_folder_is_stored_as_is_said_by_its_numbers_not_its_tensors(models, monkeypatch):
    """Norms and biases are many, small, and often wider than the matrices."""
    (path,) = (models / "tiny" / "transformer").glob("*.safetensors")
    state = load_file(path)
    large = sorted(state, key=lambda name: state[name].numel())[-len(state) // 3 :]
    save_file({name: one.to(torch.bfloat16 if name in large else torch.float32) for name, one in state.items()}, path)
    asked, device_dtypes = [], host.device_dtypes
    monkeypatch.setattr(host, "device_dtypes", lambda *given: asked.append(given) or device_dtypes(*given))
    call("OpenT2VLoadModel", model="tiny")
    assert asked == [(None, torch.bfloat16, sum(tensor.numel() for tensor in state.values()))]


def test_experts_and_an_image_encoder_come_out_too(models):
    for kind in ("t2v_a14b", "i2v"):
        shutil.copytree(tiny_wan.folder(kind), models / kind)
    (model, _, _, low, vision), _ = call("OpenT2VLoadModel", model="t2v_a14b")
    assert [one.part.variant.expert for one in (model, low)] == ["high", "low"] and vision is None
    assert not torch.equal(model.part.transformer.proj_out.weight, low.part.transformer.proj_out.weight)
    (_, _, _, low, vision), _ = call("OpenT2VLoadModel", model="i2v")
    seen = vision.encode_image(tiny_wan.picture(1, 48, 32)).penultimate_hidden_states
    assert low is None and seen.shape == (1, 17, tiny_wan.IMAGE_DIM)


def test_an_image_encoder_saved_by_an_older_transformers(models):
    """Before 5.6 the tensors' names began with vision_model; the published folders are that old."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_wan.folder("i2v"), models / "i2v")
    image = tiny_wan.picture(1)
    (*_, vision), _ = call("OpenT2VLoadModel", model="i2v")
    expected = vision.encode_image(image).penultimate_hidden_states
    path = models / "i2v" / "image_encoder" / "model.safetensors"
    names = {k.removeprefix("vision_model."): v for k, v in load_file(path).items()}
    save_file({f"vision_model.{k}": v for k, v in names.items()}, path)
    transformer = models / "i2v" / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(transformer) | {"blocks.0.attn2.norm_added_q.weight": torch.ones(24)}, transformer)
    (*_, vision), _ = call("OpenT2VLoadModel", model="i2v")
    assert torch.equal(vision.encode_image(image).penultimate_hidden_states, expected)


def test_progress_counts_bytes(models):
    seen = []
    embedded.configure(models=models.parent, on_progress=lambda *what: seen.append(what))
    call("OpenT2VLoadModel", model="tiny", unique_id="12")
    total = sum(
        tensor.nbytes for path in (models / "tiny").rglob("*.safetensors") for tensor in load_file(path).values()
    )
    assert {(node, whole) for node, _, whole in seen} == {("12", total)} and len(seen) > 100
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen) and seen[-1][1] == total


def test_an_interrupt_while_loading(models):
    embedded.interrupt()
    with pytest.raises(embedded.Interrupted):
        call("OpenT2VLoadModel", model="tiny")
    assert call("OpenT2VLoadModel", model="tiny")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "vae").rename(f / "elsewhere"), "the folder vae/ is missing"),
        (
            lambda f: cut(f / "transformer" / "diffusion_pytorch_model.safetensors"),
            "the file is cut short. Found 1,000 bytes",
        ),
        (lambda f: tiny.edit(f / "transformer" / "config.json", ffn_dim=64), "of the wrong shape, first blocks.0.ffn"),
        (lambda f: tiny.edit(f / "vae" / "config.json", _class_name="Evil"), "names the class 'Evil' for vae"),
        (lambda f: torch.save({}, f / "vae" / "diffusion_pytorch_model.safetensors"), "this is a Python pickle"),
    ],
)
def test_a_damaged_folder_is_refused_with_its_reason(models, damage, said):
    damage(models / "tiny")
    with pytest.raises(ModelFileError) as error:
        call("OpenT2VLoadModel", model="tiny")
    assert said in str(error.value)


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


# --- one model for all who load it ---


def load(folder, dtype="auto"):
    return call("OpenT2VLoadModel", model=folder.name, dtype=dtype)[0]


def test_two_loaders_of_one_folder_share_what_they_load(models):
    folder = tiny.copy(models / "one")
    first, again = load(folder), load(folder, "fp32")  # what "auto" is on a CPU
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert load(folder, "bf16")[0] is not first[0]


def test_a_model_nobody_holds_is_gone(models):
    first = load(tiny.copy(models / "gone"))
    weights = weakref.ref(first[0].part.transformer)
    assert weights() is not None
    del first
    gc.collect()
    assert weights() is None


def test_changed_files_are_another_model(models):
    folder = tiny.copy(models / "changed")
    first, before = load(folder), OpenT2VLoadModel.IS_CHANGED(model="changed", dtype="auto", unique_id="1")
    assert OpenT2VLoadModel.IS_CHANGED(model="changed", dtype="auto") == before != ""
    os.utime(folder / "vae" / "config.json", ns=(1, 1))
    assert OpenT2VLoadModel.IS_CHANGED(model="changed", dtype="auto") != before
    assert load(folder)[0] is not first[0]
    assert OpenT2VLoadModel.IS_CHANGED(model="nowhere", dtype="auto") == ""


def test_weights_behind_a_linked_component_folder_are_read_anew(models, tmp_path):
    folder = tiny.copy(models / "linked")
    shutil.move(folder / "transformer", tmp_path / "elsewhere")
    (folder / "transformer").symlink_to(tmp_path / "elsewhere")
    first, before = load(folder), OpenT2VLoadModel.IS_CHANGED(model="linked")
    weights = tmp_path / "elsewhere" / "diffusion_pytorch_model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(weights).items()}, weights)
    os.utime(weights, ns=(1, 1))
    assert OpenT2VLoadModel.IS_CHANGED(model="linked") != before
    second = load(folder)
    name = "proj_out.weight"
    changed, known = (one[0].part.transformer.get_parameter(name) for one in (second, first))
    assert torch.equal(changed, 2 * known)


def test_folders_at_any_depth_and_of_the_hubs_cache_are_listed(models):
    tiny.copy(models / "video" / "wan" / "deep")
    hub = models / "models--Wan-AI--Wan2.1" / "snapshots" / "0fad780a"
    for path in tiny.folder().rglob("*"):
        link = hub / path.relative_to(tiny.folder())
        link.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            link.symlink_to(path)
    names = list(model_folders())
    assert names[-2:] == ["models--Wan-AI--Wan2.1/snapshots/0fad780a", "video/wan/deep"]
    assert not any(name.startswith("tiny/") for name in names)  # components of a model are no models
    for name in (*names[-2:], "video\\wan\\deep"):
        (model, *_), _ = call("OpenT2VLoadModel", model=name, dtype="fp32")
        assert embedded.variant(model).name == "tiny"


def test_a_variant_without_an_index_loads_to_the_same_weights(models):
    plain, folder = load(models / "tiny"), tiny.copy(models / "fp16")
    for component, stem in (("transformer", "diffusion_pytorch_model"), ("text_encoder", "model")):
        path = folder / component / f"{stem}.safetensors"
        path.rename(path.with_name(f"{stem}.fp16.safetensors"))
    stored = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    for number in (1, 2):
        part = dict(sorted(stored.items())[number - 1 :: 2])
        save_file(part, folder / "vae" / f"diffusion_pytorch_model-0000{number}-of-00002.safetensors")
    parts = [(one[0].part.transformer, one[2].part.vae) for one in (load(folder), plain)]
    for ours, known in zip(*parts, strict=True):
        assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in known.state_dict().items())
