"""Inside ComfyUI's Python: text encoders and a VAE whose weights stay packed, beside plain ones of their numbers."""

from __future__ import annotations

import boot
from boot import case, scratch

boot.start()

import torch  # noqa: E402

from opent2v.base.packed import PackedTensor  # noqa: E402
from opent2v.host import comfyui as real  # noqa: E402
from opent2v.loaders import load_model, load_text, load_vae, open_file, open_text_file  # noqa: E402
from opent2v.tests.loaders import text_files  # noqa: E402
from opent2v.tests.tiny import packed, packed_models  # noqa: E402

KINDS = ("fp8", "fp8_rows", "int8_convrot", "nvfp4_awq", "mxfp8", "asym_w4a8", "awq_w4a16")
VAE_KINDS = ("fp8", "fp8_rows", "int8", "int8_tensor", "int8_convrot")


@case
def text_encoders():
    folder = scratch()
    packed.write(folder / "model.safetensors", packed_models.state("wan"), "")
    with torch.inference_mode():
        variant = load_model(open_file(folder / "model.safetensors"), torch.float32).variant
        return {kind: _read(folder, variant, kind) for kind in KINDS}


def _read(folder, variant, kind):
    spiece = {"spiece_model": torch.tensor(list(text_files.spiece()), dtype=torch.uint8)}
    exact = packed.write(folder / "packed.safetensors", packed_models.text_state(True), kind, beside=spiece)
    packed.write(folder / "plain.safetensors", exact, "", beside=spiece)
    contexts, sizes, kept = [], [], 0
    for name in ("packed", "plain"):
        part = load_text([open_text_file(folder / f"{name}.safetensors")], variant, torch.float32, lambda *_: None)
        kept += sum(isinstance(weight, PackedTensor) for weight in part.encoders["text_encoder"].parameters())
        clip = real.clip(part)
        contexts.append(real.embed(clip, "a red circle moves")[0][0])
        sizes.append(clip.patcher.model_size())
    stored = packed.pack(packed_models.text_state(True)["shared.weight"], kind)
    return {
        "apart": ((contexts[0] - contexts[1]).abs().max() / contexts[1].abs().max()).item(),
        "kept": kept,
        "size": sizes[0],
        "plain size": sizes[1],
        "file": sum(part.nbytes for part in packed.packed(packed_models.text_state(True), kind)[0].values()),
        "words": sum(part.nbytes for part in stored.values()),
        "said": real.packed_arithmetic(packed.KINDS[kind][0], "text_encoder"),
    }


@case
def vae():
    from diffusers import AutoencoderKLHunyuanVideo

    torch.manual_seed(0)
    state = AutoencoderKLHunyuanVideo(block_out_channels=(32, 32, 32, 32), layers_per_block=1).state_dict()
    with torch.inference_mode():
        return {kind: _decoded(scratch(), state, kind) for kind in VAE_KINDS}


def _decoded(folder, state, kind):
    """A VAE with packed layers beside a plain one of its numbers: decoded, decoded again, encoded, counted, saved."""
    exact = packed.write(folder / "packed_vae.safetensors", state, kind, convolutions=kind != "int8_convrot")
    packed.write(folder / "plain_vae.safetensors", exact, "")
    dice = torch.Generator().manual_seed(1)
    latent, images = torch.randn(1, 16, 2, 4, 4, generator=dice), torch.rand(5, 32, 32, 3, generator=dice)
    parts = [load_vae(open_file(folder / f"{name}_vae.safetensors"), torch.float32) for name in ("packed", "plain")]
    kept = sum(isinstance(weight, PackedTensor) for weight in parts[0].vae.parameters())
    vaes = [real.vae(part) for part in parts]
    frames = [real.decode(vae, latent) for vae in vaes]
    pieces = [torch.cat(list(real.decode_stream(vae, latent))) for vae in vaes]
    latents = [real.encode(vae, images) for vae in vaes]
    numbers = vaes[0].get_sd()
    return {
        "kept": kept,
        "matrices": sum(tensor.ndim > 1 for tensor in exact.values()),
        "decoded": (frames[0] - frames[1]).abs().max().item(),
        "in pieces": (pieces[0] - pieces[1]).abs().max().item(),
        "encoded": ((latents[0] - latents[1]).norm() / latents[1].norm()).item(),
        "size": vaes[0].patcher.model_size() / vaes[1].patcher.model_size(),
        "saved": max((numbers[name] - exact[name]).abs().max().item() for name in exact),
    }


boot.run()
