"""The command that runs a workflow for every row, on the bundled model."""

from __future__ import annotations

import json
import sys

from opent2v.headless.batch.work import digest_of

# x264 does not give the same bits each time for frames as small as these, equal as they are.
PICTURES = "OpenT2VSaveVideo.format=png sequence"


def start(monkeypatch, capsys, *options):
    """(exit code, stdout, stderr)."""
    import batch
    import console

    monkeypatch.setattr(sys, "argv", ["batch.py", *map(str, options)])
    code = console.guard(batch.main)
    return code, *capsys.readouterr()


def entries(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def test_rows_become_videos_and_equal_those_of_single_runs(tmp_path, monkeypatch, capsys):
    import run_workflow
    from pack import ROOT

    (tmp_path / "rows.csv").write_bytes(
        "prompt;seed\r\na red circle;1\r\n一个绿色的三角形;x\r\na blue star;3\r\n".encode("gbk")
    )
    out = tmp_path / "out"
    options = (tmp_path / "rows.csv", "--set", "steps=1", "--set", "frames=5", "--set", PICTURES, "--output", out)
    code, printed, errors = start(monkeypatch, capsys, *options)
    assert code == 1 and "job 2 (row 2, line 3) is refused: seed is 'x'; expected a whole number" in errors
    assert "2 made, 0 were there, 0 failed, 1 refused" in printed
    made = {entry["job"]: entry for entry in entries(out)}
    assert [made[job]["state"] for job in (1, 2, 3)] == ["done", "refused", "done"]
    code, printed, _ = start(monkeypatch, capsys, *options)
    assert "0 made, 2 were there" in printed

    changes = [f"{target}={text}" for target, text in (
        ("OpenT2VSampler.steps", 1), ("OpenT2VEmptyLatent.frames", 5), ("OpenT2VEncodePrompt.positive", "a blue star"),
        ("OpenT2VSampler.seed", 3), PICTURES.split("="),
    )]  # fmt: skip
    flags = [part for change in changes for part in ("--set", change)]
    flow = ROOT / "workflows" / "quickstart.json"
    monkeypatch.setattr(sys, "argv", ["run_workflow.py", str(flow), "--output", str(tmp_path / "single"), *flags])
    assert run_workflow.main() == 0
    single = next((tmp_path / "single").glob("OpenT2V_*"))
    assert digest_of(single) == made[3]["files"][0]["sha256"]


def test_rows_that_one_run_makes_equal_those_of_single_runs(tmp_path, monkeypatch, capsys):
    """Two rows of one size and the odd one: each file holds its own row, and the model is called less often."""
    import numpy
    from PIL import Image

    from opent2v.nodes import NODE_CLASS_MAPPINGS

    sampler, seeds = NODE_CLASS_MAPPINGS["OpenT2VSampler"], []
    together = sampler.sample_together

    def noted(self, calls):
        seeds.append([call["seed"] for call in calls])
        return together(self, calls)

    monkeypatch.setattr(sampler, "sample_together", noted)
    (tmp_path / "rows.csv").write_text("prompt,seed,width\na red circle,1,\na blue star,2,32\na green square,3,\n")
    options = (tmp_path / "rows.csv", "--set", "steps=2", "--set", "frames=5", "--set", PICTURES)
    for name, flags in (("single", ()), ("batch", ("--batch", 3))):
        code, printed, errors = start(monkeypatch, capsys, *options, "--output", tmp_path / name, *flags)
        assert code == 0 and "3 made" in printed, errors
    assert seeds == [[1, 3]]
    single, batch = ({entry["job"]: entry for entry in entries(tmp_path / name)} for name in ("single", "batch"))
    for job in single:
        told = [[line for line in made[job]["remarks"] if "Sampler" in line] for made in (single, batch)]
        assert told[0] == told[1] and f"seed {job}" in told[0][0]
        pictures = [
            sorted((tmp_path / name / made[job]["files"][0]["file"]).glob("*.png"))
            for name, made in (("single", single), ("batch", batch))
        ]
        assert len(pictures[0]) == 5
        for pair in zip(*pictures, strict=True):
            one, other = (numpy.asarray(Image.open(path)).astype(int) for path in pair)
            assert abs(one - other).max() <= 1  # rounding, where a number lies between two


def test_no_less_than_one_clip_in_a_run(tmp_path, monkeypatch, capsys):
    code, _, errors = start(monkeypatch, capsys, "--grid", "seed=1..3", "--batch", 0, "--output", tmp_path / "out")
    assert code == 1 and "--batch is 0; expected 1 or more clips in one run" in errors


def test_check_makes_nothing(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    code, printed, _ = start(monkeypatch, capsys, "--grid", "seed=1..3", "--check", "--output", out)
    assert code == 0 and "3 jobs, 0 refused, 1 sets of models" in printed and not out.exists()


def test_what_cannot_be_understood(tmp_path, monkeypatch, capsys):
    for options, message in (
        ((tmp_path / "no.csv",), "no.csv does not exist; expected a file of rows"),
        (("--grid", "seed=1..2", "--grid", "seed=3"), "--grid names a column twice"),
        (("--set", "steps"), "cannot read --set 'steps'; expected NAME=VALUE"),
        (("--models", tmp_path / "no"), "is no folder; --models takes one laid out like ComfyUI's models/"),
    ):
        code, _, errors = start(monkeypatch, capsys, *options, "--output", tmp_path / "out")
        assert code == 1 and message in errors
        assert not (tmp_path / "out").exists()
