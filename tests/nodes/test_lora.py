"""The two LoRA nodes: verdict, strengths, order, what is read when, and what saved files and Inspect Model File say.

Tests: nodes/lora.py, nodes/lora_for_host.py
"""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import FamilyError
from opent2v.host import embedded, tags
from opent2v.loaders import ModelFileError
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.nodes import lora as nodes
from opent2v.nodes.doctor import report as inspected
from opent2v.nodes.lora_for_host import read_for_host
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny

QUERY = "blocks.0.attn1.to_q"


def draw(seed: int, layers=(QUERY, "blocks.1.ffn.net.0.proj"), size=0.3):
    """The tensors of a diffusers LoRA of rank 2 on some layers of the tiny model."""
    weights = dict(tiny.shared()[0].part.transformer.named_parameters())
    dice, stored = torch.Generator().manual_seed(seed), {}
    for layer in layers:
        rows, columns = weights[f"{layer}.weight"].shape
        stored[f"transformer.{layer}.lora_A.weight"] = torch.randn(2, columns, generator=dice) * size
        stored[f"transformer.{layer}.lora_B.weight"] = torch.randn(rows, 2, generator=dice) * size
    return stored


@pytest.fixture
def folder(tmp_path):
    """models/loras with two LoRAs."""
    embedded.configure(models=tmp_path, output=tmp_path / "output")
    (tmp_path / "loras").mkdir()
    for name, seed in (("one", 1), ("two", 2)):
        save_file(draw(seed), tmp_path / "loras" / f"{name}.safetensors")
    return tmp_path / "loras"


def weight(model, layer=QUERY):
    """The weight that a run of the MODEL computes with."""
    with model.changed():
        return model.part.transformer.get_parameter(f"{layer}.weight").detach().clone()


def product(seed: int, layer=QUERY):
    stored = draw(seed)
    return stored[f"transformer.{layer}.lora_B.weight"] @ stored[f"transformer.{layer}.lora_A.weight"]


def test_the_verdict_is_on_the_node_and_in_the_report(folder, caplog):
    caplog.set_level("INFO")
    results, ui = call("OpenT2VLoadLora", model=tiny.shared()[0], lora="one.safetensors")
    assert results[2] == remarks(ui)
    assert results[2].splitlines() == [
        "one.safetensors: diffusers (transformer.), diffusers layout; rank 2",
        "Made for a Wan model 24 wide; this model is Wan tiny",
        "2 of 2 match.",
        "Merged into the float32 weights while the model is loaded, and taken out again",
    ]
    assert "2 of 2 match." in caplog.text


def test_the_changed_weight_and_the_same_weight_again(folder):
    model = tiny.shared()[0]
    before = model.part.transformer.get_parameter(f"{QUERY}.weight")
    kept = before.detach().clone()
    patched = call("OpenT2VLoadLora", model=model, lora="one.safetensors", strength_model=0.5)[0][0]
    torch.testing.assert_close(weight(patched), kept + 0.5 * product(1))
    assert model.part.transformer.get_parameter(f"{QUERY}.weight") is before and torch.equal(before, kept)


def test_a_file_for_the_other_expert_alone_is_refused_by_that(folder):
    low = {name.replace("transformer.", "transformer_2."): tensor for name, tensor in draw(1).items()}
    save_file(low, folder / "low.safetensors")
    with pytest.raises(FamilyError) as error:
        call("OpenT2VLoadLora", model=tiny.shared()[0], lora="low.safetensors")
    assert str(error.value) == (
        "low.safetensors: all 2 changes are for the other expert of the two, not for this MODEL. Apply the file to the "
        "other MODEL."
    )


@pytest.mark.parametrize(("name", "is_distilled"), [("wan_rCM_r32", True), ("starcmd", False), ("lightx2v", True)])
def test_distilled_files_are_told_by_their_names(folder, name, is_distilled):
    save_file(draw(1), folder / f"{name}.safetensors")
    report = call("OpenT2VLoadLora", model=tiny.shared()[0], lora=f"{name}.safetensors")[0][2]
    assert ("Few steps (" in report) is is_distilled


def test_strength_0_gives_the_model_back(folder):
    model = tiny.shared()[0]
    results, _ = call("OpenT2VLoadLora", model=model, lora="one.safetensors", strength_model=0.0)
    assert results[0] is model
    assert results[2].endswith("Strength 0: nothing is applied")


def test_another_strength_reads_no_tensor_again(folder, monkeypatch):
    read = []
    load = nodes.load_patches
    monkeypatch.setattr(nodes, "load_patches", lambda verdict, report: read.append(verdict) or load(verdict, report))
    node, model = NODE_CLASS_MAPPINGS["OpenT2VLoadLora"](), tiny.shared()[0]
    made = [node.load(model, "one.safetensors", s, 1.0)["result"][0] for s in (1.0, 0.25)]
    assert len(read) == 1
    torch.testing.assert_close(weight(made[1]) - weight(model), 0.25 * (weight(made[0]) - weight(model)))
    save_file(draw(3), folder / "one.safetensors")
    node.load(model, "one.safetensors", 1.0, 1.0)
    assert len(read) == 2


def test_a_stack_is_loaders_one_behind_the_other(folder):
    model = tiny.shared()[0]
    given = {"lora_1": "two.safetensors", "strength_1": 0.5, "lora_4": "one.safetensors", "strength_4": -1.0}
    results, _ = call("OpenT2VLoraStack", model=model, **given)
    first = call("OpenT2VLoadLora", model=model, lora="two.safetensors", strength_model=0.5)[0][0]
    second = call("OpenT2VLoadLora", model=first, lora="one.safetensors", strength_model=-1.0)[0][0]
    assert torch.equal(weight(results[0]), weight(second))
    lines = results[2].splitlines()
    assert [line.split(":")[0] for line in lines if "rank 2" in line] == ["two.safetensors", "one.safetensors"]


def test_an_empty_stack_gives_the_model_back(folder):
    model = tiny.shared()[0]
    results, ui = call("OpenT2VLoraStack", model=model)
    assert results == (model, None, "") and remarks(ui) == ""


def test_one_bad_file_stops_the_whole_stack(folder):
    save_file({"transformer.elsewhere.lora_A.weight": torch.ones(2, 3)}, folder / "bad.safetensors")
    with pytest.raises(
        ModelFileError, match=r"bad\.safetensors: no LoRA is in this file \(1 tensors, first transformer"
    ):
        call("OpenT2VLoraStack", model=tiny.shared()[0], lora_1="one.safetensors", lora_2="bad.safetensors")


def test_a_file_that_is_gone(folder):
    with pytest.raises(ModelFileError, match=r"'old\.safetensors' is not there"):
        call("OpenT2VLoadLora", model=tiny.shared()[0], lora="old.safetensors")


@pytest.mark.parametrize(
    ("blocks", "count"), [("", "2 of 2"), ("0", "1 of 1"), ("0-3", "2 of 2"), ("ffn", "1 of 1"), ("1, ffn", "1 of 1")]
)
def test_the_block_filter(folder, blocks, count):
    results, _ = call("OpenT2VLoadLora", model=tiny.shared()[0], lora="one.safetensors", blocks=blocks)
    assert f"{count} match" in results[2]
    assert ("left out by the block filter" in results[2]) == (count == "1 of 1")


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ("7", "the block filter leaves out all 2 changes"),
        ("3-1", "has the range '3-1'. Expected the smaller number first"),
        ("0; 1", "has '0; 1'. Expected numbers of blocks, ranges and words"),
    ],
)
def test_a_block_filter_that_is_none(folder, blocks, said):
    with pytest.raises(FamilyError, match=said):
        call("OpenT2VLoadLora", model=tiny.shared()[0], lora="one.safetensors", blocks=blocks)


def test_a_text_encoders_lora_wants_the_clip(folder):
    model, clip, _ = tiny.shared()
    layer = "encoder.block.0.layer.0.SelfAttention.q"
    rows, columns = clip.part.encoders["text_encoder"].get_parameter(f"{layer}.weight").shape
    text = {
        f"text_encoder.{layer}.lora_A.weight": torch.ones(1, columns),
        f"text_encoder.{layer}.lora_B.weight": torch.ones(rows, 1),
    }
    save_file(text, folder / "text.safetensors")
    with pytest.raises(
        FamilyError, match=r"text\.safetensors changes the text encoder only \(1 layers\)\. Connect the CLIP"
    ):
        call("OpenT2VLoadLora", model=model, lora="text.safetensors")
    results, _ = call("OpenT2VLoadLora", model=model, clip=clip, lora="text.safetensors")
    assert results[0] is model and "this model is" not in results[2]
    plain, changed = (embedded.embed(one, tiny.PROMPT)[0][0] for one in (clip, results[1]))
    assert not torch.allclose(plain, changed)
    save_file(text | draw(1), folder / "both.safetensors")
    results, _ = call("OpenT2VLoadLora", model=model, lora="both.safetensors")
    assert "1 changes of the text encoder were left out: connect the CLIP too" in results[2]


def test_a_step_distilled_lora_is_told_by_its_name(folder):
    save_file(draw(1), folder / "Wan_T2V_lightx2v_cfg_step_distill_rank2.safetensors")
    name = "Wan_T2V_lightx2v_cfg_step_distill_rank2.safetensors"
    results, _ = call("OpenT2VLoadLora", model=tiny.shared()[0], lora=name)
    assert "Few steps (LightX2V step distillation): 4 steps, cfg 1, shift 5, strength 1; Video Sampler" in results[2]
    save_file(draw(1), folder / "my_turbo_lora.safetensors")
    results, _ = call("OpenT2VLoadLora", model=tiny.shared()[0], lora="my_turbo_lora.safetensors")
    assert "Distilled to few steps, by its name: sample with cfg 1 and 4 to 8 steps" in results[2]


def test_a_saved_video_names_its_loras():
    graph = {
        "1": {"class_type": "OpenT2VLoadLora", "inputs": {"lora": "a.safetensors", "strength_model": 0.5}},
        "2": {
            "class_type": "OpenT2VLoraStack",
            "inputs": {
                "model": ["1", 0],
                "lora_1": "none",
                "strength_1": 1.0,
                "lora_2": "b.safetensors",
                "strength_2": 2.0,
            },
        },
    }
    made = tags.summary(json.loads(json.dumps(graph)), "2")
    assert sorted(made["loras"], key=str) == [
        {"name": "a.safetensors", "strength": 0.5},
        {"name": "b.safetensors", "strength": 2.0},
    ]


def test_inspect_model_file_knows_loras(folder):
    lines = inspected(folder / "one.safetensors")
    assert lines[1:] == [
        "LoRA, diffusers (transformer.); rank 2",
        "Made for a Wan model 24 wide",
        "Changes 2 weights of the model and 0 of text encoders",
        "Belongs in models/loras, where it is",
    ]


def test_a_changed_file_runs_the_node_anew(folder):
    for node, given in (("OpenT2VLoadLora", "lora"), ("OpenT2VLoraStack", "lora_2")):
        state = NODE_CLASS_MAPPINGS[node].IS_CHANGED(**{given: "two.safetensors"})
        save_file(draw(5, size=0.1 + len(state) % 7), folder / "two.safetensors")
        assert NODE_CLASS_MAPPINGS[node].IS_CHANGED(**{given: "two.safetensors"}) != state


def elsewhere(*stems, rows=4, columns=4):
    """A LoRA for layers that the model does not have."""
    ends = {"lora_A": (1, columns), "lora_B": (rows, 1)}
    return {f"transformer.{stem}.{end}.weight": torch.ones(shape) for stem in stems for end, shape in ends.items()}


def test_the_report_lists_every_name_without_a_place(folder):
    """On the node two examples; in the report all of them."""
    layers = [f"blocks.{n}.attn1.to_{x}" for n in range(2) for x in "qkv"]
    stored = draw(1, layers) | {"transformer.odd.alpha": torch.ones(1)}
    stored |= elsewhere(*(f"blocks.{n}.attn1.to_q" for n in (7, 8, 9)), "blocks.0.ffn.net.2")
    save_file(stored, folder / "partly.safetensors")
    results, ui = call("OpenT2VLoadLora", model=tiny.shared()[0], lora="partly.safetensors")
    lines = remarks(ui).splitlines()
    assert results[2].splitlines()[: len(lines)] == lines
    assert lines[2].startswith("6 of 10 match, 1 in another shape, 3 unmatched.") and "blocks.9" not in remarks(ui)
    rows, columns = weight(tiny.shared()[0], "blocks.0.ffn.net.2").shape
    assert results[2].splitlines()[len(lines) :] == [
        "partly.safetensors, what was left out:",
        f"  transformer.blocks.0.ffn.net.2: is for [4, 4], the model has [{rows}, {columns}]",
        *(f"  transformer.blocks.{n}.attn1.to_q: the model has no such layer" for n in (7, 8, 9)),
        "  transformer.odd.alpha: changes nothing",
    ]


# --- what the host's own LoRA loaders are given ---


def test_a_hosts_loader_gets_what_the_node_would_apply():
    target = embedded.patch_target(tiny.shared()[0])
    read = read_for_host(target, draw(1), True)
    assert sorted(change.key for change in read) == ["blocks.0.attn1.to_q.weight", "blocks.1.ffn.net.0.proj.weight"]


def test_a_hosts_loader_refuses_what_does_not_fit_as_the_node_does():
    model, clip, _ = tiny.shared()
    target, other = embedded.patch_target(model), elsewhere("blocks.7.attn1.to_q")
    with pytest.raises(FamilyError) as refused:
        read_for_host(target, other, True)
    assert str(refused.value) == (
        "The LoRA: made for a Wan model 4 wide, this model is Wan tiny: 0 of 1 match. For example the model has no "
        "transformer.blocks.7.attn1.to_q. Use a LoRA that was trained for this model. Load Video LoRA says more of it, "
        "by the file's name and metadata."
    )
    with pytest.raises(ModelFileError, match="The LoRA: no LoRA is in this file"):
        read_for_host(target, {"weight": torch.ones(1)}, True)
    # The host's own half has taken it, or it is for the text encoder, whose half the loader asks for too.
    assert read_for_host(target, other, False) == ()
    assert read_for_host(embedded.patch_target(clip), other, True) == ()
