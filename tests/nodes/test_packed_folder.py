"""Diffusers folders whose weights are in few bits: kept packed, as single files are, with every part compared.

Tests: loaders/pipeline.py, loaders/folder.py, loaders/shards.py
"""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from opent2v.base.packed import PackedTensor
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, open_folder
from opent2v.tests.families.layouts import wan as alibaba
from opent2v.tests.loaders import gguf_files
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import packed
from opent2v.tests.tiny import wan as tiny

pytestmark = pytest.mark.skipif(not (tiny.BUNDLED / "model_index.json").is_file(), reason="the bundled model is gone")
STEM = "diffusion_pytorch_model.safetensors"
WEIGHTS = {"transformer": STEM, "text_encoder": "model.safetensors", "vae": STEM}


@pytest.fixture
def models(tmp_path):
    (tmp_path / "diffusers").mkdir()
    embedded.configure(models=tmp_path, output=tmp_path / "output")
    return tmp_path / "diffusers"


def folder(models, name, **states):
    """A copy of the bundled folder with other weights in some components."""
    shutil.copytree(tiny.BUNDLED, models / name)
    for component, state in states.items():
        save_file(state, models / name / component / WEIGHTS[component])
    return models / name


def state_of(component):
    return {name: tensor.float() for name, tensor in load_file(tiny.BUNDLED / component / WEIGHTS[component]).items()}


def frames(loaded):
    """Two steps of "a red circle", decoded."""
    model, clip, vae, *_ = loaded
    (positive, negative), _ = call("OpenT2VEncodePrompt", clip=clip, positive="a red circle", negative="")
    latent = {"samples": torch.zeros(1, vae.part.variant.geometry.channels, 2, 8, 8)}
    (latent, _), _ = call(
        "OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, steps=2, cfg=2.0, seed=3
    )
    return embedded.decode(vae, latent["samples"])


def kept(module):
    return [name for name, weight in module.named_parameters() if isinstance(weight, PackedTensor)]


@pytest.mark.parametrize("kind", ["int8", "nvfp4", "fp8_rows"])
def test_every_part_stays_packed_and_the_video_is_that_of_its_numbers(models, kind):
    stored, exact = {}, {}
    for component in WEIGHTS:
        convolutions = component == "vae" and kind != "nvfp4"
        stored[component], _, exact[component] = packed.packed(state_of(component), kind, convolutions=convolutions)
    folder(models, "packed", **stored)
    folder(models, "plain", **exact)
    small, ui = call("OpenT2VLoadModel", model="packed")
    plain, _ = call("OpenT2VLoadModel", model="plain")
    layers = kept(small[0].part.transformer)
    assert len(layers) > 40 and kept(small[1].part.encoders["text_encoder"])
    assert (len(kept(small[2].part.vae)) > 20) is (kind != "nvfp4")
    assert (frames(small) - frames(plain)).abs().max() < 1e-4
    first, way, memory = remarks(ui).splitlines()
    title = packed.KINDS[kind][1]
    assert first.startswith("Wan quickstart: 3.") and f"parameters as {title} " in first
    assert f"{len(layers)} layers" in first
    assert way == f"{title}: each layer is multiplied out while it computes"
    assert memory.startswith("Memory: ")
    (wide, *_), ui = call("OpenT2VLoadModel", model="packed", dtype="bf16")
    assert not kept(wide.part.transformer) and "parameters as bfloat16" in remarks(ui)


@pytest.mark.parametrize("is_original", [False, True], ids=["diffusers", "original"])
def test_a_gguf_file_in_a_folder(models, is_original):
    """In the library's names, and in the makers' own as most GGUF files have them."""
    path = folder(models, "packed")
    (path / "transformer" / STEM).unlink()
    stored, exact = {}, {}
    for name, tensor in state_of("transformer").items():
        exact[name] = tensor
        if tensor.ndim == 2 and tensor.shape[1] % 32 == 0 and name.startswith("blocks."):
            scale = tensor.abs().reshape(-1, 32).amax(1, keepdim=True).div(127).half()
            codes = (tensor.reshape(-1, 32) / scale.float()).round().clamp(-127, 127).to(torch.int8)
            raw = torch.cat([scale.view(torch.uint8), codes.view(torch.uint8)], 1)
            exact[name] = (codes.float() * scale.float()).reshape(tensor.shape)
            tensor = gguf_files.Blocks("Q8_0", tuple(tensor.shape), raw.flatten())
        stored[alibaba.original(name) if is_original else name] = tensor
    (path / "transformer" / "wan-Q8_0.gguf").write_bytes(gguf_files.written(stored))
    folder(models, "plain", transformer=exact)
    small, ui = call("OpenT2VLoadModel", model="packed")
    plain, _ = call("OpenT2VLoadModel", model="plain")
    assert len(kept(small[0].part.transformer)) > 40 and "parameters as GGUF Q8_0 " in remarks(ui)
    assert (frames(small) - frames(plain)).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["", "int8_convrot"])
@pytest.mark.parametrize("is_original", [False, True], ids=["diffusers", "original"])
def test_the_bundled_model_is_known_as_a_single_file(models, kind, is_original):
    state = state_of("transformer")
    named = {alibaba.original(name) if is_original else name: tensor for name, tensor in state.items()}
    (models.parent / "diffusion_models").mkdir()
    exact = packed.write(models.parent / "diffusion_models/small.safetensors", named, kind)
    back = dict(zip(named, state, strict=True))
    folder(models, "plain", transformer={back[name]: tensor for name, tensor in exact.items()})
    plain, _ = call("OpenT2VLoadModel", model="plain")
    (model, *_), ui = call("OpenT2VLoadDiffusionModel", file="small.safetensors")
    assert remarks(ui).startswith("Wan quickstart, original layout" if is_original else "Wan quickstart, diffusers")
    assert bool(kept(model.part.transformer)) is bool(kind)
    single, whole = model.part.variant, plain[0].part.variant
    assert single.defaults == whole.defaults and single.prompts == whole.prompts and single.streams == whole.streams
    assert {key: whole.scheduler[key] for key in single.scheduler} == single.scheduler
    assert (frames((model, *plain[1:])) - frames(plain)).abs().max() < 1e-4


def test_a_damaged_packed_folder_is_refused_before_it_is_loaded(models):
    stored, _, _ = packed.packed(state_of("transformer"), "int8")
    del stored["blocks.0.attn1.to_q.weight_scale"]
    folder(models, "packed", transformer=stored)
    with pytest.raises(ModelFileError, match=r"blocks\.0\.attn1\.to_q\.weight_scale is missing, which belongs to"):
        call("OpenT2VLoadModel", model="packed")


def test_shards_add_up(models):
    stored, _, exact = packed.packed(state_of("transformer"), "int8")
    path = folder(models, "packed")
    (path / "transformer" / STEM).unlink()
    halves = [{n: t for n, t in stored.items() if ("blocks.0." in n) is first} for first in (True, False)]
    for number, half in enumerate(halves, 1):
        save_file(half, path / "transformer" / f"diffusion_pytorch_model-0000{number}-of-00002.safetensors")
    weights, quantisation = open_folder(path).stored("transformer")
    assert weights.keys() == exact.keys() and quantisation.kind == "int8"
    assert len(quantisation.layers) == sum(name.endswith(".comfy_quant") for name in stored)
