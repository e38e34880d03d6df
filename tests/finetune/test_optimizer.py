"""AdamW in 8 bits: chosen where it can be, refused where it cannot, resumed bit for bit."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch

from opent2v import finetune
from opent2v.finetune import TrainingError
from opent2v.finetune.optimizer import remark, resolved
from opent2v.tests.finetune.test_loop import SETTINGS, run, training

CPU, GPU = torch.device("cpu"), torch.device("cuda")
EIGHT = dataclasses.replace(SETTINGS, optimizer="adamw 8-bit", rank=16)


@pytest.mark.parametrize(("is_there", "on_gpu"), [(True, "adamw 8-bit"), (False, "adamw")])
def test_auto_is_what_the_machine_has(monkeypatch, is_there, on_gpu):
    monkeypatch.setattr(sys.modules["opent2v.finetune.optimizer"], "find_spec", lambda name: is_there or None)
    assert resolved("auto", CPU) == "adamw" and resolved("auto", GPU) == on_gpu
    assert resolved("adamw", GPU) == "adamw"
    said = remark("auto", on_gpu)
    assert said == ("AdamW in 8 bits (bitsandbytes)" if is_there else remark("auto", "adamw"))
    if not is_there:
        assert "with bitsandbytes installed" in said
        with pytest.raises(TrainingError, match="needs bitsandbytes, which is not installed"):
            resolved("adamw 8-bit", CPU)


def test_eight_bits_resume_to_the_same_numbers(tmp_path):
    pytest.importorskip("bitsandbytes")
    whole = run(tmp_path / "whole", EIGHT)
    run(tmp_path / "parts", dataclasses.replace(EIGHT, steps=3))
    with pytest.raises(TrainingError, match="optimizer was adamw 8-bit and is adamw"):
        training(tmp_path / "parts", dataclasses.replace(EIGHT, optimizer="adamw"))
    state = run(tmp_path / "parts", EIGHT)
    assert all(torch.equal(weight, whole[name]) for name, weight in state.items())
    plain = run(tmp_path / "plain", dataclasses.replace(EIGHT, optimizer="adamw"))
    assert any(not torch.equal(weight, plain[name]) for name, weight in state.items())
    apart = max((weight - plain[name]).abs().max().item() for name, weight in state.items())
    assert apart < 0.2 * max(weight.abs().max().item() for weight in plain.values())


def test_the_plan_and_the_file_name_the_optimizer(tmp_path):
    trained = training(tmp_path)
    try:
        assert "AdamW in 32 bits" in " ".join(finetune.plan_lines(trained))
        assert trained.numbers["optimizer"] == "adamw"
    finally:
        trained.close()
