"""Which formats are tried on which families: the cells of the published table are the tests' parameters."""

from __future__ import annotations

from opent2v.tests.loaders.lora.files import FORMATS
from opent2v.tests.loaders.lora.models import FAMILIES

_LINEAR = ("ltx_video", "open_sora")
# Cells that do not exist: such a model has no such layer.
NONE = {
    **{(family, name): "no convolution" for family in _LINEAR for name in FORMATS if name.startswith("conv")},
    **{(family, "tables"): "not written" for family in FAMILIES if family not in ("wan", "quickstart")},
}
CELLS = [
    (family, name)
    for name, fmt in FORMATS.items()
    for family in FAMILIES
    if (family, name) not in NONE and (not fmt.families or family in fmt.families)
]
# Core's own MODELs on a real host; it has none of CogVideoX in the versions that are tried. Mochi's width is built into
# its class: few formats, or it takes minutes.
CORE_MOCHI = ("diffusers", "kohya")
# HunyuanVideo's last modulation has its halves swapped: BOFT turns rows across them, which is refused by name.
CORE_CELLS = [
    (family, name)
    for family, name in CELLS
    if family in ("wan", "ltx_video", "hunyuan_video") or (family == "mochi" and name in CORE_MOCHI)
    if (family, name) != ("hunyuan_video", "boft")
]
# Our MODELs on a real host: every format once and every family several times, each format on the next of its families.
# The arithmetic of all the cells is tested on the embedded host; here it is the door that is tried.
HOST_CELLS = [
    [cell for cell in CELLS if cell[1] == name][number % sum(other == name for _, other in CELLS)]
    for number, name in enumerate(FORMATS)
]
# Families whose text encoders' LoRAs are tried, and whose models are stored as fp8 and bf16.
TEXT = STORAGE = tuple(FAMILIES)


def markdown() -> str:
    """The published table. A cell names what its tests try: our MODELs, core's own ("+ core")."""
    lines = [
        "| Format | " + " | ".join(tiny.title for tiny in FAMILIES.values()) + " |",
        "|---" * (len(FAMILIES) + 1) + "|",
    ]
    for name, fmt in FORMATS.items():
        cells = []
        for family in FAMILIES:
            if (family, name) in CORE_CELLS:
                cells.append("yes + core")
            elif (family, name) in CELLS:
                cells.append("yes")
            else:
                cells.append(NONE.get((family, name), "–"))
        lines.append(f"| {fmt.title} | " + " | ".join(cells) + " |")
    for title, tried in (("text encoders (`text_encoder.`, `lora_te_`)", TEXT), ("on fp8 and bf16 weights", STORAGE)):
        lines.append(f"| {title} | " + " | ".join("yes" if family in tried else "–" for family in FAMILIES) + " |")
    return "\n".join(lines) + "\n"
