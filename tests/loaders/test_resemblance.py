"""What people try to load and no family knows is named, and no node sends to itself."""

from __future__ import annotations

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, open_file, open_text_files
from opent2v.loaders.resemblance import LOAD_TEXT_ENCODER, LOAD_VAE, resembles
from opent2v.nodes.doctor import report
from opent2v.tests.loaders import text_files
from opent2v.tests.nodes.calls import call


@pytest.mark.parametrize(
    ("shapes", "meaning"),
    [
        (
            {"blocks.0.audio_cross_attn.q_linear.weight": (8, 8), "multitalk_audio_proj.proj1.weight": (8, 8)},
            "MultiTalk",
        ),
        ({"dwpose_embedding.0.weight": (8, 8)}, "UniAnimate"),
        ({"decoder.1.weight": (64, 16, 3, 3), "decoder.3.conv.0.weight": (64, 128, 3, 3)}, "a tiny VAE (TAE)"),
        ({"decoder.conv_in.weight": (512, 16, 3, 3)}, "the VAE of an image model (Flux, Stable Diffusion)"),
        ({"decoder.conv_in.weight": (512, 16, 3, 3, 3)}, "a VAE; choose it in Load Video VAE"),
        ({"model.diffusion_model.audio_patchify_proj.weight": (8, 8)}, "LTX-2"),
        ({"blk.0.attn_q.weight": (8, 8)}, "a language model, used as a text encoder; choose it in Load Video Text"),
        ({"anything": (1,)}, ""),
    ],
)
def test_files_that_people_try(shapes, meaning):
    assert resembles(shapes).startswith(meaning) or meaning in resembles(shapes).split(";")[0]


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("decoder.upsamples.0.weight", LOAD_VAE),
        ("x.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", LOAD_TEXT_ENCODER),
        ("layers.0.self_attn.q_proj.weight", LOAD_TEXT_ENCODER),
    ],
)
def test_a_node_does_not_send_to_itself(name, node):
    assert resembles({name: (2, 2)}).endswith(f"choose it in {node}")
    assert resembles({name: (2, 2)}, node).endswith("of a model that this version does not know")


def test_load_video_vae_does_not_send_to_itself(tmp_path):
    (tmp_path / "models" / "vae").mkdir(parents=True)
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    text_files.save(tmp_path / "models" / "vae" / "new.safetensors", {"decoder.upsamples.0.weight": torch.zeros(2)})
    with pytest.raises(ModelFileError, match="It looks like a VAE of a model that this version does not know") as error:
        call("OpenT2VLoadVAE", file="new.safetensors")
    assert "choose it in" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "purpose"),
    [
        (["multitalk_audio_proj.proj1.weight"], "for audio (MultiTalk, InfiniteTalk)"),
        (["vace_blocks.0.after_proj.weight", "vace_patch_embedding.weight"], "for editing (VACE)"),
    ],
)
def test_what_is_added_to_a_model_is_called_that_at_once(tmp_path, names, purpose):
    path = text_files.save(tmp_path / "part.safetensors", {name: torch.zeros(2, 2) for name in names})
    with pytest.raises(ModelFileError) as error:
        open_file(path)
    assert str(error.value) == (
        f"{path}: this is a part that is added to a Wan model {purpose} and no model alone; it is not supported."
    )


@pytest.mark.parametrize(
    ("names", "title", "absent"),
    [
        (["audio_patchify_proj"], "LTX-2", "'transformer_blocks.0.audio_attn1.to_q.weight'"),
        (["audio_proj_in"], "LTX-2", "'transformer_blocks.0.audio_attn1.to_q.weight'"),
        (["video_patch_proj"], "MiniMax H3", "'audio_patch_proj.weight', 'condition_proj.weight'"),
        (["video_patch_proj", "condition_proj"], "MiniMax H3", "'audio_patch_proj.weight'"),
    ],
)
def test_only_what_is_absent_is_called_absent(tmp_path, names, title, absent):
    tensors = {f"model.diffusion_model.{name}.weight": torch.zeros(2, 2) for name in names}
    with pytest.raises(ModelFileError) as error:
        open_file(text_files.save(tmp_path / "cut.safetensors", tensors))
    assert f"  {title}: {absent} is missing" in str(error.value).splitlines()
    assert "LTX-2, which this version does not know" not in str(error.value)


@pytest.mark.parametrize("opens", [open_file, open_text_files])
def test_a_shard_alone_is_told_as_one(tmp_path, opens):
    """Half a UMT5 was taken for a T5 of another model."""
    tensors = dict(sorted(text_files.once(text_files.t5(True).state_dict()).items()))
    first, second = (tmp_path / f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    text_files.save(first, dict(list(tensors.items())[:12]))
    message = r"is one of several shards of a model\. .*: 1 of 2 shards are missing, first model-00002-of-00002"
    with pytest.raises(ModelFileError, match=message):
        opens(first)
    assert "1 of 2 shards are missing" in report(first)[1]
    text_files.save(second, dict(list(tensors.items())[12:]))
    whole = text_files.save(tmp_path / "model-00001-of-00001.safetensors", tensors)
    for path in (first, second, whole):
        (file,) = open_text_files(path)
        assert file.layout.title == "UMT5 (16 wide)" and set(file.weights) == set(tensors)
    assert report(second)[1].startswith("Text encoder UMT5 (16 wide)")


def test_a_vae_that_upscales_is_refused_by_what_it_makes(tmp_path):
    from diffusers import AutoencoderKLWan

    from opent2v.families.wan.variants import VAES

    state = AutoencoderKLWan(**VAES[16] | {"base_dim": 8}).state_dict()
    state |= {"decoder.conv_out.weight": torch.zeros(12, 8, 3, 3, 3), "decoder.conv_out.bias": torch.zeros(12)}
    path = text_files.save(tmp_path / "upscale2x.safetensors", state)
    with pytest.raises(FamilyError, match=r"decoder makes 12 channels, not 3: one that upscales while it decodes"):
        open_file(path)
