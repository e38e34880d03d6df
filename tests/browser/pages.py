"""ComfyUI's page as a user has it before them: what is on it, and what it complains about."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from opent2v.tests.host.server import ROOT, Server

# Node id -> its texts as the page shows them in Chinese.
CHINESE = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
# Complaints of the page that a ComfyUI without this pack has just as well (test_complaints.py looks), and why.
# A network address stands without what follows "?"; "…" at the end stands for whatever follows.
OWN_COMPLAINTS = {
    "404 /user.css": "the user's own style sheet, which nobody has at first",
    "404 /api/userdata/user.css": "the same, at its newer address",
    "404 /favicon.ico": "the browser asks for it, once, before the page names its icon",
    "404 /api/userdata": "the folders for workflows and subgraphs, which are made when the first one is saved",
    "404 /api/view": "a node that shows a video of the input folder, while there is none",
    "404 /api/userdata/comfy.templates.json": "node templates, a file made when the first one is saved",
    "net::ERR_NAME_NOT_RESOLVED https://api.comfy.org/releases": "news of ComfyUI; nothing leaves the machine here",
    "Attempted to cleanup event listeners for graph that was never set up": "the small map of frontend 1.35",
}
# Those that frontend 1.49 has besides.
NEWER_COMPLAINTS = {
    "[ComfyUI] The legacy queue/history menu is deprecated…": "an extension of ComfyUI's own adds to that menu",
    "[MaskEditor] ComfyApp.open_maskeditor is deprecated…": "one of ComfyUI's own extensions still has it",
    "ComfyApp graph accessed before initialization": "one of ComfyUI's own extensions does",
    "net::ERR_NAME_NOT_RESOLVED https://huggingface.co/…": "sizes of the files that an opened workflow misses",
}
# Written for each page that is opened: ComfyUI keeps what another one has set.
PLAIN = {
    "Comfy.Locale": "en",
    "Comfy.VueNodes.Enabled": False,
    "Comfy.TutorialCompleted": True,
    "Comfy.Execution.PreviewMethod": "default",
    "Comfy.RightSidePanel.IsOpen": False,
}
READY = "!!window.app?.extensionManager?.workflow?.activeWorkflow && 'KSampler' in LiteGraph.registered_node_types"
# A window before the graph, and how frontend 1.49 says that a workflow lacks something.
DIALOG = "[role=dialog]:not(.p-popover)"  # a tab of the page has a small one of its name
OBJECTION = f"{DIALOG}, [data-testid=error-overlay]"
# A point of the graph (a node's position and an offset from it) in the pixels of the window.
POINT = """([id, dx, dy]) => {
  const node = app.graph.getNodeById(id), { offset, scale } = app.canvas.ds
  const { left, top } = app.canvas.canvas.getBoundingClientRect()
  return [left + (node.pos[0] + dx + offset[0]) * scale, top + (node.pos[1] + dy + offset[1]) * scale]
}"""
# Id -> left, top, right and bottom of each node as it is drawn, in units of the graph: title, badge and the bar below a
# node with an error included.
BOXES = """() => Object.fromEntries(app.graph.nodes.map((node) => {
  const { scale } = app.canvas.ds
  const drawn = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect()
  if (drawn) return [node.id, [drawn.left, drawn.top, drawn.right, drawn.bottom].map((one) => one / scale)]
  const [left, top, width, height] = node.getBounding()
  return [node.id, [left, top - 20, left + width, top + height]]
}))"""
DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))
  const dataTransfer = new DataTransfer()
  dataTransfer.items.add(new File([bytes], name, { type: 'video/mp4' }))
  for (const kind of ['dragenter', 'dragover', 'drop']) {
    const event = new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true, clientX: 600, clientY: 400 })
    document.getElementById('graph-canvas').dispatchEvent(event)
  }
}"""


def fits(complaint: str, own: str) -> bool:
    """A complaint is one of a list of ComfyUI's own."""
    return complaint.startswith(own[:-1]) if own.endswith("…") else complaint == own


def overlapping(boxes: dict[str, list[float]], titles: dict[str, str]) -> set[tuple[str, str]]:
    """Titles of those boxes (left, top, right, bottom) that share more than a hair."""
    found = set()
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        if min(a[2], b[2]) - max(a[0], b[0]) > 0.5 and min(a[3], b[3]) - max(a[1], b[1]) > 0.5:
            found.add((titles[one], titles[other]))
    return found


class Browser:
    """A headless Chromium. Each page is a user of its own to the browser, with nothing remembered."""

    def __init__(self, path: str, screenshots: Path):
        self.path, self.screenshots = path, screenshots

    def __enter__(self) -> Browser:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._chromium = self._playwright.chromium.launch(executable_path=self.path, args=["--no-sandbox"])
        return self

    def __exit__(self, *_: object) -> None:
        self._chromium.close()
        self._playwright.stop()

    def open(self, server: Server, name: str, **settings: Any) -> Page:
        """The page of a server, ready for use. `name` begins the names of its screenshots."""
        context = self._chromium.new_context(viewport={"width": 1600, "height": 900})
        return Page(context, server, self.screenshots, name, {**PLAIN, **settings})


class Page:
    """One open page; closed on exit, where it must not have complained.

    `tab` is playwright's own page, for clicks and looks; `expected` the complaints it may make.
    """

    def __init__(self, context: Any, server: Server, screenshots: Path, name: str, settings: dict[str, Any]):
        self.complaints: list[str] = []
        self.expected = {*OWN_COMPLAINTS, *NEWER_COMPLAINTS}
        self.server, self._context, self._pictures, self._name = server, context, screenshots, name
        self.version = server.get("/system_stats")["system"]["comfyui_version"]
        server.post("/settings", settings)
        context.route(
            lambda url: not url.startswith((server.url, "blob:", "data:")), lambda route: route.abort("namenotresolved")
        )
        self.tab = context.new_page()
        self.tab.on("pageerror", lambda error: self.complaints.append(error.message))
        self.tab.on("console", self._heard)
        self.reload()

    def __enter__(self) -> Page:
        return self

    def reload(self) -> None:
        self.tab.goto(self.server.url, timeout=120_000)
        self.tab.wait_for_function(READY, timeout=120_000)

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is not None:
            self.screenshot("failed")
        self._context.close()
        if kind is None:
            foreign = sorted({one for one in self.complaints if not any(fits(one, own) for own in self.expected)})
            assert not foreign, f"the page complains: {foreign}"

    def _heard(self, message: Any) -> None:
        if message.type not in ("error", "warning"):
            return
        text, where = message.text, urlsplit(message.location.get("url", ""))
        if text.startswith("Failed to load resource"):
            host = "" if f"{where.scheme}://{where.netloc}" == self.server.url else f"{where.scheme}://{where.netloc}"
            status = "404" if "status of 404" in text else text.removeprefix("Failed to load resource: ")
            text = f"{status} {host}{where.path}"
        self.complaints.append(text)

    @property
    def frontend(self) -> tuple[int, ...]:
        """The page's own version."""
        return tuple(map(int, self.tab.evaluate("window.__COMFYUI_FRONTEND_VERSION__").split(".")))

    def screenshot(self, stage: str) -> None:
        self.tab.screenshot(path=str(self._pictures / f"{self.version}-{self._name}-{stage}.png"))

    def load(self, workflow: dict[str, Any]) -> None:
        """Open a workflow as the page opens a file; it must know every node and object to nothing."""
        objections = self.open(workflow)
        assert not objections, f"the page objects: {objections}"

    def open(self, workflow: dict[str, Any]) -> list[str]:
        """Open a workflow as the page opens a file, and return what the page objects to."""
        self.tab.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
        self.tab.wait_for_function("(count) => app.graph.nodes.length === count", arg=len(workflow["nodes"]))
        self.settle()
        return self.tab.locator(OBJECTION).all_inner_texts()

    def settle(self) -> None:
        """Wait until the page has drawn what it was told."""
        self.tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.tab.wait_for_timeout(500)

    def saved(self) -> dict[str, Any]:
        """What the page would write into a workflow file."""
        return json.loads(self.tab.evaluate("() => JSON.stringify(app.graph.serialize())"))

    def run(self, node: int, button: Any = None) -> str:
        """Press Run, wait until a video can be played, and return the name of the file that `node` saved."""
        file = self.outputs(button)[str(node)]["images"][0]["filename"]
        ready = (
            "(name) => [...document.querySelectorAll('video')].some((v) => v.readyState >= 2 && v.src.includes(name))"
        )
        self.tab.wait_for_function(ready, arg=file)
        self.settle()
        return file

    def outputs(self, button: Any = None) -> dict[str, Any]:
        """Press Run, wait for the end, and return what each node had to show."""
        before = len(self.server.get("/history"))
        (button or self.tab.get_by_test_id("queue-button").first).click()
        for _ in range(1200):
            history = list(self.server.get("/history").values())
            if len(history) > before:
                break
            self.tab.wait_for_timeout(200)
        assert len(history) == before + 1, "the run did not end within four minutes"
        assert history[-1]["status"]["status_str"] == "success", history[-1]["status"]
        return history[-1]["outputs"]

    def point(self, node: int, dx: float, dy: float) -> tuple[float, float]:
        """Where in the window a point of a node lies, given from the node's upper left corner."""
        x, y = self.tab.evaluate(POINT, [node, dx, dy])
        return x, y

    def remarks(self) -> dict[int, str]:
        """Remarks to be seen on the nodes, by node."""
        shown = self.tab.evaluate(
            """() => app.graph.nodes.map(({ id, widgets }) => {
              const { element, value } = widgets?.find(({ name }) => name === 'opent2v_remarks') ?? {}
              return [Number(id), element?.checkVisibility() && element.clientHeight > 0 ? value : '']
            })"""
        )
        return {node: text for node, text in shown if text}

    def overlaps(self) -> set[tuple[str, str]]:
        """Titles of nodes that lie on one another as they are drawn."""
        return overlapping(self.tab.evaluate(BOXES), self.titles())

    def titles(self) -> dict[str, str]:
        """Id -> title of each node."""
        return self.tab.evaluate("() => Object.fromEntries(app.graph.nodes.map(({ id, title }) => [id, title]))")

    def drop(self, file: Path) -> None:
        """Drop a file on the canvas."""
        self.tab.evaluate(DROP, [file.name, base64.b64encode(file.read_bytes()).decode()])


def workflow(name: str = "quickstart") -> dict[str, Any]:
    """A workflow of the pack."""
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
