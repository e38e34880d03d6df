"""The published Wan configs are recognised, what is none of them is refused, and the calls are the reference's."""

from __future__ import annotations

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.families import wan
from opent2v.tests.families.layouts.wan import TRANSFORMER, VAE, VAE_22, WAN_5B, configs
from opent2v.tests.tiny import wan as tiny


@pytest.mark.parametrize(
    ("transformer", "vae", "name", "size", "fps", "latent", "multiple", "latent_format"),
    [
        ({}, VAE, "2.1 T2V 1.3B", (832, 480, 81), 16, (16, 21, 60, 104), 16, "Wan21"),
        ({"num_attention_heads": 40}, VAE, "2.1 T2V 14B", (832, 480, 81), 16, (16, 21, 60, 104), 16, "Wan21"),
        (WAN_5B, VAE_22, "2.2 TI2V 5B", (1280, 704, 121), 24, (48, 31, 44, 80), 32, "Wan22"),
    ],
)  # fmt: skip
def test_published_configs(transformer, vae, name, size, fps, latent, multiple, latent_format):
    variant = wan.read(configs(transformer, vae))
    own = variant.defaults
    assert (variant.name, variant.latent_format) == (name, latent_format)
    assert (own.width, own.height, own.frames, own.fps) == (*size, fps)
    assert (own.steps, own.guidance, variant.prompts[0].max_tokens) == (50, 5.0, 512)
    assert own.negative.startswith("色调艳丽，过曝，静态") and own.negative.endswith("背景人很多，倒着走")
    assert variant.geometry.latent_shape(*size) == latent
    assert variant.geometry.legal(*size) == size
    assert (variant.geometry.multiple, variant.geometry.max_positions) == (multiple, 1024)
    assert variant.scheduler["flow_shift"] == 3.0


LARGE = {"num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824}
JOINED = LARGE | {"in_channels": 36}


@pytest.mark.parametrize(
    ("changes", "name", "task", "size", "steps", "guidance", "boundary"),
    [
        (configs(JOINED | {"image_dim": 1280}), "2.1 I2V 14B", "image", (832, 480), 40, (5.0, None), 0),
        (
            configs(JOINED | {"image_dim": 1280, "pos_embed_seq_len": 514}),
            "2.1 FLF2V 14B", "image", (1280, 720), 50, (5.0, None), 0,
        ),
        (
            configs(LARGE, index={"boundary_ratio": 0.875}, transformer_2=TRANSFORMER | LARGE),
            "2.2 T2V A14B", "text", (832, 480), 40, (4.0, 3.0), 0.875,
        ),
        (
            configs(JOINED, index={"boundary_ratio": 0.9}, transformer_2=TRANSFORMER | JOINED),
            "2.2 I2V A14B", "image", (832, 480), 40, (3.5, 3.5), 0.9,
        ),
    ],
)  # fmt: skip
def test_published_configs_with_pictures_and_experts(changes, name, task, size, steps, guidance, boundary):
    variant = wan.read(changes)
    own = variant.defaults
    assert (variant.name, variant.task, variant.boundary) == (name, task, boundary)
    assert (own.width, own.height, own.frames, own.fps, own.steps) == (*size, 81, 16, steps)
    assert (own.guidance, own.low_noise_guidance) == guidance
    assert variant.geometry.channels == 16 and variant.geometry.legal(*size, 81) == (*size, 81)
    assert not variant.keeps_clean


def test_the_larger_image_to_video_is_told_by_its_folders_name():
    transformer = JOINED | {"image_dim": 1280}
    own = wan.read(configs(transformer, folder={"name": "Wan2.1-I2V-14B-720P-Diffusers"})).defaults
    assert (own.width, own.height) == (1280, 720)


def test_only_a_folder_with_token_times_keeps_the_first_frame_clean():
    assert wan.read(configs(WAN_5B, VAE_22, index={"expand_timesteps": True})).keeps_clean
    assert not wan.read(configs(WAN_5B, VAE_22)).keeps_clean


def test_a_folder_of_a_new_size_gets_the_familys_values():
    variant = wan.read(configs({"num_attention_heads": 8}))
    assert (variant.name, variant.defaults.width, variant.latent_format) == ("", 832, "Wan21")
    assert wan.read(configs({"out_channels": None})).geometry.channels == 16


def test_the_folders_own_values_win():
    own = {
        "title": "mine",
        "width": 64,
        "frames": 17,
        "fps": 8,
        "steps": 20,
        "guidance": 3,
        "negative": "",
        "max_tokens": 32,
    }
    variant = wan.read(configs(opent2v=own | {"preview": {"factors": [[1, 0, 0]] * 16, "bias": [0, 0, 0]}}))
    defaults = variant.defaults
    assert (variant.name, defaults.width, defaults.height, defaults.frames, defaults.fps) == ("mine", 64, 480, 17, 8.0)
    assert (defaults.steps, defaults.guidance, defaults.negative, variant.prompts[0].max_tokens) == (20, 3.0, "", 32)
    assert variant.rgb == (((1, 0, 0),) * 16, (0, 0, 0))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            configs(index={"boundary_ratio": 0.875}),
            "model_index.json has boundary_ratio but no transformer_2. A model with two experts (Wan 2.2 A14B) has",
        ),
        (configs(transformer_2=TRANSFORMER), "model_index.json has transformer_2 but no boundary_ratio."),
        (
            configs(index={"boundary_ratio": 0.9}, transformer_2=TRANSFORMER | {"in_channels": 36}),
            "transformer and transformer_2 differ: in_channels is 16 and 36. They are the two experts of one model",
        ),
        (
            configs({"in_channels": 48}),
            "This transformer takes 48 channels. Expected 16 (text to video) or 36 (image to video); control and "
            "editing models are not supported.",
        ),
        (
            configs({"in_channels": 36, "image_dim": 1280}, image_encoder={"hidden_size": 1024}),
            "The image encoder is 1024 wide and the transformer expects 1280. Use the image_encoder folder",
        ),
        (
            configs(vae=VAE_22),
            "The VAE makes 48 latent channels and the transformer returns 16. They belong to different models: "
            "use the vae folder that came with this transformer.",
        ),
        (
            configs(vae={"latents_mean": [0.0] * 4}),
            "The VAE's config has 4 latents_mean and 16 latents_std; expected 16 of each, one per latent channel.",
        ),
        (
            configs(text={"d_model": 2048}),
            "The text encoder is 2048 wide and the transformer expects 4096. "
            "Use the text_encoder folder that came with this transformer.",
        ),
    ],
)
def test_a_folder_whose_parts_do_not_fit_is_refused(changed, said):
    with pytest.raises(FamilyError) as error:
        wan.read(changed)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "a red circle",
        "  a \t red\r\n\n circle  ",
        "a&nbsp;red&amp;nbsp;&lt;b&gt;circle&amp;lt;/b&amp;gt;",
        "&amp;amp;amp;",
        "cafÃ© â€œquotedâ€\x9d",
        "“curly” ‘quotes’ … – —",
        "一个红色的圆形\u3000在黑色背景上",
        "a\u00a0b\u2003c\u200bd\x85e",
        "ﬁne ＦＵＬＬ ｗｉｄｔｈ",
        "\ufeffmark",
        "👩‍🚀 riding a 🐎",
        "",
        "   ",
    ],
)
def test_clean_is_the_reference_pipelines(text):
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    try:
        expected = prompt_clean(text)
    except NameError:
        pytest.skip("this version of diffusers cleans prompts only where ftfy is installed")
    assert wan.clean(text) == expected


def test_embedding_is_exactly_zero_behind_the_prompts_end():
    _, clip, _ = tiny.shared()
    tokens, whole = clip.part.tokens(tiny.PROMPT)
    ids = tokens["text_encoder"]
    assert len(ids) == whole < tiny.MAX_TOKENS and ids[-1] == clip.part.tokenizers["text_encoder"].eos_token_id
    embedding, further = clip.part.embed(tokens)
    assert further == {}
    assert embedding.shape == (1, tiny.MAX_TOKENS, 16)
    assert embedding[:, whole:].eq(0).all() and embedding[:, :whole].ne(0).any(-1).all()


def test_a_long_prompt_is_cut_and_keeps_its_end_token():
    _, clip, _ = tiny.shared()
    tokens, whole = clip.part.tokens("red circle " * 1000)
    ids = tokens["text_encoder"]
    assert (len(ids), whole) == (tiny.MAX_TOKENS, 2001)
    assert ids[-1] == clip.part.tokenizers["text_encoder"].eos_token_id
    assert clip.part.embed(tokens)[0].shape == (1, tiny.MAX_TOKENS, 16)


@pytest.mark.parametrize(("kind", "channels", "size"), [("plain", 16, 32), ("ti2v", 48, 64)])
def test_the_vae_folds_as_the_geometry_says(kind, channels, size):
    _, _, vae = tiny.shared(kind)
    video = torch.rand(1, 3, 9, size, size) * 2 - 1
    with torch.inference_mode():
        latent = vae.part.encode(video)
        decoded = vae.part.decode(latent)
    assert latent.shape == (1, *vae.part.variant.geometry.latent_shape(size, size, 9)) == (1, channels, 3, 4, 4)
    assert decoded.shape == video.shape and decoded.abs().max() <= 1


def test_a_family_named_block_list_is_there():
    model, _, _ = tiny.shared()
    assert len(model.part.transformer.get_submodule(model.part.variant.family.network.blocks)) == 2
