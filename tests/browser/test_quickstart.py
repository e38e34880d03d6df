"""From the template to a playing video and back: what a new user does first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from opent2v.headless import runner
from opent2v.headless.workflow import load_workflow
from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.browser.pages import DIALOG, Browser, Page, workflow
from opent2v.tests.host.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

SAVE, SAMPLER = 6, 4


@pytest.fixture(scope="module")
def steps(browser: Browser, server: Server) -> dict[str, Any]:
    """One visit of a user, with what was to be seen at each step."""
    seen: dict[str, Any] = {}
    server.post("/free", {"unload_models": True, "free_memory": True})  # nothing is left of runs before this
    with browser.open(server, "quickstart") as page:
        _open_template(page, seen)
        seen["template"] = page.saved()
        _run(page, seen)
        _run_again(page, seen)
        _drop(page, seen, Path(server.base) / "output" / seen["file"])
        _reload(page, seen)
    return seen


def _open_template(page: Page, seen: dict[str, Any]) -> None:
    page.tab.locator(".templates-tab-button").click()
    page.tab.get_by_text("OpenT2V", exact=True).click()
    card = page.tab.get_by_test_id("template-workflow-quickstart")
    for _ in range(20):  # the page lists more once the end of what it lists comes into view
        if card.count():
            break
        page.tab.locator("[data-testid^=template-workflow-]").last.scroll_into_view_if_needed()
        page.tab.wait_for_timeout(250)
    card.scroll_into_view_if_needed()  # pictures are fetched when they come into view
    card.locator("img").first.wait_for()
    page.tab.wait_for_function(
        "() => document.querySelector('[data-testid=template-workflow-quickstart] img').naturalWidth > 0"
    )
    seen["card"] = card.inner_text()
    seen["thumbnail"] = card.locator("img").first.evaluate("(image) => [image.naturalWidth, image.naturalHeight]")
    page.screenshot("1-templates")
    card.click()
    page.tab.wait_for_function("app.graph.nodes.length === 7")
    page.tab.locator(DIALOG).first.wait_for(state="hidden")
    page.settle()
    page.screenshot("2-opened")


def _run(page: Page, seen: dict[str, Any]) -> None:
    seen["file"] = page.run(SAVE)
    page.tab.wait_for_function("() => document.querySelectorAll('.opent2v-remarks > div:not(:empty)').length === 4")
    page.settle()
    page.screenshot("3-ran")
    video = page.tab.locator("video").first
    box = video.bounding_box()
    seen["video"] = video.evaluate(
        "(one) => ({ source: one.src, ready: one.readyState, size: [one.videoWidth, one.videoHeight] })"
    )
    seen["video"]["box"] = box
    playing = "(node) => node.videoContainer?.querySelector('video')"
    seen["shown in"] = page.tab.evaluate(f"() => app.graph.nodes.filter({playing}).map(({{ id }}) => Number(id))")
    page.tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.tab.wait_for_function("() => document.querySelector('video').currentTime > 0.1", timeout=10_000)
    page.screenshot("4-plays")
    seen["remarks"] = page.remarks()
    seen["saved"] = page.saved()
    seen["prompt"] = page.tab.evaluate("async () => (await app.graphToPrompt()).output")


def _run_again(page: Page, seen: dict[str, Any]) -> None:
    """With the next seed, so that only the sampler and what follows runs."""
    seen["file again"] = page.run(SAVE)
    seen["remarks again"] = page.remarks()
    seen["saved again"] = page.saved()


def _drop(page: Page, seen: dict[str, Any], file: Path) -> None:
    page.tab.locator(".new-blank-workflow-button").click()
    page.tab.wait_for_function("app.graph.nodes.length === 0")
    page.drop(file)
    page.tab.wait_for_function("app.graph.nodes.length === 7", timeout=30_000)
    page.settle()
    page.screenshot("5-dropped")
    seen["dropped"] = page.saved()
    seen["remarks dropped"] = page.remarks()


def _reload(page: Page, seen: dict[str, Any]) -> None:
    page.load(seen["saved"])
    seen["loaded"] = page.saved()


def comparable(graph: dict[str, Any]) -> dict[str, Any]:
    """What a graph says, without the place of its view and the counts of its history."""
    return {"nodes": sorted(graph["nodes"], key=lambda node: node["id"]), "links": graph["links"]}


def values(graph: dict[str, Any]) -> dict[int, Any]:
    """Widget values by node, the seed left out: the page draws a new one after each run."""
    found = {node["id"]: list(node.get("widgets_values") or []) for node in graph["nodes"]}
    found[SAMPLER].pop(0)
    return found


def test_the_template_is_listed_with_its_picture(steps: dict[str, Any]) -> None:
    assert "quickstart" in steps["card"]
    assert min(steps["thumbnail"]) >= 300


def test_opening_the_template_loads_the_graph(steps: dict[str, Any]) -> None:
    file = workflow()
    assert values(steps["template"]) == values(file)
    assert sorted(link[:5] for link in steps["template"]["links"]) == sorted(link[:5] for link in file["links"])
    sizes = {node["id"]: node["size"] for node in file["nodes"]}
    assert {node["id"]: node["size"] for node in steps["template"]["nodes"]} == sizes


def test_the_video_plays_on_the_save_node(steps: dict[str, Any], server: Server) -> None:
    video = steps["video"]
    assert video["source"].startswith(f"{server.url}/api/view?filename={steps['file']}&")
    assert steps["file"].startswith("OpenT2V_") and steps["file again"] not in (steps["file"], "")
    assert video["ready"] >= 2 and video["size"] == [96, 96]
    assert min(video["box"]["width"], video["box"]["height"]) > 200
    assert steps["shown in"] == [SAVE]


def frames(video: Path) -> np.ndarray:
    """(frames, height, width, 3), 0 to 255."""
    with av.open(str(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_the_frames_are_those_of_the_embedded_host(
    steps: dict[str, Any], server: Server, screenshots: Path, tmp_path: Path
) -> None:
    """One over the other in a contact sheet; the frames before encoding are compared in tests/host/test_flags.py."""
    embedded.configure(output=tmp_path)
    runner.run(load_workflow(workflow(), NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS), NODE_CLASS_MAPPINGS)
    (own,) = tmp_path.glob("*.mp4")
    here, there = frames(own), frames(server.base / "output" / steps["file"])
    rows = [np.concatenate(list(one), axis=1) for one in (there, here)]
    Image.fromarray(np.concatenate(rows)).save(screenshots / "quickstart-frames-above-page-below-embedded.png")
    assert here.shape == there.shape == (33, 96, 96, 3)
    # x264's threads look ahead as far as they have come: two files of the same frames are up to 1.3 apart, those of
    # another seed 5.
    assert np.abs(here.astype(float) - there).mean() < 2
    # A red triangle on black: black corners, and more red than green or blue where it is bright.
    assert there[:, :6, :6].mean() < 25
    red, green, blue = there[there.max(axis=-1) > 180].mean(axis=0)
    assert red > 180 and max(green, blue) < 80


def test_remarks_are_on_the_nodes_and_nowhere_else(steps: dict[str, Any]) -> None:
    said = steps["remarks"]
    assert set(said) == {1, 2, 3, 4}
    assert "million parameters" in said[1] and said[2].startswith("Negative prompt: ")
    assert said[3] == "96 x 96, 33 frames at 16 fps (2.1 s)" and said[SAMPLER].endswith("seed 1")
    assert values(steps["saved"]) == values(workflow())
    assert "opent2v_remarks" not in json.dumps([steps["saved"], steps["prompt"]])
    assert "parameters" not in json.dumps([steps["saved"], steps["prompt"]])


def test_remarks_leave_the_nodes_as_large_as_the_template_has_them(steps: dict[str, Any]) -> None:
    sizes = {node["id"]: node["size"] for node in workflow()["nodes"]}
    assert {node["id"]: node["size"] for node in steps["saved"]["nodes"]} == sizes


def test_the_next_run_replaces_what_it_did_anew_and_keeps_the_rest(steps: dict[str, Any]) -> None:
    first, again = steps["remarks"], steps["remarks again"]
    seed = steps["saved"]["nodes"][[n["id"] for n in steps["saved"]["nodes"]].index(SAMPLER)]["widgets_values"][0]
    assert again == {**first, SAMPLER: first[SAMPLER].removesuffix("seed 1") + f"seed {seed}"}
    assert values(steps["saved again"]) == values(workflow())


def test_the_dropped_file_restores_the_graph_that_made_it(steps: dict[str, Any]) -> None:
    assert comparable(steps["dropped"]) == comparable(steps["template"])
    assert steps["remarks dropped"] == {}


def test_a_graph_saved_after_a_run_loads_as_it_was(steps: dict[str, Any]) -> None:
    assert comparable(steps["loaded"]) == comparable(steps["saved"])
