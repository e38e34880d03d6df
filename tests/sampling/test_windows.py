"""Windows over time: which frames they show, how their results are weighted, and the noise they start from."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from opent2v.base import FamilyError
from opent2v.sampling import SamplingError
from opent2v.sampling.windows import BLENDINGS, SCHEDULES, Window, Windows, beside, blended
from opent2v.tests.tiny import wan as tiny


def of(length, overlap, **settings) -> Windows:
    """Resolved windows of so many latent frames."""
    return Windows(length, overlap, **settings).resolved(1, 0)


# --- from video frames to latent frames ---


def test_video_frames_become_latent_frames():
    windows = Windows(81, 30).resolved(4, 17)
    assert (windows.length, windows.overlap) == (21, 7)


def test_the_models_own_length_and_a_third_of_it_are_the_defaults():
    windows = Windows().resolved(4, 33)
    assert (windows.length, windows.overlap) == (9, 3)


def test_lengths_are_multiples_of_what_the_model_takes_at_once():
    windows = Windows(45, 12).resolved(4, 81, 2)
    assert (windows.length, windows.overlap) == (12, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "often"}, "No schedule of windows is called 'often'. Choose one of: static, uniform, looped."),
        ({"blending": "soft"}, "No blending of windows is called 'soft'. Choose one of: pyramid, overlap-linear, flat"),
        ({"length": -1}, "a length of -1 and an overlap of -1 frames; expected a length of 0"),
        ({"overlap": -2}, "an overlap of -2 frames"),
        ({"length": 17, "overlap": 20}, "Windows of 17 frames that overlap by 20 never get on: that is 5 of 5 latent"),
        ({"lead_in": True, "patch_frames": 2}, "This model takes 2 latent frames at once"),
        ({"trained": 0}, "The length that this MODEL was trained for is not known here. Set length"),
    ],
)
def test_bad_settings_are_named(settings, message):
    resolving = {name: settings.pop(name) for name in ("patch_frames", "trained") if name in settings}
    with pytest.raises(SamplingError, match=message):
        Windows(**settings).resolved(**{"temporal": 4, "trained": 17} | resolving)


# --- which frames ---


def test_static_windows_are_the_same_in_all_steps_and_the_last_one_ends_with_the_video():
    windows = of(5, 2)
    assert windows.spans(10) == [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7], [5, 6, 7, 8, 9]]
    assert windows.spans(11, 7) == [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7], [6, 7, 8, 9, 10]]


def test_uniform_windows_move_by_half_the_video_then_a_quarter():
    windows = of(4, 1, schedule="uniform")
    # The window 6, 7, 0, 1 leads from the end to the start: it is moved to the end.
    assert windows.spans(8, 0) == [[0, 1, 2, 3], [3, 4, 5, 6], [4, 5, 6, 7]]
    # Step 1 begins at frame 4. 7, 0, 1, 2 is moved to the end, which is there already, and the start gets a window.
    assert windows.spans(8, 1) == [[4, 5, 6, 7], [0, 1, 2, 3], [2, 3, 4, 5]]


def test_looped_windows_lead_from_the_end_to_the_start():
    spans = of(4, 1, schedule="looped").spans(6, 0)
    assert spans == [[0, 1, 2, 3], [3, 4, 5, 0]]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_frame_is_in_a_window_at_every_step(schedule):
    for frames in range(1, 30):
        for length, overlap in ((4, 0), (4, 1), (5, 3), (7, 2), (9, 8)):
            windows = of(length, overlap, schedule=schedule)
            for step in range(9):
                spans = windows.spans(frames, step)
                assert {frame for span in spans for frame in span} == set(range(frames)), (frames, length, step)
                assert all(len(span) == min(length, frames) for span in spans)


def test_one_window_where_all_fits():
    for schedule in SCHEDULES:
        assert of(5, 2, schedule=schedule).spans(5, 3) == [[0, 1, 2, 3, 4]]


def test_sound_is_cut_to_the_frames_it_is_heard_with():
    assert beside([2, 3], 4, 8) == [4, 5, 6, 7]
    assert beside([3, 0], 4, 8) == [6, 7, 0, 1]
    assert beside([0, 1, 2, 3], 4, 2) == [0, 1]  # less sound than frames: some frames share it
    assert sorted({frame for v in range(5) for frame in beside([v], 5, 13)}) == list(range(13))


# --- weights and blending ---


def test_weights():
    span, whole = [3, 4, 5, 6], 10
    assert of(4, 2).weights(span, whole, 2).tolist() == [1, 2, 2, 1]
    assert of(4, 2, blending="flat").weights(span, whole, 2).tolist() == [1, 1, 1, 1]
    linear = of(4, 2, blending="overlap-linear")
    assert linear.weights(span, whole, 2).tolist() == pytest.approx([0, 1, 1, 0], abs=1e-9)
    assert linear.weights([0, 1, 2, 3], whole, 2).tolist() == pytest.approx([1, 1, 1, 0], abs=1e-9)
    assert linear.weights([6, 7, 8, 9], whole, 2).tolist() == pytest.approx([0, 1, 1, 1], abs=1e-9)
    relative = of(4, 2, blending="relative").weights(span, whole, 2).tolist()
    assert relative == pytest.approx([0.01, 1 - 0.5 / 1.505, 1 - 0.5 / 1.505, 0.01], abs=1e-6)


def test_no_overlap_is_a_cut_whatever_the_blending():
    assert of(4, 0, blending="overlap-linear").blending == "flat"


@pytest.mark.parametrize("blending", BLENDINGS)
def test_windows_that_agree_give_what_they_agree_on(blending):
    x = torch.randn(2, 3, 11, 2, 2)
    windows = of(5, 2, blending=blending).over([x.shape], 0)
    clean = blended([x], windows, lambda window, streams: {"positive": [streams[0] * 2]})
    assert torch.allclose(clean["positive"][0], x * 2, atol=1e-6)


def test_blending_by_hand():
    """Two windows of 3 over 4 frames, weights 1 2 1: frame 1 has weight 2 of the first and 1 of the second."""
    windows = of(3, 2).over([(1, 1, 4)], 0)
    values = iter((10.0, 40.0))

    def evaluate(window, streams):
        return {"positive": [torch.full_like(streams[0], next(values))]}

    result = blended([torch.zeros(1, 1, 4)], windows, evaluate)["positive"][0]
    # (2*10 + 1*40)/3 = 20, (1*10 + 2*40)/3 = 30
    assert result.flatten().tolist() == pytest.approx([10, 20, 30, 40])


def test_the_frame_that_leads_in_is_seen_and_left_out():
    seen = []

    def evaluate(window, streams):
        seen.append(streams[0].flatten().tolist())
        return {"positive": [streams[0]]}

    x = torch.arange(5.0).view(1, 1, 5)
    windows = of(3, 1, lead_in=True).over([x.shape], 0)
    result = blended([x], windows, evaluate)["positive"][0]
    assert seen == [[0, 1, 2], [1, 2, 3, 4]]
    assert torch.equal(result, x)


def test_no_lead_in_beside_a_sound():
    with pytest.raises(SamplingError, match="lead_in of Video Windows is for models that make a picture alone"):
        of(3, 1, lead_in=True).over([(1, 1, 5, 2, 2), (1, 1, 9, 2)], 0)


def test_two_streams_are_cut_together():
    video, sound = torch.arange(4.0).view(1, 1, 4, 1, 1), torch.arange(8.0).view(1, 1, 8, 1)
    windows = of(2, 0).over([video.shape, sound.shape], 0)
    cut = [[stream.flatten().tolist() for stream in window.taken([video, sound])] for window in windows]
    assert cut == [[[0, 1], [0, 1, 2, 3]], [[2, 3], [4, 5, 6, 7]]]


# --- noise ---


def test_free_noise_repeats_the_first_windows_noise_in_another_order():
    noise = torch.randn(1, 2, 13, 2, 2)
    shuffled = of(5, 2).shuffled([noise], 7)[0]
    assert torch.equal(shuffled[:, :, :5], noise[:, :, :5])
    names = {tuple(noise[0, :, n].flatten().tolist()): n for n in range(13)}
    order = [names[tuple(shuffled[0, :, n].flatten().tolist())] for n in range(13)]
    assert sorted(order[5:8]) == [0, 1, 2] and sorted(order[8:11]) == sorted(order[3:6])
    assert Counter(order)[12] == 0
    assert torch.equal(shuffled, of(5, 2).shuffled([noise], 7)[0])
    assert not torch.equal(shuffled, of(5, 2).shuffled([noise], 8)[0])
    assert torch.equal(of(5, 2, freenoise=False).shuffled([noise], 7)[0], noise)
    assert torch.equal(of(13, 2).shuffled([noise], 7)[0], noise)


# --- conditions ---


def test_conditions_are_cut_by_the_frames_that_a_window_shows():
    variant = tiny.shared("plain")[0].part.variant
    shape = (1, 16, 6, 4, 4)
    picture, mask = torch.randn(1, 20, 6, 4, 4), torch.arange(6.0).view(1, 1, 6, 1, 1).expand(1, 1, 6, 4, 4)
    context = torch.randn(1, 6, 6)  # as many tokens as frames: it has no axis of frames all the same
    conditions = {"picture": picture, "denoise_mask": mask, "context": context}
    window = Window(((3, 4, 5),), (torch.ones(3),))
    cut = window.conditions(variant, conditions, shape)
    assert torch.equal(cut["picture"], picture[:, :, 3:]) and cut["context"] is context
    kept = Window(((3, 4, 5),), (torch.ones(3),), keeps_picture=True).conditions(variant, conditions, shape)
    assert torch.equal(kept["picture"], picture[:, :, [0, 4, 5]])
    assert kept["denoise_mask"][0, 0, :, 0, 0].tolist() == [3, 4, 5]  # what the LATENT keeps stays where it is


def test_a_family_of_several_streams_that_cannot_cut_is_named():
    variant = tiny.shared("plain")[0].part.variant
    window = Window(((0, 1), (0,)), (torch.ones(2), torch.ones(1)))
    with pytest.raises(FamilyError, match=r"makes picture and sound together, and how its conditions .* or use LTX-2"):
        window.conditions(variant, {"context": torch.zeros(1, 2, 3)}, [(1, 16, 4, 4, 4), (1, 8, 9, 16)])


def test_words():
    assert Windows(17, 5).resolved(4, 17).words(33) == (
        "8 windows of 5 latent frames, overlapping by 1 (static, pyramid, FreeNoise)"
    )
    assert of(5, 2).words(4) == "one window: all 4 latent frames fit into 5"
