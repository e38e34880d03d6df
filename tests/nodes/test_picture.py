"""Starting from pictures and videos: sizes, remarks, what becomes of the pictures, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from opent2v.base import FamilyError, Guided, Images
from opent2v.host import embedded
from opent2v.nodes.picture import fit
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan


@pytest.fixture(scope="module")
def parts():
    """(MODEL, VAE, CLIP_VISION, conditioning) of a folder by its kind."""

    def of(kind):
        if kind not in made:
            loaded = tiny.pipeline(tiny_wan.folder(kind) if kind in tiny_wan.KINDS else tiny.folder(kind))
            clip = embedded.clip(loaded.text)
            vision = loaded.image_encoder and embedded.clip_vision(loaded.image_encoder)
            prompt = embedded.embed(clip, tiny.PROMPT)
            made[kind] = embedded.model(loaded.models[0]), embedded.vae(loaded.vae), vision, prompt
        return made[kind]

    made = {}
    return of


def start(parts, kind, **given):
    model, vae, _, prompt = parts(kind)
    return call("OpenT2VImageToVideo", **{"model": model, "vae": vae, "positive": prompt, "negative": prompt} | given)


def refusal(parts, kind, **given) -> str:
    with pytest.raises(FamilyError) as error:
        start(parts, kind, **given)
    return str(error.value)


# --- fitting ---


def test_a_picture_of_the_right_size_is_not_touched():
    image = tiny_wan.picture(1, 48, 32)
    assert torch.equal(fit(image, 48, 32), image)
    assert torch.equal(fit(torch.cat([image, image[..., :1]], -1), 48, 32), image)  # without its alpha


@pytest.mark.parametrize(("width", "height"), [(16, 16), (48, 16), (16, 48), (100, 80), (7, 31)])
def test_a_picture_is_covered_and_cut_to_its_centre(width, height):
    image = torch.zeros(1, 60, 90, 3)
    image[:, 20:40, 30:60] = 1
    made = fit(image, width, height)
    assert made.shape == (1, height, width, 3) and made.min() >= 0 and made.max() <= 1
    assert torch.allclose(made, made.flip(1).flip(2), atol=0.12)  # the bright middle stays in the middle
    assert made[0, height // 2, width // 2].min() > 0.9


# --- from a picture ---


def test_the_models_own_size_and_what_the_picture_becomes(parts):
    _, vae, _, prompt = parts("i2v_a14b")
    image = tiny_wan.picture(1)
    (positive, negative, latent, *numbers), ui = start(parts, "i2v_a14b", start_image=image)
    assert numbers == [32, 32, 9, 16.0] and remarks(ui) == "32 x 32, 9 frames at 16 fps (0.6 s)"
    assert set(latent) == {"samples"} and latent["samples"].shape == (1, 16, 3, 4, 4)
    assert not latent["samples"].any()
    for (context, further), (given, _) in zip((positive[0], negative[0]), (prompt[0], prompt[0]), strict=True):
        assert context is given
        assert set(further) == {"pooled_output", "opent2v_family", "concat_latent_image", "concat_mask"}
    further = positive[0][1]
    video = torch.full((9, 32, 32, 3), 0.5)
    video[0] = image[0]
    assert (further["concat_latent_image"] - embedded.encode(vae, video)).abs().max() <= 1e-5
    # four frames to a latent frame; the first holds one picture, four times
    assert further["concat_mask"][0, :, :, 0, 0].tolist() == [[0, 1, 1]] * 4
    assert "concat_mask" not in prompt[0][1]


def test_a_last_picture_is_the_last_frame(parts):
    both = {"start_image": tiny_wan.picture(1), "end_image": tiny_wan.picture(2)}
    (positive, *_), _ = start(parts, "i2v_a14b", **both)
    assert positive[0][1]["concat_mask"][0, :, :, 0, 0].tolist() == [[0, 1, 1], [0, 1, 1], [0, 1, 1], [0, 1, 0]]
    (positive, *_), _ = start(parts, "i2v_a14b", end_image=both["end_image"])
    assert positive[0][1]["concat_mask"][0, :, :, 0, 0].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0]]


def test_of_several_pictures_the_first_starts_and_the_last_ends(parts):
    many = torch.cat([tiny_wan.picture(n) for n in (1, 2, 3)])
    (several, *_), _ = start(parts, "i2v_a14b", start_image=many, end_image=many)
    (single, *_), _ = start(parts, "i2v_a14b", start_image=many[:1], end_image=many[2:])
    assert torch.equal(several[0][1]["concat_latent_image"], single[0][1]["concat_latent_image"])


def test_other_sizes_are_told(parts):
    image = tiny_wan.picture(1, 100, 60)
    (positive, _, latent, *numbers), ui = start(
        parts, "i2v_a14b", start_image=image, end_image=tiny_wan.picture(2, 96, 64), width=50, height=34, frames=6
    )
    assert numbers == [48, 32, 5, 16.0] and latent["samples"].shape == (1, 16, 2, 4, 6)
    assert positive[0][1]["concat_latent_image"].shape == (1, 16, 2, 4, 6)
    assert ui["opent2v_remarks"] == [
        "48 x 32, 5 frames at 16 fps (0.3 s)",
        "Changed to what the model can make: width 50 -> 48, height 34 -> 32, frames 6 -> 5 (sizes are multiples of "
        "16, frames 4n + 1).",
        "start_image 100 x 60 is scaled and cut to the centre to 48 x 32.",
        "end_image 96 x 64 is scaled to 48 x 32.",
    ]


def test_a_clean_first_frame_comes_with_a_mask(parts):
    _, vae, _, _ = parts("ti2v")
    (positive, _, latent, *_), _ = start(parts, "ti2v", start_image=tiny_wan.picture(1, 64, 64))
    assert set(positive[0][1]) == {"pooled_output", "opent2v_family"}
    assert latent["noise_mask"].shape == (1, 1, 3, 4, 4) and latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 1, 1]
    first = embedded.encode(vae, tiny_wan.picture(1, 64, 64))
    assert (latent["samples"][:, :, :1] - first).abs().max() <= 1e-5
    middle = torch.tensor(vae.part.variant.video.mean).view(1, -1, 1, 1, 1)
    assert torch.equal(latent["samples"][:, :, 1:], middle.expand(1, -1, 2, 4, 4))


def test_both_pictures_of_an_image_encoder_are_joined(parts):
    _, _, vision, _ = parts("flf2v")
    images = torch.cat([tiny_wan.picture(1), tiny_wan.picture(2)])
    seen = vision.encode_image(images)
    assert seen.penultimate_hidden_states.shape == (2, 17, 20)
    given = {"start_image": images[:1], "end_image": images[1:], "clip_vision_output": seen}
    (positive, *_), _ = start(parts, "flf2v", **given)
    row = positive[0][1]["clip_vision_output"].penultimate_hidden_states
    assert torch.equal(row, seen.penultimate_hidden_states.reshape(1, 34, 20))


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (
            "plain", {"start_image": tiny_wan.picture(1)},
            "Wan tiny is a text-to-video model and cannot start from a picture. Use Empty Video Latent with it, or "
            "choose an image-to-video model (Wan 2.1 I2V 14B, Wan 2.2 I2V A14B, Wan 2.2 TI2V 5B).",
        ),
        ("i2v_a14b", {}, "Wan tiny starts from a picture and none is connected. Connect start_image."),
        ("ti2v", {}, "Wan tiny starts from a picture and none is connected. Connect start_image."),
        (
            "ti2v", {"start_image": tiny_wan.picture(1), "end_image": tiny_wan.picture(2)},
            "Wan tiny takes a first picture only. Connect start_image and leave end_image open, or choose Wan 2.1 "
            "FLF2V 14B or Wan 2.2 I2V A14B.",
        ),
        (
            "i2v_a14b", {"start_image": tiny_wan.picture(1), "strength": 0.5},
            "strength is 0.5; Wan tiny was trained to keep its pictures as they are. Set 1.",
        ),
        (
            "flf2v", {"start_image": tiny_wan.picture(1)},
            "Wan tiny needs a first and a last picture. Connect start_image and end_image.",
        ),
        (
            "i2v", {"start_image": tiny_wan.picture(1)},
            "Wan tiny reads its picture through an image encoder too, and none is connected. Connect CLIP Vision "
            "Encode (with clip_vision_h, or the clip_vision of Load Video Model) to clip_vision_output of Video from "
            "Picture.",
        ),
    ],
)  # fmt: skip
def test_pictures_that_a_model_cannot_use(parts, kind, given, said):
    assert refusal(parts, kind, **given) == said


def test_a_family_without_pictures(parts):
    model, *_ = parts("plain")
    bare = replace(model.part.variant, family=replace(model.part.variant.family, images=None))
    model = replace(model, part=replace(model.part, variant=bare))
    assert refusal(parts, "plain", model=model, start_image=tiny_wan.picture(1)) == (
        "Wan tiny is a text-to-video model and cannot start from a picture. Use Empty Video Latent with it, or choose "
        "an image-to-video model."
    )


def test_every_familys_entries_and_mask_go_on(parts):
    """The node knows nothing of Wan: what the family makes of the pictures is handed on."""
    model, *_ = parts("plain")
    seen = []

    def prepare(variant, pictures):
        seen.append(pictures)
        return Guided({"frame_rate": 16.0}, torch.ones(1, 16, 3, 4, 4), torch.zeros(1, 1, 3, 4, 4))

    own = replace(model.part.variant, family=replace(model.part.variant.family, images=Images(prepare)))
    model = replace(model, part=replace(model.part, variant=own))
    image = tiny_wan.picture(1)
    (positive, _, latent, *_), _ = start(parts, "plain", model=model, start_image=image, strength=0.5)
    assert positive[0][1]["frame_rate"] == 16.0 and latent["noise_mask"].shape == (1, 1, 3, 4, 4)
    pictures = seen[0]
    assert (pictures.frames, pictures.strength, pictures.end, pictures.vision) == (9, 0.5, None, None)
    assert torch.equal(pictures.start[0, :, 0].permute(1, 2, 0), image[0] * 2 - 1)


def test_the_vae_of_another_model(parts):
    _, other, _, _ = parts("ti2v")
    assert refusal(parts, "i2v_a14b", vae=other, start_image=tiny_wan.picture(1)) == (
        "The VAE belongs to Wan tiny; Wan tiny needs wan_2.1_vae.safetensors. Connect the VAE of the same model."
    )


def test_the_vae_of_another_maker_is_told_by_its_latents(parts, monkeypatch):
    monkeypatch.setattr("opent2v.nodes.picture.host.encode", lambda vae, images: torch.zeros(1, 4, 9, 4, 4))
    assert refusal(parts, "i2v_a14b", vae=object(), start_image=tiny_wan.picture(1)) == (
        "The VAE makes latents of [4, 9, 4, 4]; Wan tiny needs [16, 3, 4, 4]. Connect the VAE of the same model."
    )


def test_a_model_of_another_loader(parts):
    assert refusal(parts, "plain", model=object()).startswith("No family here recognises this MODEL")


# --- from a video ---


def video(frames, width=32, height=32):
    return torch.cat([tiny_wan.picture(n, width, height) for n in range(frames)])


def encode(parts, kind="plain", **given):
    return call("OpenT2VEncodeVideo", vae=parts(kind)[1], **given)


def test_a_video_that_fits_is_encoded_whole(parts):
    images = video(9)
    (latent, *size), ui = encode(parts, images=images)
    assert size == [32, 32, 9] and ui["opent2v_remarks"] == ["32 x 32, 9 frames"]
    assert torch.equal(latent["samples"], embedded.encode(parts("plain")[1], images))
    assert latent["samples"].shape == (1, 16, 3, 4, 4)


def test_a_video_is_cut_to_a_legal_length_and_size(parts):
    (latent, *size), ui = encode(parts, images=video(8, 50, 31))
    assert size == [48, 32, 5] and latent["samples"].shape == (1, 16, 2, 4, 6)
    assert ui["opent2v_remarks"] == [
        "48 x 32, 5 frames",
        "The video 50 x 31 is scaled and cut to the centre to 48 x 32.",
        "The first 5 of 8 frames are used; the model makes 4n + 1.",
    ]
    assert torch.equal(latent["samples"], embedded.encode(parts("plain")[1], fit(video(8, 50, 31)[:5], 48, 32)))


@pytest.mark.parametrize(
    ("given", "size", "said"),
    [
        ({"frames": 5}, [32, 32, 5], "The first 5 of 9 frames are used."),
        ({"frames": 4}, [32, 32, 1], "The first 1 of 9 frames are used; the model makes 4n + 1."),
        ({"frames": 50}, [32, 32, 9], ""),
        ({"width": 16, "height": 48}, [16, 48, 9], "The video 32 x 32 is scaled and cut to the centre to 16 x 48."),
    ],
)
def test_size_and_length_asked_for(parts, given, size, said):
    (_, *used), ui = encode(parts, images=video(9), **given)
    assert used == size and "\n".join(ui["opent2v_remarks"][1:]) == said


def test_a_model_of_one_size_only(parts):
    _, vae, _, _ = parts("plain")
    variant = vae.part.variant
    only = replace(variant.video, geometry=replace(variant.geometry, only=(32, 32, 9)))
    vae = replace(vae, part=replace(vae.part, variant=replace(variant, streams=(only,))))
    (_, *used), _ = call("OpenT2VEncodeVideo", vae=vae, images=video(12, 48, 48))
    assert used == [32, 32, 9]
    with pytest.raises(FamilyError) as error:
        call("OpenT2VEncodeVideo", vae=vae, images=video(8))
    assert str(error.value) == "The video has 8 frames; this model makes only 9. Give it at least as many."


def test_the_video_comes_back_from_the_decoder(parts):
    """With the model's weights random, only the shapes and the way of the data can be asked."""
    (latent, *_), _ = encode(parts, images=video(9))
    (images, _), _ = call("OpenT2VDecode", vae=parts("plain")[1], latent=latent)
    assert images.shape == (9, 32, 32, 3)


def test_less_denoise_stays_nearer_to_the_video(parts):
    model, _, _, prompt = parts("plain")
    (latent, *_), _ = encode(parts, images=video(9))

    def change(denoise):
        given = {"model": model, "positive": prompt, "negative": prompt, "latent": latent, "denoise": denoise}
        (made, _), _ = call("OpenT2VSampler", **given, steps=4, cfg=1.0)
        return (made["samples"] - latent["samples"]).norm()

    found = [change(d) for d in (0.2, 0.5, 1.0)]
    assert found == sorted(found)


def test_a_vae_of_another_loader():
    with pytest.raises(FamilyError) as error:
        call("OpenT2VEncodeVideo", vae=object(), images=video(1))
    assert str(error.value) == (
        "This VAE was not loaded by an OpenT2V node, so the sizes it can encode are not known here. Load it with Load "
        "Video Model or Load Video VAE, or use ComfyUI's own VAE Encode for it."
    )
