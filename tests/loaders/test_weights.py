"""Modules are built without memory and filled strictly, in the dtype asked for.

Tests: loaders/weights.py, loaders/stored_dtype.py
"""

from __future__ import annotations

import json
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file, save_file

from opent2v.loaders import DTYPES, ModelFileError, load_pipeline, open_folder
from opent2v.loaders.stored_dtype import as_dtype
from opent2v.loaders.weights import _meta_parameters, build, check, fill
from opent2v.tests.tiny import wan as tiny

TIED = {"encoder.embed_tokens.weight": "shared.weight"}


def built(component="transformer", kind="plain"):
    config = open_folder(tiny.folder(kind)).configs[component]
    return build(config["_class_name"], config)


def files(component="transformer", kind="plain"):
    return open_folder(tiny.folder(kind)).weights[component]


def changed(tmp_path, change, component="transformer"):
    """The component's file after `change` (a function of its tensors), in a folder of its own."""
    tensors = load_file(files(component)[0])
    change(tensors)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    return (path,)


def message(module, paths, **options) -> str:
    with pytest.raises(ModelFileError) as error:
        fill(module, paths, **options)
    assert all(p.is_meta for p in module.parameters()), "nothing may be read before the check"
    return str(error.value)


def test_building_takes_no_memory_and_keeps_the_class_as_it_was():
    register = torch.nn.Module.register_parameter
    module = built()
    assert torch.nn.Module.register_parameter is register
    assert all(p.is_meta and not p.requires_grad for p in module.parameters())
    assert all(not b.is_meta for b in module.buffers())
    assert not module.training


def test_what_other_threads_build_meanwhile_has_memory():
    with _meta_parameters(), ThreadPoolExecutor(1) as other:
        assert not other.submit(torch.nn.Linear, 2, 2).result().weight.is_meta
        assert torch.nn.Linear(2, 2).weight.is_meta


@pytest.mark.parametrize("component", ["transformer", "vae", "text_encoder"])
def test_filled_parameters_are_the_files(component):
    module = fill(built(component), files(component), tied=TIED if component == "text_encoder" else None)
    stored = load_file(files(component)[0])
    assert not any(p.is_meta for p in module.parameters())
    assert {n for n, _ in module.named_parameters(remove_duplicate=False)} - set(TIED) <= set(stored) | set(
        TIED.values()
    )
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in stored.items())


def test_shards_equal_one_file():
    one, many = fill(built(), files()).state_dict(), fill(built(), files(kind="sharded")).state_dict()
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_progress_counts_every_byte():
    seen = []
    fill(built(), files(kind="sharded"), on_bytes=lambda *counts: seen.append(counts))
    total = sum(tensor.nbytes for path in files(kind="sharded") for tensor in load_file(path).values())
    assert seen == sorted(seen) and {whole for _, whole in seen} == {total} and seen[-1][0] == total and len(seen) > 40


def test_missing_unexpected_and_misshapen_tensors_are_named(tmp_path):
    def change(tensors):
        del tensors["proj_out.bias"]
        tensors["lora.weight"] = torch.zeros(1)
        tensors["patch_embedding.weight"] = torch.zeros(24, 36, 1, 2, 2)

    paths = changed(tmp_path, change)
    count = len(dict(built().named_parameters()))
    assert message(built(), paths) == (
        f"{tmp_path}: the weights do not fit the config.json beside them. Of {count} tensors: 1 of the wrong shape, "
        "first patch_embedding.weight: found [24, 36, 1, 2, 2], expected [24, 16, 1, 2, 2]; 1 missing, first "
        "proj_out.bias; 1 unexpected, first lora.weight. Weights and config belong to different models or versions: "
        "get both from the same place."
    )


@pytest.mark.parametrize("stored", [["shared.weight"], ["encoder.embed_tokens.weight"], [*TIED, *TIED.values()]])
def test_the_tied_embedding_under_either_name(tmp_path, stored):
    def change(tensors):
        weight = tensors.pop("shared.weight", None)
        weight = tensors.pop("encoder.embed_tokens.weight", weight)
        tensors.update({name: weight.clone() for name in stored})

    module = fill(built("text_encoder"), changed(tmp_path, change, "text_encoder"), tied=TIED)
    reference = fill(built("text_encoder"), files("text_encoder"), tied=TIED)
    for name in ("shared.weight", "encoder.embed_tokens.weight"):
        assert torch.equal(module.get_parameter(name), reference.get_parameter(name))


def test_a_tied_embedding_under_neither_name_is_missing(tmp_path):
    def change(tensors):
        for name in (*TIED, *TIED.values()):
            tensors.pop(name, None)

    paths = changed(tmp_path, change, "text_encoder")
    assert "2 missing, first shared.weight" in message(built("text_encoder"), paths, tied=TIED)


def dtypes(dtype, kind="plain") -> dict[str, torch.dtype]:
    return {n: p.dtype for n, p in fill(built(kind=kind), files(kind=kind), dtype=dtype).named_parameters()}


@pytest.mark.parametrize(("stored", "asked"), [("e4m3fn", "fp16"), ("e5m2", "fp16"), ("e4m3fn", "fp8_e5m2")])
def test_fp8_files_in_another_small_dtype(tmp_path, stored, asked):
    name = "blocks.0.ffn.net.2.weight"

    def change(tensors):
        tensors[name] = tensors[name].to(getattr(torch, f"float8_{stored}"))

    paths = changed(tmp_path, change)
    weight = fill(built(), paths, dtype=DTYPES[asked]).get_parameter(name)
    assert weight.dtype == DTYPES[asked]
    assert torch.equal(weight.float(), load_file(paths[0])[name].to(DTYPES[asked]).float())


def test_fp8_that_the_other_fp8_cannot_hold_is_refused(tmp_path):
    def change(tensors):
        tensors["blocks.0.ffn.net.2.weight"] = torch.full_like(tensors["blocks.0.ffn.net.2.weight"], -1024).to(
            torch.float8_e5m2
        )

    with pytest.raises(ModelFileError, match=r"net\.2\.weight holds 1024, more than torch\.float8_e4m3fn can \(448\)"):
        fill(built(), changed(tmp_path, change), dtype=DTYPES["fp8_e4m3fn"])


KEPT = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_leaves_what_the_library_keeps(dtype):
    for name, stored in dtypes(dtype).items():
        kept = any(part in name.split(".") for part in KEPT)
        assert stored == (torch.float32 if kept else dtype), name


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_only_in_the_blocks_matrices(dtype):
    found = dtypes(dtype)
    assert {n.split(".", 2)[2] for n, d in found.items() if d == dtype} == {
        *(f"attn{a}.to_{p}.weight" for a in (1, 2) for p in ("q", "k", "v", "out.0")),
        "ffn.net.0.proj.weight", "ffn.net.2.weight",
    }  # fmt: skip
    assert all(name.startswith("blocks.") for name, d in found.items() if d == dtype)
    assert set(found.values()) == {dtype, torch.bfloat16, torch.float32}
    assert found["condition_embedder.text_embedder.linear_1.weight"] == torch.bfloat16
    assert found["blocks.0.attn1.norm_q.weight"] == torch.bfloat16


def test_without_a_dtype_the_files_own_stays():
    assert set(dtypes(None, "bf16").values()) == {torch.bfloat16}
    assert set(dtypes(torch.float32, "bf16").values()) == {torch.float32}
    assert set(DTYPES) == {"fp32", "bf16", "fp16", "fp8_e4m3fn", "fp8_e5m2"}


def test_a_file_whose_offsets_lie(tmp_path):
    raw = bytearray(files()[0].read_bytes())
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    name = next(n for n in header if n != "__metadata__")
    header[name]["data_offsets"][1] -= 1
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    said = message(built(), (path,))
    assert said.startswith(f"{path}: the safetensors header is damaged (") and said.endswith("Download the file again.")


def test_check_reads_headers_only(tmp_path):
    assert check(built(), files()) == sum(tensor.nbytes for tensor in load_file(files()[0]).values())


class TestPipeline:
    def load(self, folder, seen=None):
        return load_pipeline(
            open_folder(folder),
            model_dtype=torch.bfloat16,
            text_dtype=torch.float32,
            vae_dtype=torch.float16,
            on_progress=(lambda *counts: seen.append(counts)) if seen is not None else None,
        )

    def test_three_parts_in_their_dtypes(self):
        seen = []
        loaded = self.load(tiny.folder(), seen)
        (model,), text, vae = loaded.models, loaded.text, loaded.vae
        assert model.transformer.get_parameter("blocks.0.attn1.to_q.weight").dtype == torch.bfloat16
        assert {p.dtype for p in text.encoders["text_encoder"].parameters()} == {torch.float32}
        assert {p.dtype for p in vae.vae.parameters()} == {torch.float16}
        tokenizer = text.tokenizers["text_encoder"]
        assert tokenizer("red circle").input_ids[-1] == tokenizer.eos_token_id
        total = seen[-1][1]
        assert seen == sorted(seen) and {whole for _, whole in seen} == {total} and seen[-1][0] == total

    @pytest.mark.parametrize("component", ["transformer", "vae"])
    def test_damage_anywhere_is_found_before_the_first_tensor_is_read(self, tmp_path, component):
        folder = tiny.copy(tmp_path / "model")
        path = folder / component / "diffusion_pytorch_model.safetensors"
        whole, seen = path.read_bytes(), []
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ModelFileError, match="the file is cut short"):
            self.load(folder, seen)
        tensors = load_file(tiny.folder() / component / path.name)
        name = next(iter(tensors))
        save_file(tensors | {name: torch.zeros(7, 7, 7)}, path)
        with pytest.raises(ModelFileError, match=rf"1 of the wrong shape, first {name}: found \[7, 7, 7\], expected"):
            self.load(folder, seen)
        assert seen == []

    def test_a_damaged_tokenizer(self, tmp_path):
        folder = tiny.copy(tmp_path / "model")
        (folder / "tokenizer" / "tokenizer.json").write_text('{"version": "1.0"}')
        with pytest.raises(ModelFileError) as error:
            self.load(folder)
        assert str(error.value).startswith(f"{folder / 'tokenizer'}: the tokenizer cannot be read (")
        assert str(error.value).endswith("Get the folder again.")

    def test_no_code_is_run_from_a_model_folder(self, tmp_path):
        folder = tiny.copy(tmp_path / "model")
        (folder / "tokenizer" / "evil.py").write_text("raise SystemExit('code was run')")
        tiny.edit(
            folder / "tokenizer" / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
        )
        assert self.load(folder).text.tokenizers["text_encoder"]("red").input_ids


def test_a_weight_beyond_the_storage_dtype_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match=r"holds 500, more than torch.float8_e4m3fn can \(448\).*bf16 or fp32"):
        as_dtype("blocks.0.w", torch.tensor([[500.0]]), torch.float8_e4m3fn, tmp_path)
    assert as_dtype("blocks.0.w", torch.tensor([[400.0]]), torch.float8_e4m3fn, tmp_path).float().item() == 384
