"""Recognition is of the whole, names and shapes one by one; and no header makes a family stumble.

Tests: base/recognise.py, base/tensors.py
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from opent2v.base import FamilyError, Near, Recognised
from opent2v.base.recognise import HELPERS, SCALES, stated
from opent2v.families import families, variant_of
from opent2v.loaders import ModelFileError, open_file
from opent2v.tests.families import headers
from opent2v.tests.families.layouts import wan as alibaba

TRANSFORMERS, VAES = headers.layouts(), headers.vaes()


@pytest.mark.parametrize("title", headers.networks())
def test_a_family_says_the_very_tensors_of_its_network(title):
    family, shapes = headers.networks()[title]
    network = family.recognise(shapes, "videocrafter")
    assert isinstance(network, Recognised), network
    assert dict(family.recognition.tensors(network.variant, network.config)) == shapes


def test_every_family_of_files_has_its_headers():
    """A new family adds one file to tests/families/headers and edits none."""
    with_files = {family.id for family in families().values() if family.files or family.text}
    assert {module.FAMILY.id for module in headers.modules()} == with_files
    for module in headers.modules():
        names = [Path(file.__file__).stem for file in headers.modules() if file.FAMILY is module.FAMILY]
        assert names == [module.FAMILY.id], "one file for each family, of its id"
        shared = Path(headers.__file__).read_text(encoding="utf-8")
        assert module.FAMILY.id not in shared, "what all share names no family"


@pytest.mark.parametrize("family", [one for one in families().values() if one.files], ids=lambda family: family.id)
def test_every_family_states_its_tensors(family):
    assert family.recognition.tensors is not None, f"{family.title}: names and shapes are not compared"


@pytest.mark.parametrize("layout", TRANSFORMERS)
def test_a_whole_network_is_recognised_by_its_family_alone(layout):
    owner, shapes = TRANSFORMERS[layout]
    said = {family.id: _said(family, shapes) for family in families().values()}
    assert [name for name, found in said.items() if isinstance(found, Recognised)] == [owner.id], said
    for prefix in ("", headers.PREFIX):
        marked = {f"{prefix}{name}": shape for name, shape in shapes.items()}
        helped = {end.strip(".") if end.startswith(".scaled") else f"x.y{end}": (1,) for end in (*SCALES, *HELPERS)}
        found = owner.recognise(marked | {f"{prefix}{name}": shape for name, shape in helped.items()}, "videocrafter")
        assert isinstance(found, Recognised), found


@pytest.mark.parametrize("layout", TRANSFORMERS)
def test_a_tensor_less_or_of_another_name_is_another_model(layout):
    family, shapes = TRANSFORMERS[layout]
    for name in list(shapes)[:: len(shapes) // 50 + 1]:
        rest, shape = {key: size for key, size in shapes.items() if key != name}, shapes[name]
        changes = [rest | {f"{name}_of_another": shape}, shapes | {name: (*shape, 2)}]
        if not name.endswith(("pos_embed", "emb_pos")):  # without it, FLF2V is I2V
            changes.append(rest)
        for changed in changes:
            found = _said(family, changed)
            assert not isinstance(found, Recognised), f"without {name} or with another one it is still {family.id}"
            assert str(found)
    # A branch that the plain one has not.
    for extra in ("pose_embedding.weight", "blocks.0.cam_encoder.weight", "transformer_blocks.0.face.proj.bias"):
        found = _said(family, shapes | {extra: (8,)})
        assert not isinstance(found, Recognised)
        if isinstance(found, Near):
            assert f"1 unexpected, first {extra}" in found


@pytest.mark.parametrize("layout", [*TRANSFORMERS, *(f"VAE of {name}" for name in VAES)])
def test_no_header_makes_a_family_stumble(layout):
    """Tensors missing, of one number, of none: a family finds, says why not, or refuses. (Renamed: the test before.)"""
    _, shapes = VAES[layout.removeprefix("VAE of ")] if layout.startswith("VAE of ") else TRANSFORMERS[layout]
    for name in list(shapes)[:: len(shapes) // 30 + 1]:
        rest = {key: size for key, size in shapes.items() if key != name}
        for changed in (rest, shapes | {name: (1,)}, shapes | {name: ()}):
            for family in families().values():
                assert isinstance(_said(family, changed), Recognised | str | FamilyError)


def _said(family, shapes):
    try:
        return family.recognise(shapes, "videocrafter")
    except FamilyError as error:
        return error


def test_what_is_wrong_is_named():
    shapes = TRANSFORMERS["Wan 2.1 I2V 14B, original"][1]
    del (less := dict(shapes))["blocks.1.ffn.0.bias"]
    other = shapes | {"head.head.bias": (7,), "blocks.1.cam_encoder.weight": (8, 8)}
    for changed, said in (
        (less, "Of 87 tensors: 1 missing, first blocks.1.ffn.net.0.proj.bias"),
        (
            other,
            "Of 87 tensors: 1 of the wrong shape, first head.head.bias: found [7], expected [64]; 1 unexpected, first "
            "blocks.1.cam_encoder.weight",
        ),
    ):
        with pytest.raises(FamilyError) as error:
            variant_of(changed)
        assert str(error.value) == (
            f"This MODEL looks like Wan 2.1 I2V 14B, and is not that model whole. {said}. It is a variant that this "
            "version does not know: sample it with ComfyUI's own KSampler."
        )


def test_a_full_size_header_is_recognised_at_once():
    shapes = {alibaba.original(k): v for k, v in alibaba.meta_shapes("WanTransformer3DModel", alibaba.PICTURE).items()}
    assert len(shapes) == 1303
    spent = []
    for n in range(3):
        begin = time.process_time()
        assert variant_of(shapes | {"scaled_fp8": (n,)}).title == "Wan 2.1 I2V 14B"
        spent.append(time.process_time() - begin)
    assert min(spent) < 0.25  # 0.05 s alone on the machine
    begin = time.process_time()
    variant_of(shapes)
    variant_of(shapes)
    assert time.process_time() - begin < 0.3


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "animate2"}, "Wan Animate 2"),
        ({"model_type": "flow_rvs"}, "FlowRVS"),
        ({"model_type": "t2v", "causal_ar": True}, "a causal model (Self-Forcing and others)"),
        ({"model_type": "new"}, "a model of the type 'new'"),
        ({"model_type": "i2v"}, ""),
        ({"_class_name": "LTXVideoTransformer3DModel"}, ""),
        ([], ""),
    ],
)
def test_files_whose_metadata_tell_another_network(tmp_path, config, said):
    import json

    import torch
    from safetensors.torch import save_file

    metadata = {"config": json.dumps({"transformer": config})}
    assert stated(metadata) == said and stated({}) == stated({"config": "x"}) == ""
    tiny = {"num_attention_heads": 1, "text_dim": 8, "freq_dim": 8, "ffn_dim": 8, "num_layers": 1, "in_channels": 16}
    path = tmp_path / "any.safetensors"
    shapes = alibaba.meta_shapes("WanTransformer3DModel", {"attention_head_dim": 128, "out_channels": 16} | tiny)
    save_file({alibaba.original(name): torch.zeros(shape) for name, shape in shapes.items()}, path, metadata)
    if not said:
        assert open_file(path).parts["transformer"].variant.family.id == "wan"
        return
    with pytest.raises(FamilyError) as error:
        open_file(path)
    assert str(error.value) == (
        f"any.safetensors: by its metadata this is {said}, which has the tensors of Wan and is sampled in another way. "
        "It is not supported: use ComfyUI's own Load Diffusion Model, or choose a plain text-to-video or "
        "image-to-video model."
    )


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["patchify_proj.weight", "audio_patchify_proj.weight", "audio_adaln_single.linear.weight"], "LTX-2, which"),
        (
            ["visual_embeddings.in_layer.weight", "visual_transformer_blocks.0.feed_forward.in_layer.weight"],
            "Kandinsky 5",
        ),
    ],
)
def test_other_video_models_files_are_named(tmp_path, names, said):
    import torch
    from safetensors.torch import save_file

    save_file({name: torch.zeros(1) for name in names}, tmp_path / "any.safetensors")
    with pytest.raises(ModelFileError, match=f"It looks like {said}"):
        open_file(tmp_path / "any.safetensors")
