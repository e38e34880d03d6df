"""What ComfyUI's own saving nodes write of our MODEL, CLIP and VAE loads again, LoRAs included."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.host


def test_a_lora_on_fp8_weights_is_in_the_saved_file(inside):
    found = inside("saving lora")
    assert {
        "core fp8, LoRA by ours",
        "core fp8, LoRA by core",
        "ours fp8, LoRA by ours",
        "ours fp8, LoRA by core",
    } <= set(found)
    assert {case: share for case, share in found.items() if not 0.9 < share < 1.1} == {}


def test_a_lora_on_fp8_weights_survives_partial_loading_and_unloading(inside):
    found = inside("saving lora_in_parts")
    shares = [found[name] for name in ("whole", "unloaded", "partly")]
    assert shares == [None] * 3 or all(0.9 < share < 1.1 for share in shares)
    assert found["effect"] > 1e-3
    assert found["apart after unloading"] <= 1e-5 and found["apart when partly loaded"] <= 1e-5


def test_a_checkpoint_holds_all_parts_under_the_names_of_all_in_one_files(inside):
    found = inside("saving checkpoints")
    assert found == {family: [[], [], True] for family in ("wan 2.1", "wan 2.2", "ltx-video", "cogvideox", "mochi")}


def test_our_loaders_read_the_checkpoint_again(inside):
    whole = {"model": True, "vae": True, "text": True, "tokens": True}
    assert inside("saving read_again") == {"wan": whole, "videocrafter": whole}


def test_a_saved_text_encoder_is_the_file_that_was_loaded_and_comfyui_reads_it(inside):
    found = inside("saving text_encoder")
    assert found["same file"] is True and found["again"] == 0
    assert found["core"] <= 1e-4
    assert found["decoded"] == "a red circle moves"


def test_several_text_encoders_are_refused_before_anything_is_written(inside):
    found = inside("saving several_text_encoders")
    for node in ("CLIPSave", "CheckpointSave"):
        assert found[node].startswith(
            "HunyuanVideo tiny reads its prompts with 2 text encoders, which ComfyUI's saving"
        )
        assert "Save the model alone (ModelSave)" in found[node]
    assert found["nothing written"] is True
