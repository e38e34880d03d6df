"""The model files that combos list: every container's endings, in ComfyUI's older folders too."""

from __future__ import annotations

from opent2v.host import embedded
from opent2v.loaders import containers
from opent2v.nodes.inputs import combo, files_of


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


class Box:
    endings = (".box",)
