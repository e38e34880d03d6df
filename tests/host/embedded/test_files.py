"""The model files that combos list: every container's endings, in ComfyUI's older folders too."""

from __future__ import annotations

from opent2v.host import embedded
from opent2v.loaders import containers
from opent2v.nodes.inputs import chosen, combo, files_of, states_of
from opent2v.nodes.shared import files_state


def test_files_of_every_container_are_listed_in_old_and_new_folders(tmp_path, monkeypatch):
    for name in (
        "diffusion_models/wan.gguf", "diffusion_models/sub/B.GGUF", "diffusion_models/c.safetensors", "unet/d.gguf",
        "unet/wan.gguf", "text_encoders/t5.gguf", "clip/umt5.gguf", "vae/vae.gguf", "diffusion_models/e.txt",
        "diffusion_models/f.box", "clip/old.ckpt",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    embedded.configure(models=tmp_path)
    files = files_of("diffusion_models")
    assert set(files) >= {"wan.gguf", "sub/B.GGUF", "c.safetensors", "d.gguf"} and "e.txt" not in files
    assert files["wan.gguf"] == tmp_path / "diffusion_models/wan.gguf"  # the newer folder's comes first
    assert {"t5.gguf", "umt5.gguf", "old.ckpt"} <= set(files_of("text_encoders"))
    assert "vae.gguf" in combo("A VAE.", "vae")[0]
    assert "f.box" not in files
    monkeypatch.setattr(containers, "FORMATS", [*containers.FORMATS, Box()])
    assert "f.box" in files_of("diffusion_models")


def test_files_behind_links_and_in_capitals_and_names_of_windows(tmp_path):
    """As ComfyUI's own folder_paths finds them, on the system that a graph was saved on and on any other."""
    for name in ("shared/style.safetensors", "models/loras/UPPER.SAFETENSORS", "models/loras/sub/deep.safetensors"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "models" / "loras" / "linked").symlink_to(tmp_path / "shared")
    embedded.configure(models=tmp_path / "models")
    assert {"linked/style.safetensors", "UPPER.SAFETENSORS", "sub/deep.safetensors"} <= set(files_of("loras"))
    assert chosen("sub\\deep.safetensors", "loras") == tmp_path / "models" / "loras" / "sub" / "deep.safetensors"
    assert states_of(["sub\\deep.safetensors", 1.0], "loras") == states_of(["sub/deep.safetensors"], "loras") != ""


def test_the_settings_beside_a_peft_file_belong_to_its_state(tmp_path):
    path = tmp_path / "loras" / "adapter_model.safetensors"
    path.parent.mkdir()
    path.touch()
    before = files_state(path)
    (path.parent / "adapter_config.json").write_text('{"lora_alpha": 4}')
    assert files_state(path) != before


class Box:
    endings = (".box",)
