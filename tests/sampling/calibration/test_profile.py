"""What is kept of a recorded run, and for which runs it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opent2v.sampling import SamplingError
from opent2v.sampling.calibration import ModelSetup, Profile, Recorded

MADE = ModelSetup("Wan tiny", ("aa",), ("",), "UniPCMultistepScheduler", 3.0)
ROWS = tuple(
    Recorded(expert, "positive", n, 1 - n / 4, 0.5, gamma=0.9, replay=(0.1, 0.2), replay_linear=(0.05,))
    for expert in (0, 1)
    for n in range(4)
)
PROFILE = Profile(MADE, ROWS, {"steps": 4})


def test_what_is_written_is_read_again():
    again = Profile.from_json(PROFILE.to_json(), "a.json")
    assert again == PROFILE and again.about == {"steps": 4}


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (
            replace(MADE, weights=("bb",)),
            r"other weights. Found: Wan tiny \(weights bb\), LoRAs none, UniPC.*weights aa",
        ),
        (replace(MADE, loras=("cc",)), r"other LoRAs. Found: Wan tiny \(weights aa\), LoRAs cc.*LoRAs none"),
        (replace(MADE, scheduler="DPM"), r"another scheduler. Found: .* DPM, shift 3; the profile is of: .*UniPC"),
        (replace(MADE, shift=5.0), r"another shift. Found: .* shift 5; the profile is of: .* shift 3. Run Calibrate"),
    ],
)
def test_another_runs_profile_is_refused(now, message):
    with pytest.raises(SamplingError, match="The step cache's profile was made with " + message):
        PROFILE.rows_for(now)


def test_it_holds_for_its_own_run_and_for_samplers_that_do_not_tell():
    assert PROFILE.rows_for(MADE) == ROWS
    assert PROFILE.rows_for(replace(MADE, scheduler="", shift=0.0)) == ROWS


def test_one_of_two_experts_gets_its_own_part():
    two = replace(PROFILE, setup=replace(MADE, weights=("aa", "bb"), loras=("", "")))
    found = two.rows_for(ModelSetup("Wan", ("bb",), ("",)))
    assert found == tuple(replace(row, expert=0) for row in ROWS[4:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a.json is not a profile of a step cache"),
        ("[]", "a.json is not a profile of a step cache"),
        ('{"opent2v_step_cache_profile": 9}', "a.json is a profile of format 9; this version reads 1. Run Calibrate"),
        (replace(PROFILE, rows=()).to_json(), "a.json is a profile without a single step"),
        (PROFILE.to_json().replace("gamma", "gama"), "a.json is not a profile of a step cache"),
    ],
)
def test_what_is_no_profile(text, message):
    with pytest.raises(SamplingError, match=message):
        Profile.from_json(text, "a.json")
