"""The workflows of the pack in the page: nothing is missing, and the scripts read them as the page does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opent2v.headless.workflow import load_workflow
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.browser.pages import Browser, Page, workflow
from opent2v.tests.host.server import ROOT, Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


@pytest.fixture(scope="module")
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A page whose ComfyUI has a file of each name that the workflows ask for."""
    for name in NAMES:
        for node in workflow(name)["nodes"]:
            addressed = node.get("properties", {}).get("models", [])
            files = {Path(model["directory"]) / model["name"] for model in addressed}
            if node["type"] == "OpenT2VLoadDiffusionModel":  # VideoCrafter2's is made by hand and has no address
                files.add(Path("diffusion_models") / node["widgets_values"][0])
            for file in (server.base / "models" / file for file in files):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
    with browser.open(server, "workflows", **{"Comfy.Validation.Workflows": True}) as opened:
        yield opened


def open_template(page: Page, name: str, flow: dict[str, Any]) -> None:
    """Open a template, to which the page objects only where it asks for a clip or sound of the user's own."""
    assert not page.open(flow) or name in ("video_to_video", "ltx2.3_sound_to_video", "minimax_h3_continue")


@pytest.mark.parametrize("name", NAMES)
def test_the_scripts_send_what_the_page_sends(page: Page, name: str) -> None:
    flow = workflow(name)
    for node in flow["nodes"]:
        if node["type"] == "OpenT2VLoadVideo":
            # In place of none yet, for which frontend 1.35 sends "undefined". No test makes a file of this name: of one
            # that is there, the page sends an input "video-preview" as well, which no node has.
            node["widgets_values"][0] = "not_there.mp4"
    open_template(page, name, flow)
    page.screenshot(name)
    sent = page.tab.evaluate("async () => (await app.graphToPrompt()).output")
    told = load_workflow(flow, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS).prompt()
    assert told.keys() == sent.keys()
    # Outside ComfyUI nobody knows the inputs of its own nodes: the scripts cannot run a graph with them there.
    ours = {number for number, node in sent.items() if node["class_type"] in NODE_CLASS_MAPPINGS}
    assert {n: told[n] for n in ours} == {n: sent[n] for n in ours}


@pytest.mark.parametrize("name", NAMES)
def test_nodes_are_as_large_as_the_template_has_them(page: Page, name: str) -> None:
    open_template(page, name, workflow(name))
    assert {n["id"]: n["size"] for n in page.saved()["nodes"]} == {n["id"]: n["size"] for n in workflow(name)["nodes"]}
