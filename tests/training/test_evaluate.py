"""The evaluation with a model that knows everything, and with one that knows a part."""

from __future__ import annotations

import json

import pytest
import torch

from opent2v.training import captions, evaluate, score, world
from opent2v.training.world import Dice


def knowing(change=lambda scene: scene) -> evaluate.Source:
    """A source whose "latents" are 16-pixel-coarse videos of what the prompt says, after `change`."""
    known = {captions.plain(s, language): s for s in world.scenes() for language in captions.LANGUAGES}

    def embed(text: str) -> torch.Tensor:
        if text not in known:
            return torch.zeros(1, 1, 3 * 9 * 32 * 32)
        return world.render([world.take(change(known[text]), Dice(0))], 32, 9).flatten()[None, None]

    return evaluate.Source(
        name="knowing",
        embed=embed,
        denoised=lambda x, sigma, context: context.view(-1, 3, 9, 32, 32),
        decode=lambda latent: latent,
        scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
        shape=(3, 9, 32, 32),
        steps=2,
        cfg=1.0,
        negative="",
    )


def test_a_model_that_knows_everything_has_all_right():
    scenes = world.split()[1][:8]
    found = list(evaluate.evaluate(knowing(), scenes, "zh", batch=3, seeds=2))
    records = [record for record, _ in found]
    assert evaluate.shares(records) == {"colour": 100, "background": 100, "motion": 100, "shape": 100, "all": 100}
    assert [r["seed"] for r in records] == [*range(8), *range(1000, 1008)]
    assert records[0]["prompt"] == captions.plain(scenes[0], "zh")
    assert found[0][1].shape == (3, 9, 32, 32)
    json.dumps(records)


def test_what_is_taken_for_what_is_counted():
    def change(scene):
        return world.Scene("square", scene.colour, "left" if scene.motion == "right" else scene.motion, "black")

    scenes = world.split()[1][:12]
    records = [record for record, _ in evaluate.evaluate(knowing(change), scenes, "en")]
    shares = evaluate.shares(records)
    squares = sum(s.shape == "square" for s in scenes)
    assert shares["shape"] == pytest.approx(100 * squares / 12) and shares["colour"] == 100
    assert {name: dict(c) for name, c in evaluate.confusion(records, "shape").items()} == {
        shape: {"square": sum(s.shape == shape for s in scenes)} for shape in {s.shape for s in scenes}
    }
    table = evaluate.report(records)
    assert "  right         0 of" in table and "left" in table.split("  right ")[1].splitlines()[0]


def test_noise_is_that_of_each_clip_alone():
    class Kept(Exception):
        pass

    seen = []

    def keep(x, sigma, context):
        seen.append(x)
        raise Kept

    source = evaluate.Source(**{**vars(knowing()), "denoised": keep})
    for seeds in ([4, 9], [9]):
        with pytest.raises(Kept):
            evaluate.render(source, [""] * len(seeds), seeds)
    assert torch.equal(seen[0][1:], seen[1])


def test_a_first_picture_is_kept_and_told_from_what_is_made_anew():
    seen = []

    def denoised(x, sigma, context, denoise_mask):
        seen.append((x[:, :, :1], denoise_mask))
        return context.view(-1, 3, 9, 32, 32)

    changes = {"denoised": denoised, "encode": lambda pictures: pictures / 2, "size": 32}
    source = evaluate.Source(**{**vars(knowing()), **changes, "decode": lambda latent: latent * 2, "cfg": 3.0})
    (record, video), *_ = evaluate.evaluate(source, world.split()[1][:1], "en", pictures=True)
    picture = world.render([world.take(world.split()[1][0], Dice(evaluate.FIRST_PICTURES))], 32, 1)
    assert len(seen) == 4  # two steps, with the prompt and with the negative one
    for first, denoise_mask in seen:
        assert torch.equal(first, picture / 2)
        assert denoise_mask.shape == (1, 1, 9, 32, 32)
        assert not denoise_mask[:, :, 0].any() and denoise_mask[:, :, 1:].all()
    torch.testing.assert_close(video[:, :1], picture[0], atol=1e-6, rtol=0)
    assert record["first_frame"] > 80 and "comes back at" in evaluate.report([record])


def test_a_model_of_words_refuses_a_picture():
    with pytest.raises(ValueError, match="knowing makes video from words only"):
        evaluate.render(knowing(), [""], [1], pictures=torch.zeros(1, 3, 1, 32, 32))


def test_records_say_how_crisp_a_clip_is():
    (record, _), *_ = evaluate.evaluate(knowing(), world.split()[1][:1], "en")
    assert record["crisp"]["edges"] > 0.9 and record["crisp"]["grain"] < 0.5
    assert "of the drawn truth's; ground: grain" in evaluate.report([record])


def test_the_sheet_has_a_row_for_each_clip(tmp_path):
    from PIL import Image

    evaluate.save_sheet([torch.zeros(3, 9, 32, 32)] * 4, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (5 * 32, 4 * 32)


def test_the_bars_name_attributes():
    assert set(evaluate.BARS) == set(score.ATTRIBUTES)
