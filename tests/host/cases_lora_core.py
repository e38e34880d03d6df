"""Inside ComfyUI's Python: our LoRA node on core's own MODELs, whose attention is fused where diffusers' is split."""

from __future__ import annotations

import importlib
import re
import sys
from contextlib import contextmanager
from dataclasses import replace

import boot
import cases_lora
import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import comfy.utils
import torch
from boot import largest
from cases_lora import LORA, formats_of, ours, scratch, tried

from opent2v.host import comfyui as side
from opent2v.loaders import load_model, open_file
from opent2v.sampling import make_run, make_schedule
from opent2v.tests.loaders.lora import files, sites
from opent2v.tests.loaders.lora.files import FORMATS
from opent2v.tests.loaders.lora.table import CORE_MOCHI

FILE = "core.safetensors"


def _drawn(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        spread = 0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return module.eval()


@contextmanager
def _whole_layers():
    """Under dynamic loading the host's layers have no weights until a file gives them; here they are drawn."""
    room = sys.modules.get("comfy.memory_management")
    before = getattr(room, "aimdo_enabled", False)
    if before:
        room.aimdo_enabled = False
    try:
        yield
    finally:
        if before:
            room.aimdo_enabled = before


def _wan():
    import original

    return original.transformer()[1], sites.wan(2), 16, {}


def _ltx_video():
    from diffusers import LTXVideoTransformer3DModel

    torch.manual_seed(0)
    config = {"num_attention_heads": 32, "attention_head_dim": 4, "cross_attention_dim": 128, "num_layers": 2}
    twin = _drawn(LTXVideoTransformer3DModel(**config)).state_dict()
    names = {"proj_in": "patchify_proj", "time_embed": "adaln_single"}
    weights = {}
    for name, tensor in twin.items():
        for old, new in names.items():
            name = name.replace(old + ".", new + ".") if name.startswith(old) else name
        weights[name.replace("norm_q", "q_norm").replace("norm_k", "k_norm")] = tensor
    return weights, sites.ltx_video(2), 128, {"frame_rate": 25, "attention_mask": torch.ones(1, 10)}


def _hunyuan_video():
    hunyuan = importlib.import_module("comfy.ldm.hunyuan_video.model")
    newer = {"use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False}
    newer = {name: value for name, value in newer.items() if name in hunyuan.HunyuanVideoParams.__annotations__}
    with _whole_layers():
        module = hunyuan.HunyuanVideo(
            image_model="hunyuan_video", in_channels=16, out_channels=16, vec_in_dim=768, context_in_dim=16,
            hidden_size=256, mlp_ratio=4.0, num_heads=2, depth=2, depth_single_blocks=2, axes_dim=[16, 56, 56],
            theta=256, patch_size=[1, 2, 2], qkv_bias=True, guidance_embed=True, byt5=False, meanflow=False,
            dtype=torch.float32, operations=comfy.ops.disable_weight_init, **newer,
        )  # fmt: skip
    return _drawn(module).state_dict(), sites.hunyuan_video(2, 2), 16, {"pooled_output": torch.ones(1, 768)}


def _mochi():
    weights = {name: tensor.clone() for name, tensor in _drawn(_mochi_base().diffusion_model).state_dict().items()}
    every = sites.mochi(1)
    few = tuple(site for site in every.matrices if re.search(r"qkv_|mlp_x.w1|final_layer|mod_y", site.original))
    return weights, replace(every, matrices=few), 12, {"attention_mask": torch.ones(1, 10, dtype=torch.long)}


def _mochi_base():
    """UNETLoader builds the published depth whatever the file holds; the width is built into the class."""
    config = comfy.supported_models.GenmoMochi(
        {
            "image_model": "mochi_preview", "patch_size": 2, "in_channels": 12, "hidden_size_x": 3072,
            "hidden_size_y": 1536, "depth": 1, "num_heads": 24, "mlp_ratio_x": 4.0, "mlp_ratio_y": 4.0, "use_t5": True,
            "t5_feat_dim": 16, "learn_sigma": False, "qk_norm": True, "qkv_bias": False, "out_bias": True,
            "attn_drop": 0.0, "posenc_preserve_area": True, "timestep_scale": 1000.0,
        }
    )  # fmt: skip
    config.set_inference_dtype(torch.float32, None)
    return config.get_model({})


def _mochi_patcher(weights):
    base = _mochi_base()
    base.diffusion_model.load_state_dict(weights)
    return comfy.model_patcher.ModelPatcher(base, cases_lora.CPU, cases_lora.CPU)


# Mochi's one block has the real width: few formats, so that it takes seconds.
FEW = {"mochi": CORE_MOCHI}
CORE = {"wan": _wan, "ltx_video": _ltx_video, "hunyuan_video": _hunyuan_video, "mochi": _mochi}


class Core:
    """Core's MODEL twice: one to apply LoRAs to, one whose weights are changed by hand."""

    def __init__(self, family: str) -> None:
        weights, self.sites, self.channels, further = CORE[family]()
        weights = {name: tensor.contiguous() for name, tensor in weights.items()}
        comfy.utils.save_torch_file(weights, str(scratch / FILE))
        part = load_model(open_file(scratch / FILE), torch.float32)
        # diffusers' names of the same weights
        self.state = {name: tensor.clone() for name, tensor in part.transformer.state_dict().items()}
        self.variant = part.variant
        if family == "mochi":
            self.model, self.other = _mochi_patcher(weights), _mochi_patcher(weights)
        else:
            read = lambda: comfy.sd.load_diffusion_model(str(scratch / FILE))  # noqa: E731  what UNETLoader calls
            self.model, self.other = read(), read()
        self.kept = {name: tensor.clone() for name, tensor in self.model.model.diffusion_model.state_dict().items()}
        torch.manual_seed(2)
        width = self.variant.context_width
        self.prompt = [[torch.randn(1, 10, width) * 0.3, dict(further)]]
        self.plain = self.sampled(self.model)

    @torch.no_grad()
    def sampled(self, model):
        shape = (1, self.channels, 3, 8, 6)
        schedule = make_schedule(
            self.variant.scheduler, steps=1, kind=self.variant.prediction,
            sigmas=lambda n: self.variant.family.sampling.sigmas(self.variant, n, None, shape),
        )  # fmt: skip
        made = side.sample(model, self.prompt, self.prompt, {"samples": torch.zeros(shape)}, make_run(schedule, 1.0, 3))
        return self.variant.normalise(made.cpu())

    def merged(self, changed) -> torch.Tensor:
        """The step with core's own weights changed by hand."""
        state = {**self.state, **changed}
        module, own = self.other.model.diffusion_model, {}
        for site in (*self.sites.matrices, *([self.sites.conv] if self.sites.conv else [])):
            for end in ("weight", "bias"):
                if any(f"{part}.{end}" in changed for part in site.parts):
                    own[f"{sites.in_comfyui(site.original)}.{end}"] = site.weight(state, end)
        for original, part in self.sites.norms:
            if f"{part}.weight" in changed:
                names = [name for name in sites.norm_in_comfyui(original) if name in self.kept]
                assert len(names) == 1, (original, names)
                own[names[0]] = changed[f"{part}.weight"]
        for original, part in self.sites.tables:
            if part in changed:
                own[f"{original}.modulation"] = changed[part]
        assert len(own) >= 1 and set(own) <= set(self.kept), sorted(set(own) - set(self.kept))
        mm.unload_all_models()
        module.load_state_dict(
            {**self.kept, **{name: tensor.reshape(self.kept[name].shape) for name, tensor in own.items()}}
        )
        try:
            return self.sampled(self.other)
        finally:
            mm.unload_all_models()
            module.load_state_dict(self.kept)

    def is_untouched(self) -> bool:
        now = self.model.model.diffusion_model.state_dict()
        same = all(torch.equal(now[name], tensor) for name, tensor in self.kept.items())
        return same and torch.equal(self.sampled(self.model), self.plain)


def cases() -> None:
    for family in CORE:

        def run(family: str = family) -> dict:
            one, found = Core(family), {}
            for name in FEW.get(family, formats_of(family)):
                merged = files.write(scratch / LORA, FORMATS[name].of(family), one.sites, one.state)
                wanted = one.merged(merged)
                patched, _, report, *_ = ours(one.model)
                found[name] = tried(patched, one.sampled, wanted)
                found[name] |= {"effect": largest(wanted, one.plain), "report": report}
            mm.unload_all_models()
            kind = type(one.model.model.diffusion_model).__name__
            return {"formats": found, "untouched": one.is_untouched(), "class": kind}

        boot.CASES[f"lora core model {family}"] = run


cases()
