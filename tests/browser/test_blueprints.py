"""The subgraph blueprints in the page: listed by ComfyUI, put on the graph by the page's search, and run as a chain.

Tests: subgraphs/
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from opent2v.headless.workflow import load_workflow
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests.browser.pages import OBJECTION, Browser, Page, workflow
from opent2v.tests.browser.test_search import RESULTS, SEARCH, results
from opent2v.tests.host.server import ROOT, Server

pytestmark = [pytest.mark.browser, pytest.mark.host]

NAMES = sorted(path.stem for path in (ROOT / "subgraphs").glob("*.json"))
TEXT, MORE, SAVE = (f"{title} (OpenT2V)" for title in ("Text to Video", "Continue Video", "Finish and Save"))
EMPTY = (850, 650)  # a place of the graph with no panel of the page's above it
# Ports and widgets of the node added last, and the types of the nodes inside that the page does not know.
SHOWN = """() => {
  const node = app.graph.nodes.at(-1)
  const known = ({ type }) => type in LiteGraph.registered_node_types
  return {
    title: node.title,
    sockets: node.inputs.filter(({ widget }) => !widget).map(({ name }) => name),
    widgets: node.widgets.map(({ name }) => name).filter((name) => !name.startsWith('$$')),
    outputs: node.outputs.map(({ name }) => name),
    inside: node.subgraph.nodes.length,
    unknown: node.subgraph.nodes.filter((one) => !known(one)).map(({ type }) => type),
  }
}"""
CONNECT = """(wires) => {
  const { graph } = app
  for (const [from, output, to, input] of wires) {
    const [origin, target] = [from, to].map((id) => graph.getNodeById(id))
    const slot = (slots, name) => slots.findIndex((one) => one.name === name)
    if (!origin.connect(slot(origin.outputs, output), target, slot(target.inputs, input)))
      throw Error(`${output} of ${from} does not go to ${input} of ${to}`)
  }
}"""
SET = """([id, values]) => {
  const { widgets } = app.graph.getNodeById(id)
  for (const [name, value] of Object.entries(values)) widgets.find((widget) => widget.name === name).value = value
}"""


def read(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "subgraphs" / f"{name}.json").read_text(encoding="utf-8"))


def look(page: Page, scale: float, left: int, top: int) -> None:
    """Show another part of the graph."""
    page.tab.evaluate("([scale, ...offset]) => Object.assign(app.canvas.ds, { scale, offset })", [scale, left, top])
    page.tab.evaluate("() => app.canvas.setDirty(true, true)")
    page.settle()


def put(page: Page, name: str, left: int) -> int:
    """Search for a blueprint as a user does, choose it, and return its id."""
    count = page.tab.evaluate("() => app.graph.nodes.length")
    look(page, 1, 9000, 9000)  # away from the other nodes
    for _ in range(5):  # a busy machine may take the two clicks for one
        page.tab.mouse.dblclick(*EMPTY)
        page.settle()
        if page.tab.locator(SEARCH).count():
            break
    assert any(name in one for one in results(page, name)), name
    page.tab.locator(RESULTS).filter(has_text=name).first.click()
    page.tab.wait_for_timeout(500)
    page.tab.mouse.click(*EMPTY)  # the newer page lets the pointer carry the node until a click
    page.tab.wait_for_function("(count) => app.graph.nodes.length === count + 1", arg=count)
    page.settle()
    page.tab.evaluate("(left) => { app.graph.nodes.at(-1).pos = [left, 0] }", left)
    return page.tab.evaluate("() => Number(app.graph.nodes.at(-1).id)")


def test_comfyui_lists_each_of_them(server: Server) -> None:
    listed = server.get("/global_subgraphs")
    ours = {key: entry for key, entry in listed.items() if entry["info"]["node_pack"] == "custom_nodes.OpenT2V"}
    assert sorted(entry["name"] for entry in ours.values()) == NAMES
    for key, entry in ours.items():
        assert json.loads(server.get(f"/global_subgraphs/{key}")["data"]) == read(entry["name"])


@pytest.mark.parametrize("style", ["classic", "nodes2"])
def test_each_opens_whole_and_nothing_is_missing(browser: Browser, server: Server, style: str) -> None:
    with browser.open(server, f"blueprints-{style}", **{"Comfy.VueNodes.Enabled": style == "nodes2"}) as page:
        page.load(workflow())  # in place of the page's first graph, which lacks its models
        page.tab.evaluate("() => app.graph.clear()")
        for number, name in enumerate(NAMES):
            put(page, name, 3000 * number)
            shown = page.tab.evaluate(SHOWN)
            (whole,), (subgraph,) = read(name)["nodes"], read(name)["definitions"]["subgraphs"]
            assert shown["title"] == name and shown["unknown"] == []
            assert shown["sockets"] == [slot["name"] for slot in whole["inputs"] if "widget" not in slot]
            assert shown["widgets"] == [slot["name"] for slot in whole["inputs"] if "widget" in slot]
            assert shown["outputs"] == [entry["name"] for entry in whole["outputs"]]
            assert shown["inside"] == len(subgraph["nodes"])
            assert page.tab.locator(OBJECTION).all_inner_texts() == []
            look(page, 0.8, 400 - 3000 * number, 200)
            page.screenshot(name)


def test_they_run_as_a_chain_and_the_scripts_send_what_the_page_sends(browser: Browser, server: Server) -> None:
    with browser.open(server, "blueprints-chain") as page:
        flow = workflow()
        (loader,) = (node for node in flow["nodes"] if node["type"] == "OpenT2VLoadModel")
        for slot in loader["outputs"]:
            slot["links"] = []
        page.load(flow | {"nodes": [loader | {"pos": [-450, 0]}], "links": [], "extra": {}})
        model = loader["id"]
        first, more, save = (put(page, name, left) for name, left in ((TEXT, 0), (MORE, 450), (SAVE, 900)))
        loaded = [[model, name, node, name] for node in (first, more) for name in ("model", "clip", "vae")]
        rest = [[first, "images", more, "images"], [more, "images", save, "images"], [more, "fps", save, "fps"]]
        page.tab.evaluate(CONNECT, loaded + rest)
        words = {"positive": "a red triangle moving to the right on a black background", "steps": 4}
        page.tab.evaluate(SET, [first, words])
        page.tab.evaluate(SET, [more, {**words, "overlap": 5}])
        page.tab.evaluate(SET, [save, {"frame_rate": 32, "caption": "OpenT2V"}])
        look(page, 0.7, 620, 200)
        sent = page.tab.evaluate("async () => (await app.graphToPrompt()).output")
        told = load_workflow(page.saved(), NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS).prompt()
        for node in (*sent.values(), *told.values()):
            node["inputs"].pop("seed", None)  # the page may take a new one for each run
        assert told == sent
        saving = next(key for key, node in sent.items() if node["class_type"] == "OpenT2VSaveVideo")
        (file,) = page.outputs()[saving]["images"]
        assert (server.base / "output" / file["subfolder"] / file["filename"]).is_file()
        page.screenshot("ran")
