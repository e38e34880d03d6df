"""Video References on the embedded host: what it makes, and what it refuses by name. Tests: nodes/references.py,
families/minimax_h3/references.py, base/references.py"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import FamilyError, VideoModel
from opent2v.base.references import Tail
from opent2v.families.minimax_h3 import FAMILY
from opent2v.families.minimax_h3.references import clip_size, whole_groups
from opent2v.families.minimax_h3.versions import of_parts
from opent2v.host import embedded
from opent2v.loaders import load_sound_vae, load_text, load_vae, open_file, open_text_files, text_file
from opent2v.nodes import references
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import minimax_h3_parts as tiny

VARIANT = of_parts(FAMILY, tiny.WIDTH)
SOUND = {"waveform": 0.3 * torch.randn(1, 1, 16000, generator=torch.Generator().manual_seed(1)), "sample_rate": 32000}
SIZE = {"width": 96, "height": 64, "frames": 22}


def pictures(frames: int, height: int = 64, width: int = 96, seed: int = 0) -> torch.Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))


class Words:
    pad_token_id = 0

    def __call__(self, text: str, **_):
        return SimpleNamespace(input_ids=[ord(letter) for letter in text])


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """MODEL, CLIP, VAE and audio VAE of tiny weights."""
    folder = tmp_path_factory.mktemp("h3")
    save_file(tiny.encoder(), folder / "encoder.safetensors")
    for name, weights in (("v", tiny.original_video_vae(tiny.video_vae())), ("a", tiny.plain_sound_vae())):
        save_file({n: w.contiguous() for n, w in weights.items()}, folder / f"{name}.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "tokenizer_of", lambda *_, **__: Words())
        text = load_text(open_text_files(folder / "encoder.safetensors"), VARIANT, torch.float32, lambda *_: None)
    return {
        "model": embedded.model(VideoModel(VARIANT, torch.nn.Linear(1, 1), folder)),
        "clip": embedded.clip(text),
        "vae": embedded.vae(load_vae(open_file(folder / "v.safetensors"), torch.float32)),
        "audio_vae": embedded.vae(load_sound_vae(open_file(folder / "a.safetensors"), torch.float32)),
    }


@pytest.fixture
def node(parts):
    def prepare(**inputs):
        return call("OpenT2VReferences", **{**parts, "prompt": "a man walks", **SIZE, **inputs})

    return prepare


def test_every_kind_stands_in_the_conditioning(node):
    (positive, latent, width, height, frames, fps), ui = node(
        picture_1=pictures(2, 80, 120), picture_3=pictures(1, 64, 64), clip_2=pictures(45), clip_sound_2=SOUND,
        sound_1=SOUND,
    )  # fmt: skip
    ((context, entries),) = positive
    blocks = entries["minimax_refs"]
    assert [block["kind"] for block in blocks] == ["image", "image", "video_audio", "audio"]
    assert blocks[0]["latent"].shape == (1, 24, 1, 4, 6) and blocks[1]["latent"].shape == (1, 24, 1, 4, 4)
    assert blocks[2]["latent"].shape == (1, 24, 7, 4, 6)  # no more frames than the video has
    assert blocks[2]["ref_audio_t"] == blocks[3]["ref_audio_t"] == 20
    assert blocks[3]["audio_latent"].shape == (1, 32, 2, 20)
    assert (width, height, frames, fps) == (96, 64, 22, 24.0)
    assert [tuple(s.shape) for s in latent["samples"].unbind()] == [(1, 24, 7, 4, 6), (1, 32, 2, 37)]
    tags = entries["minimax_token_tags"]
    assert len(tags) == context.shape[1] and int((tags == 0).sum()) == (6 + 2) + (4 + 2) + (6 + 2)
    said = remarks(ui)
    assert "<Picture 1>: 96 x 64" in said and "<Picture 2>: 64 x 64" in said
    assert "<Video 1>: 96 x 64, 22 of 45 frames, its sound is <Audio 1>" in said and "<Audio 2>: 0.5 s" in said


def test_the_prompt_node_shows_pictures(parts):
    given = {"clip": parts["clip"], "positive": "a man walks", "negative": "blurry"}
    (plain, _), _ = call("OpenT2VEncodePrompt", **given)
    (seeing, avoided), _ = call("OpenT2VEncodePrompt", **given, pictures=pictures(2, 64, 64))
    label = len("<Picture 1>: ")
    assert seeing[0][0].shape[1] == plain[0][0].shape[1] + 2 * (label + 4 + 2)
    assert int((seeing[0][1]["minimax_token_tags"] == 0).sum()) == 2 * (4 + 2)
    assert avoided[0][0].shape[1] == len("blurry") + 2 * (label + 4 + 2)


def test_roles_stand_in_front_of_the_prompt(node, parts, monkeypatch):
    prompts = []
    embed = references.host.embed
    monkeypatch.setattr(
        references.host, "embed", lambda clip, text, shown: prompts.append(text) or embed(clip, text, shown)
    )
    node(picture_1=pictures(1), roles="picture 1: the man's face.\n\n<Picture 1>: his coat")
    assert prompts == ["<Picture 1> is the man's face. <Picture 1> is his coat. a man walks"]
    with pytest.raises(FamilyError, match=r"'Video 1: a walk', which names no connected .*; there are: Picture 1\."):
        node(picture_1=pictures(1), roles="Video 1: a walk")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "No reference is connected"),
        ({"sound_2": SOUND}, "hears sounds only beside a picture or a clip"),
        ({"clip_1": pictures(4)}, r"clip_1 has 4 frames; a clip needs 5 at 24 fps"),
        ({"clip_1": pictures(12), "clip_fps": 72.0}, r"clip_1 has 4 frames; a clip needs 5 at 24 fps"),
        ({"picture_1": pictures(1, 20, 300)}, "picture_1 is 300 x 20 pixels; a reference has at least 32"),
        ({"picture_1": pictures(1), "clip_sound_1": SOUND}, "clip_sound_1 is connected and clip_1 is not"),
        ({"picture_1": pictures(1), "sound_1": SOUND, "audio_vae": None}, "sound_1 is connected and audio_vae is not"),
        (
            {"picture_1": pictures(1), "sound_1": {"waveform": torch.zeros(1, 1, 0), "sample_rate": 32000}},
            "A sound is empty",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_computed(node, inputs, said, monkeypatch):
    if "A sound is empty" not in said:
        monkeypatch.setattr(references.host, "encode", lambda *_: pytest.fail("a picture was encoded"))
    with pytest.raises(FamilyError, match=said):
        node(**inputs)


def test_picture_and_sound_are_decoded_and_saved_in_step(parts, tmp_path):
    """22 frames and 37 latents of sound: they end within half a frame of each other, in the file as well."""
    import av

    embedded.configure(models=tmp_path, output=tmp_path / "output")
    dice = torch.Generator().manual_seed(3)
    streams = [torch.randn(1, *stream.latent_shape(96, 64, 22, 24.0), generator=dice) for stream in VARIANT.streams]
    latent = {"samples": embedded.nested(streams)}
    given = {"vae": parts["vae"], "latent": latent, "audio_vae": parts["audio_vae"]}
    (frames, audio), _ = call("OpenT2VDecode", **given)
    assert frames.shape == (22, 64, 96, 3) and audio["sample_rate"] == 32000
    assert audio["waveform"].shape == (1, 2, 29600) and abs(29600 / 32000 - 22 / 24) < 0.5 / 24
    call("OpenT2VDecodeToVideo", **given, fps=24.0, filename_prefix="film")
    (file,) = (tmp_path / "output").rglob("*.mp4")
    with av.open(file) as film:
        assert len(list(film.decode(video=0))) == 22 and film.streams.audio[0].rate == 32000
    with av.open(file) as film:
        samples = sum(frame.samples for frame in film.decode(audio=0))
    assert abs(samples / 32000 - 22 / 24) < 1 / 24 + 1024 / 32000
    with pytest.raises(ValueError, match="audio_vae is a VAE for pictures"):
        call("OpenT2VDecode", **given | {"audio_vae": parts["vae"]})
    with pytest.raises(ValueError, match="vae is an audio VAE"):
        call("OpenT2VDecode", **given | {"vae": parts["audio_vae"]})


def test_the_audio_vae_of_another_model_is_refused(node, tmp_path):
    from opent2v.tests.tiny import ltx2

    save_file({n: w.contiguous() for n, w in ltx2.sound_vae("2.0").items()}, tmp_path / "a.safetensors")
    other = embedded.vae(load_sound_vae(open_file(tmp_path / "a.safetensors"), torch.float32))
    with pytest.raises(FamilyError, match="audio_vae has latents of 8 channels; MiniMax H3 needs 32"):
        node(picture_1=pictures(1), sound_1=SOUND, audio_vae=other)


def test_parts_of_other_kinds_and_models_are_refused_by_name(node, parts):
    with pytest.raises(FamilyError, match="audio_vae is a VAE for pictures"):
        node(picture_1=pictures(1), sound_1=SOUND, audio_vae=parts["vae"])
    with pytest.raises(ValueError, match="vae is an audio VAE"):
        node(picture_1=pictures(1), vae=parts["audio_vae"])
    from opent2v.families import families
    from opent2v.tests.tiny import ltx2

    other = embedded.model(VideoModel(ltx2.variant_of("2.3")[1], torch.nn.Linear(1, 1), parts["vae"].part.path))
    with pytest.raises(FamilyError, match=r"LTX-2 2.3 makes no video after references\. These models do: MiniMax H3"):
        node(picture_1=pictures(1), model=other)
    part = parts["clip"].part
    words = replace(VARIANT, family=replace(VARIANT.family, text=families()["mochi"].text))
    with pytest.raises(FamilyError, match="This CLIP reads words only; MiniMax H3 needs qwen3vl_32b"):
        node(picture_1=pictures(1), clip=replace(parts["clip"], part=replace(part, variant=words)))


@pytest.mark.parametrize(("overlap", "kept", "sounds"), [(22, 22, 36), (30, 22, 36), (4, 1, 1), (39, 39, 65)])
def test_a_clip_goes_on_from_its_end_with_its_sound(parts, overlap, kept, sounds):
    """Continue Video writes the end as a keyframe of whole groups, its sound encoded from the waveform."""
    clip, rate = pictures(60), 32000
    audio = {"waveform": 0.3 * torch.randn(1, 1, 60 * rate // 24), "sample_rate": rate}
    prompt = [[torch.zeros(1, 3, tiny.WIDTH), {"minimax_token_tags": torch.ones(3)}]]
    results, ui = call(
        "OpenT2VContinue", model=parts["model"], vae=parts["vae"], positive=prompt, negative=prompt, frames=56,
        overlap=overlap, images=clip, audio=audio, audio_vae=parts["audio_vae"],
    )  # fmt: skip
    positive, negative, latent, shared, frames, fps = results
    (keyframe,) = positive[0][1]["minimax_keyframes"]
    assert negative[0][1]["minimax_keyframes"][0] is keyframe and "minimax_token_tags" in positive[0][1]
    assert (shared, frames, fps, keyframe["resolved_frame_index"]) == (kept, 56, 24.0, 0)
    assert torch.equal(keyframe["latent"], embedded.encode(parts["vae"], clip[-kept:]))
    assert keyframe["audio_latent"].shape == (1, 32, 2, sounds)
    tail = audio["waveform"][..., -(kept * rate // 24) :].expand(-1, 2, -1)
    heard = embedded.audio_decoder(parts["audio_vae"]).encode({"waveform": tail, "sample_rate": rate})
    if kept == 39:  # the only length of these that begins at a whole sample
        assert torch.equal(keyframe["audio_latent"], heard[..., :sounds])
    assert [tuple(s.shape) for s in latent["samples"].unbind()] == [(1, 24, 17, 4, 6), (1, 32, 2, 93)]
    assert "noise_mask" not in latent and "their sound encoded anew" in remarks(ui)


def test_a_tail_that_cannot_be_used_is_refused(parts):
    continuation = VARIANT.family.continuation
    encode = lambda images: pytest.fail("a tail was encoded")  # noqa: E731
    with pytest.raises(FamilyError, match=r"goes on from one frame or 17n \+ 5 of them, up to 158; 7 are there"):
        continuation.prepare(VARIANT, Tail(pictures(7), None, encode), 56)
    with pytest.raises(FamilyError, match="The tail has 22 frames and the video 22: nothing is left to make"):
        continuation.prepare(VARIANT, Tail(pictures(22), None, encode), 22)
    with pytest.raises(FamilyError, match="there is no audio VAE to encode it"):
        continuation.prepare(VARIANT, Tail(pictures(5), SOUND, lambda images: images), 56)


@pytest.mark.parametrize(("rate", "frames"), [(24.0, 30), (12.0, 60), (30.0, 24), (48.0, 15)])
def test_clips_come_to_the_models_rate(rate, frames):
    clip = torch.arange(30.0).view(-1, 1, 1, 1).expand(-1, 1, 1, 3)
    brought = references.at_rate(clip, rate, 24.0)
    assert len(brought) == frames
    times = brought[:, 0, 0, 0] / rate - torch.arange(frames) / 24
    assert times.abs().max() <= 0.5 / rate + 1e-6


def test_clips_have_the_makers_sizes_and_lengths():
    assert [whole_groups(n) for n in (5, 21, 22, 124, 130)] == [5, 5, 22, 124, 124]
    assert clip_size(1920, 1080) == (1344, 768) and clip_size(1080, 1920) == (768, 1344)
    assert clip_size(300, 200) == (288, 192) and clip_size(768, 768) == (768, 768)
