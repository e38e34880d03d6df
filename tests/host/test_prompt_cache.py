"""Kept prompts and late CLIPs in ComfyUI. Tests: host/comfyui/clip.py, nodes/prompt_cache.py"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.host


def test_a_kept_prompt_saves_the_encoder_and_any_other_node_loads_it(inside):
    report = inside("prompt_cache kept")
    assert report["whole"] and report["first is late"] and report["first is loaded"] and report["second is late"]
    assert report["fresh"] == "Prompt cache: 0 read, 2 encoded and kept."
    assert report["again"] == "Prompt cache: 2 read, 0 encoded and kept." and report["files"] == 2
    assert report["without loading"] == ["Wan tiny", "second", False]
    assert report["asked by the host"] == [False, 0, True]
    assert report["difference"] == [0, 0] and report["core"] == 0 and report["clone"]
    expected, fresh, again = report["entries"]
    assert expected == fresh == again
    assert report["identities"] == 1 and report["patched"] == [1, ""] and report["layer"] == ""


def test_a_late_clips_patcher_loads_when_it_is_used(inside):
    report = inside("prompt_cache late_patcher")
    assert report.pop("held") is False
    assert all(report.values()), report
