"""Records the workflows of this version as ComfyUI's page saves and sends them: the expectation of the test beside it.

Not a test. Run it once for each release, never for a version that is published. Start a ComfyUI of today with this
pack, and with playwright installed:

    python tests/workflows_of_old/record.py http://127.0.0.1:8188 /usr/bin/chromium
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "headless"))

from recording import arguments, opened_page  # noqa: E402  # pyright: ignore[reportMissingImports]

# Templates that run with what comes with the pack.
NAMES = ("quickstart", "finishing", "lora")
READY = "!!window.app?.graph && !!window.LiteGraph?.registered_node_types['OpenT2VSampler']"
SAVE_AND_SEND = """async (workflow) => {
  await app.loadGraphData(workflow)
  await new Promise((done) => setTimeout(done, 1000))
  return [JSON.parse(JSON.stringify(app.graph.serialize())), (await app.graphToPrompt()).output]
}"""


def guided() -> dict[str, Any]:
    """The quickstart template with Video Guidance in front of its sampler."""
    sys.path[:0] = [str(ROOT / "scripts" / "make"), str(ROOT / "scripts")]
    import bundled_workflows  # pyright: ignore[reportMissingImports]
    import pack

    pack.hide_scripts()
    pack.mount()
    graph, model, prompt, latent = bundled_workflows.bundled("", 100)
    settings = {"cfg_schedule": "auto", "cfg_rescale": 0.5, "cfg_star": True}
    guidance = graph.add("OpenT2VGuidance", values=settings)
    graph.column(340)
    links = {**bundled_workflows.sampler_links(model, prompt, latent), "guidance": (guidance, "guidance")}
    sampler = graph.add("OpenT2VSampler", links, {"seed": 1, "control_after_generate": "fixed"})
    graph.column(400)
    graph.add("OpenT2VDecodeToVideo", bundled_workflows.file_links(model, sampler, latent))
    return graph.page("guided")


def record(url: str, browser_path: str) -> None:
    """Write the folder of this version.

    Raises:
        SystemExit: that folder is there; it is never written again once the version is published.
    """
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    folder = HERE / version[1]
    if folder.exists():
        raise SystemExit(f"{folder} is there already. Users have saved such workflows: raise the version first.")
    folder.mkdir()
    flows = {name: json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES}
    flows["guided"] = guided()
    with opened_page(url, browser_path, READY) as page:
        for name, flow in flows.items():
            saved, sent = page.evaluate(SAVE_AND_SEND, flow)
            for stem, content in ((name, saved), (f"{name}_api", sent)):
                text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
                (folder / f"{stem}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    options = arguments(__doc__)
    record(options.url, options.browser)
