"""What the VAE leaves of clips is measured and shown before anything is trained.

Tests: finetune/ceiling.py, finetune/sheet.py
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from opent2v import finetune
from opent2v.finetune import ceiling, sheet
from opent2v.host import host
from opent2v.media.compare import psnr_of
from opent2v.tests.finetune import data
from opent2v.tests.tiny import wan


@pytest.mark.parametrize("streams", [False, True])
def test_clips_are_compared_with_what_the_vae_makes_of_them(tmp_path, streams):
    model, clip, vae = wan.shared()
    encoders = finetune.Encoders(model.part.variant, clip, vae)
    settings = finetune.Settings()
    data.folder_of(tmp_path / "clips", 3)
    prepared = finetune.prepare(encoders, tmp_path / "clips", tmp_path / "cache", settings, streams=streams)
    measured = finetune.ceiling_of(encoders, prepared, tmp_path / "work")
    psnrs, pictures = [], []
    for item in (prepared.items[0], prepared.items[1]):
        frames, _ = finetune.frames.read(item.clip, item.bucket, 16)
        back = host.decode(vae, host.encode(vae, frames)).clamp(0, 1)
        psnrs.append(psnr_of((back - frames).square().mean().item()))
        pictures += [frames, back]
    assert measured.clips == 2 and measured.psnr == pytest.approx(sum(psnrs) / 2, abs=1e-3)
    written = np.asarray(Image.open(tmp_path / "work" / ceiling.NAME), dtype=int)
    expected = np.asarray(Image.open(sheet.write_sheet(tmp_path / "expected.png", pictures)), dtype=int)
    assert written.shape == (4 * 160, 5 * 160, 3) and abs(written - expected).max() <= 1


def test_what_the_plan_says(tmp_path):
    measured = finetune.Ceiling(24.31, 2, tmp_path / ceiling.NAME)
    said = "Behind the VAE 2 clips keep 24.3 dB. No LoRA learns what behind_the_vae.png does not show."
    assert measured.line == said


def test_a_sheet_has_a_row_for_each_clip(tmp_path):
    wide, short = torch.full((9, 32, 64, 3), 0.25), torch.full((2, 32, 32, 3), 0.75)
    path = sheet.write_sheet(tmp_path / "a.png", [wide, short])
    picture = np.asarray(Image.open(path))
    assert picture.shape == (320, 5 * 320, 3)
    assert (picture[:160] == 64).all() and (picture[160:, :320] == 191).all() and not picture[160:, 320:].any()
    assert sheet.write_sheet(tmp_path / "b.png", []) is None and not (tmp_path / "b.png").exists()
