"""A batch is done once, whatever happens meanwhile.

Tests: headless/batch/drive.py, headless/batch/manifest.py, headless/batch/work.py
"""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from opent2v.headless.batch import drive
from opent2v.headless.batch.drive import BatchStopped, check, grouped, new_scratch, run_batch, write_results
from opent2v.headless.batch.manifest import Manifest
from opent2v.headless.batch.plan import BatchError, Job, Plan, read_grid
from opent2v.headless.batch.work import Workplace
from opent2v.headless.outcome import Outcome
from opent2v.tests.headless.fake_nodes import CLASSES, TITLES
from opent2v.tests.headless.flows import api


def plan(*grids, **options):
    return Plan(json.dumps(api()), CLASSES, TITLES, grids=[read_grid(grid) for grid in grids], **options)


def writes(changes, folder):
    """A run that saves its changes as a text."""
    path = folder / "clip_00001.mp4"
    path.write_text("\n".join(changes))
    return Outcome(remarks=["a remark"], files=[path])


class Batch:
    """A batch in one process. `runs` are the changes that were run."""

    def __init__(self, output: Path, run=writes):
        self.output, self.runs, self._run = output, [], run

    def make(self, plan, **options):
        manifest = Manifest(self.output)
        place = Workplace(self._noted, new_scratch(self.output), **options)
        try:
            report = run_batch(plan, manifest, lambda jobs: ((job, place.do(job)) for job in jobs), check(plan))
            write_results(manifest)
            return report
        finally:
            manifest.close()

    def _noted(self, changes, folders):
        self.runs += changes
        return [self._run(*each) for each in zip(changes, folders, strict=True)]

    def files(self):
        return {path.name: path.read_text() for path in sorted(self.output.glob("*.mp4"))}

    def entries(self):
        return [json.loads(line) for line in (self.output / "manifest.jsonl").read_text().splitlines()]


def test_every_job_has_its_file_and_its_line(tmp_path):
    batch = Batch(tmp_path)
    report = batch.make(plan("3.seed=1..3"))
    assert (report.done, report.left) == (3, 0)
    assert list(batch.files().values()) == ["3.seed=1", "3.seed=2", "3.seed=3"]
    for entry, name in zip(batch.entries(), batch.files(), strict=True):
        assert entry["state"] == "done" and entry["remarks"] == ["a remark"]
        assert entry["files"][0]["file"] == name and entry["files"][0]["bytes"] == 8
    assert not list(tmp_path.glob(".batch-*/*"))


def test_a_second_start_makes_nothing(tmp_path):
    Batch(tmp_path).make(plan("3.seed=1..3"))
    again = Batch(tmp_path)
    report = again.make(plan("3.seed=1..3"))
    assert again.runs == [] and (report.kept, report.done, report.left) == (3, 0, 0)
    assert len(again.entries()) == 3


@pytest.mark.parametrize("change", ["remove", "cut", "edit"])
def test_what_is_not_whole_any_more_is_made_again(tmp_path, change):
    batch = Batch(tmp_path)
    batch.make(plan("3.seed=1..3"))
    path = sorted(tmp_path.glob("*.mp4"))[1]
    if change == "remove":
        path.unlink()
    else:
        path.write_text("3.seed=" if change == "cut" else "3.seed=9")
    again = Batch(tmp_path)
    again.make(plan("3.seed=1..3"))
    assert again.runs == [("3.seed=2",)]
    assert "3.seed=2" in again.files().values()
    assert change == "remove" or path.read_text() != "3.seed=2"  # a changed file is somebody's; it stays


def test_a_copied_folder_counts_as_done(tmp_path):
    Batch(tmp_path / "a").make(plan("3.seed=1..3"))
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    copied = Batch(tmp_path / "b")
    copied.make(plan("3.seed=1..3"))
    assert copied.runs == []


def test_new_rows_and_a_changed_workflow_are_made_the_rest_is_not(tmp_path):
    Batch(tmp_path).make(plan("3.seed=2|3"))
    again = Batch(tmp_path)
    again.make(plan("3.seed=1|2|3|4"))
    assert again.runs == [("3.seed=1",), ("3.seed=4",)]
    other = Batch(tmp_path)
    flow = json.dumps(api(n3={"steps": 9}))
    other.make(Plan(flow, CLASSES, TITLES, grids=[read_grid("3.seed=1|2")]))
    assert len(other.runs) == 2


def test_equal_rows_are_made_as_often_as_they_stand_there(tmp_path):
    batch = Batch(tmp_path)
    batch.make(plan("3.seed=1|1|1"))
    assert len(batch.files()) == 3
    again = Batch(tmp_path)
    again.make(plan("3.seed=1|1|1|1"))
    assert len(again.runs) == 1 and len(again.files()) == 4


@pytest.mark.parametrize("keep", [1, 40, -1])
def test_a_manifest_that_was_cut_short_by_a_crash(tmp_path, keep):
    batch = Batch(tmp_path)
    batch.make(plan("3.seed=1..3"))
    lines = (tmp_path / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "manifest.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:keep])
    again = Batch(tmp_path)
    again.make(plan("3.seed=1..3"))
    # The third file lies there whole without a line: it is made again and takes the same place.
    assert again.runs == [("3.seed=3",)] and len(again.files()) == 3
    assert [entry["job"] for entry in again.entries()] == [1, 2, 3]


def test_a_failed_job_stops_no_other_and_is_tried_again(tmp_path):
    def fails_once(changes, folder):
        if changes == ("3.seed=2",):
            (folder / "half.mp4").write_text("half")
            raise RuntimeError("node 3 failed: out of memory")
        return writes(changes, folder)

    batch = Batch(tmp_path, fails_once)
    report = batch.make(plan("3.seed=1..3"))
    assert (report.done, report.failed) == (2, 1)
    assert batch.entries()[1]["error"] == "node 3 failed: out of memory" and len(batch.files()) == 2
    again = Batch(tmp_path)
    again.make(plan("3.seed=1..3"))
    assert again.runs == [("3.seed=2",)]


def test_a_workflow_that_saves_nothing(tmp_path):
    batch = Batch(tmp_path, lambda changes, folder: Outcome())
    assert batch.make(plan("3.seed=1")).failed == 1
    assert "the workflow saved no file; add Save Video File" in batch.entries()[0]["error"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stops_the_batch_and_the_next_start_goes_on(tmp_path, code):
    def full(changes, folder):
        if changes == ("3.seed=2",):
            try:
                raise OSError(code, os.strerror(code))
            except OSError as error:
                raise RuntimeError("Cannot save: the disk is full.") from error
        return writes(changes, folder)

    batch = Batch(tmp_path, full)
    with pytest.raises(BatchStopped, match="the disk is full"):
        batch.make(plan("3.seed=1..4"))
    assert list(batch.files().values()) == ["3.seed=1"] and len(batch.runs) == 2
    again = Batch(tmp_path)
    again.make(plan("3.seed=1..4"))
    assert len(again.runs) == 3 and len(again.files()) == 4


def test_no_room_for_the_manifests_line(tmp_path, monkeypatch):
    real = os.fsync

    def full(number):
        if os.fstat(number).st_size > 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    batch = Batch(tmp_path)
    with pytest.raises(BatchStopped, match="No space left on device"):
        batch.make(plan("3.seed=1..4"))
    monkeypatch.undo()
    again = Batch(tmp_path)
    again.make(plan("3.seed=1..4"))
    assert len(again.files()) == 4 and [entry["job"] for entry in again.entries()] == [1, 2, 3, 4]


def test_ctrl_c_leaves_nothing_half_done(tmp_path):
    def interrupted(changes, folder):
        if changes == ("3.seed=2",):
            (folder / "half.mp4").write_text("half")
            raise KeyboardInterrupt
        return writes(changes, folder)

    batch = Batch(tmp_path, interrupted)
    with pytest.raises(KeyboardInterrupt):
        batch.make(plan("3.seed=1..3"))
    assert len(batch.entries()) == 1 and not list(tmp_path.glob(".batch-*/*"))
    again = Batch(tmp_path)
    again.make(plan("3.seed=1..3"))
    assert len(again.runs) == 2 and len(again.files()) == 3


def test_refused_jobs_are_in_the_manifest_and_run_nothing(tmp_path):
    batch = Batch(tmp_path)
    report = batch.make(plan("3.seed=1|x|3"))
    assert (report.done, report.refusals) == (2, 1)
    assert {entry["job"]: entry["state"] for entry in batch.entries()} == {1: "done", 2: "refused", 3: "done"}


def test_jobs_of_one_model_come_together(tmp_path):
    batch = Batch(tmp_path)
    batch.make(plan("3.seed=1..2", "1.name=second|first"))
    assert [changes[1] for changes in batch.runs] == ["1.name=second"] * 2 + ["1.name=first"] * 2
    with open(tmp_path / "results.csv", encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["job"], row["1.name"]) for row in table] == [
        ("1", "second"), ("2", "first"), ("3", "second"), ("4", "first")
    ]  # fmt: skip


@pytest.mark.parametrize(("held", "times"), [(0, 4), (4, 2), (10_000, 1)])
def test_many_models_are_few_times_through_the_plan(tmp_path, monkeypatch, held, times):
    monkeypatch.setattr(drive, "_HELD", held)
    batch, jobs, many = Batch(tmp_path), Plan.jobs, plan("3.seed=1..2", "1.name=second|first", "1.dtype=fp32|auto")
    gone_through = []
    monkeypatch.setattr(Plan, "jobs", lambda plan: (gone_through.append(1), jobs(plan))[1])
    batch.make(many)
    assert [changes[1:] for changes in batch.runs] == [
        (f"1.name={name}", f"1.dtype={dtype}")
        for name in ("second", "first")
        for dtype in ("fp32", "auto")
        for _ in "12"
    ]
    assert len(gone_through) == 1 + times  # the check goes through it once


def test_a_results_table_holds_no_formulas(tmp_path):
    batch = Batch(tmp_path)
    batch.make(plan("2.text=a|+1|-2 cats|@x", fixed={"3.seed": "3"}))
    text = (tmp_path / "results.csv").read_text(encoding="utf-8-sig")
    assert "'@x" in text and "'-2 cats" in text and ",+1," in text


def test_two_batches_into_one_folder(tmp_path):
    first = Manifest(tmp_path)
    with pytest.raises(BatchError, match="another batch is writing to"):
        Manifest(tmp_path)
    first.close()
    Manifest(tmp_path).close()


def test_a_file_that_is_no_manifest(tmp_path):
    (tmp_path / "manifest.jsonl").write_text("hello\n")
    with pytest.raises(BatchError, match="is no manifest of a batch"):
        Manifest(tmp_path)
    assert (tmp_path / "manifest.jsonl").read_text() == "hello\n"


def test_numbered_pictures_and_subfolders(tmp_path):
    def pictures(changes, folder):
        frames = folder / "sub" / "frames_00001"
        frames.mkdir(parents=True)
        for number in range(3):
            (frames / f"{number}.png").write_text(f"{number}")
        return Outcome(files=[frames])

    batch = Batch(tmp_path, pictures)
    batch.make(plan("3.seed=1..2"))
    names = [entry["files"][0]["file"] for entry in batch.entries()]
    assert all((tmp_path / name / "2.png").is_file() for name in names) and len({*names}) == 2
    (tmp_path / names[0] / "1.png").unlink()
    again = Batch(tmp_path, pictures)
    again.make(plan("3.seed=1..2"))
    assert again.runs == [("3.seed=1",)]


def test_files_sent_home_equal_those_on_a_shared_disk(tmp_path):
    near, far = Batch(tmp_path / "near"), Batch(tmp_path / "far")
    near.make(plan("3.seed=1..3"))
    far.make(plan("3.seed=1..3"), sends=True)
    assert near.files() == far.files() and len(far.files()) == 3


def job(number, alike="", model=""):
    return Job(number, number, 0, {}, (f"3.seed={number}",), alike=alike, model=model)


def test_jobs_of_one_run_are_found_among_others():
    jobs = [job(1, "a"), job(2, "b"), job(3, "a"), job(4, "b"), job(5, "a"), job(6, "a", "m"), job(7, "a", "m")]
    assert [[each.number for each in group] for group in grouped(iter(jobs), 2)] == [[1, 3], [2, 4], [5], [6, 7]]
    assert [[each.number for each in group] for group in grouped(iter(jobs), 1)] == [[n] for n in range(1, 8)]
    many = (job(number, str(number)) for number in range(1, 1000))
    assert next(grouped(many, 2))[0].number == 1 and next(many).number < 300  # it looks ahead a little only


def test_texts_and_seeds_may_differ_within_a_run():
    assert len({job.alike for job in plan("3.seed=1..3", "2.text=a|b").jobs()}) == 1
    assert len({job.alike for job in plan("3.seed=1..3", "3.cfg=1|2").jobs()}) == 2


def test_a_run_that_fails_as_a_whole_is_made_one_by_one(tmp_path):
    runs = []

    def run(changes, folders):
        runs.append(len(changes))
        if len(changes) > 1 or changes[0] == ("3.seed=2",):
            raise MemoryError("out of memory")
        return [writes(*each) for each in zip(changes, folders, strict=True)]

    results = Workplace(run, tmp_path).do_all([job(1), job(2), job(3)])
    assert runs == [3, 1, 1, 1] and [result.error for result in results] == ["", "out of memory", ""]
    assert [len(result.files) for result in results] == [1, 0, 1] and not (tmp_path / "000002").exists()


def test_of_a_run_each_job_has_its_own_error(tmp_path):
    def run(changes, folders):
        return [writes(changes[0], folders[0]), ValueError("no such prompt")]

    results = Workplace(run, tmp_path).do_all([job(1), job(2)])
    assert [result.error for result in results] == ["", "no such prompt"]
