"""What a saved file carries so that ComfyUI's page can restore the graph from it; the same on both sides."""

from __future__ import annotations

import json
from typing import Any


def graph_tags(prompt: Any, extra_pnginfo: Any) -> dict[str, str]:
    """Tag -> JSON: "prompt" and whatever the page adds, "workflow" above all."""
    tags = {} if prompt is None else {"prompt": json.dumps(prompt)}
    return tags | {key: json.dumps(value) for key, value in (extra_pnginfo or {}).items()}
