"""MODEL, CLIP and VAE of the embedded host, and its settings.

Tests: host/embedded/model.py, host/embedded/clip.py, host/embedded/vae.py, host/embedded/place.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from opent2v.host import Host, embedded, host
from opent2v.host.embedded import machine, ops
from opent2v.host.leaves import switch_leaves
from opent2v.tests.tiny import wan as tiny

HALVES = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]


def test_the_embedded_host_is_the_one_outside_comfyui_and_offers_what_the_contract_names():
    """What pyright proves of the arguments as well, see host/__init__.py."""
    assert host is embedded
    assert [name for name in vars(Host) if not name.startswith("_") and not callable(getattr(host, name, None))] == []


# --- leaves ---


@pytest.mark.parametrize("stored", [torch.float32, *HALVES])
def test_cast_layers_compute_in_their_inputs_dtype(stored):
    plain = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4, bias=False))
    x = torch.randn(3, 4)
    weights = [layer.weight.to(stored) for layer in plain]
    expected = nn.functional.linear(x, weights[0].float(), plain[0].bias) @ weights[1].float().T
    for layer, weight in zip(plain, weights, strict=True):
        layer.weight = nn.Parameter(weight, requires_grad=False)
    assert switch_leaves(plain, ops.LEAVES) is plain
    assert torch.allclose(plain(x), expected, atol=1e-6) and plain(x).dtype == torch.float32
    assert plain(x.bfloat16()).dtype == torch.bfloat16
    assert plain[0].weight.dtype == stored


def test_only_exact_types_are_switched():
    class Own(nn.Linear):
        def forward(self, x):
            return x

    known = nn.Linear(2, 2), nn.Conv3d(2, 2, 1), nn.RMSNorm(2), nn.GroupNorm(1, 2)
    module = nn.Sequential(Own(2, 2), *known, nn.Embedding(2, 2), nn.PReLU())
    kinds = [type(leaf).__name__ for leaf in switch_leaves(module, ops.LEAVES)]
    assert kinds == ["Own", "CastLinear", "CastConv3d", "CastRMSNorm", "CastGroupNorm", "CastEmbedding", "PReLU"]


# --- model ---


@pytest.mark.parametrize("stored", [torch.float32, *HALVES])
def test_a_cpu_computes_in_fp32_whatever_is_stored(monkeypatch, stored):
    monkeypatch.setattr(machine, "device", lambda: torch.device("cpu"))
    model, _, _ = tiny.hosted(tiny.folder(), stored)
    assert model.dtype == torch.float32
    assert model.part.transformer.get_parameter("blocks.0.attn1.to_q.weight").dtype == stored


@pytest.mark.parametrize(
    ("stored", "computes"),
    [
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float16),
        (torch.float8_e4m3fn, torch.bfloat16),
    ],
)
def test_a_gpu_computes_in_what_is_stored(monkeypatch, stored, computes):
    part, _, _ = tiny.parts(tiny.folder(), stored)
    monkeypatch.setattr(machine, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(nn.Module, "to", lambda self, *_: self)
    assert embedded.model(part).dtype == computes


def test_storage_dtypes_of_the_parts(monkeypatch):
    monkeypatch.setattr(machine, "device", lambda: torch.device("cpu"))
    assert set(embedded.device_dtypes(None, torch.float16).values()) == {torch.float32}
    asked = embedded.device_dtypes(torch.bfloat16, torch.float16)
    assert asked == {"model_dtype": torch.bfloat16, "text_dtype": torch.float32, "vae_dtype": torch.float32}
    monkeypatch.setattr(machine, "device", lambda: torch.device("cuda"))
    assert set(embedded.device_dtypes(None, torch.float32).values()) == {torch.bfloat16}


def test_each_part_knows_its_variant_and_other_things_do_not():
    parts = tiny.shared()
    assert {embedded.variant(part).title for part in parts} == {"Wan tiny"}
    assert embedded.variant(object()) is None and embedded.variant(None) is None


# --- text ---


def test_tokens_that_count_and_tokens_in_all():
    _, clip, _ = tiny.shared()
    assert embedded.tokens(clip, "red circle") == (3, 3)
    assert embedded.tokens(clip, "red circle " * 100) == (tiny.MAX_TOKENS, 201)
    assert embedded.tokens(clip, "") == (1, 1)


def test_conditioning_is_the_hosts_list():
    _, clip, _ = tiny.shared()
    [[context, options]] = embedded.embed(clip, tiny.PROMPT)
    assert context.shape == (1, tiny.MAX_TOKENS, 16)
    assert options == {"pooled_output": None, "opent2v_family": "wan"}
    assert torch.equal(context, embedded.embed(clip, f"  {tiny.PROMPT.replace(' ', '  ')} ")[0][0])
    assert not torch.equal(context, embedded.embed(clip, "a blue star")[0][0])


# --- vae ---


@pytest.mark.parametrize(("kind", "size"), [("plain", 32), ("ti2v", 64)])
def test_decoding_gives_frames_in_0_to_1(kind, size):
    _, _, vae = tiny.shared(kind)
    latent = torch.randn(2, *vae.part.variant.geometry.latent_shape(size, size, 9))
    images = embedded.decode(vae, latent)
    assert images.shape == (18, size, size, 3) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert torch.equal(images[9:], embedded.decode(vae, latent[1:]))


def test_a_latent_picture_is_a_video_of_one_frame():
    _, _, vae = tiny.shared()
    latent = torch.randn(1, 16, 4, 4)
    assert torch.equal(embedded.decode(vae, latent), embedded.decode(vae, latent[:, :, None]))


def test_decoding_in_tiles_where_memory_is_short(monkeypatch):
    _, _, vae = tiny.hosted(tiny.folder())
    whole = vae.part.vae.use_tiling
    seen = []
    monkeypatch.setattr(machine, "free_memory", lambda device: 0.0)
    decode = type(vae.part).decode
    monkeypatch.setattr(
        type(vae.part), "decode", lambda part, z: (seen.append(part.vae.use_tiling), decode(part, z))[1]
    )
    assert embedded.decode(vae, torch.randn(1, 16, 1, 4, 4)).shape == (1, 32, 32, 3)
    assert (whole, seen, vae.part.vae.use_tiling) == (False, [True], False)


def test_free_memory_is_a_number_of_bytes():
    assert machine.free_memory(torch.device("cpu")) > 1e6


# --- settings ---


def test_the_bundled_models_come_first(tmp_path):
    bundled = tiny.ROOT / "models" / "diffusers"
    assert embedded.model_roots("diffusers") == [bundled]
    embedded.configure(models=tmp_path)
    assert embedded.model_roots("diffusers") == [bundled, tmp_path / "diffusers"]
    assert embedded.model_roots("loras")[1] == tmp_path / "loras"


def test_the_output_folder(tmp_path):
    embedded.configure(output=tmp_path)
    assert embedded.output_folder() == tmp_path
    embedded.configure()
    assert embedded.output_folder() == tiny.ROOT / "output"


def test_progress_names_the_node_that_runs():
    seen = []
    embedded.configure(on_progress=lambda *what: seen.append(what))
    embedded.running("7")
    report = embedded.progress(4)
    report(1)
    embedded.progress(2, "9")(2)
    assert seen == [("7", 1, 4), ("9", 2, 2)]


def test_an_interrupt_is_raised_once():
    embedded.interrupt()
    with pytest.raises(embedded.Interrupted, match="The run was interrupted"):
        embedded.check_interrupt()
    embedded.check_interrupt()
    embedded.interrupt()
    with pytest.raises(embedded.Interrupted):
        embedded.progress(2)(1)
    embedded.interrupt()
    embedded.configure(output=Path("unused"))
    embedded.check_interrupt()


def test_file_metadata_is_what_the_page_reads():
    prompt, workflow = {"1": {"class_type": "A"}}, {"nodes": ["圆"]}
    metadata = embedded.file_metadata(prompt, {"workflow": workflow, "more": 3})
    assert {k: json.loads(v) for k, v in metadata.items()} == {"prompt": prompt, "workflow": workflow, "more": 3}
    assert embedded.file_metadata(None, None) == {}


def test_what_the_host_notes_about_files_stays_out_of_a_saved_file():
    prompt = {"1": {"class_type": "A", "inputs": {"x": 1}, "is_changed": ["5f2c"]}}
    assert embedded.file_metadata(prompt, None) == {"prompt": '{"1": {"class_type": "A", "inputs": {"x": 1}}}'}
