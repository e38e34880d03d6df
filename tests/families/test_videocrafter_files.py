"""VideoCrafter2 files are recognised in every layout, at full size by the original's names, and come back exactly."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from opent2v.base import FamilyError
from opent2v.base.keys import translate
from opent2v.families import families, videocrafter
from opent2v.families.videocrafter.files import SCALE
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, load_model, load_text, load_vae, open_file, open_text_file
from opent2v.loaders.weights import build, extension
from opent2v.nodes.doctor import report
from opent2v.tests.families.layouts.videocrafter import CONFIG
from opent2v.tests.loaders.text_files import save
from opent2v.tests.tiny import videocrafter as tiny

ROOT = Path(__file__).resolve().parents[2]
PREFIX = tiny.PREFIXES["unet"]
# Of "name [shape]" of all 1484 tensors, sorted, of lvdm's UNetModel built from inference_t2v_512_v2.0.yaml (@11bcd76).
ORIGINAL_NAMES = "eddde6b98ba85a9c0ac690e2ec3b4a023165cd205e4cf0cc64e5e386c5c0cdc7"
FULL_VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}

Shapes = dict[str, tuple[int, ...]]


@cache
def full() -> Shapes:
    """The full-size module's tensors by diffusers' names."""
    variant = videocrafter.describe(CONFIG, SCALE)
    module = build("UNet3DConditionModel", CONFIG, extension(variant))
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def original(shapes: Shapes) -> Shapes:
    named = {tiny.original_unet_name(name, 2, 4): shape for name, shape in shapes.items()}
    return {name: tiny.original_unet_shape(name, shape) for name, shape in named.items()}


def behind(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def knows(family, shapes: Shapes, name: str) -> bool:
    try:
        return not isinstance(family.recognise(shapes, name), str)
    except FamilyError:
        return True


def test_the_published_network_is_built_whole():
    names = original(full())
    listed = "\n".join(f"{name} {list(shape)}" for name, shape in sorted(names.items()))
    assert hashlib.sha256(listed.encode()).hexdigest() == ORIGINAL_NAMES
    assert len(names) == 1484 and len([n for n in names if not n.startswith("fps_embedding")]) == 1480
    assert sum(torch.Size(shape).numel() for shape in names.values()) / 1e9 == pytest.approx(1.413, abs=1e-3)


@pytest.mark.parametrize("layout", ["original", "original with prefix", "diffusers", "diffusers with prefix"])
def test_a_published_file(layout):
    written = original(full()) if layout.startswith("original") else full()
    written = behind(PREFIX if "prefix" in layout else "", written)
    found = videocrafter.FAMILY.recognise(written, "model.safetensors")
    assert not isinstance(found, str)
    assert (found.part, found.layout, found.class_name) == (
        "transformer", layout.split(" ")[0], "UNet3DConditionModel",
    )  # fmt: skip
    assert found.config == CONFIG and found.remark == "" and found.variant.title == "VideoCrafter2"
    got = {}
    for name, shape in written.items():
        renamed = translate(name, found.rules, found.prefix)
        assert renamed is not None
        got |= dict(zip(renamed.names, renamed.shapes(shape), strict=True))
    assert got == full()
    assert [f.id for f in families().values() if knows(f, written, "model.safetensors")] == ["videocrafter"]


def test_without_the_fps_embedding_the_user_is_told():
    bare = {n: s for n, s in full().items() if not n.startswith("fps_embedding")}
    for written in (original(bare), bare):
        found = videocrafter.FAMILY.recognise(written, "videocrafter_v2.safetensors")
        assert not isinstance(found, str) and found.remark.startswith("This file lacks the original's fps embedding")
        assert found.variant.facts["has_rate"] is False
    said = videocrafter.FAMILY.recognise(bare, "zeroscope_v2_576w.safetensors")
    assert said == (
        "'fps_embedding.linear_1.weight' is missing, and without it ModelScope's and Zeroscope's files look the same "
        "(put videocrafter into the file's name if it is one)"
    )


@pytest.mark.parametrize(
    ("further", "without", "said"),
    [
        (
            {"input_blocks.1.2.transformer_blocks.0.attn1.relative_position_k.embeddings_table": (33, 64)},
            "temopral_conv",
            "This is VideoCrafter1 (its attention over time has relative positions). Not supported; use VideoCrafter2, "
            "which is better at the same size.",
        ),
        (
            {"input_blocks.1.1.transformer_blocks.0.attn2.to_k_ip.weight": (320, 1024)},
            "nothing",
            "This is an image-to-video model of the VideoCrafter family (VideoCrafter1 I2V, DynamiCrafter). Not "
            "supported; to start from a picture use Wan 2.2 TI2V 5B, LTX-Video or CogVideoX 5B I2V.",
        ),
        ({"input_blocks.0.0.weight": (320, 8, 3, 3)}, "nothing", "This is an image-to-video model of the VideoCrafter"),
    ],
)
def test_relatives_are_refused_by_name(further, without, said):
    written = {n: s for n, s in original(full()).items() if without not in n} | further
    with pytest.raises(FamilyError) as error:
        videocrafter.FAMILY.recognise(behind(PREFIX, written), "model.safetensors")
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    "lost", ["input_blocks.4.0.out_layers.0.weight", "out.2.weight", "conv_in.weight", "conv_out.weight"]
)
def test_a_file_that_lacks_a_tensor_is_said_to(lost):
    whole = full() if lost.startswith("conv") else original(full())
    said = videocrafter.FAMILY.recognise({n: s for n, s in whole.items() if n != lost}, "videocrafter.safetensors")
    assert said == f"'{lost}' is missing"


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({}, "'input_blocks.0.0.weight' with 'temopral_conv' is missing"),
        (
            {"input_blocks.0.0.weight": (320, 4, 3, 3), "out.2.weight": (4, 320, 3, 3)},
            "'temopral_conv' with 'init_attn'",
        ),
    ],
)
def test_the_reason_why_not(shapes, said):
    assert str(videocrafter.FAMILY.recognise(shapes, "")).startswith(said)


# --- the VAE ---


@pytest.mark.parametrize("layout", ["original", "diffusers", "older diffusers"])
def test_the_published_vae(layout):
    with torch.device("meta"):
        wanted = {name: tuple(t.shape) for name, t in tiny.vae(**FULL_VAE).state_dict().items()}
    assert sum(torch.Size(s).numel() for s in wanted.values()) / 1e6 == pytest.approx(83.65, abs=0.1)
    if layout == "original":
        written = {tiny.original_vae_name(n): s for n, s in wanted.items()}
        written = {n: tiny.original_vae_shape(n, s) for n, s in written.items()} | {"loss.logvar": ()}
    else:
        written = {older(n) if layout == "older diffusers" else n: s for n, s in wanted.items()}
    found = videocrafter.FAMILY.recognise(written, "vae-ft-mse-840000-ema-pruned.safetensors")
    assert not isinstance(found, str)
    assert (found.part, found.layout) == ("vae", layout.split(" ")[-1])
    renamed = {n: translate(n, found.rules) for n in written}
    got = {}
    for name, shape in written.items():
        got |= dict(zip(renamed[name].names, renamed[name].shapes(shape), strict=False))
    assert got == wanted
    module = build(found.class_name, found.config)
    assert {name: tuple(t.shape) for name, t in module.state_dict().items()} == wanted
    others = [f.id for f in families().values() if knows(f, written, "vae.safetensors")]
    assert others == ["videocrafter"]
    said = videocrafter.FAMILY.recognise(written, "sdxl_vae.safetensors")
    assert said == "by its name this is the VAE of SDXL, whose latents mean something else"


def older(name: str) -> str:
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return name


def test_a_vae_of_other_latents():
    shapes = {"decoder.mid.attn_1.q.weight": (512, 512, 1, 1), "encoder.conv_in.weight": (128, 3, 3, 3)}
    said = videocrafter.FAMILY.recognise(shapes | {"decoder.conv_in.weight": (512, 16, 3, 3)}, "ae.safetensors")
    assert said == "the VAE has 16 latent channels; VideoCrafter2's, that of Stable Diffusion 1, has 4"


def test_a_folder_with_the_vaes_older_names_is_read(tmp_path):
    from safetensors.torch import save_file

    from opent2v.loaders import load_pipeline, open_folder

    path = tmp_path / "videocrafter-old"
    tiny.make(path)
    file = path / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file({older(name): tensor for name, tensor in weights.items()}, file)
    loaded = load_pipeline(
        open_folder(path), model_dtype=torch.float32, text_dtype=torch.float32, vae_dtype=torch.float32
    )
    read = loaded.vae.vae.state_dict()
    assert all(torch.equal(read[name], tensor) for name, tensor in weights.items())


# --- all in one ---


def test_the_original_file_holds_all_three_parts():
    opened = open_file(tiny.file())
    assert {part: (found.prefix, found.layout) for part, found in opened.parts.items()} == {
        "transformer": (PREFIX, "original"),
        "vae": ("first_stage_model.", "original"),
    }
    assert opened.text_prefixes == ("cond_stage_model.",)
    part, vae = load_model(opened, torch.float32), load_vae(opened, torch.float32)
    unet = part.transformer.state_dict()
    for name, tensor in tiny.original_unet().items():
        (renamed,) = translate(name, opened.parts["transformer"].rules).names
        assert torch.equal(unet[renamed], tensor.reshape(unet[renamed].shape))
    decoder = vae.vae.state_dict()
    for name, tensor in tiny.original_vae().items():
        (renamed,) = translate(name, opened.parts["vae"].rules).names
        assert torch.equal(decoder[renamed], tensor.reshape(decoder[renamed].shape))


@pytest.mark.parametrize(("nest", "before"), [("state_dict", ""), ("module", "_forward_module.")])
def test_the_published_checkpoint_is_converted_and_recognised(tmp_path, monkeypatch, nest, before):
    """Lightning's form, and DeepSpeed's, which the original's loader reads too (scripts/evaluation/funcs.py)."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import convert

    tensors = {before + name: tensor for name, tensor in tiny.whole().items()}
    torch.save({nest: tensors, "global_step": 1}, tmp_path / "model.ckpt")
    convert.write(convert.read(tmp_path / "model.ckpt"), tmp_path / "videocrafter2.safetensors")
    opened = open_file(tmp_path / "videocrafter2.safetensors")
    assert set(opened.parts) == {"transformer", "vae"} and opened.text_prefixes == ("cond_stage_model.",)
    ours, known = (load_model(one, torch.float32).transformer.state_dict() for one in (opened, open_file(tiny.file())))
    assert all(torch.equal(ours[name], tensor) for name, tensor in known.items())


def test_the_text_encoder_inside_is_read_without_its_last_layer():
    opened = open_file(tiny.file())
    text = open_text_file(tiny.file(), "cond_stage_model.")
    assert text.kind.class_name == "CLIPTextModel" and text.layout.config["num_hidden_layers"] == tiny.LAYERS - 1
    loaded = load_text(
        [text], opened.parts["transformer"].variant, torch.float32, lambda *_: tiny.folder() / "tokenizer"
    )
    state = {n.removeprefix("text_model."): t for n, t in loaded.encoders["text_encoder"].state_dict().items()}
    given = tiny.open_clip()
    q, k, v = given["transformer.resblocks.1.attn.in_proj_weight"].chunk(3)
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        assert torch.equal(state[f"encoder.layers.1.self_attn.{name}_proj.weight"], tensor)
    assert torch.equal(state["final_layer_norm.weight"], given["ln_final.weight"])
    assert not any(".layers.2." in name for name in state)
    (context, _), *_ = embedded.embed(embedded.clip(loaded), "a red star")
    assert context.shape == (1, 77, 16) and context.std() > 0.1


@pytest.mark.parametrize(("layers", "used"), [(24, 23), (23, 23)])
def test_a_text_file_in_hugging_faces_names(tmp_path, layers, used):
    """Stable Diffusion 2's own file comes without the last layer, others with it."""
    with torch.device("meta"):
        names = tiny.text(1).state_dict()
    shapes = {f"text_model.{n.removeprefix('text_model.')}": tuple(t.shape) for n, t in names.items()}
    wide = {n: tuple(1024 if size == 16 else size for size in s) for n, s in shapes.items()}
    header = {}
    for name, shape in wide.items():
        for n in range(layers if ".layers.0." in name else 1):
            header[name.replace(".layers.0.", f".layers.{n}.")] = torch.zeros(1).expand(shape)
    tensors = {n: torch.zeros(s.shape, dtype=torch.float8_e4m3fn) for n, s in header.items()}
    text = open_text_file(save(tmp_path / "clip_h.safetensors", tensors))
    assert (text.layout.title, text.layout.config["num_hidden_layers"], text.layout.config["num_attention_heads"]) == (
        "OpenCLIP-H",
        used,
        16,
    )
    renamed = [translate(name, text.layout.rules) for name in tensors]
    assert any(".layers.23." in name for name in tensors) is (layers == 24)
    assert not any(".layers.23." in name for one in renamed if one for name in one.names)


def test_the_file_doctor_knows_it():
    lines = report(tiny.file())
    assert "VideoCrafter2 transformer, original layout" in lines and "VideoCrafter2 vae, original layout" in lines
    assert any(line.startswith("Holds the text encoder too (cond_stage_model): CLIP (16 wide)") for line in lines)
    assert any(line.startswith("Belongs in models/checkpoints") for line in lines)


def test_a_picture_checkpoint_stays_a_picture_checkpoint(tmp_path):
    tensors = {f"first_stage_model.{n}": t for n, t in tiny.original_vae().items()}
    vae_alone = open_file(save(tmp_path / "vae.safetensors", tensors))
    assert set(vae_alone.parts) == {"vae"}
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(8, 4, 3, 3)
    tensors["model.diffusion_model.out.2.weight"] = torch.zeros(4, 8, 3, 3)
    with pytest.raises(ModelFileError, match="It looks like an image model of the Stable Diffusion family"):
        open_file(save(tmp_path / "sd15.safetensors", tensors))
