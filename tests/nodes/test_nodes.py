"""What ComfyUI reads of the nodes, and the graph of them all with their defaults."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from opent2v.tests import tiny
from opent2v.tests.nodes.calls import call, remarks

INPUTS = {
    "OpenT2VLoadModel": (["model", "dtype"], []),
    "OpenT2VEncodePrompt": (["clip", "positive", "negative"], []),
    "OpenT2VEmptyLatent": (["model", "width", "height", "frames"], []),
    "OpenT2VSampler": (
        ["model", "positive", "negative", "latent", "seed", "steps", "cfg", "shift", "solver", "denoise"],
        ["low_noise_model", "low_noise_cfg", "cfg_schedule", "cfg_rescale"],
    ),
    "OpenT2VDecode": (["vae", "latent"], []),
    "OpenT2VSaveVideo": (["images", "fps", "filename_prefix", "quality"], ["audio"]),
    "OpenT2VImageToVideo": (
        ["model", "vae", "positive", "negative", "width", "height", "frames", "strength"],
        ["start_image", "end_image", "clip_vision_output"],
    ),
    "OpenT2VEncodeVideo": (["vae", "images", "width", "height", "frames"], []),
}
OUTPUTS = {
    "OpenT2VLoadModel": ("MODEL", "CLIP", "VAE", "MODEL", "CLIP_VISION"),
    "OpenT2VEncodePrompt": ("CONDITIONING", "CONDITIONING"),
    "OpenT2VEmptyLatent": ("LATENT", "INT", "INT", "INT", "FLOAT"),
    "OpenT2VSampler": ("LATENT",),
    "OpenT2VDecode": ("IMAGE",),
    "OpenT2VSaveVideo": ("STRING",),
    "OpenT2VImageToVideo": ("CONDITIONING", "CONDITIONING", "LATENT", "INT", "INT", "INT", "FLOAT"),
    "OpenT2VEncodeVideo": ("LATENT", "INT", "INT", "INT"),
}
DEFAULTS = {
    "positive": "a red triangle moving to the right on a black background", "negative": "", "width": 0, "height": 0,
    "frames": 0, "seed": 0, "steps": 0, "cfg": 0.0, "shift": 0.0, "solver": "reference", "denoise": 1.0, "fps": 16.0,
    "filename_prefix": "OpenT2V", "quality": 80, "dtype": "auto",
}  # fmt: skip


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_the_promise_to_graphs_that_exist(node_id):
    node = NODE_CLASS_MAPPINGS[node_id]
    types = node.INPUT_TYPES()
    required, optional = INPUTS[node_id]
    assert node_id.startswith("OpenT2V") and node.__name__ == node_id
    assert (list(types["required"]), list(types.get("optional", {}))) == (required, optional)
    assert set(types) <= {"required", "optional", "hidden"}
    assert OUTPUTS[node_id] == node.RETURN_TYPES
    assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
    for name, (kind, options) in {**types["required"], **types.get("optional", {})}.items():
        if name in DEFAULTS and kind not in ("CONDITIONING",):
            assert options["default"] == DEFAULTS[name]
        if isinstance(kind, list):
            assert options["default"] in kind
        assert set(options) <= {"default", "min", "max", "step", "tooltip", "multiline", "control_after_generate"}


def test_the_promises_are_about_every_node():
    assert set(INPUTS) == set(OUTPUTS) == set(NODE_CLASS_MAPPINGS) == set(NODE_DISPLAY_NAME_MAPPINGS)


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_every_node_explains_itself(node_id):
    node = NODE_CLASS_MAPPINGS[node_id]
    types = node.INPUT_TYPES()
    assert node.CATEGORY == "OpenT2V" and node.DESCRIPTION and node.__doc__ and node.SEARCH_ALIASES
    assert callable(getattr(node, node.FUNCTION))
    assert len(node.OUTPUT_TOOLTIPS) == len(node.RETURN_TYPES) and all(node.OUTPUT_TOOLTIPS)
    for _, options in (*types["required"].values(), *types.get("optional", {}).values()):
        assert options["tooltip"]


def test_values_a_user_may_choose():
    load, sampler = (NODE_CLASS_MAPPINGS[f"OpenT2V{n}"].INPUT_TYPES()["required"] for n in ("LoadModel", "Sampler"))
    assert load["dtype"][0] == ["auto", "fp32", "bf16", "fp16", "fp8_e4m3fn", "fp8_e5m2"]
    assert sampler["solver"][0] == ["reference", "euler", "unipc", "dpm++ 2m"]
    assert sampler["seed"][1]["control_after_generate"] is True


@pytest.mark.parametrize("which", ["tiny", "bundled"])
def test_the_whole_graph_with_its_defaults(tmp_path, which):
    given = {}
    if which == "tiny":
        (tmp_path / "models" / "diffusers").mkdir(parents=True)
        (tmp_path / "models" / "diffusers" / "tiny").symlink_to(tiny.folder())
        embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
        given["model"] = "tiny"
    elif not (tiny.BUNDLED / "model_index.json").is_file():
        pytest.skip("the bundled model is not there")

    (model, clip, vae, *_), loaded = call("OpenT2VLoadModel", **given)
    (positive, negative), encoded = call("OpenT2VEncodePrompt", clip=clip)
    (latent, width, height, frames, fps), empty = call("OpenT2VEmptyLatent", model=model)
    (sampled,), done = call("OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent)
    (images,), _ = call("OpenT2VDecode", vae=vae, latent=sampled)
    (file,), saved = call("OpenT2VSaveVideo", images=images, fps=fps)

    own = model.part.variant.defaults
    assert (width, height, frames, fps) == (own.width, own.height, own.frames, own.fps)
    assert images.shape == (frames, height, width, 3)
    title = "Wan tiny" if which == "tiny" else "Wan quickstart"
    assert remarks(loaded).startswith(f"{title}: ") and remarks(loaded).endswith(" million parameters as float32")
    assert remarks(encoded) == f"Negative prompt: {own.negative}"
    assert remarks(empty) == f"{width} x {height}, {frames} frames at {fps:g} fps ({frames / fps:.1f} s)"
    assert remarks(done) == f"{own.steps} steps, cfg {own.guidance:g}, UniPCMultistep, seed 0"
    path = Path(file)
    assert path == tmp_path / "output" / "OpenT2V_00001.mp4"
    assert saved == {
        "images": [{"filename": "OpenT2V_00001.mp4", "subfolder": "", "type": "output"}],
        "animated": (True,),
    }
    with av.open(file) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames, stream.average_rate) == (width, height, frames, fps)
