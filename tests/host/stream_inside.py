"""Runs inside ComfyUI's Python: streamed decoding of our VAE and of core's own Wan VAE. Prints JSON.

Arguments: the checkout, the pack's root, and where to put the weights of a random Wan VAE in the original layout.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

comfyui, root, weights = map(Path, sys.argv[1:4])
sys.path.insert(0, str(comfyui))
sys.argv = [sys.argv[0], "--cpu"]

import comfy.options  # noqa: E402  # pyright: ignore[reportMissingImports]

comfy.options.enable_args_parsing()
import comfy.ldm.wan.vae  # noqa: E402
import comfy.model_management as mm  # noqa: E402
import comfy.sd  # noqa: E402
import folder_paths  # noqa: E402, F401
import safetensors.torch  # noqa: E402
import torch  # noqa: E402

spec = importlib.util.spec_from_file_location("opent2v_pack", root / "scripts" / "pack.py")
pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
pack.mount("opent2v")

from opent2v.host import comfyui as real  # noqa: E402
from opent2v.loaders import load_pipeline, open_folder  # noqa: E402

torch.set_num_threads(1)
torch.manual_seed(0)
FOLDER = root / "models" / "diffusers" / "opent2v-quickstart"
report = {}


def streamed(vae, latent):
    """(all frames, the largest piece, latent frames as they were reported)."""
    seen = []
    pieces = list(real.decode_stream(vae, latent, seen.append))
    return torch.cat(pieces), max(piece.shape[0] for piece in pieces), seen


def compared(vae, latent):
    whole = real.decode(vae, latent)
    frames, largest, seen = streamed(vae, latent)
    error = (frames - whole).abs() if frames.shape == whole.shape else torch.tensor(9.0)
    return {"shape": list(frames.shape), "max": error.max().item(), "mean": error.mean().item(), "largest": largest,
            "last": seen[-1]}  # fmt: skip


with torch.inference_mode():
    part = load_pipeline(
        open_folder(FOLDER), model_dtype=torch.float32, text_dtype=torch.float32, vae_dtype=torch.float32
    ).vae
    ours = real.vae(part)
    report["ours"] = compared(ours, torch.randn(1, 16, 6, 8, 8))
    report["ours batch"] = compared(ours, torch.randn(2, 16, 2, 4, 4))

    # One piece too large for the machine: tiles of space, and a memory error on the way does the same.
    tiles = torch.randn(1, 16, 3, 40, 8)
    part.vae.use_tiling = True
    in_tiles = real.decode(ours, tiles)
    part.vae.use_tiling = False
    original = mm.get_total_memory
    mm.get_total_memory = lambda *_, **__: 1024
    report["ours tiled"] = (streamed(ours, tiles)[0] - in_tiles).abs().max().item()
    mm.get_total_memory = original
    decode_frames = type(part).decode_frames
    report["ours after a memory error"] = {}
    for error in (mm.OOM_EXCEPTION("planted"), torch.AcceleratorError("CUDA error: out of memory")):

        def short_of_memory(self, latent, tiled=False, error=error):
            for n, piece in enumerate(decode_frames(self, latent, tiled)):
                if n == 1 and not tiled:
                    raise error
                yield piece

        type(part).decode_frames = short_of_memory
        frames = streamed(ours, tiles)[0]
        found = [frames.shape[0], (frames[1:] - in_tiles[1:]).abs().max().item()]
        report["ours after a memory error"][type(error).__name__] = found
    type(part).decode_frames = decode_frames

    # Core's own, narrow where this version reads the width from the file.
    for width in (8, 96):
        module = comfy.ldm.wan.vae.WanVAE(
            dim=width, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
            temperal_downsample=[False, True, True], dropout=0.0,
        )  # fmt: skip
        # The host's layers start uninitialised.
        state = {
            name: torch.ones_like(value)
            if name.endswith("gamma")
            else torch.randn_like(value) * value[0].numel() ** -0.5
            for name, value in module.state_dict().items()
        }
        safetensors.torch.save_file(state, weights)
        try:
            core = comfy.sd.VAE(sd=safetensors.torch.load_file(weights))
            core.throw_exception_if_invalid()
            break
        except RuntimeError as error:
            report["narrow"] = str(error)[:80]
    report["core short"] = compared(core, torch.randn(1, 16, 3, 2, 2))
    report["core long"] = compared(core, torch.randn(1, 16, 24, 2, 2))
    report["core picture"] = list(streamed(ours, torch.randn(1, 16, 1, 4, 4))[0].shape)

    mm.interrupt_current_processing()
    try:
        next(real.decode_stream(ours, torch.randn(1, 16, 3, 4, 4)))
    except mm.InterruptProcessingException:
        report["interrupted"] = True
video = real.video(root / "none.mp4")
report["video"] = [type(video).__name__, video.get_stream_source()]
print("REPORT " + json.dumps(report))
