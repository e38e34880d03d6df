"""The key lists of real trainers and published files, at the real models' sizes: every name finds its layer.

Files are headers without data (sparse), models are on the meta device: no gigabytes.

Tests: loaders/lora/match.py, loaders/lora/names.py
"""

from __future__ import annotations

import re

import pytest

from opent2v.host import embedded
from opent2v.loaders.lora import match, origin_text, read_lora
from opent2v.tests.loaders.lora import files, real_keys
from opent2v.tests.loaders.lora.real_keys import LISTS, KeyList
from opent2v.tests.loaders.lora.real_models import REAL, model, shapes, write


def expanded(layers: tuple[str, ...], depth: int) -> list[str]:
    return [layer.replace("{}", str(n)) for layer in layers for n in range(depth if "{}" in layer else 1)]


def depths(listed: KeyList, layer: str) -> int:
    """How many blocks a template stands for."""
    known = shapes(listed)
    return next(n for n in range(100) if layer.replace("{}", str(n)) not in known) if "{}" in layer else 1


def header(listed: KeyList, rank: int = 2) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the file."""
    family = REAL[listed.model][0]
    fmt, known = files.FORMATS[listed.format].of(family), shapes(listed)
    found: dict[str, tuple[int, ...]] = {}
    for template in listed.layers:
        for layer in expanded((template,), depths(listed, template)):
            rows, columns = known[layer][0], known[layer][1]
            stem = fmt.name(layer)
            if fmt.algorithm is files.algorithms.loha:
                found |= {f"{stem}.hada_w{n}_a": (rows, rank) for n in (1, 2)}
                found |= {f"{stem}.hada_w{n}_b": (rank, columns) for n in (1, 2)}
            elif fmt.algorithm is files.algorithms.lokr:
                found |= {f"{stem}.lokr_w1": (2, 2), f"{stem}.lokr_w2_a": (rows // 2, rank)}
                found |= {f"{stem}.lokr_w2_b": (rank, columns // 2)}
            else:
                found |= {stem + fmt.down: (rank, columns), stem + fmt.up: (rows, rank)}
            found |= {f"{stem}{end}": (rows,) for end in listed.further}
            if fmt.scale == "key":
                found[f"{stem}.alpha"] = ()
    for template in listed.norms:
        for layer in expanded((template,), depths(listed, template)):
            found[f"{fmt.name(layer)}.diff"] = known[layer]
    for template in listed.tables:
        count = 2 if template == "head" else 6
        for layer in expanded((template,), REAL[listed.model][3]["num_layers"]):
            found[f"{fmt.name(layer)}.diff_m"] = (1, count, known["blocks.0.attn1.to_q"][0])
    return found | dict.fromkeys(listed.leftovers, (rank, rank))


def ids(listed: KeyList) -> str:
    return f"{listed.trainer} - {listed.model}"


@pytest.mark.parametrize("listed", LISTS, ids=ids)
def test_every_name_of_a_real_file_finds_its_layer(listed, tmp_path):
    names = header(listed)
    # The templates give what the source says, word for word.
    assert set(listed.names) <= set(names)
    write(tmp_path / "any.safetensors", names, dict(listed.metadata))
    file = read_lora(tmp_path / "any.safetensors")
    found = match(file, embedded.patch_target(model(listed.model)))
    layers = sum(expanded_count(listed, template) for template in listed.layers)
    assert found.matched >= layers
    assert not found.misshapen
    assert len(found.unmatched) + len(file.leftovers) == len({name.rsplit(".lora_", 1)[0] for name in listed.leftovers})


def expanded_count(listed: KeyList, template: str) -> int:
    return len(expanded((template,), depths(listed, template)))


@pytest.mark.parametrize("listed", LISTS, ids=ids)
def test_a_real_file_is_told_for_what_it_is(listed, tmp_path):
    """The verdict names the family, and the size where the family has several."""
    write(tmp_path / "any.safetensors", header(listed), dict(listed.metadata))
    told = origin_text(read_lora(tmp_path / "any.safetensors"))
    title = {"Wan 2.1 T2V 14B": "T2V 14B", "Wan 2.1 T2V 1.3B": "1.3B", "LTX-Video 2B": "LTX-Video"}
    assert (listed.made_for or title.get(listed.model, listed.model)) in told


@pytest.mark.parametrize("listed", LISTS, ids=ids)
def test_a_real_file_fits_no_other_familys_model(listed, tmp_path):
    write(tmp_path / "any.safetensors", header(listed), dict(listed.metadata))
    file = read_lora(tmp_path / "any.safetensors")
    own = REAL[listed.model][0]
    for name, (family, *_) in REAL.items():
        if family != own:
            found = match(file, embedded.patch_target(model(name)))
            # Some layers of 3072-wide models have the same names and sizes: then it must say so loudly.
            assert found.matched == 0 or found.is_partial or "WARNING" in "".join(found.lines()), name


def test_the_issues_example(tmp_path):
    """A LoRA for Wan 2.1 I2V 14B on Wan 2.2 TI2V 5B."""
    listed = next(one for one in LISTS if one.model == "Wan 2.1 I2V 14B" and one.format == "kohya")
    write(tmp_path / "style.safetensors", header(listed), {})
    found = match(read_lora(tmp_path / "style.safetensors"), embedded.patch_target(model("Wan 2.2 TI2V 5B")))
    with pytest.raises(
        families_error(), match=r"made for Wan 2\.1 I2V 14B, this model is Wan 2\.2 TI2V 5B: 0 of 480 match"
    ):
        found.check()


def families_error():
    from opent2v.base import FamilyError

    return FamilyError


def test_every_list_says_where_it_comes_from():
    for listed in real_keys.LISTS:
        assert re.search(r"[\w.-]+/[\w.-]+ \S+", listed.source), listed.trainer
        assert re.search(r"\b[0-9a-f]{40}\b|issue \d+", listed.source), listed.trainer
        assert listed.names
