"""The pictures of what nodes measured: the numbers in them, their names and units, and nothing that lies on another.

Tests: nodes/charts.py, media/charts.py
"""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from opent2v.base import WeightChange
from opent2v.finetune import Record
from opent2v.host import embedded
from opent2v.media import charts
from opent2v.media.compare import Likeness, compare
from opent2v.media.continuity import joints, over_time, step_psnr
from opent2v.media.finishing.fonts import FontError, font_for
from opent2v.nodes import charts as nodes
from opent2v.nodes.compare_cache import OpenT2VCompareCache
from opent2v.nodes.sweep_cache import fastest
from opent2v.sampling.calibration import ModelSetup, Profile
from opent2v.sampling.calibration.recorded import Recorded
from opent2v.tests.nodes.calls import call

LEVELS = [1 - step / 20 for step in range(20)]


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="no charts: pip install matplotlib")


def profile(experts: int = 1) -> Profile:
    rows = [
        Recorded(expert, label, step, level - 0.01 * expert, 0.1, replay=tuple(0.01 * step * k for k in (1, 2, 3)))
        for expert, label, (step, level) in itertools.product(
            range(experts), ("positive", "negative"), enumerate(LEVELS)
        )
    ]
    return Profile(ModelSetup("Wan 2.1 T2V 1.3B", ("a",), ("",)), tuple(rows))


def likeness(psnr: float, frames: int = 9) -> Likeness:
    values = tuple(psnr + math.sin(frame) for frame in range(frames))
    return Likeness(psnr, 0.9, 0.8, 3, 1.0, 0.9, True, values, tuple(0.9 + 0.01 * math.sin(v) for v in values))


def clip(count: int = 12) -> torch.Tensor:
    return torch.rand(count, 24, 24, 3, generator=torch.Generator().manual_seed(0))


PLANS = {f"threshold {value:g}": "CCrCrrCrrC" * 2 for value in (0.05, 0.1, 0.2, 0.4)}
RUNS = ["optimal 0.05", "optimal 0.1", "optimal 0.2", "optimal 0.4", "16 steps, no cache", "10 steps, no cache"]
SPEEDS = {name: 1.1 + 0.4 * number for number, name in enumerate(RUNS)}
ROWS = {name: likeness(40.0 - 5 * number) for number, name in enumerate(RUNS)}
HISTORY = [
    Record(step, 1 / step, [(step / 40, 1 / step), (0.05, 2.0)], 1.2 / step if step % 5 == 0 else None)
    for step in range(1, 40)
]


def change(block: int, kind: str = "lora", scale: float = 0.5, **tensors: torch.Tensor) -> WeightChange:
    draw = torch.Generator().manual_seed(block)
    factors = tensors or {"up": torch.randn(6, 2, generator=draw), "down": torch.randn(2, 5, generator=draw)}
    return WeightChange(f"diffusion_model.blocks.{block}.attn1.to_q.weight", kind, factors, scale)


CHANGES = [change(block) for block in range(8)]


def all_panels() -> dict[str, list[charts.Panel]]:
    frames = clip()
    steps = [step_psnr(frames, n) for n in range(1, len(frames))]
    shares = {f"blocks n attn{number}.a_layer_of_long_name": (30 - 4 * number, 30) for number in range(7)}
    shares |= {"proj_out": (0, 1)}
    return {
        "profile": nodes.profile_panels(profile(), PLANS),
        "two experts": nodes.profile_panels(profile(2), PLANS),
        "sweep": nodes.sweep_panels(SPEEDS, ROWS, "optimal 0.2"),
        "likeness": nodes.likeness_panels({"frames": ROWS["optimal 0.1"], "latent": ROWS["optimal 0.4"]}),
        "long video": nodes.continuity_panels(steps, over_time(frames), joints(frames, [4, 8], 8.0), 8.0),
        "LoRA": [
            charts.Bars(
                "changes that match the model, %",
                {name: 100 * part / whole for name, (part, whole) in shares.items()},
                [f"{part} of {whole}" for part, whole in shares.values()],
                whole=100,
            ),
            *nodes.lora_panels([], CHANGES)[1:],
        ],
        "card": nodes.card_panels(["825 tensors (825 F16), 2.6 GiB", "a long line of the report " * 9, "", "end"]),
        "training": nodes.training_panels(HISTORY),
    }


TITLE = "A title that is longer than one line of the picture is wide, so it has to be wrapped: ünïcödé"


def chinese_font() -> None:
    try:
        font_for("星空", 12)
    except FontError:
        pytest.skip("no font with Chinese letters on this machine")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", all_panels())
def test_nothing_lies_on_another_or_outside_at_640_pixels(matplotlib, name, language):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.legend import Legend
    from matplotlib.text import Text

    if language == "zh":
        chinese_font()
    figure = charts.figure(TITLE, [nodes.in_language(panel, language) for panel in all_panels()[name]])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    assert width == 640
    legends = figure.findobj(Legend)
    hidden = {id(text) for legend in legends for text in legend.findobj(Text)} | set(_ticks_beyond(figure))
    parts = [*legends, *(text for text in figure.findobj(Text) if text.get_text().strip() and id(text) not in hidden)]
    shown = [(str(part), part.get_window_extent()) for part in parts if part.get_visible()]
    assert shown
    for what, box in shown:
        assert box.x0 >= -0.5 and box.y0 >= -0.5 and box.x1 <= width + 0.5 and box.y1 <= height + 0.5, what
    for (one, a), (other, b) in itertools.combinations(shown, 2):
        assert min(a.x1, b.x1) - max(a.x0, b.x0) < 1 or min(a.y1, b.y1) - max(a.y0, b.y0) < 1, (one, other)


def _ticks_beyond(figure) -> Iterator[int]:
    """Ids of labels at numbers outside their axes, which are not drawn."""
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True):
            if not low - 1e-9 <= place <= high + 1e-9 or not axis.axes.axison:
                yield id(label)


@pytest.mark.parametrize("name", [name for name in all_panels() if name != "card"])
def test_axes_are_named(matplotlib, name):
    for axes, panel in zip(charts.figure(name, all_panels()[name]).axes, all_panels()[name], strict=True):
        assert axes.get_xlabel() == panel.x
        if isinstance(panel, charts.Lines):
            assert axes.get_ylabel().replace("\n", " ") == panel.y and any(u in panel.y for u in ("dB", "%", "1", "re"))


def plotted(axes) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): [tuple(point) for point in line.get_xydata().tolist()] for line in axes.lines}


def test_the_numbers_of_a_profile_are_in_its_picture(matplotlib):
    first, second = charts.figure("profile", nodes.profile_panels(profile(), PLANS)).axes
    assert plotted(first) == {
        f"computed {lag} step{'s' if lag > 1 else ''} before": [
            (level, pytest.approx(0.01 * step * lag)) for step, level in enumerate(LEVELS)
        ]
        for lag in (1, 2, 3)
    }
    assert first.xaxis_inverted()
    assert [label.get_text() for label in second.get_yticklabels()] == list(PLANS)
    cells = {each.get_label(): [path.get_extents().x0 for path in each.get_paths()] for each in second.collections}
    assert cells["0 True"] == [step + 0.55 for step, letter in enumerate(PLANS["threshold 0.05"]) if letter == "C"]
    assert len(cells["0 True"]) + len(cells["0 False"]) == 20
    named = plotted(charts.figure("two", nodes.profile_panels(profile(2), {})).axes[0])
    assert {name.partition(":")[0] for name in named} == {"high noise", "low noise"}


def test_the_chosen_run_is_the_fastest_with_the_same_content(matplotlib):
    chosen = fastest(SPEEDS, ROWS)
    assert chosen == "optimal 0.4" and ROWS[chosen].psnr == 25.0
    assert fastest({"a": 1.5}, {"a": likeness(24.9)}) is None
    assert fastest({"a": 0.9}, {"a": likeness(40.0)}) is None
    points = plotted(charts.figure("sweep", nodes.sweep_panels(SPEEDS, ROWS, chosen)).axes[0])
    assert points == {name: [(SPEEDS[name], ROWS[name].psnr)] for name in RUNS} | {
        "the chosen one": [(SPEEDS[chosen], 25.0)]
    }
    equal = replace(likeness(30), psnr=math.inf)
    assert plotted(charts.figure("s", nodes.sweep_panels({"a": 1.0}, {"a": equal}, None)).axes[0])["a"] == [(1, 100)]


def test_the_likeness_of_each_frame_is_plotted(matplotlib):
    frames = clip(5)
    changed = frames.clone()
    changed[2] = 1 - changed[2]
    row = compare(changed, frames)
    psnr, ssim = charts.figure("likeness", nodes.likeness_panels({"frames": row})).axes
    points = plotted(psnr)["frames"]
    assert [number for number, _ in points] == [1, 2, 3, 4, 5]
    error = (changed[2] - frames[2]).square().mean().item()
    assert points[2][1] == pytest.approx(-10 * math.log10(error), abs=1e-3) and points[0][1] == 100
    assert min(plotted(ssim)["frames"], key=lambda point: point[1])[0] == 3


def test_joints_and_drift_are_plotted_over_seconds(matplotlib):
    frames = clip() * torch.linspace(1, 0.5, 12)[:, None, None, None]
    steps = [step_psnr(frames, n) for n in range(1, 12)]
    panels = nodes.continuity_panels(steps, over_time(frames), joints(frames, [4], 8.0), 8.0)
    first, second = charts.figure("long", panels).axes
    assert plotted(first)["frame to frame"] == [(n / 8, pytest.approx(steps[n - 1])) for n in range(1, 12)]
    assert {x for x, _ in plotted(first)["joint"]} == {0.5}
    red = plotted(second)["red"]
    expected = frames[-1, ..., 0].mean() / frames[0, ..., 0].mean()
    assert red[0] == (0, pytest.approx(100)) and red[-1][1] == pytest.approx(100 * expected.item(), rel=1e-4)


def test_groups_of_layers_have_their_shares(matplotlib):
    axes, _ = charts.figure("LoRA", all_panels()["LoRA"]).axes
    widths = [round(bar.get_width(), 3) for bar in axes.containers[0]]
    assert widths[:3] == [100, 86.667, 73.333] and widths[-1] == 0
    assert [text.get_text() for text in axes.texts][:2] == ["30 of 30", "26 of 30"]


def test_the_losses_of_a_training_are_plotted(matplotlib):
    axes, levels = charts.figure("training", nodes.training_panels(HISTORY)).axes
    assert plotted(axes)["loss"] == [(record.step, record.loss) for record in HISTORY]
    assert [step for step, _ in plotted(axes)["clips kept out"]] == [5, 10, 15, 20, 25, 30, 35]
    # 19 steps: up to level 0.475, and once more in each step at 0.05 with a loss of 2.
    first = dict(plotted(levels)["first half of the steps"])
    assert first[0.05] == pytest.approx((19 * 2 + 1 + 1 / 2 + 1 / 3) / 22)
    assert first[0.45] == pytest.approx(sum(1 / step for step in (16, 17, 18, 19)) / 4)
    assert list(first) == [0.05, 0.15, 0.25, 0.35, 0.45]
    assert [level for level, _ in plotted(levels)["second half"]] == [0.05, 0.55, 0.65, 0.75, 0.85, 0.95]
    assert len(nodes.training_panels([Record(1, 0.5)])) == 1


def test_a_picture_is_an_image_in_the_letters_of_its_text(matplotlib):
    picture = charts.chart("chart", nodes.card_panels(["one line"]))
    assert picture.shape[0] == 1 and picture.shape[2:] == (640, 3) and picture.dtype == torch.float32
    assert picture.min() < 0.1 and picture.max() == 1


def test_chinese_letters_get_a_font_that_has_them(matplotlib):
    from matplotlib.text import Text

    chinese_font()
    path = font_for("星空", 12).path
    figure = charts.figure("星空.safetensors", nodes.card_panels(["rank 8"]))
    assert {text.get_fontproperties().get_file() for text in figure.findobj(Text)} == {path}


WORD = re.compile(r"(?<![A-Za-z0-9_.])[a-z]{3,}(?![A-Za-z0-9_.])")
# Names, which are the same in both languages: of the rules of a cache, of layers.
NAMES = {"optimal", "threshold", "sigma", "latent", "proj_out", "blocks", "attn"}


@pytest.mark.parametrize("name", [name for name in all_panels() if name != "card"])
def test_the_labels_of_a_figure_are_in_the_readers_language(matplotlib, name):
    from matplotlib.text import Text

    chinese_font()
    figure = charts.figure("", [nodes.in_language(panel, "zh") for panel in all_panels()[name]])
    texts = {text.get_text() for text in figure.findobj(Text)}
    assert {text: words for text in texts if (words := set(WORD.findall(text)) - NAMES)} == {}
    assert any(re.search("[\u4e00-\u9fff]", text) for text in texts)
    for axes in figure.axes:
        assert re.search("[\u4e00-\u9fff]|PSNR|SSIM", axes.get_xlabel() + axes.get_ylabel())


def test_without_a_font_for_the_language_the_words_are_english(matplotlib, monkeypatch):
    drawn = []

    def fails(text, size, folders=()):
        drawn.append(text)
        raise FontError(text)

    monkeypatch.setattr(charts, "font_for", fails)
    embedded.speak("zh")
    try:
        picture = nodes.picture_of("Joints and drift", nodes.training_panels(HISTORY))
    finally:
        embedded.speak("en")
    expected = charts.chart("Joints and drift", nodes.training_panels(HISTORY))
    assert torch.equal(picture, expected) and "损失" in drawn[0]


def test_how_much_a_lora_changes_each_block_is_plotted(matplotlib):
    _, axes = charts.figure("LoRA", all_panels()["LoRA"]).axes
    expected = []
    for block in range(8):
        factors = CHANGES[block].tensors
        product = 0.5 * factors["up"] @ factors["down"]
        expected.append((block, pytest.approx(1e6 * product.square().mean().sqrt().item(), rel=1e-5)))
    assert plotted(axes)["blocks"] == expected
    turned = change(1, "oft", blocks=torch.zeros(1, 2, 2))  # its change depends on the weight
    assert list(nodes.block_sizes([change(0), turned])["blocks"]) == [0]


def test_without_matplotlib_the_picture_alone_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (report, _, _, chart, difference), _ = call("OpenT2VCompareCache", images=clip(), reference_images=clip())
    assert "identical" in report
    assert isinstance(chart, embedded.Missing) and isinstance(difference, embedded.Missing)
    assert "which cannot be imported" in chart.message and chart.message.endswith("-m pip install matplotlib")
    assert difference.message == "Switch with_difference of Compare Step Cache on to see the difference."


def test_the_difference_is_ten_times_as_large():
    frames = clip() * 0.5
    node = OpenT2VCompareCache()
    *_, difference = node.compare(frames + 0.02, frames, with_difference=True)["result"]
    assert difference.shape == frames.shape and torch.allclose(difference, torch.tensor(0.2), atol=1e-5)
    *_, difference = node.compare(1 - frames, frames, with_difference=True)["result"]
    assert difference.max() == 1
    latent = {"samples": torch.rand(1, 4, 3, 8, 8)}
    *_, missing = node.compare(latent=latent, reference_latent=latent, with_difference=True)["result"]
    assert missing.message == "The difference is one of frames: connect images and reference_images."
