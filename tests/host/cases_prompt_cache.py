"""Inside ComfyUI's Python: prompts that are kept, and a CLIP that is loaded when it is needed."""

from __future__ import annotations

import shutil

import boot
import folder_paths
from boot import call, case, largest
from comfy import model_patcher

from opent2v.base import LateTextEncoder
from opent2v.host import comfyui as real
from opent2v.host.comfyui.clip import LateCLIP, OpenT2VCLIP
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.nodes.remarks import KEY
from opent2v.tests.tiny import wan as tiny

scratch = boot.scratch() / "prompt cache"
GRAPH = {
    "1": {"class_type": "OpenT2VLoadModel", "inputs": {}},
    "2": {"class_type": "OpenT2VEncodePrompt", "inputs": {"clip": ["1", 1], "prompt_cache": True}},
}


def load(name, prompt):
    return NODE_CLASS_MAPPINGS["OpenT2VLoadModel"]().load(name, "auto", "1", prompt)["result"][1]


def encode(clip, positive):
    made = NODE_CLASS_MAPPINGS["OpenT2VEncodePrompt"]().encode(clip, positive, "noisy", prompt_cache=True)
    return made["result"][0], made["ui"][KEY][-1]


def asked_by_the_host(clip):
    """What the executor and its caches ask of every output, and whether the encoder is still to be loaded."""
    if hasattr(model_patcher, "PromptModelTracker"):  # not in 0.8
        tracker = model_patcher.PromptModelTracker()
        tracker.add([[clip]])
        assert not tracker.models and not model_patcher.is_model_patcher_output(clip)
    return [clip.is_dynamic(), clip.get_ram_usage(), type(clip) is LateCLIP]


@case
def late_patcher():
    """{what loads a late CLIP that is asked for its patcher: whether it has}."""
    report = {}
    for name, use in {
        "read": lambda patcher: patcher.load_device,
        "written": lambda patcher: setattr(patcher, "forced_hooks", None),
        "held": lambda patcher: None,
    }.items():
        part = tiny.shared()[1].part
        clip = real.late_clip(LateTextEncoder(part.variant, tiny.folder(), "identity", lambda part=part: part))
        patcher = clip.patcher
        use(patcher)
        report[name] = type(clip) is OpenT2VCLIP
        report[f"{name}, then loaded"] = patcher.model is clip.patcher.model
    clip = real.late_clip(LateTextEncoder(part.variant, tiny.folder(), "identity", lambda: part))
    clip.load_model()
    report["load_model"] = type(clip) is OpenT2VCLIP
    return report


@case
def kept():
    """{what: what it was} of one encoder in three folders, so that none of them is shared with another."""
    folder_paths.add_model_folder_path("diffusers", str(scratch / "diffusers"))
    for name in ("whole", "first", "second"):
        shutil.copytree(tiny.folder(), scratch / "diffusers" / name)
    before = folder_paths.get_user_directory()
    folder_paths.set_user_directory(str(scratch / "user"))
    try:
        return _kept()
    finally:
        folder_paths.set_user_directory(before)


def _kept():
    whole, first = load("whole", None), load("first", GRAPH)
    expected = call("CLIPTextEncode", clip=whole, text="a red circle")
    report = {"whole": type(whole) is OpenT2VCLIP, "first is late": type(first) is LateCLIP}
    fresh, report["fresh"] = encode(first, "a red circle")
    report["first is loaded"] = type(first) is OpenT2VCLIP
    second = load("second", GRAPH)
    report["without loading"] = [real.variant(second).title, real.path(second).name, real.shows(second)]
    report["asked by the host"] = asked_by_the_host(second)
    again, report["again"] = encode(second, "a red circle")
    report["second is late"] = type(second) is LateCLIP
    report["files"] = len(list((scratch / "user" / "opent2v" / "prompt_cache").iterdir()))
    report["difference"] = [largest(expected[0][0], got[0][0]) for got in (fresh, again)]
    report["entries"] = [{name: str(value) for name, value in got[0][1].items()} for got in (expected, fresh, again)]
    # Any other node loads it.
    clone = second.clone()
    report["clone"] = type(clone) is OpenT2VCLIP and type(second) is OpenT2VCLIP
    report["core"] = largest(expected[0][0], call("CLIPTextEncode", clip=clone, text="a red circle")[0][0])
    report["identities"] = len({real.text_identity(clip) for clip in (whole, first, second, clone)})
    clone.patcher.add_patches({"transformer.shared.weight": ("diff", (clone.patcher.model.transformer.shared.weight,))})
    report["patched"] = [len(clone.patcher.patches), real.text_identity(clone)]
    report["layer"] = real.text_identity(call("CLIPSetLastLayer", clip=second, stop_at_clip_layer=-2))
    return report
