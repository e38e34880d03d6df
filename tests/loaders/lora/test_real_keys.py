"""The key lists of real trainers and published files, at the real models' sizes: every name finds its layer.

Files are headers without data (sparse), models are on the meta device: no gigabytes.
"""

from __future__ import annotations

import json
import re
import struct
from functools import cache
from pathlib import Path

import pytest
import torch

from opent2v.families import families
from opent2v.families.open_sora import files as open_sora_files
from opent2v.host import embedded
from opent2v.loaders.lora import made_for, match, read_lora
from opent2v.loaders.weights import build
from opent2v.tests.loaders.lora import files, real_keys, sites
from opent2v.tests.loaders.lora.real_keys import LISTS, KeyList

WAN = {"attention_head_dim": 128, "freq_dim": 256, "text_dim": 4096, "out_channels": 16}
WAN_14B = WAN | {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}
IMAGE = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
# name -> (family, its tiny sites' function with the real depth, class, config)
REAL = {
    "Wan 2.1 T2V 14B": ("wan", sites.wan(40), "WanTransformer3DModel", WAN_14B | {"in_channels": 16}),
    "Wan 2.1 I2V 14B": ("wan", sites.wan(40, pictures=True), "WanTransformer3DModel", WAN_14B | IMAGE),
    "Wan 2.1 T2V 1.3B": (
        "wan", sites.wan(30), "WanTransformer3DModel",
        WAN | {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, "in_channels": 16},
    ),
    "Wan 2.2 TI2V 5B": (
        "wan", sites.wan(30), "WanTransformer3DModel",
        WAN | {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30, "in_channels": 48, "out_channels": 48},
    ),
    "HunyuanVideo": ("hunyuan_video", sites.hunyuan_video(20, 40), "HunyuanVideoTransformer3DModel", {
        "num_attention_heads": 24, "attention_head_dim": 128, "num_layers": 20, "num_single_layers": 40,
        "guidance_embeds": True, "text_embed_dim": 4096, "pooled_projection_dim": 768,
    }),
    "LTX-Video 2B": ("ltx_video", sites.ltx_video(28), "LTXVideoTransformer3DModel", {"num_layers": 28}),
    "CogVideoX 5B": ("cogvideox", sites.cogvideox(42), "CogVideoXTransformer3DModel", {
        "num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True,
    }),
    "Mochi 1": ("mochi", sites.mochi(48), "MochiTransformer3DModel", {}),
    "Open-Sora 2.0": (
        "open_sora", sites.open_sora(19, 38, 24, 128), "FluxTransformer2DModel", open_sora_files.transformer_config(),
    ),
    "VideoCrafter2": ("videocrafter", sites.videocrafter(2, 4), "UNet3DConditionModel", {
        "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 1024, "attention_head_dim": 64,
    }),
}  # fmt: skip


@cache
def model(name: str):
    """A MODEL of the embedded host at its real size, without memory."""
    from dataclasses import replace

    from opent2v.base import VideoModel
    from opent2v.tests.loaders.lora import models

    family, _, kind, config = REAL[name]
    tiny = models.loaded(family).variant
    with torch.device("meta"):
        module = build(kind, config)
        if extend := families()[family].extend:
            extend(tiny, module)
    variant = replace(
        tiny,
        family=families()[family],
        name=name.removeprefix(families()[family].title).strip(),
    )
    return embedded.Model(VideoModel(variant, module, Path(name)), torch.device("cpu"), torch.float32)


@cache
def meta_state(name: str):
    return {k: v.to("meta") for k, v in model(name).part.transformer.state_dict().items()}


def expanded(layers: tuple[str, ...], depth: int) -> list[str]:
    return [layer.replace("{}", str(n)) for layer in layers for n in range(depth if "{}" in layer else 1)]


def depths(listed: KeyList, layer: str) -> int:
    """How many blocks a template stands for."""
    known = shapes(listed)
    return next(n for n in range(100) if layer.replace("{}", str(n)) not in known) if "{}" in layer else 1


@cache
def all_shapes(model_name: str) -> dict[str, tuple[int, ...]]:
    """Every layer's weight shape, by the original's names (ComfyUI's too) and by diffusers'."""
    _, table, *_ = REAL[model_name]
    state = meta_state(model_name)
    known = {k.removesuffix(".weight"): tuple(v.shape) for k, v in state.items() if k.endswith(".weight")}
    for site in (*table.matrices, *([table.conv] if table.conv else [])):
        known[site.original] = tuple(site.weight(state).shape)
    for original, own in table.norms:
        known.setdefault(original, tuple(state[f"{own}.weight"].shape))
    return known


def shapes(listed: KeyList) -> dict[str, tuple[int, ...]]:
    known = dict(all_shapes(listed.model))
    # ComfyUI writes a few of HunyuanVideo's names with points.
    for name, shape in list(known.items()):
        if "_blocks." in name:
            spelled = re.sub(r"_(attn|mod|mlp)[._](qkv|proj|linear|fc1|fc2)$", _with_points, name)
            known[spelled.replace("modulation.linear", "modulation.lin")] = shape
    known["guidance_in.in_layer"] = (3072, 256)
    return known


def _with_points(found: re.Match) -> str:
    return f"_{found[1]}." + {"linear": "lin", "fc1": "0", "fc2": "2"}.get(found[2], found[2])


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


def write(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str]) -> None:
    """A whole safetensors file whose data are a hole."""
    entries, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


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
    told = made_for(read_lora(tmp_path / "any.safetensors"))
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
