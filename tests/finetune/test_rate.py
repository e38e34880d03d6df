"""The learning rate: that of the model's width, its rise and its fall.

Tests: finetune/settings.py, finetune/loop.py
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from safetensors import safe_open

from opent2v import finetune
from opent2v.finetune import Settings, Training, TrainingError
from opent2v.host import host
from opent2v.tests.finetune import data
from opent2v.tests.tiny import wan

SETTINGS = Settings(steps=8, batch=1, rank=2, warmup=2, validation=0.0, decay=0.5)


def training(folder, settings: Settings) -> Training:
    model, clip, vae = wan.shared()
    if not (folder / "clips").is_dir():
        data.folder_of(folder / "clips", 1)
    encoders = finetune.Encoders(model.part.variant, clip, vae)
    prepared = finetune.prepare(encoders, folder / "clips", folder / "cache", settings)
    return Training(host.training_model(model), prepared, settings, folder)


def test_narrow_models_learn_faster_and_wide_ones_at_the_usual_rate():
    assert [Settings().highest_rate(width) for width in (192, 1536, 5120)] == pytest.approx([8e-4, 1e-4, 1e-4])
    assert Settings(rate=3e-5).highest_rate(192) == 3e-5


def test_the_rate_rises_stays_and_falls_to_the_last_step():
    shares = [SETTINGS.share_at(step) for step in range(8)]
    assert shares == pytest.approx([0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    assert [replace(SETTINGS, decay=0.0).share_at(step) for step in (1, 7, 100)] == [1, 1, 1]


@pytest.mark.parametrize("decay", [-0.1, 1.5, float("nan")])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(TrainingError, match=r"decay is .*; expected 0 \(the rate stays\) to 1"):
        replace(SETTINGS, decay=decay).check()


def test_steps_have_their_rates_and_the_file_tells_them(tmp_path):
    trained = training(tmp_path, SETTINGS)
    width = wan.shared()[0].part.transformer.config.num_attention_heads
    width *= wan.shared()[0].part.transformer.config.attention_head_dim
    assert trained.adapter.width == width and trained.rate == pytest.approx(1e-4 * 1536 / width)
    rates = []
    try:
        trained.run(lambda record: rates.append(trained.optimizer.param_groups[0]["lr"]))
        path = finetune.export(trained, tmp_path / "a.safetensors")
        assert any(
            line == f"learning rate {trained.rate:.2g}, for a width of {width}" for line in finetune.plan_lines(trained)
        )
    finally:
        trained.close()
    assert rates == pytest.approx([trained.rate * SETTINGS.share_at(step) for step in range(8)])
    with safe_open(path, "pt") as file:
        said = file.metadata()
    assert json.loads(said["ss_learning_rate"]) == trained.rate and said["ss_lr_scheduler"] == "warmup_stable_decay"
    assert "falling in the last 50% of the steps" in path.with_suffix(".md").read_text()


def test_a_resumed_training_falls_towards_its_new_end(tmp_path):
    first = training(tmp_path, SETTINGS)
    first.take_step()
    first.save()
    first.close()
    shorter = training(tmp_path, replace(SETTINGS, steps=4))
    rates = []
    try:
        shorter.run(lambda record: rates.append(shorter.optimizer.param_groups[0]["lr"] / shorter.rate))
    finally:
        shorter.close()
    assert rates == pytest.approx([1, 1, 0.5])
