"""Image encoders in single files: recognised by shapes, read whole, refused by name."""

from __future__ import annotations

import pytest
import torch

from opent2v.loaders import ModelFileError, load_vision, vision_file
from opent2v.tests.loaders import vision_files

WHOLE_CLIP = {
    "vision_model.embeddings.position_ids": torch.arange(5)[None],
    "text_model.final_layer_norm.weight": torch.ones(4),
    "text_projection.weight": torch.ones(4, 4),
    "logit_scale": torch.tensor(1.0),
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(vision_file._ACTIVATIONS, vision_files.WIDTH, "gelu")


@pytest.mark.parametrize("has_projection", [True, False])
@pytest.mark.parametrize("further", [{}, WHOLE_CLIP])
def test_an_encoder_is_what_was_saved(tmp_path, has_projection, further):
    encoder = vision_files.encoder(has_projection)
    loaded = load_vision(vision_files.save(tmp_path / "vision.safetensors", encoder, further))
    assert type(loaded) is type(encoder)
    pixels = torch.rand(2, 3, 28, 28)
    states, expected = (m(pixel_values=pixels, output_hidden_states=True).hidden_states for m in (loaded, encoder))
    assert len(states) == len(expected) == 4
    assert all(torch.equal(a, b) for a, b in zip(states, expected, strict=True))


@pytest.mark.parametrize(
    ("width", "layers", "inner", "projection", "activation"),
    [(1024, 24, 4096, 768, "quick_gelu"), (1280, 32, 5120, 1024, "gelu"), (1664, 48, 8192, 1280, "gelu")],
)
def test_the_published_sizes(tmp_path, width, layers, inner, projection, activation):
    """The config, and that transformers' class of it has just the names and shapes of the published files."""
    shapes = {
        "vision_model.embeddings.patch_embedding.weight": (width, 3, 14, 14),
        "vision_model.embeddings.position_embedding.weight": (257, width),
        "visual_projection.weight": (projection, width),
    }
    shapes |= {f"vision_model.encoder.layers.{n}.mlp.fc1.weight": (inner, width) for n in range(layers)}
    name, config = vision_file._class_and_config(tmp_path / "x", shapes)
    assert (config["image_size"], config["num_hidden_layers"], config["hidden_act"]) == (224, layers, activation)
    module = vision_file.build(name, config)
    assert {key: shapes[key] for key in shapes} == {key: tuple(module.state_dict()[key].shape) for key in shapes}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("vision_model.embeddings.patch_embedding.weight"), "no CLIP image encoder this pack"),
        (
            lambda state: state.update({"vision_model.embeddings.patch_embedding.weight": torch.ones(48, 3, 14, 14)}),
            "Expected ViT-L, ViT-H or ViT-bigG in transformers' names, such as clip_vision_h.safetensors",
        ),
        (lambda state: state.pop("vision_model.encoder.layers.1.mlp.fc2.bias"), "1 missing"),
    ],
)
def test_other_files_are_refused(tmp_path, change, said):
    from safetensors.torch import save_file

    state = vision_files.state(vision_files.encoder())
    change(state)
    save_file(state, tmp_path / "vision.safetensors")
    with pytest.raises(ModelFileError, match=said) as error:
        load_vision(tmp_path / "vision.safetensors")
    assert str(error.value).startswith(str(tmp_path))
