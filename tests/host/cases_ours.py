"""Inside ComfyUI's Python: our MODEL, CLIP and VAE in core's nodes, beside core's own of the same weights."""

from __future__ import annotations

from dataclasses import replace

import boot
import cases_core
import comfy.model_management as mm
import comfy.samplers
import comfy.sd
import comfy.utils
import folder_paths
import original
import torch
from boot import call, case, largest

from opent2v.base import Prompt, TextEncoder, VideoModel, VideoVAE
from opent2v.host import host
from opent2v.training import captions

scratch = boot.scratch()
folder_paths.set_output_directory(str(scratch / "output"))
folder_paths.add_model_folder_path("loras", str(scratch))

module, weights = original.transformer()
core = comfy.sd.load_diffusion_model_state_dict(dict(weights))
variant = host.variant(core)
variant = replace(variant, prompts=(Prompt(16),))
ours = host.model(VideoModel(variant, module, scratch))
vaes = cases_core.our_vae, cases_core.core_vae


def _clip():
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(2)
    tokenizer = captions.tokenizer()
    config = UMT5Config(vocab_size=len(tokenizer), d_model=4096, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    encoder = UMT5EncoderModel(config).eval().requires_grad_(False)
    return host.clip(TextEncoder(variant, {"text_encoder": encoder}, {"text_encoder": tokenizer}, scratch)), encoder


clip, encoder = _clip()
NAMES = {"blocks.0.attn1.to_q": "blocks.0.self_attn.q", "blocks.1.ffn.net.2": "blocks.1.ffn.2"}
EMPTY = torch.zeros(1, 16, 3, 4, 4)


def _lora_file() -> tuple[str, dict[str, torch.Tensor]]:
    """A LoRA with the makers' names, and what it adds to each weight."""
    torch.manual_seed(3)
    tensors, added = {}, {}
    query = "encoder.block.0.layer.0.SelfAttention.q"
    places = {name: module.get_submodule(name) for name in NAMES} | {query: encoder.get_submodule(query)}
    for name, place in places.items():
        rows, columns = place.weight.shape
        up, down = torch.randn(rows, 2) * 0.2, torch.randn(2, columns) * 0.2
        added[name] = up @ down
        known = f"diffusion_model.{NAMES[name]}" if name in NAMES else f"text_encoders.transformer.{name}"
        tensors |= {f"{known}.lora_up.weight": up, f"{known}.lora_down.weight": down}
    comfy.utils.save_torch_file(tensors, str(scratch / "lora.safetensors"))
    return "lora.safetensors", added


LORA, ADDED = _lora_file()
positive = call("CLIPTextEncode", clip=clip, text="a red circle")
negative = call("CLIPTextEncode", clip=clip, text="blurry")


def sample(model, cond=None, latent=None, **given):
    settings = {"seed": 5, "steps": 3, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    settings |= {"positive": cond or positive, "negative": negative, "latent_image": latent or {"samples": EMPTY}}
    return call("KSampler", model=model, **settings | given)["samples"]


def both(change=lambda model: model, **given) -> dict:
    """The same graph on our MODEL and on core's; how far apart, and how far from the graph without the change."""
    results = [sample(change(model), **given) for model in PAIR]
    ok = bool(torch.isfinite(results[0]).all())
    return {"apart": largest(*results), "effect": largest(results[0], PLAIN), "finite": ok}


# Core gives Wan a shift of 8, a folder has one of its own: the node that sets it makes the two equal.
PAIR = [call("ModelSamplingSD3", model=model, shift=5.0) for model in (ours, core)]
PLAIN = sample(PAIR[0])


@case
def model_sampling():
    shifted = lambda model: call("ModelSamplingSD3", model=model, shift=2.0)  # noqa: E731
    return both(shifted) | {"plain": largest(PLAIN, sample(PAIR[1])), "own shift": largest(sample(ours), PLAIN)}


@case
def samplers():
    """Every sampler of KSampler against core's model, and in the two other sampling nodes."""
    found = {}
    sigmas = call("BasicScheduler", model=PAIR[0], scheduler="simple", steps=3, denoise=1.0)
    noise = call("RandomNoise", noise_seed=5)
    for name in comfy.samplers.KSampler.SAMPLERS:
        cfg = 3.0 if "cfg_pp" in name else 1.0
        one, other = (sample(model, sampler_name=name, cfg=cfg) for model in PAIR)
        given = {"noise_seed": 5, "steps": 3, "cfg": cfg, "sampler_name": name, "scheduler": "simple"}
        given |= {"positive": positive, "negative": negative, "latent_image": {"samples": EMPTY}}
        advanced = call("KSamplerAdvanced", model=PAIR[0], add_noise="enable", return_with_leftover_noise="disable",
                        start_at_step=0, end_at_step=10000, **given)["samples"]  # fmt: skip
        guider = call("CFGGuider", model=PAIR[0], positive=positive, negative=negative, cfg=cfg)
        chosen = call("KSamplerSelect", sampler_name=name)
        custom = call("SamplerCustomAdvanced", noise=noise, guider=guider, sigmas=sigmas, sampler=chosen,
                      latent_image={"samples": EMPTY})[0]["samples"]  # fmt: skip
        shared = name not in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS
        found[name] = {
            "apart": largest(one, other),
            "advanced": largest(one, advanced),
            "custom": largest(one, custom) if shared else 0.0,
            "finite": all(bool(torch.isfinite(x).all()) for x in (one, advanced, custom)),
        }
    return found


@case
def schedulers():
    return {name: both(scheduler=name, steps=4) for name in comfy.samplers.KSampler.SCHEDULERS}


@case
def lora():
    loaded = lambda model: call("LoraLoaderModelOnly", model=model, lora_name=LORA, strength_model=1.0)  # noqa: E731
    return both(loaded) | {"restored": largest(sample(PAIR[0]), PLAIN)}


@case
def hook_lora():
    hooks = call("CreateHookLora", lora_name=LORA, strength_model=1.0, strength_clip=0.0)
    hooked = call("ConditioningSetProperties", cond_NEW=positive, strength=1.0, set_cond_area="default", hooks=hooks)
    return both(cond=hooked) | {"restored": largest(sample(PAIR[0]), PLAIN)}


@case
def merge():
    def merged(model):
        other = call("LoraLoaderModelOnly", model=model, lora_name=LORA, strength_model=1.0)
        return call("ModelMergeSimple", model1=model, model2=other, ratio=0.25)

    return both(merged)


def calls_of(run) -> tuple[int, torch.Tensor]:
    """How often our transformer really ran."""
    count = [0]
    handle = module.register_forward_pre_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    try:
        result = run()
    finally:
        handle.remove()
    return count[0], result


@case
def caches():
    whole, plain = calls_of(lambda: sample(PAIR[0], steps=12, cfg=1.0))
    found = {"steps": whole}
    for node in ("EasyCache", "LazyCache"):
        model = call(node, model=PAIR[0], reuse_threshold=0.3, start_percent=0.1, end_percent=0.95)
        ran, cached = calls_of(lambda model=model: sample(model, steps=12, cfg=1.0))
        found[node] = {"ran": ran, "error": ((cached - plain).norm() / plain.norm()).item()}
    return found


@case
def context_windows():
    def windowed(model):
        return call("WanContextWindowsManual", model=model, context_length=17, context_overlap=4)

    long = {"samples": torch.zeros(1, 16, 9, 4, 4)}
    results = [sample(windowed(model), latent=long) for model in PAIR]
    return {"apart": largest(*results), "effect": largest(results[0], sample(PAIR[0], latent=long))}


@case
def compiled():
    # "eager" traces and guards as "inductor" does and leaves out its C++ compiler, which takes minutes on a CPU.
    compiled = call("TorchCompileModel", model=PAIR[0], backend="eager")
    return {"apart": largest(sample(compiled, steps=1, cfg=1.0), sample(PAIR[0], steps=1, cfg=1.0))}


@case
def saved():
    patched = call("LoraLoaderModelOnly", model=ours, lora_name=LORA, strength_model=0.5)
    import nodes

    nodes.NODE_CLASS_MAPPINGS["ModelSave"]().save(patched, "saved/model")
    mm.unload_all_models()  # takes the LoRA out of the weights again
    file = next((scratch / "output" / "saved").glob("*.safetensors"))
    read = {k.removeprefix("model.diffusion_model."): v for k, v in comfy.utils.load_torch_file(str(file)).items()}
    wanted = {name: weight.clone() for name, weight in module.state_dict().items()}
    for name in NAMES:
        wanted[f"{name}.weight"] += 0.5 * ADDED[name]
    same_names = sorted(k for k in read if not k.startswith("model_sampling")) == sorted(wanted)
    return {"names": same_names, "values": max(largest(read[k], v) for k, v in wanted.items())}


@case
def conditioning():
    """Core's conditioning nodes on our CLIP's output, each sampled on both models."""
    late = {"start": 0.5, "end": 1.0}
    early = call("ConditioningSetTimestepRange", conditioning=positive, start=0.0, end=0.5)
    other = call("ConditioningSetTimestepRange", conditioning=negative, **late)
    changed = {
        "ConditioningCombine": call("ConditioningCombine", conditioning_1=positive, conditioning_2=negative),
        "ConditioningZeroOut": call("ConditioningZeroOut", conditioning=positive),
        "ConditioningSetTimestepRange": call("ConditioningCombine", conditioning_1=early, conditioning_2=other),
    }
    zero = changed["ConditioningZeroOut"][0][0]
    found = {name: both(cond=cond) for name, cond in changed.items()}
    return found | {"zeros": not zero.any(), "shape": list(positive[0][0].shape)}


@case
def clip_lora():
    _, patched = call("LoraLoader", model=ours, clip=clip, lora_name=LORA, strength_model=0.0, strength_clip=1.0)
    with_lora = call("CLIPTextEncode", clip=patched, text="a red circle")[0][0]
    restored = call("CLIPTextEncode", clip=clip, text="a red circle")[0][0]
    mm.unload_all_models()
    name = "encoder.block.0.layer.0.SelfAttention.q"
    weight = encoder.get_submodule(name).weight
    kept = weight.clone()
    weight.data += ADDED[name]
    merged = call("CLIPTextEncode", clip=clip, text="a red circle")[0][0]
    weight.data.copy_(kept)
    plain = positive[0][0]
    return {"against merge": largest(with_lora, merged), "effect": largest(with_lora, plain),
            "restored": largest(restored, plain)}  # fmt: skip


@case
def vae_nodes():
    """Core's four VAE nodes with our VAE and with core's of the same weights; and the latents swapped."""
    torch.manual_seed(4)
    small = {"samples": torch.zeros(1, 16, 3, 2, 2)}
    latents = [{"samples": sample(model, latent=small)} for model in PAIR]
    latent, pixels = latents[0], torch.rand(9, 16, 16, 3)
    in_time = {"tile_size": 64, "overlap": 16, "temporal_size": 8, "temporal_overlap": 4}
    runs = {
        "VAEDecode": lambda vae: call("VAEDecode", vae=vae, samples=latent),
        "VAEDecodeTiled": lambda vae: call("VAEDecodeTiled", vae=vae, samples=latent, **in_time),
        "VAEEncode": lambda vae: call("VAEEncode", vae=vae, pixels=pixels)["samples"],
        "VAEEncodeTiled": lambda vae: call("VAEEncodeTiled", vae=vae, pixels=pixels, **in_time)["samples"],
    }
    found = {}
    for name, run in runs.items():
        results = [run(vae) for vae in vaes]
        found[name] = {"apart": largest(*results), "shape": list(results[0].shape)}
    ours_by_ours = runs["VAEDecode"](vaes[0])
    cores_by_core = call("VAEDecode", vae=vaes[1], samples=latents[1])
    found["graphs"] = largest(ours_by_ours, cores_by_core)
    found["unclipped"] = float(ours_by_ours.min()) > 0 and float(ours_by_ours.max()) < 1
    return found


def first_weights(patcher) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in patcher.model.state_dict().items()}


def partly(patcher, run) -> dict:
    """The same call with the weights whole, partly loaded, and unloaded again, a LoRA in them."""
    before = first_weights(patcher)
    clone = patcher.clone()
    added = {f"{prefix}{name}.weight": ("diff", (delta,)) for name, delta in ADDED.items()
             for prefix in ("diffusion_model.", "transformer.")}  # fmt: skip
    clone.add_patches(added)
    mm.unload_all_models()
    plain = run()
    clone.patch_model(torch.device("cpu"))
    whole = run()
    clone.detach()
    clone.partially_load(torch.device("cpu"), extra_memory=int(clone.model_size() * 0.9))
    loaded, partial = clone.model.model_loaded_weight_memory, run()
    clone.detach()
    after = patcher.model.state_dict()
    return {
        "share": loaded / clone.model_size(),
        "against whole": largest(partial, whole),
        "effect": largest(whole, plain),
        "restored": all(torch.equal(after[name], weight) for name, weight in before.items()),
    }


@torch.inference_mode()
def predicted(device="cpu"):
    x = torch.ones(1, 16, 3, 4, 4, device=device)
    context = positive[0][0].to(device)
    return ours.model.apply_model(x, torch.tensor([0.5], device=device), c_crossattn=context)


@torch.inference_mode()
def encoded(device="cpu"):
    tokens = clip.tokenize("a red circle")
    clip.cond_stage_model.set_clip_options({"execution_device": torch.device(device)})
    embedding = clip.cond_stage_model.encode_token_weights(tokens)[0]
    clip.cond_stage_model.reset_clip_options()
    return embedding


@case
def partial_loading():
    return {"transformer": partly(ours, predicted), "text encoder": partly(clip.patcher, encoded)}


GPU = torch.device("cuda:0")


def _moved(self, device=None, *_args, **_kwargs):
    """Module.to for pretended tensors, which a module's parameters cannot become in place."""
    for part in self.modules():
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    moved = tensor.to(device)
                    table[name] = torch.nn.Parameter(moved, False) if isinstance(tensor, torch.nn.Parameter) else moved
    return self


def _free_memory(_device=None, torch_free_too: bool = False):
    """What the host's attention asks of a GPU; a pretended one has no statistics."""
    return (2**34, 2**34) if torch_free_too else 2**34


def _pretended_transformer():
    model = host.model(VideoModel(variant, original.transformer()[0], scratch))
    model.add_patches({f"diffusion_model.{n}.weight": ("diff", (torch.zeros(ADDED[n].shape),)) for n in NAMES})
    x, sigma = torch.zeros(1, 16, 3, 4, 4, device=GPU), torch.full((1,), 0.5, device=GPU)
    return model, lambda: model.model.apply_model(x, sigma, c_crossattn=torch.zeros(1, 16, 4096, device=GPU))


def _pretended_text_encoder():
    clip, _ = _clip()
    clip.patcher.detach()  # without a GPU the host has loaded it at once
    return clip.patcher, lambda: clip.cond_stage_model.opent2v.embed({"text_encoder": [5, 6, 1]}, GPU)[0]


def _pretended_vae():
    vae = host.vae(VideoVAE(variant, original.vae()[0], scratch))
    return vae.patcher, lambda: vae.first_stage_model.decode(torch.zeros(1, 16, 2, 2, 2, device=GPU))


@case
def pretended_gpu():
    """No part forgets a weight on the CPU, however much of it is on the GPU: mixed devices raise here as there."""
    from unittest import mock

    from torch._subclasses.fake_tensor import FakeTensorMode

    found = {}
    for make in (_pretended_transformer, _pretended_text_encoder, _pretended_vae):
        for share in (0.0, 0.3, 1.1):
            pretend = FakeTensorMode(allow_non_fake_inputs=True)
            without_driver = mock.patch.object(torch.cuda, "synchronize")
            roomy = mock.patch.object(mm, "get_free_memory", _free_memory)
            with pretend, without_driver, roomy, mock.patch.object(torch.nn.Module, "to", _moved), torch.no_grad():
                patcher, run = make()
                patcher.partially_load(GPU, extra_memory=int(patcher.model_size() * share))
                result = run()
            name = f"{make.__name__.removeprefix('_pretended_')} {share}"
            found[name] = [patcher.model.model_loaded_weight_memory / patcher.model_size(), result.device.type]
    return found
