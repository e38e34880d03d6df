"""Single CogVideoX files: every published size and layout is recognised, and its names become exactly the module's."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.base.keys import translate
from opent2v.families import cogvideox, families
from opent2v.families.cogvideox import files
from opent2v.loaders.weights import fill
from opent2v.tests.families.layouts.cogvideox import PUBLISHED, comfyui, original, original_vae
from opent2v.tests.tiny import cogvideox as tiny_cog

LAYOUTS = ("diffusers", "Kijai", "ComfyUI", "original", "ComfyUI with prefix", "diffusers with prefix")


@cache
def meta(name: str) -> dict[str, torch.Tensor]:
    """The full-size module's tensors, without memory."""
    from diffusers import CogVideoXTransformer3DModel

    with torch.device("meta"):
        return dict(CogVideoXTransformer3DModel(**PUBLISHED[name][0]).state_dict())


def laid_out(state: dict[str, torch.Tensor], layout: str) -> dict[str, torch.Tensor]:
    kind, _, prefix = layout.partition(" with ")
    if kind == "original":
        return original(state)
    named = comfyui(state) if kind == "ComfyUI" else state
    return {"model.diffusion_model." + k: v for k, v in named.items()} if prefix or kind == "Kijai" else dict(named)


def shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_transformer(name, layout):
    config, billions = PUBLISHED[name]
    wanted = meta(name)
    assert sum(t.numel() for t in wanted.values()) / 1e9 == pytest.approx(billions, abs=2e-3)
    written = laid_out(wanted, layout)
    found = cogvideox.FAMILY.recognise(shapes(written), "any.safetensors")
    assert not isinstance(found, str)
    assert (found.part, found.class_name) == ("transformer", "CogVideoXTransformer3DModel")
    assert found.layout == {"Kijai": "diffusers"}.get(layout, layout.split(" with ")[0])
    assert {k: found.config[k] for k in config} == config
    assert found.variant.name == name and found.remark == ""
    assert found.variant == cogvideox.read(folder_configs(name)), "a file and a folder of the same model differ"
    got = {}
    for stored, tensor in written.items():
        renamed = translate(stored, found.rules, found.prefix)
        assert renamed is not None
        got |= dict(zip(renamed.names, renamed.shapes(tuple(tensor.shape)), strict=True))
    assert got == shapes(wanted)
    others = [f.id for f in families().values() if f.id != "cogvideox" and knows(f, written)]
    assert others == []


def knows(family, state) -> bool:
    try:
        return not isinstance(family.recognise(shapes(state), "any.safetensors"), str)
    except FamilyError:
        return True


def folder_configs(name: str) -> dict:
    vae = {"latent_channels": 16, "scaling_factor": 1.15258426 if name == "2B" else 0.7}
    scheduler = dict(cogvideox.describe(PUBLISHED[name][0], 1.0, False).scheduler)
    return {
        "index": {"_class_name": "CogVideoXPipeline"}, "transformer": PUBLISHED[name][0],
        "vae": vae | {"invert_scale_latents": name == "1.5 5B I2V"}, "text_encoder": {"d_model": 4096},
        "scheduler": scheduler,
    }  # fmt: skip


@pytest.mark.parametrize("kind", tiny_cog.KINDS)
@pytest.mark.parametrize("layout", ["original", "ComfyUI"])
def test_weights_come_back_bit_for_bit(kind, layout, tmp_path):
    from diffusers import CogVideoXTransformer3DModel
    from safetensors.torch import save_file

    state = CogVideoXTransformer3DModel.from_pretrained(tiny_cog.folder(kind) / "transformer").state_dict()
    extra = {}
    if layout == "original":  # what SAT stores and the module makes itself
        extra = {"model.diffusion_model.mixins.pos_embed.freqs_sin": torch.ones(2)}
        extra["model.diffusion_model.transformer.position_embeddings.weight"] = torch.ones(2, 2)
    path = tmp_path / "file.safetensors"
    save_file({k: v.contiguous() for k, v in (laid_out(state, layout) | extra).items()}, path)
    rules = files.SAT if layout == "original" else files.COMFYUI
    prefix = "model.diffusion_model." if layout == "original" else ""
    with torch.device("meta"):
        module = CogVideoXTransformer3DModel(**tiny_cog.transformer_config(kind))
    read = fill(module, (path,), rules=rules, prefix=prefix).state_dict()
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)


def test_positions_that_the_module_makes_itself_are_left_out():
    for name, layout in (("2B", "original"), ("2B", "diffusers"), ("5B", "original")):
        written = laid_out(meta(name), layout)
        key = "model.diffusion_model.mixins.pos_embed" if layout == "original" else "patch_embed"
        written[f"{key}.pos_embedding"] = torch.empty(1, 17776, meta(name)["norm_final.weight"].shape[0], device="meta")
        found = cogvideox.FAMILY.recognise(shapes(written), "")
        assert found.variant.name == name and translate(f"{key}.pos_embedding", found.rules, found.prefix).names == ()


def changed(name: str, **sizes: tuple[int, ...] | None) -> dict[str, tuple[int, ...]]:
    """The header with tensors of other shapes; None takes one out."""
    header = shapes(meta(name)) | {k.replace("__", "."): v for k, v in sizes.items()}
    return {k: v for k, v in header.items() if v is not None}


def test_fun_models_are_refused_by_name():
    for header in (
        changed("5B", patch_embed__proj__weight=(3072, 33, 2, 2)),
        changed("5B", patch_embed__proj__weight=(3072, 48, 2, 2)),
        changed("1.5 5B", patch_embed__proj__weight=(3072, 33 * 8)),
    ):
        with pytest.raises(FamilyError) as error:
            cogvideox.FAMILY.recognise(header, "CogVideoX-Fun-V1.1-5b-InP.safetensors")
        channels = header["patch_embed.proj.weight"][1] // (8 if len(header["patch_embed.proj.weight"]) == 2 else 1)
        assert str(error.value) == (
            f"This is a CogVideoX-Fun model (control or inpainting): it takes {channels} channels. Not supported; use "
            "CogVideoX 2B, 5B, 5B I2V, 1.5 5B or 1.5 5B I2V."
        )


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({}, "'patch_embed.text_proj.weight' with 'transformer_blocks' is missing"),
        (
            lambda: changed("5B", patch_embed__proj__weight=(1024, 16, 2, 2)),
            "the transformer is 1024 wide; published are 1920 (2B) and 3072 (5B)",
        ),
        (
            lambda: changed("5B I2V", patch_embed__pos_embedding=None),
            "'patch_embed.pos_embedding' of shape [1, 17776, 3072] is missing",
        ),
    ],
)
def test_the_reason_why_not(header, said):
    assert cogvideox.FAMILY.recognise(header() if callable(header) else header, "") == said


# --- the VAE ---


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_the_published_vae(layout):
    from diffusers import AutoencoderKLCogVideoX

    with torch.device("meta"):
        wanted = shapes(AutoencoderKLCogVideoX().state_dict())
    assert sum(torch.Size(s).numel() for s in wanted.values()) / 1e6 == pytest.approx(215.6, abs=0.1)
    written = {original_vae(k) if layout == "original" else k: s for k, s in wanted.items()}
    if layout == "original":
        written["loss.logvar"] = ()
    found = cogvideox.FAMILY.recognise(written, "any.safetensors")
    assert (found.part, found.layout, found.class_name) == ("vae", layout, "AutoencoderKLCogVideoX")
    assert found.config["block_out_channels"] == [128, 256, 256, 512]
    assert (found.config["layers_per_block"], found.config["latent_channels"]) == (3, 16)
    renamed = {k: translate(k, found.rules, found.prefix).names for k in written}
    assert {names[0]: written[k] for k, names in renamed.items() if names} == wanted
    with torch.device("meta"):
        assert shapes(AutoencoderKLCogVideoX(**found.config).state_dict()) == wanted
    others = [
        f.id for f in families().values() if f.id != "cogvideox" and not isinstance(f.recognise(written, ""), str)
    ]
    assert others == []


def test_the_vaes_weights_come_back_bit_for_bit(tmp_path):
    from diffusers import AutoencoderKLCogVideoX
    from safetensors.torch import save_file

    state = AutoencoderKLCogVideoX.from_pretrained(tiny_cog.folder("5b") / "vae").state_dict()
    path = tmp_path / "vae.safetensors"
    save_file({original_vae(name): tensor.contiguous() for name, tensor in state.items()}, path)
    with torch.device("meta"):
        module = AutoencoderKLCogVideoX(**tiny_cog.vae_config("5b"))
    read = fill(module, (path,), rules=files.SAT_VAE).state_dict()
    assert read.keys() == state.keys() and all(torch.equal(read[name], state[name]) for name in state)
