"""Core's own LTX-2 and MiniMax H3, which make picture and sound together, in our nodes.

ComfyUI 0.8.0 has LTX-2 2.0 only, and with it neither 2.3 and 2.5 nor MiniMax H3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .report import cases_of, report_of

pytestmark = pytest.mark.host
ALL = ("2.0", "2.3", "2.5", "h3")
LTX2 = ALL[:3]


@pytest.fixture(scope="module")
def joint(comfyui: Path, python: str) -> Any:
    return cases_of(report_of(python, "inside_joint.py", comfyui, timeout=900), "joint ")


@pytest.fixture(params=ALL)
def kind(request: pytest.FixtureRequest, joint: Any) -> str:
    if request.param not in joint("hosts")["kinds"]:
        pytest.skip(f"this ComfyUI has no {'MiniMax H3' if request.param == 'h3' else f'LTX-2 {request.param}'}")
    return request.param


@pytest.fixture
def decoder(kind: str) -> str:
    """Whose VAEs: all versions of LTX-2 have the same."""
    return "h3" if kind == "h3" else "ltx2"


def test_cores_joint_models_are_known(joint, kind):
    found = joint("known")[kind]
    assert found["title"] == ("MiniMax H3" if kind == "h3" else f"LTX-2 {kind}")
    if kind == "h3":
        assert found["size"] == [1344, 768, 124, 24.0]
        assert found["streams"] == [[1, 24, 37, 48, 84], [1, 32, 2, 207]]
    else:
        assert found["size"] == [768, 512, 97, 25.0]
        assert found["streams"] == [[1, 128, 13, 16, 24], [1, 8, 97, 16]]


def test_empty_latents_are_those_of_cores_nodes(joint, kind):
    pairs = joint("empty_latents")[kind]
    assert len(pairs) == 3
    for ours, cores in pairs:
        assert ours == cores


def test_the_sampler_gives_what_cores_own_graph_gives(joint, kind):
    rows = joint("sampler")[kind]
    assert set(rows) == {"empty", "distilled", "picture masked", "both masked", "half"}
    for name, (apart, size) in rows.items():
        assert size > 0.1, name
        assert apart <= 1e-4, name


def test_solvers_shift_and_rescaled_guidance_reach_both_streams(joint, kind):
    rows = dict(joint("further_settings")[kind])
    assert rows.pop("report").startswith("4 steps, cfg 1," if kind == "h3" else "4 steps, cfg 3,")
    assert len(rows) == (3 if kind == "h3" else 4)
    assert all(change > 1e-3 for changes in rows.values() for change in changes)


def test_previews_are_of_the_picture(joint, kind):
    found = joint("previews")[kind]
    assert found["count"] == 4 and found["shapes"] == [found["picture"]]


def test_step_caches_keep_both_streams(joint, kind):
    rows = joint("step_cache")[kind]
    assert rows["computed"]["computed"] == [["12", "12"]]
    assert max(apart for apart, _ in rows["computed"]["apart"]) == 0
    for name, row in rows.items():
        ((computed, steps),) = row["computed"]
        assert (steps == "12" and int(computed) < 12) or name == "computed", name
        for apart, size in row["apart"]:
            assert apart < 4 * size, name
    assert [rows[name]["computed"] for name in ("plan", "plan, blocks")] == [[["9", "12"]]] * 2
    assert all(apart > 1e-4 for apart, _ in rows["plan"]["apart"])


def test_seacache_judges_the_picture_and_not_a_row_of_both(joint, kind):
    shapes = joint("seen_by_seacache")[kind]
    assert shapes["judged"] == [shapes["picture"]]


def test_apply_step_cache_in_cores_ksampler(joint, kind):
    rows = joint("step_cache_in_ksampler")[kind]
    assert rows["computed"]["apart"] == 0 and rows["half"]["apart"] > 1e-4
    full, cached = rows["half"]["calls"]
    assert cached < full and rows["computed"]["calls"] == [full, full]


def test_calibrating_planning_and_comparing(joint, kind):
    found = joint("calibrated")[kind]
    assert found["apart"] == 0
    assert "Policy optimal" in found["report"]
    assert "of 12 steps computed" in found["cached"]
    assert [line.split(" | ")[0] for line in found["compared"][0].splitlines()] == ["run", "latents", "sound"]
    assert found["compared"][1] == 100


def test_a_sweep_decodes_the_pictures(joint):
    found = joint("sweep")
    assert found["streams"] == 2 and "easycache 1 |" in found["report"]


def test_picture_and_sound_are_decoded_as_by_cores_nodes(joint, decoder):
    found = joint("decoded")[decoder]
    assert found["images"] == found["waveform"] == 0 and found["heard"] > 1e-4
    assert found["rate"] == [32000 if decoder == "h3" else 24000] * 2
    assert found["shape"][0] == (22 if decoder == "h3" else 25)
    assert found["picture's in audio_vae"].startswith("audio_vae is a VAE for pictures.")
    assert found["sound's in vae"].startswith("vae is an audio VAE.")


def test_picture_and_sound_are_streamed_into_one_file(joint, decoder):
    found = joint("streamed")[decoder]
    assert found["frames"] == found["components"][0] == (22 if decoder == "h3" else 25)
    assert abs(found["picture"] - found["sound"]) < 0.08 and found["loud"] > 1e-3
    assert not [line for line in found["remarks"] if "sound" in line or "Sound" in line]


def test_a_lora_does_what_cores_own_loader_does(joint, kind):
    found = joint("lora")[kind]
    title = "MiniMax H3" if kind == "h3" else f"LTX-2 {kind}"
    assert found["layers"] > 5 and f"{found['layers']} of {found['layers']} match" in found["report"]
    assert f"this model is {title}: 0 of 1 match" in found["other"]
    assert found["apart"] <= 1e-4 < 1e-2 < found["effect"] and found["restored"] == 0


def test_their_files_are_named(joint, kind):
    found = joint("inspected")[kind]
    title = "MiniMax H3" if kind == "h3" else f"LTX-2 {kind}"
    assert f"{title} transformer, original layout" in found["report"]
    if kind == "h3":
        assert found["loader"] == "not refused"
    else:  # ComfyUI 0.8.0 has 2.0 without the connectors
        assert found["loader"] == "not refused" or "without its connectors" in found["loader"]


def test_what_cannot_be_is_refused_by_name(joint, kind):
    found = joint("refused")[kind]
    if kind == "h3":
        assert found["picture alone"].startswith("The latent holds a picture only; MiniMax H3 makes picture and sound")
    else:
        assert found["picture alone"] == "not refused"
    assert "2 streams (1 x" in found["another sound"] and "makes a picture and a sound of" in found["another sound"]
    assert "It was made by another model's text encoder" in found["another prompt"]
    assert "No picture is given." in found["start picture"]


def test_every_node_with_a_latent_takes_two_streams_or_refuses_them_by_name(joint):
    found = joint("every_node")
    assert {name for name, said in found.items() if not said} == {
        "OpenT2VDecode", "OpenT2VDecodeToVideo", "OpenT2VCompareCache",
    }  # fmt: skip
    refused = {name: said for name, said in found.items() if said}
    # What these four are asked for besides is refused before their latent is looked at.
    assert "cannot start from a picture" in refused.pop("OpenT2VImageToVideo")
    assert "The new clip has 9 frames" in refused.pop("OpenT2VContinue")
    assert "is not there" in refused.pop("OpenT2VUpscaleLatent")
    assert "joining takes at least two" in refused.pop("OpenT2VJoinFiles")
    assert set(refused) == {"OpenT2VSampler", "OpenT2VCalibrateCache", "OpenT2VSweepCache"}
    for name, said in refused.items():
        assert said.startswith(
            "SamplingError: The latent holds 2 streams (1 x 16 x 3 x 4 x 4, 1 x 8 x 10 x 16); Wan"
        ), name
