"""LoRA files that are damaged, dangerous or for something else: a clear refusal, and the model stays as it was.

Tests: loaders/lora/file.py, loaders/lora/load.py
"""

from __future__ import annotations

import json
import struct
import time
from dataclasses import replace

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.host import embedded, host
from opent2v.loaders import ModelFileError
from opent2v.loaders.lora import match, read_lora
from opent2v.tests.loaders.lora import files, models
from opent2v.tests.loaders.lora.files import FORMATS
from opent2v.tests.loaders.lora.models import largest
from opent2v.tests.nodes.calls import call

REFUSED = (ModelFileError, FamilyError)


@pytest.fixture
def one():
    return models.loaded("wan")


@pytest.fixture
def loras(tmp_path):
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    (tmp_path / "models" / "loras").mkdir(parents=True)
    return tmp_path / "models" / "loras"


@pytest.fixture
def good(loras, one):
    """A whole LoRA file, to damage."""
    files.write(loras / "good.safetensors", FORMATS["diffusers"], one.sites, one.state)
    return loras / "good.safetensors"


def tensors(path):
    from safetensors.torch import load_file

    return load_file(path)


def apply(one, name):
    (model, _, report, *_), _ = call("OpenT2VLoadLora", model=one.model, lora=name, strength_model=1.0)
    return model, report


def refusal(one, path) -> str:
    """What the node says; the model must be as it was, and other files must still work."""
    with pytest.raises(REFUSED) as caught:
        apply(one, path.name)
    assert one.is_untouched()
    # Found, expected, what to do: more than the file's name and a word.
    said = str(caught.value)
    assert path.name in said and len(said) > len(str(path)) + 40
    return said


def header(path, entries: dict, data: bytes = b"") -> None:
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_truncated(kept, loras, good, one):
    path = loras / "cut.safetensors"
    path.write_bytes(good.read_bytes()[:kept])
    assert ("cut short" if kept in (100, -1, 8) else "neither a safetensors nor a GGUF file") in refusal(one, path)


@pytest.mark.parametrize("name", ["old.pt", "renamed.safetensors"])
def test_a_pickle_is_not_opened(name, loras, one, tmp_path):
    """A pickle that would write a file if anything unpickled it."""
    import pickle

    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "was run"), "w")

    (loras / name).write_bytes(pickle.dumps({"a": Bomb()}))
    assert "pickle" in refusal(one, loras / name)
    assert not (tmp_path / "was run").exists()


def test_empty(loras, one):
    path = loras / "empty.safetensors"
    header(path, {})
    assert "no tensor" in refusal(one, path)
    header(path, {"__metadata__": {"ss_network_dim": "32"}})
    assert "no tensor" in refusal(one, path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.bool], ids=str)
def test_numbers_that_are_no_weights(dtype, loras, good, one):
    from safetensors.torch import save_file

    path = loras / "whole.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in tensors(good).items()}, path)
    said = refusal(one, path)
    assert "Expected floating point" in said and "lora_" in said


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_other_floating_points_are_read(dtype, loras, one):
    from safetensors.torch import save_file

    merged = files.write(loras / "any.safetensors", FORMATS["diffusers"], one.sites, one.state)
    stored = {name: tensor.to(dtype) for name, tensor in tensors(loras / "any.safetensors").items()}
    save_file(stored, loras / "any.safetensors")
    merged = {}
    for site in one.sites.matrices:
        for part in site.parts:
            up, down = (stored[f"transformer.{part}.lora_{x}.weight"].double() for x in "BA")
            merged[f"{part}.weight"] = (one.state[f"{part}.weight"].double() + up @ down).float()
    assert largest(one.sampled(apply(one, "any.safetensors")[0]), one.merged(merged)) <= 1e-5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["first", "last"])
def test_nan_and_infinity_are_named(value, place, loras, good, one):
    stored = tensors(good)
    name = sorted(stored)[0 if place == "first" else -1]
    stored[name].view(-1)[-1] = value
    path = loras / "broken.safetensors"
    files.save(path, stored)
    assert name in refusal(one, path)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_an_alpha_that_is_no_number(alpha, loras, one):
    path = loras / "broken.safetensors"
    files.write(path, FORMATS["kohya"], one.sites, one.state)
    stored = tensors(path)
    name = next(key for key in stored if key.endswith(".alpha"))
    stored[name] = torch.tensor(alpha)
    files.save(path, stored)
    assert name in refusal(one, path)


def test_200000_names(loras, one):
    path = loras / "many.safetensors"
    nothing = {"dtype": "F32", "shape": [0, 2], "data_offsets": [0, 0]}
    header(path, {f"lora_unet_blocks_{n}_self_attn_q.lora_up.weight": nothing for n in range(200_000)})
    began = time.monotonic()
    assert "200,000 tensors" in refusal(one, path)
    assert time.monotonic() - began < 30  # a second or two; the names are parsed before they are counted


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd", "transformer.__class__.__init__", "transformer.blocks.0.attn1.to_q.weight",
        "transformer.blocks.0.attn1.to_q.forward", "transformer..blocks.0.attn1.to_q", "diffusion_model.", "",
        "transformer.blocks.99.attn1.to_q", "transformer.blocks.0.attn1.to_q\x00", "\U0001f600" * 50,
        "lora_unet_" + "blocks_0_" * 400 + "self_attn_q", "transformer.blocks.-1.attn1.to_q",
        "transformer.blocks.٣.attn1.to_q",
    ],
)  # fmt: skip
def test_names_that_reach_for_something_else(name, loras, one):
    """Names that look like paths, attributes or other blocks change nothing."""
    path = loras / "odd.safetensors"
    files.save(path, {f"{name}.lora_A.weight": torch.ones(2, 24), f"{name}.lora_B.weight": torch.ones(24, 2)})
    refusal(one, path)


def test_ambiguous_underscores_take_time_in_proportion(loras, one):
    """A name of underscores alone has as many readings as there are subsets of them."""
    path = loras / "odd.safetensors"
    files.save(path, {f"lora_unet_{'_'.join('a' * 300)}_{n}.lora_up.weight": torch.ones(24, 2) for n in range(500)})
    began = time.monotonic()
    refusal(one, path)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("other", [f for f in models.FAMILIES if f not in ("wan", "quickstart")])
@pytest.mark.parametrize("name", ["diffusers", "kohya", "bare"])
def test_another_familys_lora_is_refused_by_name(other, name, loras, one):
    theirs = models.loaded(other)
    path = loras / "other.safetensors"
    files.write(path, FORMATS[name], theirs.sites, theirs.state)
    said = refusal(one, path)
    assert " match." in said and "this model is Wan tiny" in said


def test_the_same_family_in_another_size_is_refused(loras, one):
    """Every name matches and no shape does: what 1.3B's LoRA is to 14B."""
    path = loras / "smaller.safetensors"
    state = {name: torch.zeros([max(n // 2, 1) for n in t.shape]) for name, t in one.state.items()}
    files.write(path, FORMATS["kohya"], one.sites, state)
    said = refusal(one, path)
    assert f"0 of {len(one.sites.matrices)} match" in said


def test_a_match_below_half_is_applied_with_a_loud_warning(loras, one):
    path = loras / "half.safetensors"
    merged = files.write(path, FORMATS["diffusers"], one.sites, one.state)
    stored = tensors(path)
    inside = {name: t for name, t in stored.items() if ".blocks." in name}
    files.save(
        path, stored | {name.replace("blocks.", f"blocks.{n}"): t.clone() for n in (7, 8) for name, t in inside.items()}
    )
    model, report = apply(one, "half.safetensors")
    matched = len(one.sites.matrices)
    assert f"WARNING: only {matched} of {matched + len(inside)} match" in report
    assert largest(one.sampled(model), one.merged(merged)) <= 1e-5


def test_one_tensor_of_the_wrong_shape_is_named_and_the_rest_applied(loras, one):
    path = loras / "one.safetensors"
    merged = files.write(path, FORMATS["diffusers"], one.sites, one.state)
    stored = tensors(path)
    stored["transformer.blocks.0.attn1.to_q.lora_B.weight"] = torch.ones(32, 2)
    files.save(path, stored)
    model, report = apply(one, "one.safetensors")
    del merged["blocks.0.attn1.to_q.weight"]
    assert largest(one.sampled(model), one.merged(merged)) <= 1e-5
    count = len(one.sites.matrices)
    assert f"{count - 1} of {count} match, 1 in another shape" in report and "blocks.0.attn1.to_q" in report


def test_factors_that_do_not_go_together(loras, good, one):
    path = loras / "odd.safetensors"
    stored = tensors(good)
    for name in stored:
        if name.endswith("lora_A.weight"):
            stored[name] = torch.ones(5, *stored[name].shape[1:])
    files.save(path, stored)
    refusal(one, path)


LAYER = "diffusion_model.blocks.0.self_attn.q"
PAIR = {"lora_down.weight": (2, 24), "lora_up.weight": (24, 2)}
ODD = {
    "alpha_empty": PAIR | {"alpha": (0,)},
    "alpha_of_two": PAIR | {"alpha": (2,)},
    "factors_0d": {"lora_down.weight": (), "lora_up.weight": ()},
    "up_0d": PAIR | {"lora_up.weight": ()},
    "up_1d": PAIR | {"lora_up.weight": (24,)},
    "mid_2d": PAIR | {"lora_mid.weight": (3, 2)},
    "lokr_0d": {"lokr_w1": (), "lokr_w2": (24, 24)},
    "lokr_1d": {"lokr_w1": (2,), "lokr_w2": (12, 12)},
    "lokr_ranks": {"lokr_w1": (2, 2), "lokr_w2_a": (12, 3), "lokr_w2_b": (4, 12)},
    "lokr_first_ranks": {"lokr_w1_a": (2, 3), "lokr_w1_b": (4, 2), "lokr_w2": (12, 12)},
    "lokr_core": {"lokr_w1": (2, 2), "lokr_w2_a": (3, 12), "lokr_w2_b": (3, 12), "lokr_t2": (4, 4, 1, 1)},
    "glora_1d": {f"{x}.weight": (4,) for x in ("a1", "a2", "b1", "b2")},
    "glora_ranks": {"a1.weight": (24, 4), "a2.weight": (3, 24), "b1.weight": (24, 4), "b2.weight": (4, 24)},
    "glora_inputs": {"a1.weight": (12, 4), "a2.weight": (4, 12), "b1.weight": (24, 4), "b2.weight": (4, 24)},
    "oft_0d": {"oft_blocks": ()},
    "oft_2d": {"oft_blocks": (24, 24)},
    "oft_not_square": {"oft_blocks": (4, 6, 3)},
    "oft_rescale": {"oft_blocks": (4, 6, 6), "rescale": (12, 1)},
    "boft_odd_blocks": {"oft_blocks": (2, 8, 3, 3)},
    "boft_stages": {"oft_blocks": (5, 3, 8, 8)},
    "loha_products": {"hada_w1_a": (24, 4), "hada_w1_b": (4, 24), "hada_w2_a": (12, 4), "hada_w2_b": (4, 12)},
    "loha_ranks": {"hada_w1_a": (24, 4), "hada_w1_b": (4, 24), "hada_w2_a": (24, 4), "hada_w2_b": (3, 24)},
    "loha_one_core": {**{f"hada_w{n}_{x}": (4, 24) for n in (1, 2) for x in "ab"}, "hada_t1": (4, 4, 1, 1)},
    "dora_0d": PAIR | {"dora_scale": ()},
    "dora_empty": PAIR | {"dora_scale": (0,)},
    "dora_of_another_size": PAIR | {"dora_scale": (12, 1)},
    "empty_product": {"lora_down.weight": (0, 24), "lora_up.weight": (24, 0)},
    "diff_empty": {"diff": (0, 24)},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_tensors_are_refused_before_anything_is_applied(name, loras, one):
    """Bare errors, or accepted and ended in the sampler, before the shapes of all factors were compared."""
    path = loras / "odd.safetensors"
    files.save(path, {f"{LAYER}.{end}": torch.full(shape, 0.1) for end, shape in ODD[name].items()})
    assert "0 of 1 match" in refusal(one, path)
    assert call("OpenT2VInspectFile", file="odd.safetensors")[0][0]


@pytest.mark.parametrize("shape", [(24, 2), (24, 2, 1, 1)])
def test_the_same_tensors_in_right_shapes_are_applied(shape, loras, one):
    """The refusals above are for the shapes, not for the names."""
    files.save(loras / "right.safetensors", {f"{LAYER}.{end}": torch.full(s, 0.1) for end, s in PAIR.items()} | {
        f"{LAYER}.alpha": torch.ones(1), f"{LAYER}.dora_scale": torch.ones(24, 1),
        f"{LAYER}.lora_up.weight": torch.full(shape, 0.1),
    })  # fmt: skip
    assert "1 of 1 match" in apply(one, "right.safetensors")[1]


def test_a_product_beyond_fp32_is_refused(loras, one):
    path = loras / "odd.safetensors"
    files.save(path, {f"{LAYER}.{end}": torch.full(shape, 3e38) for end, shape in PAIR.items()})
    said = refusal(one, path)
    assert "are up to 3e+38 and its scale is 1" in said and "beyond the numbers of fp32" in said


def test_rows_that_a_fused_layer_cannot_be_split_into(loras):
    """Four rows make no query, key and value of equal size."""
    hunyuan = models.loaded("hunyuan_video")
    path = loras / "odd.safetensors"
    layer = "diffusion_model.double_blocks.0.img_attn.qkv"
    for rows in (1, 4):
        files.save(
            path, {f"{layer}.lora_down.weight": torch.ones(2, 16), f"{layer}.lora_up.weight": torch.ones(rows, 2)}
        )
        assert "0 of 1 match" in refusal(hunyuan, path)


@pytest.mark.parametrize(
    ("name", "named"),
    [("Wan2.2-Lightning-A14B-4steps-lora_HIGH_fp16", "high"), ("x/low_noise_model", "low"), ("wan2.2_style", "")],
)
@pytest.mark.parametrize("expert", ["high", "low", ""])
def test_a_file_for_the_other_expert_by_its_name_is_warned_of(name, named, expert, one, tmp_path):
    files.save(tmp_path / "any.safetensors", {f"{LAYER}.{end}": torch.full(s, 0.1) for end, s in PAIR.items()})
    file = replace(read_lora(tmp_path / "any.safetensors"), path=tmp_path / f"{name}.safetensors")
    target = host.patch_target(one.model)
    target = replace(target, variant=replace(target.variant, expert=expert))
    warned = [
        line for line in match(file, target).lines() if line.startswith("WARNING: by its name the file is for the")
    ]
    assert bool(warned) is (bool(expert and named) and expert != named)
    assert not warned or f"for the {named}-noise model, this MODEL is the {expert}-noise one" in warned[0]


def test_few_steps_are_told_by_the_folders_name_too(loras, one):
    folder = loras / "Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1.1"
    folder.mkdir()
    files.save(folder / "high_noise_model.safetensors", {f"{LAYER}.{end}": torch.ones(s) for end, s in PAIR.items()})
    assert "Few steps (Wan2.2-Lightning): 4 steps" in apply(one, f"{folder.name}/high_noise_model.safetensors")[1]


def test_half_of_each_pair_is_no_lora(loras, good, one):
    path = loras / "half.safetensors"
    files.save(path, {name: t for name, t in tensors(good).items() if "lora_B" in name})
    assert "no LoRA is in this file" in refusal(one, path)


def test_a_model_is_no_lora(loras, one):
    path = loras / "model.safetensors"
    files.save(path, one.state)
    assert "no LoRA is in this file" in refusal(one, path)


def test_harmless_leftovers_are_counted_in_one_line_and_listed_behind(loras, good, one):
    path = loras / "more.safetensors"
    files.save(path, tensors(good) | {f"bundle_emb.word{n}.t5": torch.ones(2) for n in range(50)})
    _, report = apply(one, "more.safetensors")
    counted = [line for line in report.splitlines() if "50 further names that change nothing were skipped" in line]
    assert len(counted) == 1 and "bundle_emb.word0.t5" in counted[0]
    assert [f"  bundle_emb.word{n}.t5: changes nothing" in report.splitlines() for n in range(50)] == [True] * 50
