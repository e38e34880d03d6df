"""Runs inside ComfyUI's Python: streamed decoding of our VAE and of core's own Wan VAE.

Core's weights, random and in the makers' layout, are left in the scratch folder: see `test_stream.py`.
"""

from __future__ import annotations

import inspect
from functools import cache

import boot
from boot import case

boot.start()

import comfy.ldm.wan.vae  # noqa: E402
import comfy.model_management as mm  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from opent2v.host import comfyui as real  # noqa: E402
from opent2v.loaders import load_pipeline, open_folder  # noqa: E402

torch.set_grad_enabled(False)
torch.manual_seed(0)
FOLDER = boot.ROOT / "models" / "diffusers" / "opent2v-quickstart"
WEIGHTS = boot.scratch() / "random_wan_vae.safetensors"


@cache
def our_part():
    dtypes = {f"{part}_dtype": torch.float32 for part in ("model", "text", "vae")}
    return load_pipeline(open_folder(FOLDER), **dtypes).vae


@cache
def ours():
    return real.vae(our_part())


@cache
def core():
    """Core's own Wan VAE, narrow where this version reads the width from the file."""
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
        save_file(state, WEIGHTS)
        try:
            vae = comfy.sd.VAE(sd=load_file(WEIGHTS))
            vae.throw_exception_if_invalid()
            return vae
        except RuntimeError as error:
            too_narrow = error
    raise too_narrow


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


@case
def our_vae():
    return {
        "one": compared(ours(), torch.randn(1, 16, 6, 8, 8)),
        "batch": compared(ours(), torch.randn(2, 16, 2, 4, 4)),
        "picture": list(streamed(ours(), torch.randn(1, 16, 1, 4, 4))[0].shape),
    }


@case
def tiles():
    """One piece too large for the machine: tiles of space, and a memory error on the way does the same."""
    part, latent = our_part(), torch.randn(1, 16, 3, 40, 8)
    part.vae.use_tiling = True
    stage = ours().first_stage_model
    stage.comfy_has_chunked_io = False  # the whole latent at once, which diffusers cuts into tiles
    in_tiles = real.decode(ours(), latent)
    del stage.comfy_has_chunked_io
    part.vae.use_tiling = False
    total_memory, mm.get_total_memory = mm.get_total_memory, lambda *_, **__: 1024
    too_large = (streamed(ours(), latent)[0] - in_tiles).abs().max().item()
    mm.get_total_memory = total_memory
    decode_frames = type(part).decode_frames
    after_error = {}
    for error in (mm.OOM_EXCEPTION("planted"), torch.AcceleratorError("CUDA error: out of memory")):

        def short_of_memory(self, latent, tiled=False, error=error):
            for n, piece in enumerate(decode_frames(self, latent, tiled)):
                if n == 1 and not tiled:
                    raise error
                yield piece

        type(part).decode_frames = short_of_memory
        frames = streamed(ours(), latent)[0]
        after_error[type(error).__name__] = [frames.shape[0], (frames[1:] - in_tiles[1:]).abs().max().item()]
    type(part).decode_frames = decode_frames
    return {"too large": too_large, "after a memory error": after_error}


@case
def core_vae():
    return {
        "short": compared(core(), torch.randn(1, 16, 3, 2, 2)), "long": compared(core(), torch.randn(1, 16, 24, 2, 2))
    }  # fmt: skip


@case
def interrupt():
    """Whether our stream of frames stops, and ComfyUI's own decode where it takes the frames piece by piece."""
    runs = [lambda: next(real.decode_stream(ours(), torch.randn(1, 16, 3, 4, 4)))]
    if "output_buffer" in inspect.getsource(comfy.sd.VAE.decode):
        runs.append(lambda: ours().decode(torch.randn(1, 16, 3, 4, 4)))
    stopped = []
    for run in runs:
        mm.interrupt_current_processing()
        try:
            run()
            stopped.append(False)
        except mm.InterruptProcessingException:
            stopped.append(True)
    mm.interrupt_current_processing(False)
    return all(stopped)


@case
def interrupted():
    """Blocks of each network that compute after the first one was interrupted, and hooks that stay behind."""
    model, clip, vae, *_ = boot.call("OpenT2VLoadModel", model="opent2v-quickstart", dtype="auto")
    positive, negative = boot.call("OpenT2VEncodePrompt", clip=clip, positive="a red circle", negative="")
    latent = boot.call("OpenT2VEmptyLatent", model=model, width=32, height=32, frames=9)[0]
    prompts = {"model": model, "positive": positive, "negative": negative, "latent": latent}
    runs = {
        "text": (clip.cond_stage_model, lambda: real.embed(clip, "a star")),
        "sampling": (model.model.diffusion_model, lambda: boot.call("OpenT2VSampler", **prompts, steps=2, seed=1)),
        "decoding": (vae.first_stage_model, lambda: real.decode(vae, latent["samples"])),
        "encoding": (vae.first_stage_model, lambda: real.encode(vae, torch.rand(9, 32, 32, 3))),
    }
    return {name: _after_interrupt(network, run) for name, (network, run) in runs.items()}


def _after_interrupt(network, run):
    lists = [module for module in network.modules() if isinstance(module, torch.nn.ModuleList)]
    blocks = {id(block): block for each in lists for block in each}.values()
    begun = []

    def begin(*_):
        begun.append(None)
        if len(begun) == 1:
            mm.interrupt_current_processing()

    # Behind the host's own check of the first block, before that of the next.
    handles = [block.register_forward_pre_hook(begin) for block in blocks]
    try:
        run()
    except mm.InterruptProcessingException:
        stopped = True
    else:
        stopped = False
    finally:
        mm.interrupt_current_processing(False)
        for handle in handles:
            handle.remove()
    return [stopped, len(begun) <= 3 < len(blocks), sum(len(block._forward_pre_hooks) for block in blocks)]


@case
def video():
    made = real.video(boot.ROOT / "none.mp4")
    return [type(made).__name__, made.get_stream_source()]


boot.run()
