"""How a node tells the user what it did: text on the node and in the run's result."""

from __future__ import annotations

from typing import Any

from .. import host


def with_remarks(result: tuple[Any, ...], remarks: list[str], node: str | None, **ui: Any) -> dict[str, Any]:
    """A node's result with remarks shown on the node; further ui entries by name."""
    text = "\n".join(remarks)
    host.say(text, node)
    shown = {**ui, **({"text": remarks} if remarks else {})}
    return {"ui": shown, "result": result}
