"""Runs inside ComfyUI's Python: every core node that takes a MODEL and gives one, on core's MODEL and on ours.

Wan: core's and ours of the same weights, in KSampler and in Video Sampler. Open-Sora 2.0, which core does not have:
ours alone, in both samplers.
"""

from __future__ import annotations

import copy
from typing import Any

import boot

boot.start()

import comfy.utils  # noqa: E402
import folder_paths  # noqa: E402
import original  # noqa: E402
import torch  # noqa: E402
from boot import call, case, largest  # noqa: E402
from model_nodes import ELSEWHERE, ROWS  # noqa: E402

import nodes as core_nodes  # noqa: E402
from opent2v.base import FamilyError, VideoModel  # noqa: E402
from opent2v.host import host  # noqa: E402
from opent2v.loaders import load_model, open_file  # noqa: E402
from opent2v.sampling import SamplingError  # noqa: E402
from opent2v.tests.loaders.text_files import save  # noqa: E402
from opent2v.tests.tiny.open_sora import recorded  # noqa: E402

scratch = boot.scratch()
for kind in ("diffusion_models", "loras", "vae"):
    (scratch / kind).mkdir()
    folder_paths.add_model_folder_path(kind, str(scratch / kind))
LAYERS, FRAMES = 2, 5


def wan(seed: int) -> tuple[Any, Any]:
    """(core's MODEL by its own loader, ours), of the same weights and the same shift."""
    module, weights = original.transformer(layers=LAYERS)
    torch.manual_seed(seed)
    for name, tensor in module.named_parameters():
        if "scale_shift_table" not in name:  # core's loading passes over these tables, ours does not
            tensor += torch.randn_like(tensor) * 0.05
    weights = original.renamed_transformer(module.state_dict())
    comfy.utils.save_torch_file(weights, str(scratch / "diffusion_models" / f"{seed}.safetensors"))
    theirs = call("UNETLoader", unet_name=f"{seed}.safetensors", weight_dtype="default")
    ours = host.model(VideoModel(host.variant(theirs), module, scratch))
    # Core gives Wan a shift of 8, a folder has one of its own.
    return tuple(call("ModelSamplingSD3", model=model, shift=5.0) for model in (theirs, ours))


def lora() -> str:
    torch.manual_seed(3)
    name = "diffusion_model.blocks.0.self_attn.q"
    up, down = torch.randn(128, 2) * 0.2, torch.randn(2, 128) * 0.2
    tensors = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    comfy.utils.save_torch_file(tensors, str(scratch / "loras" / "lora.safetensors"))
    return "lora.safetensors"


PAIR, OTHER = wan(1), wan(2)
LORA = lora()
torch.manual_seed(6)
PROMPTS = [[[torch.randn(1, 16, 4096) * 0.2, {"pooled_output": None}]] for _ in range(3)]
EMPTY = {"samples": torch.zeros(1, 16, FRAMES, 4, 4)}
MASKED = {"samples": torch.randn(1, 16, FRAMES, 4, 4), "noise_mask": torch.linspace(0, 1, 16).view(1, 1, 4, 4)}

# Inputs with which a node does something on a model this small; "latent" and "denoise" are the samplers'.
GIVEN: dict[str, dict[str, Any]] = {
    "CFGOverride": {"cfg": 5.0},
    "ContextWindowsManual": {"context_length": 3, "context_overlap": 1, "dim": 2},
    "DifferentialDiffusion": {"latent": MASKED, "denoise": 0.7},
    "EasyCache": {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0},
    "FreSca": {"scale_low": 1.5, "scale_high": 1.5},
    "LTXVContextWindows": {"context_length": 17, "context_overlap": 8},
    "LazyCache": {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0},
    "LoraLoader": {"clip": None, "lora_name": LORA},
    "LoraLoaderBypass": {"clip": None, "lora_name": LORA},
    "LoraLoaderBypassModelOnly": {"lora_name": LORA},
    "LoraLoaderModelOnly": {"lora_name": LORA},
    "LoraModelLoader": {"lora": comfy.utils.load_torch_file(str(scratch / "loras" / LORA))},
    "ModelComputeDtype": {"dtype": "bf16"},
    "ModelNoiseScale": {"noise_scale": 1.5},
    "PerpNeg": {"empty_conditioning": PROMPTS[2]},
    "PerturbedAttentionGuidance": {"scale": 3.0},
    "RescaleCFG": {"multiplier": 0.9},
    "ScaleROPE": {"scale_x": 2.0, "shift_t": 3.0},
    "SkipLayerGuidanceDiT": {"double_layers": "1", "single_layers": "", "scale": 3.0, "start_percent": 0.0},
    "SkipLayerGuidanceDiTSimple": {"double_layers": "1", "single_layers": "", "start_percent": 0.0},
    "SkipLayerGuidanceSD3": {"layers": "1", "scale": 3.0, "start_percent": 0.0, "end_percent": 1.0},
    "WanContextWindowsManual": {"context_length": 9, "context_overlap": 4},
}
if "LatentOperationTonemapReinhard" in core_nodes.NODE_CLASS_MAPPINGS:
    GIVEN["LatentApplyOperationCFG"] = {"operation": call("LatentOperationTonemapReinhard", multiplier=0.5)}


def found() -> dict[str, Any]:
    """Every node of core's that takes a MODEL and gives one."""
    names = {}
    for name, cls in sorted(core_nodes.NODE_CLASS_MAPPINGS.items()):
        if name.startswith("OpenT2V"):
            continue
        inputs = [value for part in cls.INPUT_TYPES().values() if isinstance(part, dict) for value in part.values()]
        takes = any(value and value[0] == "MODEL" for value in inputs if isinstance(value, list | tuple))
        if takes and "MODEL" in map(str, cls.RETURN_TYPES):
            names[name] = cls
    return names


def applied(name: str, cls: Any, model: Any, other: Any) -> Any:
    """The node's MODEL; ratios of merges are a half."""
    required = cls.INPUT_TYPES()["required"]
    given = {key: value for key, value in GIVEN.get(name, {}).items() if key not in ("latent", "denoise")}
    if "model1" in required:
        given |= {"model1": model, "model2": other}
        given |= {key: 0.5 for key, spec in required.items() if spec[0] == "FLOAT" and key != "multiplier"}
    else:
        given["model"] = model
    made = call(name, **given)
    return made[list(map(str, cls.RETURN_TYPES)).index("MODEL")] if isinstance(made, list | tuple) else made


def own_timestep(model: Any) -> Any:
    """Have core's MODEL told its own timesteps, which nodes made for other models set to theirs."""
    model.get_model_object("model_sampling").timestep = lambda sigma: sigma * 1000
    return model


def in_ksampler(model: Any, name: str = "", prompts: Any = PROMPTS, latent: Any = EMPTY) -> torch.Tensor:
    given = GIVEN.get(name, {})
    settings = {"seed": 5, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple"}
    settings |= {"positive": prompts[0], "negative": prompts[1], "denoise": given.get("denoise", 1.0)}
    return call("KSampler", model=model, latent_image=copy.copy(given.get("latent", latent)), **settings)["samples"]


def in_video_sampler(model: Any, name: str = "", prompts: Any = PROMPTS, latent: Any = EMPTY) -> torch.Tensor:
    given = GIVEN.get(name, {})
    settings = {"seed": 5, "steps": 4, "cfg": 3.0, "solver": "euler", "denoise": given.get("denoise", 1.0)}
    settings |= {"positive": prompts[0], "negative": prompts[1]}
    latent = copy.copy(given.get("latent", latent))
    return call("OpenT2VSampler", model=model, latent=latent, **settings)[0]["samples"]


SAMPLERS = {"KSampler": in_ksampler, "Video Sampler": in_video_sampler}


def attempt(run: Any, *args: Any) -> Any:
    """A tensor, or what went wrong: {"refused": ...} by us, {"raised": ...} by anybody else."""
    try:
        return run(*args)
    except (SamplingError, FamilyError) as error:
        return {"refused": str(error)}
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"[:200]}


def effect(result: Any, plain: torch.Tensor) -> Any:
    return result if isinstance(result, dict) else {"effect": largest(result, plain)}


@case
def wan_nodes():
    """name -> sampler -> what came of core's and of ours, and how far apart the two are."""
    plain: dict[Any, torch.Tensor] = {}

    def unchanged(side: int, sampler: str, name: str) -> torch.Tensor:
        key = (side, sampler, id(GIVEN.get(name, {}).get("latent")))
        if key not in plain:
            plain[key] = SAMPLERS[sampler](PAIR[side], name)
        return plain[key]

    report: dict[str, Any] = {}
    for name, cls in found().items():
        if name in ELSEWHERE:
            continue
        made = [attempt(applied, name, cls, PAIR[n], OTHER[n]) for n in (0, 1)]
        if "levels" in ROWS.get(name, ()):
            made[0] = own_timestep(made[0])
        report[name] = {}
        for sampler, run in SAMPLERS.items():
            results = [one if isinstance(one, dict) else attempt(run, one, name) for one in made]
            row = {
                side: effect(result, unchanged(n, sampler, name))
                for n, (side, result) in enumerate(zip(("core", "ours"), results, strict=True))
            }
            if not any(isinstance(result, dict) for result in results):
                row["apart"] = largest(*results)
                row["finite"] = bool(results[1].isfinite().all())
            report[name][sampler] = row
    report["unchanged"] = {
        sampler: {"apart": largest(*(unchanged(n, sampler, "") for n in (0, 1)))} for sampler in SAMPLERS
    }
    return report


@case
def open_sora_nodes():
    """name -> sampler -> "runs", or what was said; {"node": ...} where the node itself refuses the MODEL."""
    weights = {name: tensor.float() for name, tensor in recorded("weights").items()}
    file = open_file(save(scratch / "Open_Sora_v2.safetensors", weights))
    model, variant = host.model(load_model(file, torch.float32)), file.parts["transformer"].variant
    tensors = recorded("loops")
    prompts = [
        [[tensors[f"{n}.context"].clone(), {"pooled_output": tensors[f"{n}.pooled"].clone()}]]
        for n in ("positive", "negative", "negative")
    ]
    latent = {"samples": torch.zeros(1, *variant.geometry.latent_shape(32, 32, 17))}
    report: dict[str, Any] = {}
    for name, cls in found().items():
        if name in ELSEWHERE:
            continue
        made = attempt(applied, name, cls, model, model)
        if isinstance(made, dict):
            report[name] = {"node": made}
            continue
        report[name] = {}
        for sampler, run in SAMPLERS.items():
            result = attempt(run, made, "", prompts, latent)
            good = not isinstance(result, dict) and bool(result.isfinite().all())
            report[name][sampler] = "runs" if good else result if isinstance(result, dict) else "not finite"
    return report


@case
def names():
    return list(found())


@case
def patches():
    """What is said of each patch that core's networks read inside, on ours."""
    model, found = PAIR[1], {}

    class Asks:
        def __call__(self, *args: Any, **_: Any) -> Any:
            return args[0]

    for name in ("attn1", "attn2", "attn1_output", "double_block", "post_input", "input_block", "output_block"):
        changed = model.clone()
        getattr(changed, f"set_model_{name}_patch", lambda *_: None)(Asks())
        if changed.model_options["transformer_options"].get("patches"):
            found[name] = effect(attempt(in_ksampler, changed), EMPTY["samples"])
    changed = model.clone()
    changed.set_model_patch_replace(Asks(), "dit", "double_block", 1)
    found["replace"] = effect(attempt(in_ksampler, changed), EMPTY["samples"])
    return found


boot.run()
