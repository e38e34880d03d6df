"""Runs inside ComfyUI's Python: a model whose weights stay packed, alone and with LoRAs, loaded whole and in part."""

from __future__ import annotations

import boot
from boot import call, case, scratch

boot.start()

import comfy.model_management as mm  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from opent2v.base.packed import PackedTensor, unpacked  # noqa: E402
from opent2v.host import comfyui as real  # noqa: E402
from opent2v.host.comfyui.quantised import PackedLinear  # noqa: E402
from opent2v.loaders import load_model, open_file, quantised  # noqa: E402
from opent2v.nodes.lora import Applied  # noqa: E402
from opent2v.tests.loaders import toy_int4  # noqa: E402
from opent2v.tests.tiny import mochi as tiny_mochi  # noqa: E402

LAYERS = ("transformer_blocks.0.attn1.to_q", "transformer_blocks.1.ff.net.2", "transformer_blocks.0.norm1.linear")


@case
def packed():
    folder, dice = scratch(), torch.Generator().manual_seed(0)
    exact = toy_int4.write(folder / "small.safetensors", tiny_mochi.transformer().state_dict())
    lora, merged = {}, dict(exact)
    for layer in LAYERS:
        rows, columns = exact[f"{layer}.weight"].shape
        down, up = torch.randn(2, columns, generator=dice), torch.randn(rows, 2, generator=dice)
        lora |= {f"transformer.{layer}.lora_A.weight": down, f"transformer.{layer}.lora_B.weight": up}
        merged[f"{layer}.weight"] = exact[f"{layer}.weight"] + up @ down
    save_file(lora, folder / "lora.safetensors")
    save_file(exact, folder / "plain.safetensors")
    save_file(merged, folder / "merged.safetensors")
    quantised.FORMATS.append(toy_int4.ToyInt4())
    try:
        with torch.inference_mode():
            return _tried(folder, exact)
    finally:
        quantised.FORMATS.pop()


def _tried(folder, exact):
    def loaded(name):
        return real.model(load_model(open_file(folder / name), torch.float32, keeps_packed=True))

    def predicted(model, share=1.0):
        mm.unload_all_models()
        if share < 1:
            model.partially_load(mm.get_torch_device(), int(share * model.model_size()))
        else:
            mm.load_models_gpu([model])
        drawn = torch.Generator().manual_seed(1)
        x, context = torch.randn(1, 12, 3, 4, 4, generator=drawn), torch.randn(1, 24, 16, generator=drawn)
        part = model.model.opent2v
        return part.predict(x, torch.tensor([500.0]), part.conditions({"cross_attn": context}, tuple(x.shape)))

    def off(one, other):
        return ((one - other).norm() / other.norm()).item()

    model, plain = loaded("small.safetensors"), predicted(loaded("plain.safetensors"))
    merged = predicted(loaded("merged.safetensors"))
    module = model.model.diffusion_model
    layer = module.get_submodule(LAYERS[0])
    patched, _, lines, _ = Applied().run(model, None, [(folder / "lora.safetensors", 1.0, 1.0)], "", None)
    numbers = sum(tensor.nbytes for tensor in exact.values())
    found = {
        "kind": isinstance(layer, PackedLinear),
        "alone": off(predicted(model), plain),
        "alone in part": off(predicted(model, 0.3), plain),
        "effect": off(merged, plain),
        "lora": off(predicted(patched), merged),
        "lora in part": off(predicted(patched, 0.3), merged),
        "again": off(predicted(model), plain),
        "report": lines[-1],
        "size": model.model_size() / numbers,
        "kept": isinstance(layer.weight, PackedTensor)
        and torch.equal(unpacked(layer.weight, torch.float32), exact[f"{LAYERS[0]}.weight"]),
        "dynamic": getattr(model, "is_dynamic", bool)(),
    }
    try:
        call("ModelSave", model=model, filename_prefix="packed")
        found["saved"] = "saved"
    except Exception as error:
        found["saved"] = f"{type(error).__name__}: {error}"
    mm.unload_all_models()
    return found


boot.run()
