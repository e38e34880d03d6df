"""The file nodes: what they list, what they load, and what they say when a part is elsewhere."""

from __future__ import annotations

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, open_file, parameter_counts
from opent2v.nodes.load_files import OpenT2VLoadDiffusionModel, OpenT2VLoadTextEncoder, stored_dtype
from opent2v.tests.loaders import text_files
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import mochi as tiny_mochi


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
    assert OpenT2VLoadTextEncoder.INPUT_TYPES()["required"]["file_2"][0] == ["none"]


def test_a_diffusion_model(models):
    results, ui = call("OpenT2VLoadDiffusionModel", file=put_model(models), dtype="bf16")
    model, clip, vae = results
    assert embedded.variant(model).title == "Mochi 1"
    assert remarks(ui) == "Mochi 1, diffusers layout, stored as bfloat16"
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
    assert remarks(ui) == "T5 (16 wide) for Mochi tiny"
    ((context, further),) = embedded.embed(results[0], "a red circle")
    assert context.shape == (1, 24, 16) and further["attention_mask"].shape == (1, 24)


def test_a_tokenizer_is_found_in_a_diffusers_folder(models):
    text_files.save(models / "text_encoders" / "t5.safetensors", text_files.once(text_files.t5(False).state_dict()))
    (models / "diffusers").mkdir()
    arguments = {"model": tiny_mochi.hosted()[0], "file": "t5.safetensors", "file_2": "none"}
    with pytest.raises(ModelFileError, match="carries no tokenizer and none for T5 was found"):
        call("OpenT2VLoadTextEncoder", **arguments)
    tiny_mochi.make(models / "diffusers" / "mochi")
    (clip,), _ = call("OpenT2VLoadTextEncoder", **arguments)
    assert embedded.tokens(clip, "red circle")[1] > 2


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
    assert remarks(ui) == "VAE of HunyuanVideo T2V, diffusers layout"
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
