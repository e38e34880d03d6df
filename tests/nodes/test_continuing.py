"""Continue Video: what the sampler starts from, by what the family can do, and what is refused."""

from __future__ import annotations

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.media.finishing.colour import rgb_to_lab
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan


def clip(frames=13, side=32, seed=0):
    return torch.rand(frames, side, side, 3, generator=torch.Generator().manual_seed(seed))


def parts(kind="plain"):
    model, _, vae = tiny.shared(kind)
    positive, negative = tiny.conditioning(kind)
    return {"model": model, "vae": vae, "positive": positive, "negative": negative}


def continued(kind="plain", **inputs):
    return call("OpenT2VContinue", **parts(kind), **inputs)


@pytest.mark.parametrize(("kind", "side"), [("plain", 32), ("ti2v", 64)])
def test_the_end_is_encoded_and_stays_in_the_first_latent_frames(kind, side):
    images = clip(side=side)
    (_, _, latent, overlap, frames, _), ui = continued(kind, images=images, overlap=6)
    assert (overlap, frames) == (5, 9)  # 4n + 1
    encoded = call("OpenT2VEncodeVideo", vae=parts(kind)["vae"], images=images[-5:])[0][0]["samples"]
    assert torch.allclose(latent["samples"][:, :, :2], encoded, atol=1e-6)
    assert latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 0, 1]
    how = "clean, as the model was trained to see them" if kind == "ti2v" else "kept by the latent's mask"
    assert f"Goes on from the last 5 frames: 2 latent frames, {how}." in remarks(ui)


def test_the_sampler_keeps_the_overlap_and_the_joined_clip_goes_through():
    images = clip()
    (positive, negative, latent, overlap, _, _), _ = continued(images=images, overlap=5)
    model, vae = parts()["model"], parts()["vae"]
    (made, _), _ = call(
        "OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, steps=3, seed=4
    )
    assert torch.allclose(made["samples"][:, :, :2], latent["samples"][:, :, :2], atol=1e-5)
    ((frames, *_), _) = call("OpenT2VDecode", vae=vae, latent=made)
    (joined, _), _ = call("OpenT2VJoinClips", first=images, second=frames, overlap=overlap)
    assert len(joined) == 13 + 9 - 5


def test_a_latent_is_decoded_to_its_end():
    vae = parts()["vae"]
    (latent, *_), _ = call("OpenT2VEncodeVideo", vae=vae, images=clip())
    ((frames, *_), _) = call("OpenT2VDecode", vae=vae, latent=latent)
    from_latent, from_frames = continued(latent=latent, overlap=5), continued(images=frames, overlap=5)
    assert torch.allclose(from_latent[0][2]["samples"], from_frames[0][2]["samples"], atol=1e-5)


def test_an_image_to_video_model_goes_on_from_the_last_frame():
    images = clip()
    model, _, vae = tiny.hosted(tiny_wan.folder("i2v_a14b"))
    prompts = tiny.conditioning()
    inputs = {"model": model, "vae": vae, "positive": prompts[0], "negative": prompts[1]}
    (positive, _, latent, overlap, _, _), ui = call("OpenT2VContinue", **inputs, images=images, overlap=5)
    expected = call("OpenT2VImageToVideo", **inputs, width=32, height=32, start_image=images[-1:])[0]
    assert overlap == 1 and "Goes on from the last frame as picture." in remarks(ui)
    assert torch.equal(positive[0][1]["concat_latent_image"], expected[0][0][1]["concat_latent_image"])
    assert torch.equal(latent["samples"], expected[2]["samples"])
    with pytest.raises(
        FamilyError, match=r"is an image-to-video model and goes on from a picture\. Set way to picture"
    ):
        call("OpenT2VContinue", **inputs, images=images, way="latents")


def test_the_anchors_colours_are_in_what_the_model_sees():
    dark, bright = clip() * 0.3, clip(seed=1) * 0.3 + 0.6
    vae = parts()["vae"]
    (_, _, latent, _, _, _), ui = continued(images=bright, anchor=dark, overlap=9, frames=13)
    assert "The end has the colours of anchor before the model sees it." in remarks(ui)
    from opent2v.media.finishing import anchored

    moved = anchored(bright[-9:], dark)
    mean = lambda frames: rgb_to_lab(frames).mean(dim=(0, 1, 2))  # noqa: E731
    assert torch.allclose(mean(moved), mean(dark), atol=1.0) and not torch.allclose(mean(bright), mean(dark), atol=20)
    encoded = call("OpenT2VEncodeVideo", vae=vae, images=moved)[0][0]["samples"]
    assert torch.allclose(latent["samples"][:, :, :3], encoded, atol=1e-5)
    (_, _, plain, _, _, _), _ = continued(images=bright, anchor=dark, anchor_strength=0.0, overlap=9, frames=13)
    assert torch.equal(plain["samples"], continued(images=bright, overlap=9, frames=13)[0][2]["samples"])


def test_anchored_moves_all_frames_alike():
    from opent2v.media.finishing import anchored

    frames = torch.full((3, 4, 4, 3), 0.4)
    frames[1], frames[2] = 0.5, 0.6  # it gets brighter
    moved = anchored(frames, torch.full((2, 4, 4, 3), 0.3))
    light = rgb_to_lab(moved)[..., 0].mean(dim=(1, 2))
    assert light[0] < light[1] < light[2]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Connect images or latent, the clip to go on from; found neither."),
        ({"images": clip(), "latent": {"samples": torch.zeros(1, 16, 3, 4, 4)}}, "found both"),
        ({"images": clip(3), "overlap": 5}, "The clip has 3 frames and overlap is 5. Choose an overlap of at most 3."),
        ({"images": clip(), "overlap": 9}, "The new clip has 9 frames, and 9 of them are the old clip's"),
        ({"images": clip(), "overlap": 5, "way": "magic"}, "way is 'magic'; choose one of: auto, latents, picture."),
        ({"images": clip(), "overlap": 5, "audio": {"waveform": torch.zeros(1, 1, 9), "sample_rate": 16}},
         "this model makes pictures only"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        continued(**inputs)


def test_a_plain_text_model_does_not_take_the_picture_way():
    with pytest.raises(FamilyError, match="is a text-to-video model and cannot start from a picture"):
        continued(images=clip(), overlap=5, way="picture")


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (5, 1), (9, 2)])
def test_an_end_is_kept_in_the_last_latent_frames(count, kept):
    images, end = clip(1), clip(count, seed=3)
    (_, _, latent, overlap, frames, _), ui = continued(images=images, overlap=1, frames=17, end=end)
    vae = parts()["vae"]
    whole = torch.cat([end[:1].expand(5 - count, -1, -1, -1), end]) if count < 5 else end
    encoded = call("OpenT2VEncodeVideo", vae=vae, images=whole)[0][0]["samples"]
    assert (overlap, frames) == (1, 17)
    assert torch.allclose(latent["samples"][:, :, -kept:], encoded[:, :, -kept:], atol=1e-5)
    assert latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0, *[1] * (4 - kept), *[0] * kept]
    assert f"Fills in up to the end, which is in the last {kept} latent frames." in remarks(ui)


def test_the_sampler_keeps_both_ends():
    (positive, negative, latent, *_), _ = continued(images=clip(1), overlap=1, frames=17, end=clip(1, seed=3))
    inputs = {"positive": positive, "negative": negative, "latent": latent}
    (filled, _), _ = call("OpenT2VSampler", model=parts()["model"], **inputs, steps=2, seed=4)
    for place in (0, -1):
        assert torch.allclose(filled["samples"][:, :, place], latent["samples"][:, :, place], atol=1e-5)
    assert not torch.allclose(filled["samples"][:, :, 2], latent["samples"][:, :, 2], atol=0.1)


def test_a_model_of_first_and_last_pictures_reads_both():
    images, end = clip(1), clip(1, seed=3)
    model, _, vae = tiny.hosted(tiny_wan.folder("i2v_a14b"))
    prompts = tiny.conditioning()
    inputs = {"model": model, "vae": vae, "positive": prompts[0], "negative": prompts[1]}
    (positive, _, latent, *_), ui = call("OpenT2VContinue", **inputs, images=images, overlap=1, end=end)
    expected = call("OpenT2VImageToVideo", **inputs, width=32, height=32, start_image=images, end_image=end)[0]
    assert torch.equal(positive[0][1]["concat_latent_image"], expected[0][0][1]["concat_latent_image"])
    assert torch.equal(positive[0][1]["concat_mask"], expected[0][0][1]["concat_mask"])
    assert torch.equal(latent["samples"], expected[2]["samples"])
    assert "Fills in between the two pictures, by what the model was trained for." in remarks(ui)


def test_ends_that_leave_nothing_between_are_refused():
    message = "has 3 latent frames, of which its start keeps 2 and its end 1: nothing is left between"
    with pytest.raises(ValueError, match=message):
        continued(images=clip(), overlap=5, frames=9, end=clip(1))
