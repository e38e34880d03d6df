"""Damaged headers and LoRA files with odd tensors: a verdict or a sentence each, never a bare exception.

DAMAGED_FILES=20000 tries that many (the default is 200).

Tests: loaders/containers/safetensors.py, loaders/lora/shapes.py, loaders/single.py, nodes/doctor.py
"""

from __future__ import annotations

import json
import os
import random
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from opent2v.base import FamilyError
from opent2v.base.weight_changes import apply_change
from opent2v.host import host
from opent2v.loaders import ModelFileError, open_file, open_text_files
from opent2v.loaders.lora import load_patches, match, read_lora
from opent2v.nodes.doctor import report
from opent2v.tests.loaders.lora import files, models
from opent2v.tests.loaders.lora.files import FORMATS

COUNT = int(os.environ.get("DAMAGED_FILES", "200"))
KINDS = (
    "diffusers", "kohya", "dora", "loha", "lokr", "lokr_products", "glora", "oft", "oft_rescaled", "boft", "difference",
    "conv", "conv_tucker", "conv_loha", "conv_lokr", "peft_bias",
)  # fmt: skip
VALUES = (None, True, -1, 0, 1, 2, 10**20, 1.5, "", "F32", "F8_E4M3", "BOOL", [], [0], [[4]], {}, [1, 2, 3], "\ud800")


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def written(path: Path, entries: Any, data: bytes) -> Path:
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def damage(chance: random.Random, entries: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    """One to three faults: an entry's value, a tensor's shape in the same bytes, a name, the metadata."""
    entries = json.loads(json.dumps(entries))
    for _ in range(chance.randint(1, 3)):
        names = [name for name in entries if name != "__metadata__"]
        if not names:
            break
        name, fault = chance.choice(names), chance.randrange(8)
        if fault == 0:
            entries[name] = chance.choice(VALUES)
        elif fault == 1 and isinstance(entries[name], dict):
            entries[name][chance.choice(["dtype", "shape", "data_offsets"])] = chance.choice(VALUES)
        elif fault == 2:
            entries["__metadata__"] = chance.choice(VALUES)
        elif fault == 3:
            entries[chance.choice(names).replace("lora_", "hada_w1_")] = entries.pop(name)
        elif fault == 4:
            del entries[name]
        else:
            entries, data = reshaped(chance, entries, data, name)
    return entries, data


def reshaped(chance: random.Random, entries: dict[str, Any], data: bytes, name: str) -> tuple[dict[str, Any], bytes]:
    """A tensor of another shape, whole in its own bytes, so that the header is sound."""
    shape = [chance.choice((0, 1, 2, 3, 4, 5, 8, 12, 16, 24, 32)) for _ in range(chance.randint(0, 4))]
    count = 1
    for length in shape:
        count *= length
    if count > 20_000:
        return entries, data
    entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * count]}
    value = chance.choice((0.0, 0.01, 1.0, 3e38, float("nan")))
    return entries, data + struct.pack("<f", value) * count


def packed(entries: Any, data: bytes) -> tuple[Any, bytes]:
    """The same tensors with their bytes one behind the other, as the format wants them; damaged entries stay."""
    if not isinstance(entries, dict):
        return entries, data
    pieces, end = [], 0
    for name, entry in entries.items():
        if name == "__metadata__" or not isinstance(entry, dict):
            continue
        offsets = entry.get("data_offsets")
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int and n >= 0 for n in offsets):
            continue
        piece = data[offsets[0] : offsets[1]]
        entry["data_offsets"] = [end, end + len(piece)]
        pieces.append(piece)
        end += len(piece)
    return entries, b"".join(pieces)


def refusal(act: Callable[[], None]) -> str:
    """The pack's own words where it refuses a file, "" where it takes it; other errors go through."""
    try:
        act()
    except (ModelFileError, FamilyError) as error:
        return str(error)
    return ""


def apply(path: Path, one: Any) -> None:
    outcome = match(read_lora(path), host.patch_target(one.model))
    outcome.check()
    assert outcome.lines()
    outcome.unplaced()
    for change in load_patches(outcome):
        assert apply_change(one.state[change.key], change, 1.0).isfinite().all(), change.key


def verdict(path: Path, one: Any) -> str:
    """How far a file comes; anything but a refusal in words is an error of the pack."""
    assert report(path)
    said = [refusal(lambda: open_file(path)), refusal(lambda: open_text_files(path)), refusal(lambda: apply(path, one))]
    assert all(path.name in text for text in said if text), said
    return "refused" if said[-1] else "applied"


def trial(seed: int, folder: Path, wholes: list[tuple[dict[str, Any], bytes]], one: Any) -> str:
    chance = random.Random(seed)
    entries, data = chance.choice(wholes)
    path = folder / f"{seed}.safetensors"
    way = chance.randrange(6)
    if way == 0:  # the bytes of the header itself
        raw = bytearray(written(path, entries, data).read_bytes())
        for _ in range(chance.randint(1, 4)):
            raw[chance.randrange(min(len(raw), 8 + len(json.dumps(entries))))] = chance.randrange(256)
        path.write_bytes(raw[: chance.choice((len(raw), chance.randrange(len(raw))))])
    elif way == 1:
        written(path, chance.choice(VALUES), data)
    else:
        written(path, *packed(*damage(chance, entries, data)))
    try:
        return verdict(path, one)
    finally:
        path.unlink()


def wholes_of(folder: Path, one: Any) -> list[tuple[dict[str, Any], bytes]]:
    """Whole files of every kind of change, and a model."""
    wholes = []
    for kind in KINDS:
        files.write(folder / "whole.safetensors", FORMATS[kind], one.sites, one.state)
        few = dict(sorted(load_file(folder / "whole.safetensors").items())[:12])
        files.save(folder / "whole.safetensors", few)
        wholes.append(header_of(folder / "whole.safetensors"))
    files.save(folder / "whole.safetensors", one.state)
    return [*wholes, header_of(folder / "whole.safetensors")]


def test_damaged_files_end_in_a_verdict_or_a_sentence(tmp_path):
    one = models.loaded("wan")
    wholes = wholes_of(tmp_path, one)
    counts: Counter[str] = Counter()
    for seed in range(COUNT):
        try:
            counts[trial(seed, tmp_path, wholes, one)] += 1
        except Exception as error:
            raise AssertionError(f"file {seed}: {type(error).__name__}: {error}") from error
    print(dict(counts))
    assert min(counts["refused"], 4 * counts["applied"]) > COUNT / 3
