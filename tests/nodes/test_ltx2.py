"""LTX-2 from its files to a saved video with its sound, by the pack's nodes on the embedded host.

Tests: families/ltx2, nodes/load_files.py, nodes/picture.py, nodes/sound.py
"""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import save_file

from opent2v.base import FamilyError
from opent2v.base.packed import PackedTensor
from opent2v.host import embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.tests.loaders import gguf_files
from opent2v.tests.nodes.calls import call, remarks
from opent2v.tests.tiny import ltx2 as tiny
from opent2v.tests.tiny import ltx2_folders as folders
from opent2v.tests.tiny import packed

PROMPT = "a red circle moves to the right"
SIZE = {"width": 96, "height": 64, "frames": 17}


@pytest.fixture(params=["2.0", "2.3", "2.5"])
def version(request, tmp_path):
    """A version whose files lie in models/."""
    models = tmp_path / "models"
    embedded.configure(models=models, output=tmp_path / "output")
    for folder in ("checkpoints", "text_encoders", "diffusion_models", "vae"):
        (models / folder).mkdir(parents=True)
    tensors = {name: tensor.contiguous() for name, tensor in tiny.all_in_one(request.param).items()}
    save_file(tensors, models / "checkpoints/ltx.safetensors")
    save_file(tiny.gemma4() if request.param == "2.5" else tiny.gemma(), models / "text_encoders/gemma.safetensors")
    return request.param


def loaded():
    """(MODEL, CLIP, VAE, audio VAE) of the all-in-one file and the Gemma beside it."""
    (model, _, vae, audio_vae), _ = call("OpenT2VLoadDiffusionModel", file="ltx.safetensors")
    (clip,), _ = call("OpenT2VLoadTextEncoder", model=model, file="gemma.safetensors")
    return model, clip, vae, audio_vae


def test_a_video_with_its_sound_comes_out_of_the_files(version, tmp_path):
    import av

    model, clip, vae, audio_vae = loaded()
    (positive, negative), _ = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)
    (latent, *_), ui = call("OpenT2VEmptyLatent", model=model, **SIZE, fps=24.0)
    assert "With sound" in remarks(ui)
    (result, _), _ = call(
        "OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, seed=1, steps=3
    )
    assert [tuple(stream.shape) for stream in result["samples"].unbind()] == [(1, 128, 3, 2, 3), (1, 8, 18, 16)]
    (frames, audio), _ = call("OpenT2VDecode", vae=vae, latent=result, audio_vae=audio_vae)
    rate = 24000 if version == "2.0" else 48000
    assert frames.shape == (17, 64, 96, 3) and audio["sample_rate"] == rate
    assert audio["waveform"].shape == (1, 2, (4 * 18 - 3) * rate // 100)
    call("OpenT2VDecodeToVideo", vae=vae, latent=result, fps=24.0, filename_prefix="film", audio_vae=audio_vae)
    (file,) = (tmp_path / "output").rglob("*.mp4")
    with av.open(file) as film:
        assert len(list(film.decode(video=0))) == 17 and film.streams.audio[0].rate == rate
    with av.open(file) as film:
        samples = sum(frame.samples for frame in film.decode(audio=0))
    assert abs(samples / rate - 17 / 24) < 1 / 24 + 1024 / rate


def test_pictures_are_first_and_last_frames(version):
    model, clip, vae, _ = loaded()
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)[0]
    pictures = [torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    given = {"model": model, "vae": vae, "positive": positive, "negative": negative, **SIZE}
    results, _ = call("OpenT2VImageToVideo", **given, start_image=pictures[0], end_image=pictures[1])
    seen, avoided, latent, *_, fps = results
    video, sound = latent["samples"].unbind()
    assert video.shape == (1, 128, 4, 2, 3) and sound.shape == (1, 8, 18, 16) and fps == 24.0
    assert latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 1, 1, 0]
    (result, _), _ = call(
        "OpenT2VSampler", model=model, positive=seen, negative=avoided, latent=latent, seed=1, steps=2, cfg=2.0
    )
    made, _ = result["samples"].unbind()
    assert made.shape == (1, 128, 3, 2, 3) and "noise_mask" not in result
    assert torch.equal(made[:, :, 0], video[:, :, 0])


def test_a_sound_is_kept_and_the_picture_is_made_to_it(version):
    model, clip, _, audio_vae = loaded()
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)[0]
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model, **SIZE, fps=24.0)
    audio = {"waveform": 0.3 * torch.randn(1, 1, 48000), "sample_rate": 48000}
    (heard,), ui = call("OpenT2VEncodeAudio", audio_vae=audio_vae, audio=audio, latent=latent)
    assert "longer than the video" in remarks(ui)
    given = {"model": model, "positive": positive, "negative": negative, "seed": 1, "steps": 2, "cfg": 2.0}
    (result, _), _ = call("OpenT2VSampler", latent=heard, **given)
    (plain, _), _ = call("OpenT2VSampler", latent=latent, **given)
    assert torch.equal(result["samples"].unbind()[1], heard["samples"].unbind()[1])
    assert (result["samples"].unbind()[0] - plain["samples"].unbind()[0]).abs().max() > 1e-3


def test_the_four_passes_guide_both_streams(version):
    model, clip, *_ = loaded()
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)[0]
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model, **SIZE, fps=24.0)
    given = {"model": model, "positive": positive, "negative": negative, "latent": latent, "seed": 1, "steps": 2}
    results = {}
    for name, settings in (
        ("plain", {}),
        ("sound", {"sound_cfg": 7.0}),
        ("stg", {"stg": 1.0, "stg_blocks": "1"}),
        ("modality", {"modality": 3.0}),
        ("rescale", {"cfg_rescale": 0.7}),
        ("all", {"sound_cfg": 7.0, "stg": 1.0, "stg_blocks": "1", "modality": 3.0, "cfg_rescale": 0.7}),
    ):
        (guidance,), _ = call("OpenT2VGuidance", **settings)
        (result, report), _ = call("OpenT2VSampler", **given, cfg=3.0, guidance=guidance)
        results[name] = result["samples"].unbind(), report
    plain, _ = results.pop("plain")
    for name, (streams, _) in results.items():
        assert all(torch.isfinite(stream).all() for stream in streams)
        assert (streams[1] - plain[1]).abs().max() > 1e-4, name
        assert (streams[0] - plain[0]).abs().max() > 1e-5, name
    assert "sound cfg 7" in results["all"][1] and "modality guidance 3" in results["all"][1]


def test_a_lora_in_the_makers_names_reaches_both_streams(version, tmp_path):
    model, clip, *_ = loaded()
    width = tiny.variant_of(version)[0]["cross_attention_dim"]
    (tmp_path / "models/loras").mkdir()
    lora = {}
    for stem, size in (
        ("diffusion_model.transformer_blocks.1.audio_to_video_attn.to_q", (width // 2, width)),
        ("diffusion_model.adaln_single.linear", ((6 if version == "2.0" else 9) * width, width)),
        ("diffusion_model.video_embeddings_connector.transformer_1d_blocks.0.ff.net.2", None),
    ):
        rows, columns = size or tiny.transformer(version)["video_connector.transformer_blocks.0.ff.net.2.weight"].shape
        lora |= {f"{stem}.lora_A.weight": torch.randn(2, columns), f"{stem}.lora_B.weight": torch.randn(rows, 2)}
    save_file(lora, tmp_path / "models/loras/one.safetensors")
    (changed, _, verdict, *_), _ = call("OpenT2VLoadLora", model=model, lora="one.safetensors")
    assert "3 of 3 match" in verdict
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)[0]
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model, **SIZE, fps=24.0)
    given = {"positive": positive, "negative": negative, "latent": latent, "seed": 1, "steps": 2, "cfg": 1.0}
    plain, other = (call("OpenT2VSampler", model=m, **given)[0][0]["samples"].unbind() for m in (model, changed))
    for one, another in zip(plain, other, strict=True):
        assert torch.isfinite(another).all() and (one - another).abs().max() > 1e-4


@pytest.mark.parametrize("policy", ["first block", "easycache", "seacache"])
def test_a_step_cache_reuses_steps_of_both_streams(version, policy):
    model, clip, *_ = loaded()
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)[0]
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model, **SIZE, fps=24.0)
    given = {"model": model, "positive": positive, "negative": negative, "latent": latent, "seed": 1, "steps": 6}
    (cache,), _ = call("OpenT2VStepCache", policy=policy)
    (result, report), _ = call("OpenT2VSampler", **given, cfg=2.0, step_cache=cache)
    assert all(torch.isfinite(stream).all() for stream in result["samples"].unbind()) and "Step cache" in report


@pytest.mark.parametrize("kind", ["fp8", "int8_convrot", "nvfp4"])
def test_files_in_few_bits_sample_what_their_numbers_do(version, tmp_path, kind):
    """As people have them: the transformer alone or with all else, under Lightricks' prefix."""
    files = tmp_path / "models/checkpoints"
    tensors = {name: tensor.contiguous() for name, tensor in tiny.all_in_one(version).items()}
    inside = [
        name for name in tensors if name.startswith(f"{tiny.PREFIX}transformer_blocks") and name[-7:] == ".weight"
    ]
    is_matrix = {name for name in inside if packed.fits(tensors[name], kind)}
    assert len(is_matrix) > 20
    numbers = packed.write(files / "packed.safetensors", tensors, lambda name: kind if name in is_matrix else "")
    packed.write(files / "plain.safetensors", numbers, "")
    made = []
    for file in ("packed", "plain"):
        (model, *_), ui = call("OpenT2VLoadDiffusionModel", file=f"{file}.safetensors")
        (latent, *_), _ = call("OpenT2VEmptyLatent", model=model, **SIZE, fps=24.0)
        (clip,), _ = call("OpenT2VLoadTextEncoder", model=model, file="gemma.safetensors")
        positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)[0]
        (result, _), _ = call(
            "OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, seed=1, steps=2, cfg=2.0
        )
        made.append(result["samples"].unbind())
        names = dict(model.part.transformer.named_parameters())
        held = [name for name, weight in names.items() if isinstance(weight, PackedTensor)]
        assert len(held) == (len(is_matrix) if file == "packed" else 0)
        assert (kind.replace("_", " ") in remarks(ui)) is (file == "packed")
    for small, whole in zip(*made, strict=True):
        assert (small - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_a_gguf_takes_its_connectors_from_the_file_beside_it(version, tmp_path):
    """As city96's converter writes them: no prefix, matrices in blocks; the connectors in a file of their own."""
    models = tmp_path / "models"
    weights = tiny.originals(tiny.transformer(version))
    connectors = {name: tensor.contiguous() for name, tensor in weights.items() if "connector" in name}
    save_file(connectors, models / "text_encoders/connectors.safetensors")
    is_matrix = {
        name for name, tensor in weights.items()
        if name.startswith("transformer_blocks") and tensor.ndim == 2 and tensor.shape[1] % 32 == 0
        and name.endswith(".weight")
    }  # fmt: skip
    stored = {
        name: gguf_files.random_blocks("Q8_0", tensor.shape) if name in is_matrix else tensor
        for name, tensor in weights.items() if name not in connectors
    }  # fmt: skip
    gguf_files.write(models / "diffusion_models/ltx.gguf", stored)
    with pytest.raises(FamilyError, match="Choose the file that has them"):
        call("OpenT2VLoadDiffusionModel", file="ltx.gguf")
    (model, *_), ui = call("OpenT2VLoadDiffusionModel", file="ltx.gguf", connectors="connectors.safetensors")
    assert "GGUF Q8_0" in remarks(ui)
    held = [weight for weight in model.part.transformer.parameters() if isinstance(weight, PackedTensor)]
    assert len(held) == len(is_matrix) > 20
    (whole, clip, *_) = loaded()
    network, plain = model.part.transformer, whole.part.transformer
    assert torch.equal(
        network.get_parameter("video_connector.learnable_registers"),
        plain.get_parameter("video_connector.learnable_registers"),
    )
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)[0]
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model, **SIZE, fps=24.0)
    given = {"model": model, "positive": positive, "negative": negative, "latent": latent, "seed": 1, "steps": 2}
    (result, _), _ = call("OpenT2VSampler", **given, cfg=2.0)
    assert all(torch.isfinite(stream).all() and stream.std() > 0.1 for stream in result["samples"].unbind())


def test_a_picture_only_run_plans_no_guidance_by_sound():
    from opent2v.sampling import Guidance, SamplerRequest, SamplingError, plan_run

    variant = tiny.variant_of("2.3")[1]
    full = tiny.make_variant(variant.family, tiny.variant_of("2.3")[0], {}, "ltx-2.3-dev.safetensors")
    shape = 1, 128, 3, 4, 6
    names = [
        [
            guide_pass.name
            for guide_pass in plan_run(full, SamplerRequest(), shape, None, None, None, has_sound).steps[0].passes
        ]
        for has_sound in (True, False)
    ]
    assert names == [["negative", "positive"]] * 2
    guides = [
        plan_run(full, SamplerRequest(), shape, None, None, None, has_sound).steps[0].guides
        for has_sound in (True, False)
    ]
    assert [type(guide).__name__ for guide in guides[0]] == ["SoundCfg"] and guides[1] == ()
    for settings in (Guidance(modality=3.0), Guidance(sound_cfg=7.0)):
        with pytest.raises(SamplingError, match="the latent holds a picture only"):
            plan_run(full, SamplerRequest(guidance=settings), shape, None, None, None, False)


def test_pictures_at_any_frame_are_appended_and_taken_off(version):
    model, clip, vae, _ = loaded()
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)[0]
    pictures = torch.rand(2, 64, 96, 3, generator=torch.Generator().manual_seed(1))
    given = {"model": model, "vae": vae, "positive": positive, "negative": negative, **SIZE}
    results, _ = call(
        "OpenT2VImageToVideo", **given, middle_images=pictures, middle_frames="5, 12", start_image=pictures[:1]
    )
    seen, _, latent, *_ = results
    assert latent["samples"].unbind()[0].shape == (1, 128, 5, 2, 3)
    starts = seen[0][1]["keyframe_idxs"][0, 0, :, 0].reshape(2, -1)
    assert starts[0].unique().tolist() == [5.0] and starts[1].unique().tolist() == [12.0]
    (result, _), _ = call(
        "OpenT2VSampler", model=model, positive=seen, negative=negative, latent=latent, seed=1, steps=2, cfg=1.0
    )
    assert result["samples"].unbind()[0].shape == (1, 128, 3, 2, 3)
    for frames in ("5", "0, 5", "5, 17", "five, 6"):
        with pytest.raises(
            ValueError, match=r"middle_frames is .*; expected the frame of each of the 2 middle_images, from 1 to 16"
        ):
            call("OpenT2VImageToVideo", **given, middle_images=pictures, middle_frames=frames)


def test_a_second_run_starts_from_a_larger_latent_with_its_picture(version, tmp_path):
    model, clip, vae, _ = loaded()
    (tmp_path / "models/latent_upscale_models").mkdir()
    weights = {name: tensor.contiguous() for name, tensor in tiny.upscaler("spatial").items()}
    save_file(weights, tmp_path / "models/latent_upscale_models/x2.safetensors")
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)[0]
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model, **SIZE, fps=24.0)
    words = {"positive": positive, "negative": negative}
    (first, _), _ = call("OpenT2VSampler", model=model, **words, latent=latent, seed=1, steps=2, cfg=1.0)
    (larger,), _ = call("OpenT2VUpscaleLatent", latent=first, vae=vae, file="x2.safetensors")
    picture = torch.rand(1, 128, 192, 3, generator=torch.Generator().manual_seed(1))
    (seen, avoided, both, width, height, frames, _), _ = call(
        "OpenT2VImageToVideo",
        model=model,
        vae=vae,
        **words,
        width=0,
        height=0,
        frames=0,
        start_image=picture,
        latent=larger,
    )
    assert (width, height, frames) == (192, 128, 17)
    video, sound = both["samples"].unbind()
    assert torch.equal(video[:, :, 1:], larger["samples"].unbind()[0][:, :, 1:])
    assert torch.equal(sound, first["samples"].unbind()[1]) and both["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 1, 1]
    (second, report), _ = call(
        "OpenT2VSampler", model=model, positive=seen, negative=avoided, latent=both, seed=2, cfg=1.0,
        sigmas="0.85, 0.725, 0.421875",
    )  # fmt: skip
    made = second["samples"].unbind()
    assert made[0].shape == (1, 128, 3, 4, 6) and "3 steps" in report and torch.equal(made[0][:, :, 0], video[:, :, 0])
    assert (made[0][:, :, 1:] - video[:, :, 1:]).abs().max() > 1e-2 and (made[1] - sound).abs().max() > 1e-2


def test_the_sound_in_the_file_is_in_step(version, tmp_path):
    """The file's sound against the decoded one, shifted until they agree: a vocoder's noise agrees in one place."""
    import av
    import numpy as np

    if version == "2.0":
        pytest.skip("its tiny vocoder makes a sound that repeats itself")
    *_, vae, audio_vae = loaded()
    generator = torch.Generator().manual_seed(1)
    picture, sound = torch.randn(1, 128, 7, 2, 2, generator=generator), torch.randn(1, 8, 51, 16, generator=generator)
    latent = {"samples": embedded.nested([picture, sound])}
    (frames, audio), _ = call("OpenT2VDecode", vae=vae, latent=latent, audio_vae=audio_vae)
    call("OpenT2VDecodeToVideo", vae=vae, latent=latent, fps=24.0, filename_prefix="film", audio_vae=audio_vae)
    (file,) = (tmp_path / "output").rglob("*.mp4")
    with av.open(file) as film:
        read = np.concatenate([frame.to_ndarray() for frame in film.decode(audio=0)], 1)[0]
        rate = film.streams.audio[0].rate
    heard, second = audio["waveform"][0, 0].numpy(), audio["sample_rate"]
    assert rate == second and len(frames) == 49 and abs(len(read) / rate - 49 / 24) < 1 / 24
    middle, reach = heard[second // 2 : second], rate // 24  # half a second, looked for up to a video frame away
    likeness = [float(middle @ read[second // 2 + lag :][: len(middle)]) for lag in range(-reach, reach + 1)]
    assert abs(int(np.argmax(likeness)) - reach) <= rate // 1000, "in step to a millisecond"


def test_a_video_with_its_sound_comes_out_of_a_folder(tmp_path):
    folder = tmp_path / "models" / "diffusers"
    folder.mkdir(parents=True)
    shutil.copytree(folders.folder("2.3"), folder / "maker" / "ltx")
    embedded.configure(models=tmp_path / "models", output=tmp_path / "output")
    (model, clip, vae, *_), ui = call("OpenT2VLoadModel", model="maker/ltx")
    assert "choose this folder's audio_vae in Load Video VAE" in remarks(ui)
    choices = NODE_CLASS_MAPPINGS["OpenT2VLoadVAE"].INPUT_TYPES()["required"]["file"][0]
    assert choices[-1] == "maker/ltx/audio_vae"
    (audio_vae,), ui = call("OpenT2VLoadVAE", file="maker/ltx/audio_vae")
    assert remarks(ui) == "Audio VAE of LTX-2 tiny, with the vocoder of its folder"
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry", fps=24.0)[0]
    latent = call("OpenT2VEmptyLatent", model=model, **SIZE, fps=24.0)[0][0]
    inputs = {"model": model, "positive": positive, "negative": negative, "latent": latent}
    (result, _), _ = call("OpenT2VSampler", **inputs, seed=1, steps=2)
    (frames, audio), _ = call("OpenT2VDecode", vae=vae, latent=result, audio_vae=audio_vae)
    assert frames.shape == (17, 64, 96, 3) and frames.std() > 0.01
    assert audio["sample_rate"] == 48000 and audio["waveform"].shape == (1, 2, (4 * 18 - 3) * 480)
