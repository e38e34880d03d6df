"""Load Video LoRA with both experts' files, and strengths over the steps against merged references.

Tests: nodes/lora.py, sampling/strengths.py, base/file_names.py (partners_of).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base.file_names import partners_of
from opent2v.base.strengths import parse
from opent2v.host import embedded
from opent2v.host.embedded.files import Missing
from opent2v.sampling import SamplerRequest, SamplingError, plan_run
from opent2v.sampling.strengths import pieces
from opent2v.tests.nodes.calls import call
from opent2v.tests.nodes.test_lora import QUERY, draw, product, weight
from opent2v.tests.tiny import wan as tiny

SHAPE = (1, 16, 3, 4, 4)
HIGH, LOW = "wan2.2_style_HIGH.safetensors", "wan2.2_style_LOW.safetensors"


@pytest.fixture
def folder(tmp_path):
    embedded.configure(models=tmp_path, output=tmp_path / "output")
    (tmp_path / "loras").mkdir()
    for name, seed in ((HIGH, 1), (LOW, 2), ("plain.safetensors", 3)):
        save_file(draw(seed), tmp_path / "loras" / name)
    return tmp_path / "loras"


def experts():
    model = tiny.shared()[0]
    sides = (replace(model.part, variant=replace(model.part.variant, expert=side)) for side in ("high", "low"))
    return [replace(model, part=part) for part in sides]


@pytest.mark.parametrize(
    ("name", "partners"),
    [
        ("Wan2.2-Lightning_T2V-A14B-4steps-lora_HIGH_fp16", ["Wan2.2-Lightning_T2V-A14B-4steps-lora_LOW_fp16"]),
        ("wan2.2_i2v_A14b_low_noise_lora", ["wan2.2_i2v_A14b_high_noise_lora"]),
        ("smoothMixWan2214BI2V_t2vHighV20", ["smoothMixWan2214BI2V_t2vLowV20"]),
        ("Seko-V1.1/high_noise_model", ["Seko-V1.1/low_noise_model"]),
        ("wan2.1_high_quality", []),
    ],
)
def test_partners_by_name(name, partners):
    assert list(partners_of(name)) == partners


def test_in_a_folder_of_the_sides_name_both_places_change():
    assert "Wan2.2-low/low_noise_model" in partners_of("Wan2.2-high/high_noise_model")


def test_the_partner_goes_on_the_low_noise_model(folder):
    high, low = experts()
    (first, _, report, second, _), _ = call("OpenT2VLoadLora", model=high, lora=HIGH, low_noise_model=low)
    torch.testing.assert_close(weight(first) - weight(high), product(1))
    torch.testing.assert_close(weight(second) - weight(low), product(2))
    assert f"For low_noise_model: {LOW}" in report and "WARNING" not in report
    assert f"{LOW}: diffusers" in report and report.count("match") == 2


def test_a_chosen_file_its_strength_and_none(folder):
    high, low = experts()
    given = {"model": high, "lora": HIGH, "low_noise_model": low}
    (*_, second, _), _ = call("OpenT2VLoadLora", **given, lora_low_noise="plain.safetensors", strength_low_noise=0.5)
    torch.testing.assert_close(weight(second) - weight(low), 0.5 * product(3))
    (*_, second, _), _ = call("OpenT2VLoadLora", **given, lora_low_noise="none")
    assert second is low
    (*_, report, second, _), _ = call("OpenT2VLoadLora", **given, lora_low_noise=HIGH)
    assert "by its name the file is for the high-noise model, this MODEL is the low-noise one" in report


def test_without_a_partner_the_same_file_goes_on_both(folder):
    high, low = experts()
    (*_, report, second, _), _ = call("OpenT2VLoadLora", model=high, lora="plain.safetensors", low_noise_model=low)
    torch.testing.assert_close(weight(second) - weight(low), product(3))
    assert "No partner of plain.safetensors for low noise is there: low_noise_model gets the same file" in report


def test_without_a_low_noise_model_there_is_none(folder):
    (*_, second, _), _ = call("OpenT2VLoadLora", model=tiny.shared()[0], lora="plain.safetensors")
    assert isinstance(second, Missing) and "No low_noise_model is connected" in second.message


def sample(model, steps=4, **given):
    positive, negative = tiny.conditioning()
    run = plan_run(model.part.variant, SamplerRequest(seed=2, steps=steps, solver="unipc"), SHAPE)
    return embedded.sample(model, positive, negative, {"samples": torch.zeros(SHAPE)}, run, **given)


def test_strength_over_steps_against_merged_weights(folder):
    """Step by step, with the solver's history kept, the weights are those of the plain model plus the LoRA."""
    plain = tiny.shared()[0]
    (model, *_), _ = call(
        "OpenT2VLoadLora", model=plain, lora="plain.safetensors", strength_model=0.7,
        strength_over_steps="1 until 50 %, 0.5 until 75 %, then 0",
    )  # fmt: skip
    seen = []

    def note(module, args):
        seen.append(module.weight.detach().clone())

    handle = plain.part.transformer.get_submodule(QUERY).register_forward_pre_hook(note)
    result = sample(model)
    handle.remove()
    before = weight(plain)
    expected = [0.7, 0.7, 0.35, 0]
    assert len(seen) == 4
    for found, strength in zip(seen, expected, strict=True):
        torch.testing.assert_close(found, before + strength * product(3), atol=1e-6, rtol=1e-6)
    assert torch.equal(weight(plain), before)
    # The whole LoRA, and none, in all steps are other videos.
    (whole, *_), _ = call("OpenT2VLoadLora", model=plain, lora="plain.safetensors", strength_model=0.7)
    assert (result - sample(whole)).abs().max() > 1e-4 and (result - sample(plain)).abs().max() > 1e-4
    (always, *_), _ = call(
        "OpenT2VLoadLora", model=plain, lora="plain.safetensors", strength_model=0.7, strength_over_steps="1"
    )
    torch.testing.assert_close(sample(always), sample(whole), atol=0, rtol=0)


def test_pieces_follow_each_other_without_a_gap():
    run = plan_run(tiny.shared()[0].part.variant, SamplerRequest(steps=6), SHAPE)
    (part,) = run.parts
    found = pieces(part, [parse("1 until 50 %, then 0"), parse("0 until 34 %, then 1")])
    assert [(len(one.steps), one.before, factors) for one, factors in found] == [
        (3, 0, (1, 0)),
        (3, 3, (0, 1)),
    ]
    assert [(len(one.steps), factors) for one, factors in pieces(part, [])] == [(6, ())]
    ends = [one.schedule.sigmas[[0, -1]].tolist() for one, _ in found]
    assert ends[0][1] == ends[1][0] and ends[1][1] == 0


def test_a_step_cache_beside_it_is_refused(folder):
    (model, *_), _ = call(
        "OpenT2VLoadLora", model=tiny.shared()[0], lora="plain.safetensors", strength_over_steps="1 until 50 %, then 0"
    )
    with pytest.raises(SamplingError, match=r"strength changes during the run \(1 until 50 %, then 0\), and a step"):
        sample(replace(model, step_cache=lambda: None))
