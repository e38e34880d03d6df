"""Lists on links: nodes behind one run once for each entry, as ComfyUI runs them.

Source: execution.py of ComfyUI 0.33.0, `_async_map_node_over_list` and `merge_result_data`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ListValue(list[Any]):
    """What an output of OUTPUT_IS_LIST gives, or a node that ran once for each entry of one."""


def call_arguments(arguments: Mapping[str, Any], takes_lists: bool) -> list[dict[str, Any]]:
    """The arguments of each call of a node: one call, unless a list comes in.

    The longest list says how many calls there are; shorter ones repeat their last entry. A list without entries makes
    no call.

    Args:
        takes_lists: the class says INPUT_IS_LIST: one call, in which every argument is a list.
    """
    if takes_lists:
        return [{name: [*value] if isinstance(value, ListValue) else [value] for name, value in arguments.items()}]
    lists = {name: value for name, value in arguments.items() if isinstance(value, ListValue)}
    if not all(lists.values()):
        return []
    count = max((len(value) for value in lists.values()), default=1)
    return [
        {name: value[min(index, len(value) - 1)] if name in lists else value for name, value in arguments.items()}
        for index in range(count)
    ]


def joined(
    parts: Sequence[tuple[dict[str, Any], tuple[Any, ...]]], count: int, lists: Sequence[bool], is_list: bool
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """(ui, outputs) of a node's calls together.

    Args:
        parts: (ui, outputs) of each call.
        count: outputs that the class declares.
        lists: for each output, whether it is a list by itself (OUTPUT_IS_LIST).
        is_list: whether the node ran once for each entry of a list: the outputs are lists then.
    Raises:
        TypeError: an output that should be a list is none.
    """
    ui: dict[str, Any] = {}
    for shown, _ in parts:
        for name, value in shown.items():
            ui[name] = [*ui[name], *value] if name in ui and isinstance(value, (list, tuple)) else value
    width = max((len(outputs) for _, outputs in parts), default=count)
    values: list[Any] = []
    for place in range(width):
        column = [outputs[place] for _, outputs in parts]
        if place < len(lists) and lists[place]:
            if not all(isinstance(entry, (list, tuple)) for entry in column):
                raise TypeError(f"output {place} is to be a list, as OUTPUT_IS_LIST says, and is none")
            values.append(ListValue(entry for part in column for entry in part))
        else:
            values.append(ListValue(column) if is_list or len(column) != 1 else column[0])
    return ui, tuple(values)
