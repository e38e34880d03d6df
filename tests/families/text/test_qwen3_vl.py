"""Qwen3-VL's language model and vision tower in every layout give one CONDITIONING; what does not fit is refused.

Tests: families/text/qwen3_vl.py, families/text/qwen3_vl_vision.py, families/minimax_h3/text.py, base/shown.py
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import FamilyError, Shown
from opent2v.base.packed import PackedTensor
from opent2v.families.minimax_h3 import FAMILY
from opent2v.families.minimax_h3.text import patches_of
from opent2v.families.minimax_h3.versions import of_parts
from opent2v.families.text import qwen3_vl, qwen3_vl_vision, text_encoders
from opent2v.host import embedded
from opent2v.loaders import ModelFileError, load_text, open_text_files, text_file
from opent2v.loaders.weights import build
from opent2v.tests.loaders import gguf_files
from opent2v.tests.tiny import minimax_h3_parts as tiny
from opent2v.tests.tiny import packed

VARIANT = of_parts(FAMILY, tiny.WIDTH)
PICTURE = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0))
SHOWN = [Shown("image", PICTURE), Shown("audio"), Shown("video", PICTURE.repeat(3, 1, 1, 1))]


@pytest.fixture(scope="module", autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


class Words:
    """A tokenizer of the first letters' numbers."""

    pad_token_id = 0

    def __call__(self, text: str, **_):
        return SimpleNamespace(input_ids=[ord(letter) % 97 + 100 for letter in text[::3]])


@pytest.fixture(autouse=True)
def no_tokenizer(monkeypatch):
    monkeypatch.setattr(text_file, "tokenizer_of", lambda *_, **__: Words())


def saved(path, tensors):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def loaded(*paths, dtype=torch.float32):
    files = [file for path in paths for file in open_text_files(path)]
    return load_text(files, VARIANT, dtype, lambda *_: None)


def context(part, shown=SHOWN):
    ((context, entries),) = embedded.embed(embedded.clip(part), "a red circle moves", shown)
    return context, entries["minimax_token_tags"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "tokenizer_of", lambda *_, **__: Words())
        return context(loaded(saved(tmp_path_factory.mktemp("e") / "encoder.safetensors", tiny.encoder())))


def whole() -> dict[str, torch.Tensor]:
    """In transformers' names, with layers behind the fiftieth, the last norm and the head."""
    language = {f"model.language_model.{n.removeprefix('model.')}": w for n, w in tiny.language().items()}
    head = torch.randn(8, tiny.WIDTH)
    return {
        **language, "model.language_model.norm.weight": 9 * torch.ones(tiny.WIDTH), "lm_head.weight": head,
        **{f"model.{name}": tensor for name, tensor in tiny.vision().items()},
    }  # fmt: skip


_LANGUAGE = [(f"layers.{{}}.{ours}", f"blk.{{}}.{theirs}") for theirs, ours in qwen3_vl._GGUF]


def gguf(tensors):
    """The language model in llama.cpp's names."""
    named = {"output_norm.weight": torch.ones(tiny.WIDTH), "output.weight": torch.ones(8, tiny.WIDTH)}
    for name, tensor in tensors.items():
        name = name.removeprefix("model.").replace("embed_tokens", "token_embd")
        for theirs, ours in qwen3_vl._GGUF:
            name = name.replace(f".{ours}.", f".{theirs}.") if f".{ours}." in name else name
        named[name.replace("layers.", "blk.")] = tensor
    return named


def mmproj(tensors):
    """The vision tower in llama.cpp's names."""
    named = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("visual.")
        if name == "patch_embed.proj.weight":
            named |= {"v.patch_embd.weight": tensor[:, :, 0], "v.patch_embd.weight.1": tensor[:, :, 1]}
            continue
        for ours, theirs in (
            ("patch_embed.proj.", "v.patch_embd."), ("pos_embed.", "v.position_embd."), ("merger.norm.", "v.post_ln."),
            ("merger.linear_fc1.", "mm.0."), ("merger.linear_fc2.", "mm.2."),
        ):  # fmt: skip
            name = theirs + name[len(ours) :] if name.startswith(ours) else name
        if name.startswith("deepstack_merger_list."):
            _, number, rest = name.split(".", 2)
            place = tiny.VISION["deepstack_visual_indexes"][int(number)]
            name = f"v.deepstack.{place}.{rest.replace('linear_fc', 'fc')}"
        for theirs, ours in qwen3_vl_vision._GGUF:
            name = name.replace(f".{ours}.", f".{theirs}.") if name.startswith("blocks.") else name
        named[f"v.blk.{name.removeprefix('blocks.')}" if name.startswith("blocks.") else name] = tensor
    return named


def test_transformers_own_file_is_read_up_to_the_layer_that_counts(tmp_path, expected):
    files = open_text_files(saved(tmp_path / "whole.safetensors", whole()))
    assert [(file.kind.class_name, file.prefix) for file in files] == [
        ("Qwen3VLTextModel", "model.language_model."), ("Qwen3VLVisionModel", "model.visual."),
    ]  # fmt: skip
    part = loaded(tmp_path / "whole.safetensors")
    assert all(torch.equal(*pair) for pair in zip(context(part), expected, strict=True))


def test_layers_behind_the_fiftieth_are_left_out(tmp_path):
    layout = qwen3_vl.recognise(
        {"embed_tokens.weight": (99, 48), **{n.removeprefix("model."): tuple(w.shape)
         for n, w in tiny.language(64, 99).items() if "layers" in n}}
    )  # fmt: skip
    assert layout is not None and layout.config["num_hidden_layers"] == 50
    with torch.device("meta"):
        module = build("Qwen3VLTextModel", layout.config, qwen3_vl.KIND.extend)
    assert len(module.layers) == 50 and not list(module.norm.parameters())  # pyright: ignore


def test_a_gguf_file_needs_its_mmproj_for_pictures_alone(tmp_path, expected):
    language = gguf_files.write(tmp_path / "q.gguf", gguf(tiny.language()), {"general.architecture": "qwen3vl"})
    words = loaded(language)
    with pytest.raises(FamilyError, match=r"has no vision tower\. Choose its mmproj GGUF file as file_2"):
        context(words)
    comfy = loaded(saved(tmp_path / "encoder.safetensors", tiny.encoder()))
    assert torch.equal(context(words, [])[0], context(comfy, [])[0])
    eyes = gguf_files.write(tmp_path / "m.gguf", mmproj(tiny.vision()), {"general.architecture": "clip"})
    part = loaded(language, eyes)
    assert all(torch.equal(*pair) for pair in zip(context(part), expected, strict=True))


@pytest.mark.parametrize(("kind", "most"), [("int8_convrot", 0.1), ("nvfp4_awq", 0.6)])
def test_a_packed_encoder_stays_packed_and_near(tmp_path, expected, kind, most):
    packed.write(tmp_path / "p.safetensors", tiny.encoder(), lambda name: kind if "layers" in name else "")
    part = loaded(tmp_path / "p.safetensors")
    kept = [n for n, w in part.encoders["text_encoder"].named_parameters() if isinstance(w, PackedTensor)]
    assert len(kept) == 3 * 7
    near, tags = context(part)
    assert torch.equal(tags, expected[1])
    assert 1e-4 < (near - expected[0]).norm() / expected[0].norm() < most


def test_the_published_sizes_are_known():
    shapes = {"embed_tokens.weight": (151936, 5120)}
    for n in range(50):
        layer = f"layers.{n}"
        shapes |= {
            f"{layer}.self_attn.q_proj.weight": (8192, 5120), f"{layer}.self_attn.k_proj.weight": (1024, 5120),
            f"{layer}.self_attn.q_norm.weight": (128,), f"{layer}.self_attn.k_norm.weight": (128,),
            f"{layer}.mlp.gate_proj.weight": (25600, 5120),
        }  # fmt: skip
    layout = qwen3_vl.recognise(shapes)
    assert layout is not None and layout.title == "Qwen3-VL 32B" and layout.width == 5120
    assert layout.config["num_attention_heads"] == 64 and layout.config["num_key_value_heads"] == 8
    assert layout.config["rope_scaling"]["mrope_section"] == [24, 20, 20]


@pytest.mark.parametrize(("depth", "deep", "places"), [(27, 3, [8, 16, 24]), (24, 3, [5, 11, 17])])
def test_the_published_towers_hand_on_the_states_of_these_layers(depth, deep, places):
    shapes = {
        "patch_embed.proj.weight": (1152, 3, 2, 16, 16), "pos_embed.weight": (2304, 1152),
        "blocks.0.mlp.linear_fc1.weight": (4304, 1152), "merger.linear_fc2.weight": (5120, 4608),
        **{f"blocks.{n}.attn.qkv.weight": (3456, 1152) for n in range(depth)},
        **{f"deepstack_merger_list.{n}.norm.weight": (4608,) for n in range(deep)},
    }  # fmt: skip
    layout = qwen3_vl_vision.recognise(shapes)
    assert layout is not None and layout.config["deepstack_visual_indexes"] == places


def test_llama_is_not_taken_for_it_nor_it_for_llama():
    shapes = {n.removeprefix("model."): tuple(w.shape) for n, w in tiny.language(2, 99).items()}
    names = [name for name, kind in text_encoders().items() if kind.recognise(shapes)]
    assert names == ["Qwen3VLTextModel"]
    whole = {f"model.{name}": shape for name, shape in shapes.items()}
    assert not [name for name, kind in text_encoders().items() if kind.recognise(whole)]


def test_encoders_of_other_sizes_are_refused_by_name(tmp_path):
    path = saved(tmp_path / "encoder.safetensors", tiny.encoder())
    with pytest.raises(ModelFileError, match=r"is Qwen3-VL \(48 wide\), 48 wide; MiniMax H3 reads 5120"):
        load_text(open_text_files(path), of_parts(FAMILY), torch.float32, lambda *_: None)
    eyes = saved(tmp_path / "eyes.safetensors", tiny.vision())
    with pytest.raises(ModelFileError, match="MiniMax H3 needs a language model beside Qwen3-VL's vision tower"):
        load_text(open_text_files(eyes), VARIANT, torch.float32, lambda *_: None)
    wide = dict(tiny.vision())
    for n in ("merger", "deepstack_merger_list.0", "deepstack_merger_list.1"):
        wide |= {f"visual.{n}.linear_fc2.weight": torch.zeros(96, 512), f"visual.{n}.linear_fc2.bias": torch.zeros(96)}
    other = saved(tmp_path / "other.safetensors", tiny.language() | wide)
    with pytest.raises(ModelFileError, match=r"is Qwen3-VL's vision tower \(96 wide\), 96 wide; MiniMax H3 reads 48"):
        loaded(other)
    older = saved(
        tmp_path / "older.safetensors",
        {"visual.blocks.0.mlp.gate_proj.weight": torch.ones(2, 2), "model.layers.0.self_attn.q_proj.weight":
         torch.ones(2, 2)},
    )  # fmt: skip
    with pytest.raises(ModelFileError, match=r"looks like Qwen2.5-VL, a text encoder; MiniMax H3 reads Qwen3-VL"):
        open_text_files(older)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 96), (64, 96)), ((100, 150), (96, 160)), ((16, 16), (64, 64)), ((8000, 2000), (7168, 1792))],
)
def test_a_picture_is_scaled_to_whole_tokens(size, expected):
    _, rows, columns = patches_of(torch.zeros(1, *size, 3))
    assert (16 * rows, 16 * columns) == expected
