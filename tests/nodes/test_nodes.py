"""What ComfyUI reads of the nodes, and the graph of them all with their defaults. Tests: nodes/"""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from opent2v.headless.catalog import Catalog
from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_every_node_explains_itself(node_id):
    node = NODE_CLASS_MAPPINGS[node_id]
    types = node.INPUT_TYPES()
    assert node.CATEGORY.split("/")[0] == "OpenT2V" and node.DESCRIPTION and node.__doc__ and node.SEARCH_ALIASES
    assert callable(getattr(node, node.FUNCTION))
    assert len(node.OUTPUT_TOOLTIPS) == len(node.RETURN_TYPES) and all(node.OUTPUT_TOOLTIPS)
    for _, options in (*types["required"].values(), *types.get("optional", {}).values()):
        assert options["tooltip"]


# Inputs that Nodes 2.0 folds away: those whose default is right for nearly every run, or for every model but a few.
ADVANCED = {
    "OpenT2VLoadModel": ["dtype"],
    "OpenT2VLoadDiffusionModel": ["connectors", "dtype", "expert", "rope_layout"],
    "OpenT2VEncodePrompt": ["fps", "motion_score", "prompt_cache", "travel_over"],
    "OpenT2VEmptyLatent": ["area", "fps", "seconds", "sound"],
    "OpenT2VSampler": ["shift", "solver", "sigmas", "keep", "seeds"],
    "OpenT2VImageToVideo": ["middle_frames"],
    "OpenT2VSaveVideo": ["bit_depth", "crf", "preset", "size_rule", "audio_length", "provenance"],
    "OpenT2VLoadVideo": ["every", "fit", "deinterlace"],
    "OpenT2VContentCheck": ["every"],
    "OpenT2VStepCache": [
        *("start", "end", "max_consecutive", "predictor", "device", "memory", "plan", "few_steps", "boundary"),
    ],
    "OpenT2VGuidance": [
        *("cfg_star", "stg_schedule", "stg_rescale", "stg_blocks", "picture_cfg", "low_noise_cfg"),
        *("nag_tau", "nag_alpha", "start", "end"),
    ],
    "OpenT2VWindows": ["blending", "lead_in"],
    "OpenT2VReferences": ["reference_size", "clip_fps"],
    "OpenT2VContinue": ["way"],
    "OpenT2VJoinFiles": ["bit_depth", "crf", "preset", "size_rule", "provenance", "encode_again", "fps"],
    "OpenT2VTrainLora": [
        *("batch", "width", "height", "frames", "caption", "validation", "seed", "checkpointing"),
        *("optimizer", "judge"),
    ],
    "OpenT2VLoadLora": ["blocks", "strength_over_steps", "low_noise_over_steps"],
    "OpenT2VLoraStack": ["blocks"],
    "OpenT2VPromptBuilder": ["form", "language", "model", "preset", "save_as", "seed"],
    "OpenT2VRows": ["number_column", "text_column"],
    "OpenT2VStoryboard": ["fps"],
}
ADVANCED["OpenT2VDecodeToVideo"] = [*ADVANCED["OpenT2VSaveVideo"], "keep"]
for measuring in ("OpenT2VCalibrateCache", "OpenT2VSweepCache"):
    ADVANCED[measuring] = ["shift", "solver"]
MOST_OPEN = 6  # widgets of a node as it is placed; Stack Video LoRAs has its slots


@pytest.mark.parametrize("node_id", NODE_CLASS_MAPPINGS)
def test_few_inputs_are_open(node_id):
    inputs = Catalog(NODE_CLASS_MAPPINGS).inputs(node_id).values()
    folded = [one.name for one in inputs if one.options.get("advanced")]
    assert sorted(folded) == sorted(ADVANCED.get(node_id, []))
    assert all(one.is_widget and "default" in one.options for one in inputs if one.name in folded)
    shown = [one.name for one in inputs if one.is_widget and one.name not in folded]
    assert len(shown) <= (10 if node_id == "OpenT2VLoraStack" else MOST_OPEN), shown


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
    (sampled, _), done = call("OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent)
    (images, _), _ = call("OpenT2VDecode", vae=vae, latent=sampled)
    (file, _), saved = call("OpenT2VSaveVideo", images=images, fps=fps)

    own = model.part.variant.defaults
    assert (width, height, frames, fps) == (own.width, own.height, own.frames, own.fps)
    assert images.shape == (frames, height, width, 3)
    title = "Wan tiny" if which == "tiny" else "Wan quickstart"
    assert remarks(loaded).startswith(f"{title}: ") and " million parameters as float32\nMemory: " in remarks(loaded)
    assert remarks(encoded) == f"Negative prompt: {own.negative}"
    assert remarks(empty) == f"{width} x {height}, {frames} frames at {fps:g} fps ({frames / fps:.1f} s)"
    assert remarks(done) == f"{own.steps} steps, cfg {own.guidance:g}, UniPCMultistep, seed 0"
    path = Path(file)
    assert path == tmp_path / "output" / "OpenT2V_00001.mp4"
    assert saved == {
        "images": [{"filename": "OpenT2V_00001.mp4", "subfolder": "", "type": "output"}],
        "animated": (True,),
        "opent2v_remarks": [],
        "opent2v_report": [],
    }
    with av.open(file) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames, stream.average_rate) == (width, height, frames, fps)
