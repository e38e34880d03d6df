"""Single Wan files: every published size and layout is recognised, and its names become exactly the module's."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import FamilyError, Recognised
from opent2v.base.keys import translate
from opent2v.families import families, wan
from opent2v.families.wan.few_steps import FOUR_SIGMAS
from opent2v.families.wan.variants import VAES
from opent2v.loaders.single import load_model, load_vae, open_file
from opent2v.sampling import make_schedule
from opent2v.tests.families.layouts.wan import FIVE, LARGE, PICTURE, SMALL, TINY, meta_shapes, original, original_vae

# File name -> (transformer config, title, expert, parameters in millions, shift).
PUBLISHED = {
    "wan2.1_t2v_1.3B_fp16.safetensors": (SMALL, "2.1 T2V 1.3B", "", 1419, 5.0),
    "wan2.1_t2v_14B_bf16.safetensors": (LARGE, "2.1 T2V 14B", "", 14288, 5.0),
    "wan2.1_i2v_480p_14B_fp16.safetensors": (PICTURE, "2.1 I2V 14B", "", 16395, 3.0),
    "wan2.1_i2v_720p_14B_fp16.safetensors": (PICTURE, "2.1 I2V 14B", "", 16395, 5.0),
    "wan2.1_flf2v_720p_14B_fp16.safetensors": (PICTURE | {"pos_embed_seq_len": 514}, "2.1 FLF2V 14B", "", 16396, 16.0),
    "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors": (LARGE, "2.2 T2V A14B", "high", 14288, 12.0),
    "Wan2_2-T2V-A14B-LOW_fp8_e4m3fn_scaled_KJ.safetensors": (LARGE, "2.2 T2V A14B", "low", 14288, 12.0),
    "Wan2.2-I2V-A14B-HighNoise.safetensors": (LARGE | {"in_channels": 36}, "2.2 I2V A14B", "high", 14289, 5.0),
    "wan2.2_i2v_low_noise_14B_fp16.safetensors": (LARGE | {"in_channels": 36}, "2.2 I2V A14B", "low", 14289, 5.0),
    "wan2.2_ti2v_5B_fp16.safetensors": (FIVE, "2.2 TI2V 5B", "", 5000, 5.0),
}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("layout", ["original", "diffusers"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_transformer(name, layout, prefix):
    config, title, expert, millions, shift = PUBLISHED[name]
    wanted = meta_shapes("WanTransformer3DModel", config)
    assert sum(torch.Size(shape).numel() for shape in wanted.values()) / 1e6 == pytest.approx(millions, abs=1)
    shapes = {prefix + (original(k) if layout == "original" else k): shape for k, shape in wanted.items()}
    found = wan.FAMILY.recognise(shapes, name)
    assert isinstance(found, Recognised)
    assert (found.part, found.layout, found.prefix, found.remark) == ("transformer", layout, prefix, "")
    assert {k: found.config[k] for k in config} == config
    variant = found.variant
    assert (variant.name, variant.expert, variant.scheduler["flow_shift"]) == (title, expert, shift)
    assert (variant.task == "image") == (config["in_channels"] == 36)
    assert variant.boundary == {"2.2 T2V A14B": 0.875, "2.2 I2V A14B": 0.9}.get(title, 0)
    assert variant.keeps_clean == (title == "2.2 TI2V 5B") and len(variant.video.mean) == config["out_channels"]
    assert meta_shapes(found.class_name, dict(found.config)) == wanted
    assert {translate(k, found.rules, found.prefix).names[0]: shape for k, shape in shapes.items()} == wanted
    others = [f.id for f in families().values() if f.id != "wan" and isinstance(f.recognise(shapes, name), Recognised)]
    assert others == []


def test_the_two_sizes_of_image_to_video_are_told_by_name():
    shapes = {original(k): v for k, v in meta_shapes("WanTransformer3DModel", PICTURE).items()}
    sizes = [wan.FAMILY.recognise(shapes, n).variant.defaults for n in ("i2v_720p.safetensors", "any.safetensors")]
    assert [(own.width, own.height) for own in sizes] == [(1280, 720), (832, 480)]


@pytest.mark.parametrize(
    ("name", "expert", "says"),
    [
        ("wan2.2_t2v_14B.safetensors", "", "The name tells neither high_noise nor low_noise."),
        ("wan2.1_t2v_14B_high_quality.safetensors", "", ""),
        ("diffusion_pytorch_model.safetensors", "", ""),
        ("Wan2.2-T2V-A14B-high.safetensors", "high", ""),
        ("smoothMixWan2214BI2V_t2vHighV20.safetensors", "high", ""),
        ("wan22T2VLowNoise14B_fp8.safetensors", "low", ""),
        ("Wan2.2T2VHigh.safetensors", "high", ""),
        ("wan22_t2v_14b_low.safetensors", "low", ""),
        ("Wan2_1_highlights_v22.safetensors", "", ""),
    ],
)
def test_what_a_name_tells_of_the_expert(name, expert, says):
    shapes = {original(k): v for k, v in meta_shapes("WanTransformer3DModel", LARGE).items()}
    found = wan.FAMILY.recognise(shapes, name)
    assert found.variant.expert == expert and found.remark.startswith(says) and bool(found.remark) == bool(says)


@pytest.mark.parametrize(
    ("name", "boundary"),
    [
        ("wan2.1_t2v_14b_lightx2v_4step.safetensors", 0),
        ("wan2.2_i2v_A14b_high_noise_lightx2v_4step.safetensors", 0.9),
    ],
)
def test_a_distilled_checkpoint_brings_its_own_steps(name, boundary):
    config = LARGE | {"in_channels": 36} if boundary else LARGE
    found = wan.FAMILY.recognise(
        {original(k): v for k, v in meta_shapes("WanTransformer3DModel", config).items()}, name
    )
    variant = found.variant
    assert found.remark == (
        "Distilled to few steps, by its name (LightX2V step distillation): 4 steps, cfg 1, shift 5. Video Sampler "
        "takes these at 0."
    )
    assert (variant.defaults.steps, variant.defaults.guidance, variant.boundary) == (4, 1.0, boundary)
    levels = lambda shift, steps: make_schedule(  # noqa: E731
        variant.scheduler, steps=steps, shift=shift,
        sigmas=lambda n: variant.family.sampling.sigmas(variant, n, shift, (1, 16, 3, 4, 4)),
    ).sigmas  # fmt: skip
    # sigma -> 5 sigma / (1 + 4 sigma) of 1, 3/4, 1/2, 1/4
    assert torch.allclose(levels(None, 4), torch.tensor([1, 15 / 16, 5 / 6, 5 / 8, 0]))
    assert len(levels(None, 6)) == 7 and not torch.allclose(levels(3.0, 4)[:4], torch.tensor(FOUR_SIGMAS))
    if boundary:  # as LightX2V's boundary_step_index 2
        own = lambda n: variant.family.sampling.sigmas(variant, n, None, ())  # noqa: E731
        assert make_schedule(variant.scheduler, steps=4, sigmas=own).steps_above(boundary) == 2


@pytest.mark.parametrize(
    ("name", "steps"),
    [("Wan2_1-T2V-14B_CausVid_fp8_e4m3fn", 3), ("Wan14BT2VFusioniX_fp16", 8), ("rCM-Wan2.1-T2V-14B-480p", 4),
     ("FastWan2_1-T2V-14B", 3), ("TurboWan2.1-T2V-14B", 4), ("Wan2.1-T2V-14B-Self-Forcing-DMD", 4),
     ("Wan2_1-AccVid-T2V-14B", 10), ("Wan2.1-T2V-14B-3steps", 8)],
)  # fmt: skip
def test_other_distilled_checkpoints_are_told_by_name(name, steps):
    """At the plain model's 50 steps and cfg 5 they burn."""
    shapes = {original(k): v for k, v in meta_shapes("WanTransformer3DModel", LARGE).items()}
    file = wan.FAMILY.recognise(shapes, f"{name}.safetensors")
    assert isinstance(file, Recognised)
    assert (file.variant.defaults.steps, file.variant.defaults.guidance) == (steps, 1.0)
    assert file.remark.startswith("Distilled") and f": {steps} steps, cfg 1" in file.remark
    if name.endswith("3steps"):
        assert file.remark.endswith("cfg 1. Its maker may name other steps; set them in the sampler.")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("vace_blocks.0.before_proj.weight", "this is Wan VACE (editing) ('vace_blocks...' is in it)"),
        ("face_adapter.fuser_blocks.0.k_norm.weight", "this is Wan Animate"),
        ("control_adapter.conv.weight", "this is Wan Fun Camera"),
        ("casual_audio_encoder.encoder.final_linear.weight", "this is Wan S2V"),
        ("audio_proj.audio_proj_glob_1.layer.bias", "this is Wan HuMo"),
    ],
)
def test_variants_outside_the_scope_are_refused_by_name(extra, said):
    shapes = {original(k): v for k, v in meta_shapes("WanTransformer3DModel", SMALL).items()}
    with pytest.raises(FamilyError) as error:
        wan.FAMILY.recognise(shapes | {extra: (8,)}, "some.safetensors")
    assert str(error.value).startswith(f"some.safetensors: {said}")
    assert str(error.value).endswith("Choose a text-to-video or image-to-video model.")


def test_a_control_model_is_refused_by_its_channels():
    config = SMALL | {"in_channels": 48}
    shapes = {original(k): v for k, v in meta_shapes("WanTransformer3DModel", config).items()}
    with pytest.raises(FamilyError, match=r"takes 48 channels and returns 16\. Expected 16 or 36 to 16, or 48 to 48"):
        wan.FAMILY.recognise(shapes, "fun_control.safetensors")


def test_what_is_missing_is_said():
    assert wan.FAMILY.recognise({"a": (1,)}, "a.safetensors") == "'head.modulation' is missing"
    shapes = {original(k): v for k, v in meta_shapes("WanTransformer3DModel", SMALL).items()}
    del shapes["blocks.0.ffn.0.weight"]
    assert wan.FAMILY.recognise(shapes, "a") == "'blocks.0.ffn.net.0.proj.weight' is missing (in diffusers' words)"


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("layout", ["original", "diffusers"])
@pytest.mark.parametrize(("channels", "tensors"), [(16, 194), (48, 196)])
def test_a_published_vae(channels, tensors, layout, prefix):
    wanted = meta_shapes("AutoencoderKLWan", VAES[channels])
    assert len(wanted) == tensors
    shapes = {
        prefix + (original_vae(k, channels == 48) if layout == "original" else k): shape for k, shape in wanted.items()
    }
    assert len(shapes) == tensors
    found = wan.FAMILY.recognise(shapes, "wan_vae.safetensors")
    assert (found.part, found.layout, found.prefix) == ("vae", layout, prefix)
    assert found.variant.geometry.channels == channels
    assert found.variant.title == ("Wan 2.2 VAE" if channels == 48 else "Wan 2.1 VAE")
    assert meta_shapes(found.class_name, dict(found.config)) == wanted
    assert {translate(k, found.rules, found.prefix).names[0]: shape for k, shape in shapes.items()} == wanted
    assert [f.id for f in families().values() if isinstance(f.recognise(shapes, "a"), Recognised)] == ["wan"]


# --- independent witnesses, tensors ---


@pytest.mark.parametrize("name", ["wan2.1_t2v_1.3B_fp16.safetensors", "wan2.1_i2v_480p_14B_fp16.safetensors"])
def test_the_rules_are_diffusers_own_conversion(name):
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    shapes = {original(k): v for k, v in meta_shapes("WanTransformer3DModel", PUBLISHED[name][0]).items()}
    converted = convert_wan_transformer_to_diffusers({k: torch.empty(v, device="meta") for k, v in shapes.items()})
    found = wan.FAMILY.recognise(shapes, name)
    mine = {translate(k, found.rules).names[0]: shape for k, shape in shapes.items()}
    assert {k: tuple(v.shape) for k, v in converted.items()} == mine


def test_the_vae_rules_are_diffusers_own_conversion():
    """Every tensor carries its original name in its one number, so that swapped names of one shape would show."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    names = [original_vae(k, False) for k in meta_shapes("AutoencoderKLWan", VAES[16])]
    converted = convert_wan_vae_to_diffusers({name: torch.tensor(n) for n, name in enumerate(names)})
    found = wan.FAMILY.recognise(
        {original_vae(k, False): v for k, v in meta_shapes("AutoencoderKLWan", VAES[16]).items()}, "a"
    )
    assert {translate(name, found.rules).names[0]: n for n, name in enumerate(names)} == {
        k: int(v) for k, v in converted.items()
    }


@pytest.mark.parametrize(
    "further",
    [
        {"in_channels": 16},
        {"in_channels": 36, "image_dim": 20, "added_kv_proj_dim": 128},
        {"in_channels": 36, "image_dim": 20, "added_kv_proj_dim": 128, "pos_embed_seq_len": 34},
    ],
    ids=["text", "picture", "two pictures"],
)
def test_a_tiny_transformer_in_the_original_layout_is_its_twin_bit_for_bit(tmp_path, further):
    from diffusers import WanTransformer3DModel

    twin = WanTransformer3DModel(**TINY, **further).eval()
    state = {original(k): v.clone() for k, v in twin.state_dict().items()}
    path = tmp_path / "wan2.1_tiny.safetensors"
    save_file({f"model.diffusion_model.{k}": v for k, v in state.items()}, path)
    loaded = load_model(open_file(path), torch.float32)
    for name, tensor in twin.state_dict().items():
        assert torch.equal(loaded.transformer.get_parameter(name), tensor), name


@pytest.mark.parametrize("channels", [16, 48])
def test_a_tiny_vae_in_the_original_layout_is_its_twin_bit_for_bit(tmp_path, channels):
    from diffusers import AutoencoderKLWan

    small = VAES[channels] | {"base_dim": 8} | ({"decoder_base_dim": 12} if channels == 48 else {})
    twin = AutoencoderKLWan(**small).eval()
    path = tmp_path / "wan_vae.safetensors"
    save_file({original_vae(k, channels == 48): v.clone() for k, v in twin.state_dict().items()}, path)
    loaded = load_vae(open_file(path), torch.float32)
    video = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    with torch.inference_mode():
        latent = twin.encode(video).latent_dist.mode()
        assert torch.equal(loaded.encode(video), latent)
        assert torch.equal(loaded.decode(latent), twin.decode(latent).sample)


def test_a_leftover_of_older_files_is_not_missed(tmp_path):
    from diffusers import WanTransformer3DModel

    twin = WanTransformer3DModel(**TINY, in_channels=36, image_dim=20, added_kv_proj_dim=128)
    state = {k: v.clone() for k, v in twin.state_dict().items()}
    state["blocks.0.attn2.norm_added_q.weight"] = torch.ones(128)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file(state, path)
    assert load_model(open_file(path), torch.float32).variant.task == "image"
