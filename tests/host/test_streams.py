"""A family of ours that makes a video and its sound: both hosts, and ComfyUI's own sampler on our MODEL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opent2v.tests.tiny import joint as tiny

from .report import cases_of, report_of

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def streams(comfyui: Path, python: str) -> Any:
    return cases_of(report_of(python, "inside_streams.py", comfyui), "streams ")


@pytest.fixture
def sampling(streams: Any) -> Any:
    refused = streams("refused")
    if refused:
        assert refused.startswith("This ComfyUI does not say how the latents of a model with sound are packed. Update")
        pytest.skip("this ComfyUI does not say how it packs streams")
    return streams


def test_both_hosts_sample_both_streams_alike(sampling):
    found = sampling("hosts")
    assert min(found["size"]) > 0.5
    assert set(found["apart"]) == {"empty", "half", "both masked", "picture masked", "rescaled"}
    for name, apart in found["apart"].items():
        assert len(apart) == 2 and max(apart) < 1e-4, name


def test_cores_sampler_walks_both_streams(sampling):
    for apart in sampling("cores_sampler"):
        assert len(apart) == 2 and max(apart) < 1e-4


def test_the_sound_is_decoded_alike(streams):
    found = streams("sound")
    assert found["apart"] < 1e-6 and found["shapes"] == [[1, 2, 6 * (tiny.RATE // 6)]] * 3
    # A ComfyUI that cannot pack streams states this rate for the sound of every VAE.
    rate_of_core = 44100 if streams("refused") else tiny.RATE
    assert found["rates"] == [tiny.RATE, tiny.RATE, rate_of_core] and found["channels"] == [tiny.SOUND_CHANNELS] * 2
