"""Headers of MiniMax H3's files."""

from __future__ import annotations

from opent2v.families.minimax_h3 import FAMILY, files
from opent2v.tests.families.headers import Shapes
from opent2v.tests.families.layouts import minimax_h3 as layout
from opent2v.tests.tiny import minimax_h3 as tiny

__all__ = ["FAMILY", "layouts", "networks"]
_BLOCKS = {"num_layers": 2, "num_refiner_layers": 1}
_TABLES = {"MiniMax H3": None, "MiniMax H3 pruned": (1001, 48)}


def networks() -> dict[str, Shapes]:
    networks = {}
    for title, table in _TABLES.items():
        config = layout.config_of(table[1] if table else 0, **_BLOCKS)
        variant = layout.variant_of(config, table[0] if table else 0)
        networks[title] = dict(files.tensors(variant, config))
    return networks


def layouts() -> dict[str, Shapes]:
    made = {f"{title}, original": layout.published(table, **_BLOCKS)[1] for title, table in _TABLES.items()}
    separate = {name: tuple(tensor.shape) for name, tensor in tiny.originals("full", separate=True).items()}
    layouts = made | {"MiniMax H3, separate q, k, v": separate}
    # Frequencies follow from the config: a file is whole without them.
    return {
        title: {name: shape for name, shape in shapes.items() if name != "rope.inv_freq"}
        for title, shapes in layouts.items()
    }
