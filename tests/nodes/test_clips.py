"""Several clips in one run of Video Sampler: each is the clip that its seed makes alone.

Tests: sampling/clips.py, nodes/sampling.py, nodes/clips_together.py and host/embedded/start.py. In a ComfyUI:
tests/host/test_contract.py.
"""

from __future__ import annotations

import re

import pytest
import torch

from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.sampling import Guidance, SamplingError
from opent2v.sampling.caches import CacheRequest, StepCache
from opent2v.sampling.clips import read_seeds
from opent2v.sampling.streams import unbind
from opent2v.sampling.windows import Windows
from opent2v.tests.finetune import families as tiny
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import cogvideox, joint

SEEDS = (5, 2, 5)


def prompts(name: str, count: int) -> list:
    """A CONDITIONING for each clip, of the widths that the model reads."""
    part = tiny.hosted(name).part
    entry = tiny.entry_of(part.variant, getattr(part.transformer.config, "pooled_projection_dim", 1))
    generator = torch.Generator().manual_seed(9)
    conditionings = []
    for _ in range(count):
        drawn = {
            key: torch.randn(value.shape, generator=generator) if isinstance(value, torch.Tensor) else value
            for key, value in entry.items()
        }
        conditionings.append([[drawn.pop("cross_attn"), drawn]])
    return conditionings


def in_one(conditionings: list) -> list:
    (_, entries), *_ = conditionings[0]
    joined = {
        key: torch.cat([conditioning[0][1][key] for conditioning in conditionings])
        if isinstance(value, torch.Tensor)
        else value
        for key, value in entries.items()
    }
    return [[torch.cat([conditioning[0][0] for conditioning in conditionings]), joined]]


def sample(model, positive, negative, latent, **given):
    (result, report), ui = call(
        "OpenT2VSampler",
        model=model,
        positive=positive,
        negative=negative,
        latent=latent,
        **{"steps": 2, "cfg": 3.0, **given},
    )
    assert report == remarks(ui)
    return result["samples"], report


def furthest(whole, alone) -> float:
    """Largest difference of the clips of a batch from those sampled alone, relative to their size."""
    apart = 0.0
    for number, clip in enumerate(alone):
        for stream, expected in zip(unbind(whole), unbind(clip), strict=True):
            apart = max(apart, ((stream[number : number + 1] - expected).abs().max() / expected.std()).item())
    return apart


# One expert alone is no model; the pair has a test of its own.
@pytest.mark.parametrize("name", [name for name in tiny.MODELS if name not in ("wan high", "wan low")])
def test_each_clip_is_the_clip_that_its_seed_and_prompt_make_alone(name):
    model, shapes = tiny.hosted(name), tiny.shapes_of(name)
    latent = {"samples": embedded.nested([torch.zeros(shape) for shape in shapes])}
    positive, (negative,) = prompts(name, len(SEEDS)), prompts(name, 1)
    whole, report = sample(model, in_one(positive), negative, latent, seeds="5, 2, 5")
    alone = [
        sample(model, prompt, negative, latent, seed=seed)[0] for prompt, seed in zip(positive, SEEDS, strict=True)
    ]
    assert furthest(whole, alone) <= 1e-5 and "seeds 5, 2, 5" in report
    pictures = unbind(whole)[0]
    assert not torch.allclose(pictures[0], pictures[2], atol=1e-3)  # one seed, two prompts


def test_two_experts_share_the_clips():
    models = {"model": tiny.hosted("wan high"), "low_noise_model": tiny.hosted("wan low")}
    latent = {"samples": torch.zeros(tiny.shapes_of("wan high")[0])}
    (positive, negative) = prompts("wan high", 2)
    model = models.pop("model")
    whole, _ = sample(model, positive, negative, latent, seeds="1 2", steps=4, **models)
    alone = [sample(model, positive, negative, latent, seed=seed, steps=4, **models)[0] for seed in (1, 2)]
    assert furthest(whole, alone) <= 1e-5


@pytest.mark.parametrize("name", ["cogvideox", "videocrafter"])
def test_noise_within_steps_is_each_clips_own(name):
    """Solvers that add noise draw it from the run's seed."""
    model = cogvideox.shared("5b")[0] if name == "cogvideox" else tiny.hosted("videocrafter")
    scheduler = model.part.variant.scheduler
    assert scheduler["_class_name"] == "CogVideoXDPMScheduler" or scheduler.get("eta")
    known = "cogvideox 2b" if name == "cogvideox" else name
    positive, negative = prompts(known, 2)
    latent = {"samples": torch.zeros(tiny.shapes_of(known)[0])}
    whole, _ = sample(model, positive, negative, latent, seeds="1 2", steps=3)
    alone = [sample(model, positive, negative, latent, seed=seed, steps=3)[0] for seed in (1, 2)]
    assert furthest(whole, alone) <= 1e-5


def test_streams_guidance_masks_and_a_start_from_clips():
    model, (positive, negative) = joint.model(embedded), joint.conditionings()
    variant = embedded.variant(model)
    own = variant.defaults
    shapes = [(2, *stream.latent_shape(own.width, own.height, own.frames, own.fps)) for stream in variant.streams]
    generator = torch.Generator().manual_seed(3)
    streams = [torch.randn(shape, generator=generator) for shape in shapes]
    masks = [torch.ones(1, 1, *shape[2:]) for shape in shapes]
    masks[0][..., 0] = 0
    further = {"denoise": 0.5, "guidance": Guidance(cfg_rescale=0.7, cfg_star=False), "steps": 4}

    def latent(clips: slice):
        return {"samples": embedded.nested([s[clips] for s in streams]), "noise_mask": embedded.nested(masks)}

    whole, _ = sample(model, positive, negative, latent(slice(None)), seeds="8, 9", **further)
    alone = [
        sample(model, positive, negative, latent(slice(n, n + 1)), seed=seed, **further)[0]
        for n, seed in enumerate((8, 9))
    ]
    assert furthest(whole, alone) <= 1e-5


def test_windows_without_freenoise():
    (positive, negative), model = prompts("wan", 2), tiny.hosted("wan")
    latent, windows = {"samples": torch.zeros(1, 16, 7, 4, 4)}, Windows(length=9, overlap=4, freenoise=False)
    whole, _ = sample(model, positive, negative, latent, seeds="1 2", windows=windows)
    alone = [sample(model, positive, negative, latent, seed=seed, windows=windows)[0] for seed in (1, 2)]
    assert furthest(whole, alone) <= 1e-5


def test_one_seed_of_the_list_is_the_seed():
    (positive, negative), model = prompts("wan", 2), tiny.hosted("wan")
    latent = {"samples": torch.zeros(tiny.shapes_of("wan")[0])}
    assert torch.equal(*(sample(model, positive, negative, latent, **by)[0] for by in ({"seed": 7}, {"seeds": "7"})))


def test_batch_index_names_the_draw_of_the_seed():
    """As in ComfyUI, whose Latent From Batch takes a clip of a batch out so that it comes out the same."""
    (positive, negative), model = prompts("wan", 2), tiny.hosted("wan")
    shape = tiny.shapes_of("wan")[0][1:]
    whole, _ = sample(model, positive, negative, {"samples": torch.zeros(3, *shape)}, seed=4)
    picked = {"samples": torch.zeros(2, *shape), "batch_index": [2, 0]}
    clips, _ = sample(model, positive, negative, picked, seed=4)
    assert torch.allclose(clips, whole[[2, 0]], atol=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seeds": "1, two"}, "seeds is '1, two'; expected whole numbers from 0 to 18446744073709551615 with commas"),
        ({"seeds": "-1"}, "seeds is '-1'"),
        ({"seeds": str(2**64)}, "seeds is '18446744073709551616'"),
        ({"seeds": "1 2 3", "clips": 2}, "seeds names 3 clips and the latent holds 2. Give a seed for each clip"),
        ({"seeds": "1 2 3", "prompts": 2}, "seeds names 3 clips and a prompt is for 2. Give one prompt for all"),
        ({"seeds": "1 2", "windows": Windows(length=9, overlap=4)}, "FreeNoise orders the noise of all of them alike"),
        (
            {"seeds": "1 2", "step_cache": CacheRequest(StepCache("easycache"))},
            "seeds names 2 clips, each to be as it is alone, and a step cache looks at all",
        ),
    ],
)
def test_what_cannot_be_made_as_alone_is_refused(given, said):
    positive, negative = prompts("wan", 2)
    samples = torch.zeros(given.pop("clips", 1), *tiny.shapes_of("wan")[0][1:])
    positive = in_one([positive] * given.pop("prompts", 1))
    with pytest.raises(SamplingError, match=re.escape(said)):
        sample(tiny.hosted("wan"), positive, negative, {"samples": samples}, **given)


def test_a_step_cache_on_the_model_is_refused_as_well():
    positive, negative = prompts("wan", 2)
    model = embedded.apply_step_cache(tiny.hosted("wan"), StepCache("easycache"))
    latent = {"samples": torch.zeros(tiny.shapes_of("wan")[0])}
    with pytest.raises(SamplingError, match="a step cache looks at all of them together"):
        sample(model, positive, negative, latent, seeds="1 2")


def calls_of(name: str, seeds=(1, 2, 3), **given) -> list[dict]:
    """The arguments of Video Sampler in graphs that run side by side."""
    *positive, negative = prompts(name, len(seeds) + 1)
    settings = {"steps": 2, "cfg": 3.0, "shift": 0.0, "solver": "reference", "denoise": 1.0, "unique_id": "7"}
    samples = embedded.nested([torch.zeros(shape) for shape in tiny.shapes_of(name)])
    return [
        {"model": tiny.hosted(name), "positive": prompt, "negative": negative, "latent": {"samples": samples.clone()}}
        | {"seed": seed, "prompt": {"7": {"class_type": "OpenT2VSampler", "inputs": {"seed": seed}}}}
        | {**settings, **given}
        for prompt, seed in zip(positive, seeds, strict=True)
    ]


@pytest.mark.parametrize("name", ["wan", "hunyuan_video", "mochi", "ltx_video", "open_sora"])
def test_calls_of_several_graphs_are_one_run(name):
    calls, node = calls_of(name), NODE_CLASS_MAPPINGS["OpenT2VSampler"]()
    for number, arguments in enumerate(calls):  # padding of another length for each, as their encoders give it
        (context, entries), *_ = arguments["positive"]
        entries["attention_mask"] = torch.ones(context.shape[:2], dtype=torch.long)
        entries["attention_mask"][:, number + 3 :] = 0
    results = node.sample_together(calls)
    assert len(results) == 3
    for arguments, result in zip(calls, results, strict=True):
        (latent, report), ui = result["result"], result["ui"]
        alone, alone_ui = call_of(node, arguments)
        assert furthest(latent["samples"], [alone[0]["samples"]]) <= 1e-5
        assert report == alone[1] and remarks(ui) == remarks(alone_ui)
        assert latent["opent2v"] == alone[0]["opent2v"] and latent.keys() == alone[0].keys()


def call_of(node, arguments):
    returned = node.sample(**arguments)
    return returned["result"], returned["ui"]


@pytest.mark.parametrize(
    "change",
    [
        {"keep": True},
        {"steps": 3},
        {"step_cache": CacheRequest(StepCache("easycache"))},
        {"guidance": Guidance(cfg_rescale=0.5)},
        {"latent": {"samples": torch.zeros(1, 16, 2, 4, 4)}},
        {"latent": {"samples": torch.zeros(2, 16, 3, 4, 4)}},
        {"latent": {"samples": torch.zeros(1, 16, 3, 4, 4), "batch_index": [1]}},
        {"latent": {"samples": torch.zeros(1, 16, 3, 4, 4), "noise_mask": torch.zeros(1, 1, 4, 4)}},
        {"positive": lambda context, entries: [[context[:, :-1], entries]]},
        {"positive": lambda context, entries: [[context, {"concat_latent_image": torch.ones(1, 16, 3, 4, 4)}]]},
        {"positive": lambda context, entries: [[context, entries], [context, entries]]},
    ],
)
def test_calls_that_differ_in_more_run_one_after_another(change):
    """Only what a prompt or a start changes alone may differ; `keep` and a step cache are for single clips."""
    calls = calls_of("wan", (1, 2))
    change = {k: v(*calls[1][k][0]) if k == "positive" else v for k, v in change.items()}
    calls[1] |= change
    if {"keep", "step_cache"} & {*change}:
        calls[0] |= change
    assert NODE_CLASS_MAPPINGS["OpenT2VSampler"]().sample_together(calls) is None


def test_an_empty_text_names_no_seeds():
    assert read_seeds(" ") == () and read_seeds("3") == (3,)
