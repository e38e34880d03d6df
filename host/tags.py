"""What a saved file carries so that ComfyUI's page can restore the graph from it; the same on both sides."""

from __future__ import annotations

import json
from typing import Any


def graph_tags(prompt: Any, extra_pnginfo: Any) -> dict[str, str]:
    """Tag -> JSON: "prompt" and whatever the page adds, "workflow" above all.

    The host notes in its prompt which state of their files the nodes read ("is_changed"); that stays on this machine.
    """
    tags = {}
    if prompt is not None:
        asked = {i: {k: v for k, v in node.items() if k != "is_changed"} for i, node in prompt.items()}
        tags["prompt"] = json.dumps(asked)
    return tags | {key: json.dumps(value) for key, value in (extra_pnginfo or {}).items()}
