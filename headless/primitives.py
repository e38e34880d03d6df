"""ComfyUI's plain value nodes ("Int", "Float", "String", ...), so that workflows with them run without ComfyUI."""

from __future__ import annotations

import sys
from typing import Any


def _value_node(title: str, kind: str, **options: Any) -> type:
    """A node that hands on its one widget."""

    class Value:
        TITLE = title
        RETURN_TYPES = (kind,)
        FUNCTION = "execute"
        CATEGORY = "utils/primitive"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"value": (kind, options)}}

        def execute(self, value: Any) -> tuple[Any]:
            return (value,)

    Value.__name__ = Value.__qualname__ = title
    return Value


PRIMITIVES: dict[str, type] = {
    "PrimitiveInt": _value_node("Int", "INT", min=-sys.maxsize, max=sys.maxsize, control_after_generate=True),
    "PrimitiveFloat": _value_node("Float", "FLOAT", min=-sys.maxsize, max=sys.maxsize),
    "PrimitiveString": _value_node("String", "STRING"),
    "PrimitiveStringMultiline": _value_node("String (Multiline)", "STRING", multiline=True),
    "PrimitiveBoolean": _value_node("Boolean", "BOOLEAN"),
}
