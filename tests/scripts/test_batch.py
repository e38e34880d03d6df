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
