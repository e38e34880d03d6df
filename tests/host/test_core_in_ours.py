"""Core's MODEL, CLIP, VAE and LATENT in our nodes; previews; one model for all loaders of it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.host
CLOSE = 1e-4


def test_unet_loaders_wan_is_recognised_by_structure(inside):
    found = inside("core recognised")
    assert found["family"] == "wan" and found["shift"] == 5.0
    assert found["own"] == [832, 480, 81, 16.0, 50, 5.0]
    assert found["latent"] == [1, 16, 2, 60, 6] and found["numbers"] == [48, 480, 5, 16.0]


@pytest.mark.parametrize("solver", ["reference", "euler", "unipc", "dpm++ 2m"])
def test_unet_loaders_wan_in_our_sampler(inside, solver):
    found = inside("core sampler")[solver]
    assert found["finite"] is True and found["apart"] <= CLOSE


@pytest.mark.parametrize("cfg", ["1.0", "3.0"])
def test_normalised_attention_guidance_is_the_same_on_both_hosts_and_on_cores_network(inside, cfg):
    found = inside("core nag")[cfg]
    assert found["ours"] <= 1e-5 and found["embedded"] <= 1e-5 and found["without"] > 1e-3


@pytest.mark.parametrize("name", ["core", "ours"])
def test_a_strength_that_changes_over_the_steps(inside, name):
    """The embedded host's are compared with merged weights in tests/nodes/test_lora_pairs.py."""
    found = inside("core strengths")
    assert found[name] <= 1e-5 and found["again"] <= 1e-4
    assert found["whole"] > 1e-4 and found["plain"] > 1e-4


def test_a_lora_for_fewer_channels_changes_the_first_of_the_input_layer(inside):
    """The embedded host's: tests/loaders/lora/test_control.py."""
    found = inside("core narrower")
    assert max(found.values()) <= 1e-5 and set(found) == {"core", "ours"}


@pytest.mark.parametrize("name", ["core", "ours"])
def test_a_lora_of_few_steps_travels_with_the_model(inside, name):
    found = inside("core few_steps")[name]
    assert found["kept"] == ["a.safetensors"] and found["before"] == 0
    assert found["lines"][0].startswith("3 steps, cfg 1, FlowMatchEulerDiscrete")
    assert found["lines"][1] == "3 steps, cfg 1, shift 5: taken from a test (a.safetensors)"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "control",
            "FamilyError: This MODEL: this Wan model takes 32 channels and returns 16. Expected 16 or 36",
        ),
        ("unknown", "FamilyError: No family here recognises this MODEL"),
        ("conditioning", "SamplingError: The positive conditioning is 768 wide; Wan reads 4096."),
        ("latent", "ValueError: The latent has 4 channels; this VAE decodes 16."),
    ],
)
def test_what_does_not_fit_is_refused(inside, what, said):
    assert inside("core refused")[what].startswith(said)


def test_clip_loaders_umt5_in_our_prompt_node_and_sampler(inside):
    found = inside("core text")
    assert found["class"] == "WanT5Model" and found["shape"] == [1, 512, 4096]
    assert found["same"] == 0 and found["two"] > 0.1
    assert found["apart"] <= CLOSE and found["changed"] > 1e-3


def test_vae_loaders_vae_in_our_decode(inside):
    found = inside("core vae")
    assert found["apart"] <= CLOSE and found["shape"] == [9, 16, 16, 3]
    assert found["picture"] <= CLOSE and found["one"] == [1, 16, 16, 3]


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        ("EmptyHunyuanLatentVideo", [1, 16, 3, 4, 4]),
        ("EmptyLatentImage", [1, 16, 1, 4, 4]),
        ("RepeatLatentBatch", [2, 16, 3, 4, 4]),
        ("LatentFromBatch", [1, 16, 3, 4, 4]),
        ("LatentBatch", [2, 16, 3, 4, 4]),
        ("LatentUpscale", [1, 16, 3, 8, 8]),
        ("SetLatentNoiseMask", [1, 16, 3, 4, 4]),
    ],
)
def test_latent_nodes_into_our_sampler(inside, node, shape):
    found = inside("core latents")[node]
    assert found["shape"] == shape and found["finite"] is True and found["apart"] <= CLOSE


def test_a_noise_mask_keeps_its_region(inside):
    found = inside("core latents")
    assert found["kept"] <= 1e-5 and found["made"] > 1e-2


def test_previews_have_the_videos_size_and_colours_and_move(inside):
    found = inside("core previews")
    assert found["count"] == 10 and found["kind"] == "JPEG" and found["size"] == [8, 8]
    assert found["colour error"] < 0.1
    assert found["moves"] > 0.05  # the last two steps hardly differ: another frame is shown
    assert found["core"]["count"] == 3 and found["core"]["size"] == [4, 4]
    assert found["core"]["error"] < 0.01


def test_loader_nodes_share_a_model_until_nobody_holds_it(inside):
    found = inside("core sharing")
    assert found["shared"] is True and found["auto"] is True and found["other dtype"] is True
    assert found["alive"] == 0 and found["alive after the host freed"] == 0


def test_a_changed_file_is_loaded_anew(inside):
    found = inside("core sharing")
    assert found["state"] is True and found["changed"] is True and found["new load"] is True
