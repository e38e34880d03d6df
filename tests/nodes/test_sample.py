"""The empty latent and the sampler: their remarks and refusals."""

from __future__ import annotations

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.families import families
from opent2v.host import embedded
from opent2v.sampling import Guidance, SamplingError
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny


def empty(kind="plain", **given):
    return call("OpenT2VEmptyLatent", model=tiny.shared(kind)[0], **given)


def sample(latent=None, **given):
    if latent is None:
        latent = {"samples": torch.zeros(1, 16, 3, 4, 4)}
    positive, negative = tiny.conditioning()
    given = {"model": tiny.shared()[0], "positive": positive, "negative": negative} | given
    return call("OpenT2VSampler", latent=latent, **given)


# --- empty latent ---


def test_a_legal_size_is_taken_as_it_is():
    (latent, *numbers), ui = empty(width=64, height=48, frames=17)
    assert numbers == [64, 48, 17, 16.0]
    assert latent["samples"].shape == (1, 16, 5, 6, 8) and not latent["samples"].any()
    assert remarks(ui) == "64 x 48, 17 frames at 16 fps (1.1 s)"


def test_a_changed_size_is_told():
    (_, *numbers), ui = empty(width=70, height=32, frames=12)
    assert numbers == [64, 32, 13, 16.0]
    assert ui["opent2v_remarks"] == [
        "64 x 32, 13 frames at 16 fps (0.8 s)",
        "Changed to what the model can make: width 70 -> 64, frames 12 -> 13 (sizes are multiples of 16, "
        "frames 4n + 1).",
    ]


def test_another_models_rules():
    (latent, *numbers), ui = empty("ti2v", width=70, height=40)
    assert numbers == [64, 32, 9, 16.0] and latent["samples"].shape == (1, 48, 3, 2, 4)
    assert "width 70 -> 64, height 40 -> 32 (sizes are multiples of 32" in remarks(ui)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"width": 100_000}, "width is 100000; this model takes 1 to 1024 pixels. 0 means the model's own."),
        ({"height": -8}, "height is -8; this model takes 1 to 1024 pixels."),
        ({"frames": 10**9}, "frames is 1000000000; this model takes 1 to 253 frames."),
    ],
)
def test_an_absurd_size(given, said):
    with pytest.raises(FamilyError) as error:
        empty(**given)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("node", [empty, sample])
def test_a_model_of_another_loader(node):
    with pytest.raises(FamilyError) as error:
        call("OpenT2VEmptyLatent", model=object()) if node is empty else sample(model=object())
    titles = ", ".join(family.title for family in families().values())
    assert str(error.value) == (
        f"No family here recognises this MODEL, so its sizes and schedule are not known (known: {titles}). "
        "Sample it with ComfyUI's own empty latent and KSampler, or take a model from Load Video Model."
    )


# --- sampler ---


def test_0_means_the_models_own():
    (own, _), ui = sample()
    assert remarks(ui) == "3 steps, cfg 4, UniPCMultistep, seed 0"
    (stated, _), _ = sample(steps=3, cfg=4.0, shift=3.0, solver="unipc")
    assert torch.equal(own["samples"], stated["samples"])


def test_other_values_are_used_and_told():
    assert remarks(sample(steps=5, cfg=1.5, shift=8.0, solver="euler", seed=7)[1]) == (
        "5 steps, cfg 1.5, FlowMatchEulerDiscrete, seed 7"
    )
    assert not torch.equal(sample(steps=5, shift=1.0)[0][0]["samples"], sample(steps=5, shift=9.0)[0][0]["samples"])


def test_guidance_is_rescaled_on_request():
    (rescaled, _), ui = sample(cfg=8.0, guidance=Guidance(cfg_rescale=0.7))
    assert remarks(ui) == "3 steps, cfg 8, rescaled 0.7, UniPCMultistep, seed 0"
    assert not torch.equal(rescaled["samples"], sample(cfg=8.0)[0][0]["samples"])
    with pytest.raises(SamplingError) as error:
        sample(guidance=Guidance(cfg_rescale=1.5))
    assert str(error.value) == "cfg_rescale is 1.5; expected 0 (off) to 1."


def test_what_else_the_latent_holds_goes_on():
    mask = torch.ones(1, 32, 32)
    (latent, _), _ = sample({"samples": torch.zeros(1, 16, 3, 4, 4), "noise_mask": mask, "batch_index": [0]})
    assert latent["noise_mask"] is mask and latent["batch_index"] == [0] and latent["samples"].any()


def test_progress_and_interrupt():
    seen = []
    embedded.configure(on_progress=lambda *what: seen.append(what))
    sample(unique_id="5")
    assert seen == [("5", n, 3) for n in (1, 2, 3)]
    embedded.configure(on_progress=lambda *what: embedded.interrupt())
    with pytest.raises(embedded.Interrupted):
        sample()


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (torch.zeros(16, 4, 4), "The latent has 3 dimensions; expected [batch, channels, frames, height, width]. "
         "Make it with Empty Video Latent."),
        (torch.ones(1, 4, 3, 4, 4), "The latent has 4 channels; Wan tiny works with 16. It was made by another model's "
         "VAE: encode it with this model's."),
        (torch.zeros(1, 16, 3, 4, 5), "The latent is 5 x 4; this model needs multiples of 2 (pictures in multiples of "
         "16 pixels). Make it with Empty Video Latent."),
        (torch.zeros(1, 16, 3, 130, 4), "The latent has 3 frames of 4 x 130; Wan tiny takes up to 64 frames and 128 a "
         "side (a video of 253 frames, 1024 pixels a side)."),
        (torch.zeros(1, 16, 65, 4, 4), "The latent has 65 frames of 4 x 4; Wan tiny takes up to 64 frames"),
    ],
)  # fmt: skip
def test_a_latent_that_does_not_fit(samples, said):
    with pytest.raises(SamplingError) as error:
        sample({"samples": samples})
    assert str(error.value).startswith(said)


def test_an_empty_latent_of_cores_nodes_is_taken():
    (latent, _), _ = sample({"samples": torch.zeros(1, 4, 4, 4)})
    assert latent["samples"].shape == (1, 16, 1, 4, 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": 1001}, "1001 steps are asked for; this model's schedule has 1000. Use fewer steps."),
        ({"denoise": 0.0}, "denoise is 0.0; expected above 0, up to 1"),
        ({"shift": -2.0}, "shift is -2.0; expected a number above 0"),
        ({"solver": "magic"}, "No solver is called 'magic'. Choose one of: reference, euler, unipc, dpm++ 2m."),
    ],
)
def test_values_out_of_range(given, said):
    with pytest.raises(SamplingError) as error:
        sample(**given)
    assert str(error.value).startswith(said)


def test_a_prompt_of_another_text_encoder():
    with pytest.raises(SamplingError) as error:
        sample(positive=[[torch.zeros(1, 8, 77), {}]])
    assert str(error.value).startswith("The positive conditioning is 77 wide; Wan")
    assert "encode the prompt with this model's own CLIP" in str(error.value)
