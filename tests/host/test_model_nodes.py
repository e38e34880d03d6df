"""Every core node that takes a MODEL and gives one changes on ours what it changes on core's, or is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .model_nodes import ELSEWHERE, OUTCOMES, ROWS
from .report import cases_of, report_of
from .server import ROOT

CLOSE, SEEN = 2e-4, 1e-2
SAMPLERS = ("KSampler", "Video Sampler")


@pytest.fixture(scope="module")
def walked(comfyui, python):
    return cases_of(report_of(python, "inside_model_nodes.py", comfyui, timeout=1800), "model_nodes ")


@pytest.mark.host
def test_every_node_of_this_comfyui_is_known(walked):
    """A node here is new in core: find out what it does to our MODEL, and add it to model_nodes.py and the docs."""
    names = walked("names")
    assert [name for name in names if name not in ROWS and name not in ELSEWHERE] == []
    assert len(names) > 60


def is_as_expected(outcome: str, found: dict[str, Any]) -> bool:
    core, ours = found["core"], found["ours"]
    if outcome == "refused":
        return "Take that node out" in ours.get("refused", "")
    if outcome == "fails":
        return "raised" in core and core == ours
    if outcome == "alone":
        return "raised" in core and ours.get("effect", 0) > SEEN
    if "apart" not in found or not found["finite"]:
        return False
    effects = (core["effect"], ours["effect"])
    if outcome == "nothing":
        return max(effects) <= CLOSE
    if min(effects) < SEEN:
        return False
    if outcome == "rounding":
        return max(effects) < 1 and found["apart"] <= sum(effects)
    return outcome == "own" or found["apart"] <= CLOSE  # same, levels


@pytest.mark.host
@pytest.mark.parametrize("number", [0, 1], ids=SAMPLERS)
def test_each_node_does_what_it_does_to_cores_model(walked, number):
    report, sampler = dict(walked("wan_nodes")), SAMPLERS[number]
    assert report.pop("unchanged")[sampler]["apart"] <= CLOSE
    wrong = {
        name: {"expected": ROWS[name][number], **found[sampler]}
        for name, found in report.items()
        if name in ROWS and not is_as_expected(ROWS[name][number], found[sampler])
    }
    assert wrong == {}


@pytest.mark.host
def test_each_node_runs_or_is_refused_on_a_family_that_core_has_not(walked):
    wrong = {}
    for name, found in walked("open_sora_nodes").items():
        if "node" in found and ROWS.get(name, ("",))[0] == "fails":
            continue  # core's node reads what only image models of a UNet have
        if "Use a LoRA that was trained for this model" in found.get("node", {}).get("refused", ""):
            continue  # the walk's LoRA is a Wan model's: a loader refuses it before any sampler runs
        good = all(found.get(s) == "runs" or "refused" in found.get(s, {}) for s in SAMPLERS)
        if not good and "fails" not in ROWS.get(name, ()):
            wrong[name] = found
    assert wrong == {}


@pytest.mark.host
def test_every_patch_inside_a_network_is_refused(walked):
    found = walked("patches")
    assert len(found) >= 6
    assert all(said.get("refused", "").startswith("Asks changes the inside") for said in found.values()), found


WORDS = {
    "same": "the same", "nothing": "changes nothing, nor on core's", "refused": "refused", "own": "each its own",
    "levels": "the noise levels", "rounding": "the same, rounded", "alone": "runs; core's own fails",
    "fails": "fails, as on core's",
}  # fmt: skip


def test_the_docs_say_the_same():
    text = (ROOT / "docs" / "interoperates.md").read_text(encoding="utf-8")
    section = text.split("## Nodes from MODEL to MODEL")[1].split("\n## ")[0]
    said = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and (names := re.findall(r"`([^`]+)`", cells[2])):
            said |= dict.fromkeys(names, (cells[0], cells[1]))
    assert {name: (WORDS[one], WORDS[other]) for name, (one, other) in ROWS.items()} == said
    assert all(f"`{name}`" in section for name in ELSEWHERE)
    assert sum(len(names.split(",")) for names in OUTCOMES.values()) == len(ROWS)
