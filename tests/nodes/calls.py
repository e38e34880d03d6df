"""Call a node as a graph does: by id, with the inputs' defaults where nothing else is given."""

from __future__ import annotations

from opent2v.nodes import NODE_CLASS_MAPPINGS


def call(node_id: str, **given):
    """(results, ui) of a node called with `given` and its inputs' defaults."""
    node = NODE_CLASS_MAPPINGS[node_id]
    required = node.INPUT_TYPES()["required"]
    for name, (_, options) in required.items():
        if "default" in options:
            given.setdefault(name, options["default"])
    assert set(required) <= set(given), f"not given: {set(required) - set(given)}"
    returned = getattr(node(), node.FUNCTION)(**given)
    if isinstance(returned, tuple):
        return returned, {}
    return returned["result"], returned["ui"]


def remarks(ui) -> str:
    return "\n".join(ui["opent2v_remarks"])
