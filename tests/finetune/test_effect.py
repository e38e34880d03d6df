"""What a LoRA changes is measured on clips and prompts that no step learned from, and stands in its card.

Tests: finetune/effect.py, finetune/samples.py, finetune/export.py
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from opent2v import finetune
from opent2v.finetune import Effect, Judge, Training, loop, samples
from opent2v.host import host
from opent2v.loaders.lora import load_patches, match, read_lora
from opent2v.tests.finetune.test_loop import SETTINGS, encoders, prepared
from opent2v.tests.tiny import wan

HELD = dataclasses.replace(SETTINGS, steps=3, validation=0.25, validate_every=3, rate=5e-2, warmup=0)


@pytest.fixture(autouse=True)
def _the_first_three_are_held_out(monkeypatch):
    """Else the clips' bytes choose, which are those of the machine's encoder. These have both captions."""

    def first_three(items, settings):
        count = 3 if settings.validation else 0
        return list(items[count:]), list(items[:count])

    monkeypatch.setattr(loop, "split", first_three)
    monkeypatch.setattr(samples, "split", first_three)


def test_a_lora_is_measured_against_the_base(tmp_path):
    model, _, vae = wan.shared()
    ready = prepared(HELD)
    shots = finetune.held_out_shots(encoders(), ready, HELD, (), 1, 7)
    training = Training(host.training_model(model), ready, HELD, tmp_path)
    judge = Judge(training)
    try:
        base = training.loss_of(training.validation[0], 0, 4, training.validation[0].prompt)
        training.run()
        path = finetune.export(training, tmp_path / "my.safetensors", torch.float32)
        judge.held_out()
        learned = training.loss_of(training.validation[0], 0, 4, training.validation[0].prompt)
        with training.adapter.off():
            assert training.loss_of(training.validation[0], 0, 4, training.validation[0].prompt) == base
        assert training.loss_of(training.validation[0], 0, 4, training.validation[0].prompt) == learned != base
    finally:
        training.close()
    trained = host.apply_patches(model, load_patches(match(read_lora(path), host.patch_target(model))), 1.0)
    judge.samples(model, trained, vae, shots, 1)
    effect = judge.effect
    assert effect.clips == 3 and effect.prompts == 1 and math.isfinite(effect.psnr)
    assert effect.loss[0] != effect.loss[1] and min(effect.loss) > 0
    assert all(0 <= share <= 1 for share in effect.adherence) and 0 < effect.motion[0] != effect.motion[1]
    finetune.write_card(training, path, effect)
    card = path.with_suffix(".md").read_text()
    assert f"| Loss of 3 held-out clips | {effect.loss[0]:.5f} without, {effect.loss[1]:.5f} with |" in card
    assert "| Adherence: their own caption explains them best |" in card
    assert f"| Samples of 1 prompts against the base's | {effect.psnr:.1f} dB |" in card


def test_a_model_that_reads_its_captions_adheres(monkeypatch, tmp_path):
    """The loss is that of the caption's key, so the share that is right is known."""
    training = Training(host.training_model(wan.shared()[0]), prepared(HELD), HELD, tmp_path)
    try:
        own = {item.prompt for item in training.validation}
        assert len(own) == 2
        best = min(own)
        monkeypatch.setattr(training, "loss_of", lambda item, number, tries, prompt: float(prompt != best))
        judge = Judge(training)
        judge.held_out()
        share = sum(item.prompt == best for item in training.validation) / len(training.validation)
        assert judge.effect.adherence == pytest.approx((share, share))
        assert judge.effect.loss[0] == pytest.approx(1 - share)
    finally:
        training.close()


def test_the_same_model_changes_nothing():
    model, _, vae = wan.shared()
    shots = finetune.held_out_shots(encoders(), prepared(HELD), HELD, ["a red triangle"], 4, 7)
    assert [shot.text for shot in shots] == ["a red triangle"]
    judge = Judge(None)  # pyright: ignore[reportArgumentType]
    judge.samples(model, model, vae, shots, 1)
    effect = judge.effect
    assert effect.psnr == math.inf and effect.motion[0] == effect.motion[1] and effect.brightness[0] > 0


def test_without_held_out_clips_nothing_is_claimed(tmp_path):
    assert finetune.held_out_shots(encoders(), prepared(), SETTINGS, (), 4, 7) == []
    training = Training(host.training_model(wan.shared()[0]), prepared(), SETTINGS, tmp_path)
    try:
        judge = Judge(training)
        judge.held_out()
        judge.samples(None, None, None, [])
    finally:
        training.close()
    assert judge.effect == Effect() and judge.effect.rows == {}
