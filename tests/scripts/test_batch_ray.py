"""Batches on a Ray of this machine: every row once, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from opent2v.headless import batch
from opent2v.tests.headless.fake_nodes import CLASSES, TITLES
from opent2v.tests.headless.flows import api
from opent2v.tests.scripts.stub_workplace import stub

pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-cluster.txt")
ROOT = Path(__file__).resolve().parents[2]


def entries(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def make(output, count, on_result=lambda job, result, report: None, most=1, **options):
    """A batch of seeds 1 to `count` with stub workers on two actors, up to `most` in a run; its manifest's entries."""
    import batch_ray

    flow = json.dumps(api())
    plan = batch.Plan(flow, CLASSES, TITLES, grids=[batch.read_grid(f"3.seed=1..{count}")])
    manifest = batch.Manifest(output)
    scratch = batch.new_scratch(output)
    try:
        with batch_ray.cluster("local", actors=2, cores=1) as (ray, actors, takes):
            makers = batch_ray.makers(ray, stub(str(scratch), **options), actors, takes, batch, most)
            batch.run_batch(plan, manifest, makers, batch.check(plan), on_result)
        batch.write_results(manifest)
    finally:
        manifest.close()
    return entries(output)


@pytest.mark.parametrize("most", [1, 3])
def test_a_poison_row_is_given_up_after_three_tries_and_stops_no_other(tmp_path, most):
    """Of a run of several rows each is tried by itself, since nobody can say which of them killed the worker."""
    made = {entry["job"]: entry for entry in make(tmp_path, 12, most=most, poison="3.seed=5")}
    assert len(made) == 12 and [job for job, entry in made.items() if entry["state"] == "failed"] == [5]
    assert "given up: its worker died 3 times" in made[5]["error"]
    numbers = [line.split(",")[0] for line in (tmp_path / "results.csv").read_text("utf-8-sig").splitlines()[1:]]
    assert numbers == [str(number) for number in range(1, 13)]


def test_a_worker_that_cannot_start_stops_the_batch_with_its_reason(tmp_path):
    import batch_ray

    def broken():
        raise FileNotFoundError("no model here")

    with batch_ray.cluster("local", actors=1, cores=1) as (ray, actors, takes):
        run = batch_ray.makers(ray, broken, actors, takes, batch)
        with pytest.raises(batch.BatchStopped, match=r"a worker could not start(.|\n)*no model here"):
            list(run(iter([])))


def test_a_killed_driver_goes_on_where_it_was(tmp_path):
    code = (
        "import sys; sys.path[:0] = [sys.argv[1] + '/scripts']; import pack; pack.mount()\n"
        "from pathlib import Path; from opent2v.tests.scripts.test_batch_ray import make\n"
        "make(Path(sys.argv[2]), 30, seconds=0.2)"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(tmp_path)]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "manifest.jsonl").exists() or len(entries(tmp_path)) < 7:
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {entry["job"] for entry in entries(tmp_path)}
    assert 7 <= len(before) < 30
    made = make(tmp_path, 30)
    assert Counter(entry["job"] for entry in made) == Counter(range(1, 31))
    assert sorted(path.read_text() for path in tmp_path.glob("*.mp4")) == sorted(f"3.seed={n}" for n in range(1, 31))


def test_forty_rows_on_two_actors_of_which_one_is_killed_equal_one_process(tmp_path, monkeypatch, capsys):
    """The bundled model, through the command; each actor loads it once."""
    import batch as command
    import console

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = ["--grid", "seed=1..40", "--set", "steps=1", "--set", "frames=5", "--set", "prompt=a red circle"]
    # x264 does not give the same bits each time for frames as small as these, equal as they are.
    options += ["--set", "OpenT2VSaveVideo.format=png sequence"]
    killed: list[int] = []
    show = command.Terminal.result

    def result(self, job, result, report):
        show(self, job, result, report)
        if job.number == 7 and result.worker:
            killed.append(int(result.worker.split()[1]))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(command.Terminal, "result", result)
    import torch

    torch.set_num_threads(1)
    for name, flags in (("single", []), ("ray", ["--ray", "local", "--actors", "2", "--cores", "1"])):
        monkeypatch.setattr(sys, "argv", ["batch.py", *options, *flags, "--output", str(tmp_path / name)])
        assert console.guard(command.main) == 0, capsys.readouterr().err
    single, ray = entries(tmp_path / "single"), entries(tmp_path / "ray")
    assert Counter(entry["job"] for entry in ray) == Counter(range(1, 41)) and len(killed) == 1
    hashes = [{entry["job"]: entry["files"][0]["sha256"] for entry in made} for made in (single, ray)]
    assert hashes[0] == hashes[1] and len({*hashes[0].values()}) == 40
    assert len({entry["worker"] for entry in ray}) == 3  # the killed one was started anew


def started_cluster():
    """A cluster of this machine, as `ray start --head` starts one; once more where a busy machine was too slow."""
    from ray.cluster_utils import Cluster

    for _ in range(2):
        try:
            return Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    pytest.skip("this machine is too busy: twice Ray did not start within its 30 seconds")


def test_a_running_cluster_sends_files_home_and_keeps_prompts(tmp_path, monkeypatch, capsys):
    """The pack travels to the cluster's workers; what they make equals what this process makes, prompts included."""
    import batch as command
    import console
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = ["--grid", "seed=1..4", "--set", "steps=1", "--set", "frames=5", "--set", "prompt=a red circle"]
    options += ["--set", "OpenT2VSaveVideo.format=png sequence", "--prompt-cache", str(tmp_path / "prompts")]
    threads = torch.get_num_threads()
    running = started_cluster()
    try:
        torch.set_num_threads(1)
        monkeypatch.setenv("RAY_ADDRESS", running.address)
        ray_flags = ["--ray", "auto", "--actors", "2", "--cores", "1", "--files", "home"]
        for name, flags in (("single", []), ("ray", ray_flags)):
            monkeypatch.setattr(sys, "argv", ["batch.py", *options, *flags, "--output", str(tmp_path / name)])
            assert console.guard(command.main) == 0, capsys.readouterr().err
    finally:
        torch.set_num_threads(threads)
        running.shutdown()
    single, ray = ({entry["job"]: entry for entry in entries(tmp_path / name)} for name in ("single", "ray"))
    assert set(single) == set(ray) == {1, 2, 3, 4}
    for job, entry in ray.items():
        assert entry["files"][0]["sha256"] == single[job]["files"][0]["sha256"]
        assert (tmp_path / "ray" / entry["files"][0]["file"]).is_dir() and entry["worker"]
        assert any("Prompt cache: " in remark for remark in entry["remarks"])
    # The copy of the bundled model that Ray makes has other times, so that it may count as another encoder.
    assert len(list((tmp_path / "prompts").iterdir())) in (2, 4)
    assert not list((tmp_path / "ray").glob(".batch-*"))
