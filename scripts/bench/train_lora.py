"""Measure a training step against diffusers' own training example for CogVideoX, as ratios of time and memory.

    python3 scripts/bench/train_lora.py [--rounds 7] [--steps 3] [--checkpointing]

Both train the same LoRA (rank 32 on the attention) on the same CogVideoX transformer of 4 layers, 512 wide, random
weights, fp32, with two clips a step in one call of the model. Theirs is the loop of examples/cogvideo/
train_cogvideox_lora.py (diffusers 0.36 and on) written again: peft's adapter, accelerate, DDIM's velocity, clipped
gradients, AdamW, a warm-up, latents in memory, without the text encoder that the example calls in each step. Ours is
finetune.Training with latents and prompts read from the store. The two take turns; ratios are medians over the rounds.
Memory is what a step keeps for its backward pass, weights included; gradients and averages are the same on both sides.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import pack

SIZE = {
    "num_attention_heads": 8, "attention_head_dim": 64, "num_layers": 4, "text_embed_dim": 16, "time_embed_dim": 512,
    "sample_width": 16, "sample_height": 16, "sample_frames": 17, "max_text_seq_length": 12, "in_channels": 16,
}  # fmt: skip
LATENT, CLIPS, BATCH, RANK, RATE, WARMUP = (1, 16, 5, 16, 16), 4, 2, 32, 1e-4, 10
SIDES = ("ours", "theirs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="of each side in a round")
    parser.add_argument("--checkpointing", action="store_true", help="recompute the blocks on both sides")
    arguments = parser.parse_args()
    environment.ensure(["peft", "accelerate"])
    pack.hide_scripts()
    pack.mount()
    sides = {name: _side(name, arguments.checkpointing) for name in SIDES}
    losses = {name: [step() for _ in range(2)] for name, step in sides.items()}  # the first steps plan kernels
    print("losses of the first steps: " + ", ".join(f"{name} {values[0]:.4f}" for name, values in losses.items()))
    ratios: dict[str, list[float]] = {"wall": [], "processor": []}
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for number in range(arguments.rounds):
        spent: dict[str, tuple[float, float]] = {}
        for name in SIDES if number % 2 else reversed(SIDES):
            wall, processor = time.perf_counter(), time.process_time()
            for _ in range(arguments.steps):
                sides[name]()
            spent[name] = time.perf_counter() - wall, time.process_time() - processor
            seconds[name].append(spent[name][1] / arguments.steps)
        for key, n in (("wall", 0), ("processor", 1)):
            ratios[key].append(spent["ours"][n] / spent["theirs"][n])
    for name, values in seconds.items():
        print(f"{name}: {statistics.median(values):.3f} s of processor time a step")
    for key, values in ratios.items():
        print(f"ours / theirs, {key} time: {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    kept = {name: _kept(step) for name, step in sides.items()}
    ratio = kept["ours"] / kept["theirs"]
    print(f"kept for the backward pass: ours {kept['ours']:.1f} MiB, theirs {kept['theirs']:.1f} MiB, {ratio:.3f}")


def _transformer() -> Any:
    import torch

    diffusers: Any = import_module("diffusers")
    torch.manual_seed(0)
    return diffusers.CogVideoXTransformer3DModel(**SIZE)


def _clips() -> list[tuple[Any, Any]]:
    """(latents, prompt) of each clip."""
    import torch

    generator = torch.Generator().manual_seed(0)
    text = (1, SIZE["max_text_seq_length"], SIZE["text_embed_dim"])
    return [(torch.randn(LATENT, generator=generator), torch.randn(text, generator=generator)) for _ in range(CLIPS)]


def _side(name: str, checkpointing: bool) -> Callable[[], float]:
    """A function that makes a step and returns its loss."""
    return _ours(checkpointing) if name == "ours" else _theirs(checkpointing)


def _ours(checkpointing: bool) -> Callable[[], float]:
    import dataclasses

    from opent2v import finetune  # pyright: ignore[reportMissingImports]
    from opent2v.finetune import clips, encode  # pyright: ignore[reportMissingImports]
    from opent2v.finetune.buckets import Bucket  # pyright: ignore[reportMissingImports]
    from opent2v.finetune.prepare import Item, Prepared  # pyright: ignore[reportMissingImports]
    from opent2v.finetune.store import Store  # pyright: ignore[reportMissingImports]
    from opent2v.host import embedded  # pyright: ignore[reportMissingImports]
    from opent2v.tests.tiny import cogvideox  # pyright: ignore[reportMissingImports]

    part = dataclasses.replace(cogvideox.shared("2b")[0].part, transformer=_transformer())
    folder = Path(tempfile.mkdtemp(prefix="opent2v-bench-"))
    store, items = Store(folder), []
    for n, (latent, prompt) in enumerate(_clips()):
        store.put(f"clip{n}", {encode.STREAMS: [part.variant.denormalise(latent)]})
        store.put(f"text{n}", {encode.CONTEXT: prompt})
        bucket = Bucket(LATENT[-1] * 8, LATENT[-2] * 8, 17)
        items.append(Item(clips.Clip(f"{n}.mp4", folder, "a clip"), bucket, f"clip{n}", f"text{n}"))
    settings = finetune.Settings(
        rank=RANK, rate=RATE, batch=BATCH, together=BATCH, warmup=WARMUP, validation=0.0, layers="attention",
        checkpointing=checkpointing, optimizer="adamw",
    )  # fmt: skip
    model = embedded.training_model(embedded.model(part))
    training = finetune.Training(model, Prepared(part.variant, tuple(items), (), store), settings, folder)
    return lambda: training.take_step().loss


def _theirs(checkpointing: bool) -> Callable[[], float]:
    import torch
    from accelerate import Accelerator
    from diffusers.optimization import get_scheduler
    from peft import LoraConfig

    from opent2v.tests.tiny import cogvideox  # pyright: ignore[reportMissingImports]

    diffusers: Any = import_module("diffusers")
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=1)
    transformer: Any = _transformer()
    transformer.requires_grad_(False)
    if checkpointing:
        transformer.enable_gradient_checkpointing()
    layers = ["to_k", "to_q", "to_v", "to_out.0"]
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights=True, target_modules=layers))
    table = diffusers.CogVideoXDDIMScheduler(**cogvideox.TABLE, snr_shift_scale=3.0)
    trained = [weight for weight in transformer.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01)
    rates = get_scheduler("constant_with_warmup", optimizer=optimizer, num_warmup_steps=WARMUP)
    data = torch.utils.data.DataLoader(_clips(), batch_size=BATCH, shuffle=True)  # pyright: ignore[reportArgumentType]
    transformer, optimizer, data, rates = accelerator.prepare(transformer, optimizer, data, rates)
    batches = iter(data)
    transformer.train()

    def step() -> float:
        nonlocal batches
        try:
            latents, prompts = next(batches)
        except StopIteration:
            batches = iter(data)
            latents, prompts = next(batches)
        with accelerator.accumulate(transformer):
            clean, text = latents[:, 0].transpose(1, 2), prompts[:, 0]  # [B, T, C, h, w], [B, L, D]
            noise = torch.randn_like(clean)
            t = torch.randint(0, table.config.num_train_timesteps, (len(clean),)).long()
            noisy = table.add_noise(clean, noise, t)
            output = transformer(hidden_states=noisy, encoder_hidden_states=text, timestep=t, return_dict=False)[0]
            prediction = table.get_velocity(output, noisy, t)
            weights = (1 / (1 - table.alphas_cumprod[t])).view(-1, 1, 1, 1, 1)
            loss = (weights * (prediction - clean) ** 2).reshape(len(clean), -1).mean(1).mean()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(transformer.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            rates.step()
        return loss.detach().item()

    return step


def _kept(step: Callable[[], float]) -> float:
    """MiB that a step keeps for its backward pass: the memory that grows with clips and model."""
    import torch

    storages: dict[int, int] = {}

    def pack_tensor(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack_tensor, lambda tensor: tensor):
        step()
    return sum(storages.values()) / 2**20


if __name__ == "__main__":
    main()
