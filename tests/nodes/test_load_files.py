"""The file nodes: what they list, what they load, and what they say when a part is elsewhere."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, open_file, parameter_counts
from opent2v.nodes.load_files import OpenT2VLoadDiffusionModel, stored_dtype
from opent2v.nodes.load_text import OpenT2VLoadTextEncoder, find_tokenizer
from opent2v.tests.loaders import text_files
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import mochi as tiny_mochi
from opent2v.tests.tiny import wan as tiny_wan
from opent2v.tests.workflows import tiny_files
from opent2v.training import captions


@pytest.fixture
def models(tmp_path):
    """A models folder of the user's own."""
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    for name in ("diffusion_models", "checkpoints", "text_encoders", "vae"):
        (tmp_path / "models" / name).mkdir(parents=True)
    return tmp_path / "models"


def put_model(models, name="deeper/any.safetensors"):
    path = models / "diffusion_models" / name
    path.parent.mkdir(exist_ok=True)
    text_files.save(path, tiny_mochi.transformer().state_dict())
    return name


def test_combos_list_files_and_say_where_to_put_them(models):
    kind, options = OpenT2VLoadDiffusionModel.INPUT_TYPES()["required"]["file"]
    assert kind == ["put a safetensors or GGUF file into models/diffusion_models"] and options["default"] == kind[0]
    put_model(models)
    (models / "checkpoints" / "old.ckpt").write_bytes(b"")
    (models / "checkpoints" / "readme.txt").write_text("")
    assert OpenT2VLoadDiffusionModel.INPUT_TYPES()["required"]["file"][0] == ["deeper/any.safetensors", "old.ckpt"]
    assert OpenT2VLoadTextEncoder.INPUT_TYPES()["required"]["file_2"][0] == ["none", "old.ckpt"]


def test_a_diffusion_model(models):
    results, ui = call("OpenT2VLoadDiffusionModel", file=put_model(models), dtype="bf16")
    model, clip, vae, _ = results
    assert embedded.variant(model).title == "Mochi 1"
    stored_as, memory = remarks(ui).splitlines()
    assert stored_as == "Mochi 1, diffusers layout, stored as bfloat16"
    assert memory.startswith("Memory: 0.1 MiB of weights and about 1.0 GiB to sample 848 x 480 with 19 frames; ")
    assert model.part.transformer.get_parameter("proj_out.weight").dtype == torch.bfloat16
    assert clip.message.startswith("any.safetensors holds no text encoder. Use Load Video Text Encoder with t5xxl")
    assert vae.message == "any.safetensors holds no VAE. Use Load Video VAE with mochi_vae.safetensors."


def test_what_a_file_is_stored_as_is_said_by_its_numbers_not_its_tensors(models):
    """fp8 files of 14B models have more biases and norms, in fp32, than matrices."""
    state = tiny_mochi.transformer().state_dict()
    large = sorted(state, key=lambda name: state[name].numel())[-len(state) // 3 :]
    fp8 = {name: one.to(torch.float8_e4m3fn) if name in large else one.float() for name, one in state.items()}
    text_files.save(models / "diffusion_models" / "fp8.safetensors", fp8)
    opened = open_file(models / "diffusion_models" / "fp8.safetensors")
    assert stored_dtype(opened) == torch.float8_e4m3fn
    numbers = sum(one.numel() for one in fp8.values())
    assert (
        parameter_counts(opened.header)["F32"] < numbers / 2
        and sum(parameter_counts(opened.header).values()) == numbers
    )


def test_a_file_that_is_gone_and_a_pickle(models):
    with pytest.raises(
        ModelFileError, match=r"'gone\.safetensors' is not there \(any more\)\. Put it into models/diff"
    ):
        call("OpenT2VLoadDiffusionModel", file="gone.safetensors", dtype="auto")
    torch.save({"a": torch.ones(1)}, models / "diffusion_models" / "old.pt")
    with pytest.raises(ModelFileError, match=r"this is a Python pickle.*convert the file with scripts/convert.py"):
        call("OpenT2VLoadDiffusionModel", file="old.pt", dtype="auto")


def test_a_text_encoder_is_read_as_the_model_says(models):
    text_files.save(
        models / "text_encoders" / "t5.safetensors", text_files.once(text_files.t5(False).state_dict()), True
    )
    model = tiny_mochi.hosted()[0]
    results, ui = call("OpenT2VLoadTextEncoder", model=model, file="t5.safetensors", file_2="none")
    first, memory = remarks(ui).splitlines()
    assert first == "Text encoder: T5 (16 wide), for Mochi tiny"
    assert re.fullmatch(r"Memory: 0\.0 MiB of weights; [\d.]+ GiB are free on [a-z ]+: all of it fits", memory)
    ((context, further),) = embedded.embed(results[0], "a red circle")
    assert context.shape == (1, 24, 16) and further["attention_mask"].shape == (1, 24)


def test_a_tokenizer_is_found_in_a_diffusers_folder(models):
    encoder = text_files.t5(False, vocabulary=len(captions.tokenizer()) + 2)
    text_files.save(models / "text_encoders" / "t5.safetensors", text_files.once(encoder.state_dict()))
    (models / "diffusers").mkdir()
    arguments = {"model": tiny_mochi.hosted()[0], "file": "t5.safetensors", "file_2": "none"}
    with pytest.raises(ModelFileError, match="carries no tokenizer and none for T5 was found"):
        call("OpenT2VLoadTextEncoder", **arguments)
    tiny_mochi.make(models / "diffusers" / "mochi")
    (clip,), _ = call("OpenT2VLoadTextEncoder", **arguments)
    assert embedded.tokens(clip, "red circle")[1] > 2


def test_a_tokenizer_that_changes_makes_another_clip(models):
    encoder = text_files.t5(False, vocabulary=len(captions.tokenizer()) + 2)
    text_files.save(models / "text_encoders" / "t5.safetensors", text_files.once(encoder.state_dict()))
    (models / "diffusers").mkdir()
    tiny_mochi.make(models / "diffusers" / "mochi")
    arguments = {"model": tiny_mochi.hosted()[0], "file": "t5.safetensors", "file_2": "none"}
    (clip,), _ = call("OpenT2VLoadTextEncoder", **arguments)
    state = OpenT2VLoadTextEncoder.IS_CHANGED(**arguments)
    (again,), _ = call("OpenT2VLoadTextEncoder", **arguments)
    assert again is clip and OpenT2VLoadTextEncoder.IS_CHANGED(**arguments) == state
    (models / "diffusers" / "mochi" / "tokenizer" / "special_tokens_map.json").write_text("{ }")
    assert OpenT2VLoadTextEncoder.IS_CHANGED(**arguments) != state
    (other,), _ = call("OpenT2VLoadTextEncoder", **arguments)
    assert other is not clip


@pytest.mark.parametrize("rows", [4000, 150])
def test_a_tokenizer_of_another_size_is_not_used(models, rows):
    """With fewer words than the embedding every prompt becomes the same few tokens; more would lie beyond it."""
    encoder = text_files.t5(True, vocabulary=rows)
    tensors = text_files.native_umt5(encoder.state_dict())
    text_files.save(models / "text_encoders" / "umt5-xxl-enc-bf16.safetensors", tensors)
    arguments = {"model": tiny_wan.shared()[0], "file": "umt5-xxl-enc-bf16.safetensors", "file_2": "none"}
    with pytest.raises(ModelFileError, match=f"none for UMT5 was found that fits its {rows:,} words") as refusal:
        call("OpenT2VLoadTextEncoder", **arguments)
    assert "opent2v-quickstart" in str(refusal.value) and "tokenizer has 158" in str(refusal.value)


def test_the_users_tokenizers_come_before_the_bundled_models(models):
    shutil.copytree(tiny_wan.folder(), models / "diffusers" / "Wan2.1-T2V-1.3B-Diffusers")
    assert find_tokenizer("UMT5EncoderModel") == models / "diffusers" / "Wan2.1-T2V-1.3B-Diffusers" / "tokenizer"
    bundled = find_tokenizer("UMT5EncoderModel", lambda folder: not folder.is_relative_to(models))
    assert bundled is not None and bundled.parent.name == "opent2v-quickstart"


def all_in_one(encoders, transformer, vae):
    """A checkpoint with the names that ComfyUI's SaveCheckpoint gives."""
    tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in transformer.items()}
    tensors |= {f"vae.{name}": tensor for name, tensor in vae.items()}
    for name, state in encoders.items():
        tensors |= {f"text_encoders.{name}.transformer.{key}": tensor for key, tensor in state.items()}
        tensors[f"text_encoders.{name}.logit_scale"] = torch.tensor(4.6)
    return tensors


def test_an_all_in_one_file_of_comfyuis_gives_all_three_parts(models):
    """Its tokenizer lies two levels above the encoder's own names."""
    encoder = text_files.once(text_files.t5(False).state_dict())
    vae = tiny_files._mochi_vae("vae")
    tensors = all_in_one({"t5xxl": encoder}, tiny_mochi.transformer().state_dict(), vae)
    tensors["text_encoders.spiece_model"] = torch.tensor(list(text_files.spiece()), dtype=torch.uint8)
    text_files.save(models / "checkpoints" / "all.safetensors", tensors)
    text_files.save(models / "text_encoders" / "t5.safetensors", encoder, True)
    (model, clip, decoder, _), _ = call("OpenT2VLoadDiffusionModel", file="all.safetensors", dtype="fp32")
    (alone,), _ = call("OpenT2VLoadTextEncoder", model=model, file="t5.safetensors", file_2="none")
    (inside, _), (outside, _) = embedded.embed(clip, "a red circle")[0], embedded.embed(alone, "a red circle")[0]
    assert torch.equal(inside, outside) and inside.std() > 0.01
    assert embedded.latent_channels(decoder) == 12


def test_two_encoders_in_an_all_in_one_file(models):
    tokenizer = captions.tokenizer()
    encoders = tiny_hunyuan.hosted()[1].part.encoders
    states = {"clip_l": encoders["text_encoder_2"].state_dict(), "llama": encoders["text_encoder"].state_dict()}
    states["llama"] = {f"model.{name}": tensor for name, tensor in states["llama"].items()}
    states["clip_l"] = {
        f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in states["clip_l"].items()
    }
    tiny_hunyuan.make(models / "diffusers" / "HunyuanVideo")
    transformer = tiny_hunyuan.hosted()[0].part.transformer.state_dict()
    text_files.save(models / "checkpoints" / "all.safetensors", all_in_one(states, transformer, {}))
    (_, clip, vae, _), _ = call("OpenT2VLoadDiffusionModel", file="all.safetensors", dtype="fp32")
    assert {slot: type(encoder).__name__ for slot, encoder in clip.part.encoders.items()} == {
        "text_encoder": "LlamaModel",
        "text_encoder_2": "CLIPTextModel",
    }
    assert len(clip.part.tokenizers["text_encoder"]) == len(tokenizer)
    assert vae.message.startswith("all.safetensors holds no VAE.")


def test_the_model_is_usable_when_the_text_encoder_inside_is_unknown(models):
    unknown = {"newest": {"layers.0.weight": torch.zeros(2, 2)}}
    tensors = all_in_one(unknown, tiny_mochi.transformer().state_dict(), {"conv_in.weight": torch.zeros(1)})
    text_files.save(models / "checkpoints" / "odd.safetensors", tensors)
    (model, clip, vae, _), _ = call("OpenT2VLoadDiffusionModel", file="odd.safetensors", dtype="fp32")
    assert embedded.variant(model).title == "Mochi 1"
    assert "no text encoder this pack knows" in clip.message and "Load Video Text Encoder with t5xxl" in clip.message
    assert vae.message.startswith("odd.safetensors holds no VAE.")


@pytest.mark.parametrize(
    ("file_2", "said"),
    [
        (
            "none",
            "HunyuanVideo tiny reads 2 text encoders and found T5 .16 wide. only|is T5 .16 wide., which HunyuanVideo",
        ),
        ("t5.safetensors", "is T5 .16 wide., which HunyuanVideo tiny does not read. Choose llava_llama3_fp8_scaled"),
    ],
)
def test_another_models_text_encoder_is_refused_with_the_right_name(models, file_2, said):
    text_files.save(
        models / "text_encoders" / "t5.safetensors", text_files.once(text_files.t5(False).state_dict()), True
    )
    with pytest.raises(ModelFileError, match=said):
        call("OpenT2VLoadTextEncoder", model=tiny_hunyuan.hosted()[0], file="t5.safetensors", file_2=file_2)


def test_a_model_of_nobody(models):
    with pytest.raises(FamilyError, match="This MODEL is of no family this pack knows"):
        call("OpenT2VLoadTextEncoder", model=object(), file="t5.safetensors", file_2="none")


def test_a_vae(models):
    from diffusers import AutoencoderKLHunyuanVideo

    torch.manual_seed(0)
    vae = AutoencoderKLHunyuanVideo(block_out_channels=(32, 32, 32, 32), layers_per_block=1)
    text_files.save(models / "vae" / "v.safetensors", vae.state_dict())
    results, ui = call("OpenT2VLoadVAE", file="v.safetensors")
    first, memory = remarks(ui).splitlines()
    assert first == "VAE of HunyuanVideo T2V, diffusers layout"
    assert memory.startswith("Memory: 4.2 MiB of weights and about 25.4 GiB to decode 1280 x 720 with 129 frames; ")
    frames = embedded.decode(results[0], torch.zeros(1, 16, 2, 4, 4))
    assert frames.shape == (5, 32, 32, 3)


def test_a_part_that_is_missing_stops_the_run_with_its_message(models):
    from opent2v.headless.runner import NodeError, run
    from opent2v.headless.workflow import load_workflow
    from opent2v.nodes import NODE_CLASS_MAPPINGS

    flow = {
        "1": {"class_type": "OpenT2VLoadDiffusionModel", "inputs": {"file": put_model(models), "dtype": "auto"}},
        "2": {"class_type": "OpenT2VEncodePrompt", "inputs": {"clip": ["1", 1], "positive": "a", "negative": ""}},
        "3": {
            "class_type": "OpenT2VSampler",
            "inputs": {
                "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 1], "latent": ["4", 0], "seed": 1,
                "steps": 1, "cfg": 1.0, "shift": 0.0, "solver": "reference", "denoise": 1.0,
            },
        },
        "4": {
            "class_type": "OpenT2VEmptyLatent",
            "inputs": {"model": ["1", 0], "width": 32, "height": 32, "frames": 7},
        },
        "5": {"class_type": "OpenT2VDecode", "inputs": {"vae": ["1", 2], "latent": ["3", 0]}},
        "6": {
            "class_type": "OpenT2VSaveVideo",
            "inputs": {"images": ["5", 0], "fps": 8.0, "filename_prefix": "x", "quality": 80},
        },
    }  # fmt: skip
    with pytest.raises(NodeError, match=r"cannot run: any\.safetensors holds no text encoder\. Use Load Video Text"):
        run(load_workflow(flow, NODE_CLASS_MAPPINGS), NODE_CLASS_MAPPINGS)
