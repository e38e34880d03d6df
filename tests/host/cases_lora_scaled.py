"""Inside ComfyUI's Python: a LoRA on core's own Wan from a scaled fp8 file, beside merged full weights."""

from __future__ import annotations

import cases_lora
import comfy.model_management as mm
import comfy.sd
import original
import torch
from boot import CASES
from cases_lora import ours, scratch
from safetensors.torch import save_file

LORA = "scaled.safetensors"


def _case() -> dict:
    scaled, plain, merged, lora = {}, {}, {}, {}
    generator = torch.Generator().manual_seed(1)
    for name, weight in original.transformer()[1].items():
        plain[name] = scaled[name] = weight.float().contiguous()
        is_matrix = name.endswith(".weight") and weight.ndim == 2
        if is_matrix and name.startswith("blocks."):
            scale = weight.abs().max().float() / 400
            scaled[name] = (weight / scale).to(torch.float8_e4m3fn)
            scaled[name.replace(".weight", ".scale_weight")] = scale
            plain[name] = scaled[name].float() * scale
        merged[name] = plain[name]
        if is_matrix:
            down = torch.randn(2, weight.shape[1], generator=generator) * 0.1
            up = torch.randn(weight.shape[0], 2, generator=generator) * 0.1
            stem = "diffusion_model." + name.removesuffix(".weight")
            lora |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
            merged[name] = plain[name] + up @ down
    scaled["scaled_fp8"] = torch.tensor([], dtype=torch.float8_e4m3fn)
    save_file(lora, scratch / cases_lora.LORA)

    def loaded(tensors: dict) -> object:
        save_file(tensors, scratch / LORA)
        options = {} if "scaled_fp8" in tensors else {"dtype": torch.float32}
        return comfy.sd.load_diffusion_model(str(scratch / LORA), model_options=options)

    def predicted(model: object) -> torch.Tensor:
        mm.load_models_gpu([model])
        drawn = torch.Generator().manual_seed(2)
        module = model.model.diffusion_model
        x = torch.randn(1, 16, 3, 4, 4, generator=drawn)
        context = torch.randn(1, 8, module.text_embedding[0].weight.shape[1], generator=drawn)
        return module(x, torch.tensor([500.0]), context)

    def off(one: torch.Tensor, other: torch.Tensor) -> float:
        return ((one - other).norm() / other.norm()).item()

    with torch.inference_mode():
        small, whole = loaded(scaled), predicted(loaded(plain))
        changed, before = predicted(loaded(merged)), predicted(small)
        patched, _, report, *_ = ours(small)
        found = {"without": off(before, whole), "effect": off(changed, whole), "report": report}
        found["with"] = off(predicted(patched), changed)
        found["restored"] = torch.equal(predicted(small), before)
        mm.unload_all_models()
        theirs, _ = comfy.sd.load_lora_for_models(small, None, lora, 1.0, 1.0)
        return found | {"core's own": off(predicted(theirs), changed)}


CASES["lora core model scaled fp8"] = _case
