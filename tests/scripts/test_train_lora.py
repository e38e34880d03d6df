"""The command that trains a LoRA, as a person types it: from a folder, from single files, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

from opent2v.loaders.lora import read_lora
from opent2v.tests.finetune import data
from opent2v.tests.tiny import ltx2, wan

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("peft")


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "train_lora.py"), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600)


def test_a_folder_is_trained_with_samples_and_a_page(tmp_path):
    data.folder_of(tmp_path / "clips", 2)
    (tmp_path / "clips" / "broken.mp4").write_text("no video")
    (tmp_path / "clips" / "broken.txt").write_text("a ball")
    output = tmp_path / "balls.safetensors"
    options = ["--model", wan.folder(), "--data", tmp_path / "clips", "--output", output, "--rank", 4, "--batch", 2]
    options += ["--steps", 2, "--sample-every", 1, "--sample-steps", 1, "--prompt", "a red triangle"]
    options += ["--judge-prompt", "a blue star", "--judge", 1]
    done = run(*options)
    assert done.returncode == 0, done.stderr
    assert "2 clips for Wan tiny, 1 refused\n  broken.mp4: " in done.stdout
    assert "2 steps of 2 clips" in done.stdout and f"LoRA     {output}" in done.stdout
    assert read_lora(output).ranks == (4,)
    card = (tmp_path / "balls.md").read_text()
    assert "A LoRA for Wan tiny." in card and "| Samples of 1 prompts against the base's |" in card
    names = {file.name for file in (tmp_path / "balls" / "samples").iterdir()}
    assert names == {f"step{n:06}{end}" for n in range(3) for end in (".png", "_1_00001.mp4")}
    assert (tmp_path / "balls" / "training.html").read_text().count("<video") == 3
    again = run(*options)
    assert again.returncode == 1 and "balls.safetensors exists already" in again.stderr


def test_single_files_of_a_model_with_sound(tmp_path):
    model, text = tmp_path / "ltx.safetensors", tmp_path / "gemma.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in ltx2.all_in_one("2.0").items()}, model)
    save_file(ltx2.gemma(), text)
    import torch

    sound = {
        "waveform": torch.rand(1, 2, 16_000, generator=torch.Generator().manual_seed(0)) - 0.5,
        "sample_rate": 16_000,
    }
    frames = data.frames_of(0, 17, 96, 64)
    data.write_clip(tmp_path / "clips", "heard", frames, fps=24, caption="a red circle moves to the right", audio=sound)
    data.write_clip(tmp_path / "clips", "silent", frames, fps=24, caption="a red circle moves to the right")
    output = tmp_path / "out.safetensors"
    options = ["--model", model, "--text-encoder", text, "--data", tmp_path / "clips", "--output", output]
    options += ["--steps", 2, "--batch", 1, "--rank", 2, "--width", 96, "--height", 64, "--frames", 17]
    done = run(*options, "--sample-every", 0, "--stream")
    assert done.returncode == 0, done.stderr
    assert "1 x 96 x 64, 17 frames, with sound" in done.stdout and "1 x 96 x 64, 17 frames\n" in done.stdout
    assert "The first frame is given in 50% of the steps." in done.stdout
    stems = {adapter.stem for adapter in read_lora(output).adapters}
    assert {"transformer.transformer_blocks.0.attn1.to_q", "transformer.transformer_blocks.0.audio_attn1.to_q"} <= stems


def test_what_is_refused_before_anything_is_trained(tmp_path):
    data.folder_of(tmp_path / "clips", 1)
    needed = ["--model", wan.folder(), "--data", tmp_path / "clips", "--output"]
    assert "is no .safetensors file" in run(*needed, tmp_path / "a.pt").stderr
    assert "rate is 5.0; expected 0 (by the model" in run(*needed, tmp_path / "a.safetensors", "--rate", 5).stderr
    assert "--vae is for a model in a single file" in run(*needed, tmp_path / "a.safetensors", "--vae", "x").stderr


def test_a_base_in_four_bits(tmp_path):
    pytest.importorskip("bitsandbytes")
    data.folder_of(tmp_path / "clips", 1)
    output = tmp_path / "balls.safetensors"
    options = ["--model", wan.folder(), "--data", tmp_path / "clips", "--output", output, "--rank", 4, "--batch", 1]
    done = run(*options, "--steps", 1, "--sample-every", 0, "--judge", 0, "--dtype", "nf4")
    assert done.returncode == 0, done.stderr
    assert " weights of the base are held as nf4" in done.stdout
    assert read_lora(output).ranks == (4,)


def test_numbers_that_no_weight_has_are_refused(tmp_path):
    done = run("--model", tmp_path, "--data", tmp_path, "--output", tmp_path / "a.safetensors", "--dtype", "fp99")
    assert done.returncode == 2 and "invalid choice: 'fp99'" in done.stderr
