"""A training learns, resumes to the same numbers, stops by itself and leaves the model as it was."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from opent2v import finetune
from opent2v.finetune import Settings, Training, TrainingError
from opent2v.finetune.loop import split
from opent2v.finetune.objective import draw_noise, losses
from opent2v.finetune.order import Order, generator_of
from opent2v.host import host
from opent2v.tests.finetune import data, families
from opent2v.tests.tiny import wan

SETTINGS = Settings(steps=6, batch=2, rank=4, save_every=100, rate=1e-2, warmup=2, validation=0.0)


@cache
def folder() -> Path:
    import atexit
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="opent2v-tests-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    data.folder_of(path / "clips", 12)
    return path


def encoders():
    model, clip, vae = wan.shared()
    return finetune.Encoders(model.part.variant, clip, vae)


def prepared(settings: Settings = SETTINGS):
    return finetune.prepare(encoders(), folder() / "clips", folder() / "cache", settings)


def training(path: Path, settings: Settings = SETTINGS) -> Training:
    return Training(host.training_model(wan.shared()[0]), prepared(settings), settings, path)


def run(path: Path, settings: Settings = SETTINGS) -> dict[str, torch.Tensor]:
    """The weights at the end of a training."""
    trained = training(path, settings)
    try:
        trained.run()
        return trained.adapter.state()
    finally:
        trained.close()


@pytest.mark.parametrize("stop", [1, 4])
def test_a_resumed_training_equals_one_that_never_stopped(tmp_path, stop):
    settings = dataclasses.replace(SETTINGS, validation=0.2, validate_every=2)
    whole = run(tmp_path / "whole", settings)
    run(tmp_path / "parts", dataclasses.replace(settings, steps=stop))
    resumed = training(tmp_path / "parts", settings)
    try:
        assert resumed.step == stop and len(resumed.history) == stop
        resumed.run()
        state, history = resumed.adapter.state(), resumed.history
    finally:
        resumed.close()
    assert {name: torch.equal(weight, whole[name]) for name, weight in state.items()} == dict.fromkeys(whole, True)
    assert [record.step for record in history] == [1, 2, 3, 4, 5, 6]


def test_an_interrupt_keeps_the_last_whole_step(tmp_path):
    interrupted = training(tmp_path / "parts")

    def stop(record):
        if record.step == 3:
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted.run(stop)
    finally:
        interrupted.close()
    state = run(tmp_path / "parts")
    whole = run(tmp_path / "whole")
    assert all(torch.equal(weight, whole[name]) for name, weight in state.items())


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    run(tmp_path, dataclasses.replace(SETTINGS, steps=1))
    with pytest.raises(TrainingError, match=r"other settings: rate was 0.01 and is 0.001"):
        training(tmp_path, dataclasses.replace(SETTINGS, rate=1e-3))
    assert not hasattr(wan.shared()[0].part.transformer, "peft_config")
    (tmp_path / "checkpoint.safetensors").write_bytes(b"no tensors")
    with pytest.raises(TrainingError, match="cannot be read"):
        training(tmp_path)


def test_more_clips_in_one_call_and_recomputed_blocks_change_nothing(tmp_path):
    settings = dataclasses.replace(SETTINGS, checkpointing=False, rate=1e-4)
    plain = run(tmp_path / "plain", settings)
    for name, value in {"together": 2, "checkpointing": True}.items():
        state = run(tmp_path / name, dataclasses.replace(settings, **{name: value}))
        assert max((state[key] - plain[key]).abs().max().item() for key in plain) < 1e-5


def test_the_model_is_as_before(tmp_path):
    model = wan.shared()[0]
    before = {name: weight.clone() for name, weight in model.part.transformer.named_parameters()}
    run(tmp_path)
    after = dict(model.part.transformer.named_parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert not model.part.transformer.is_gradient_checkpointing


def test_training_ends_when_the_validation_loss_has_stopped_falling(tmp_path):
    settings = dataclasses.replace(SETTINGS, steps=40, validation=0.2, validate_every=1, patience=2, rate=0.5, warmup=0)
    trained = training(tmp_path, settings)
    try:
        trained.run()
        assert trained.ended_early and trained.worse == 2
        measured = [record.validation for record in trained.history]
        assert trained.lowest == min(measured) == measured[-3]
        best, last = trained.best, trained.adapter.state()
        assert any(not torch.equal(best[name], last[name]) for name in last)
        trained.adapter.load(best)
        assert trained.measure() == pytest.approx(trained.lowest, rel=1e-6)
    finally:
        trained.close()


def test_validation_clips_are_never_learned(tmp_path):
    items = prepared().items
    learned, measured = split(items, dataclasses.replace(SETTINGS, validation=0.25))
    assert len(measured) == 3 and len(learned) == 9 and not set(measured) & set(learned)
    assert split(items[:9], dataclasses.replace(SETTINGS, validation=0.5)) == (list(items[:9]), [])


def test_cached_clips_have_the_numbers_of_the_encoders():
    ready = prepared()
    item = ready.items[0]
    frames = finetune.frames.read(item.clip, item.bucket, 16)[0]
    _, clip, vae = wan.shared()
    sample = ready.sample(item, False)
    latent = ready.variant.normalise(host.encode(vae, frames))
    assert torch.equal(sample.streams[0], latent)
    assert torch.equal(sample.entry["cross_attn"], host.embed(clip, item.clip.caption)[0][0])


@pytest.mark.parametrize("kind", ["plain", "ti2v"])
def test_streamed_clips_train_to_the_numbers_of_stored_ones(tmp_path, kind):
    """Nothing of a clip is kept from step to step: neither on disk nor in memory."""
    settings = dataclasses.replace(SETTINGS, steps=3)
    model, clip, vae = wan.shared(kind)
    encoders = finetune.Encoders(model.part.variant, clip, vae)
    weights = []
    for streams in (False, True):
        path = tmp_path / f"streams{streams}"
        ready = finetune.prepare(encoders, folder() / "clips", path / "cache", settings, streams=streams)
        stored = sum("streams/0" in _names(file) for file in (path / "cache").rglob("*.safetensors"))
        assert stored == (0 if streams else 12)
        trained = Training(host.training_model(model), ready, settings, path)
        try:
            with torch.inference_mode():  # as hosts run their nodes
                trained.take_step()
                before = _tensors()
                trained.take_step()
                trained.take_step()
                assert _tensors() <= before
            weights.append(trained.adapter.state())
        finally:
            trained.close()
    assert all(torch.equal(weights[1][name], weight) for name, weight in weights[0].items())


def _names(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return list(file.keys())


def _tensors() -> int:
    """How many tensors of a clip's size are alive."""
    import gc

    gc.collect()
    return sum(type(thing) is torch.Tensor and thing.ndim == 5 for thing in gc.get_objects())


def test_each_epoch_has_every_clip_in_batches_of_one_bucket():
    order = Order([[0, 1, 2], [10, 11, 12, 13, 14]], 2, seed=3)
    assert order.steps == 5
    for epoch in range(3):
        batches = [order.clips(5 * epoch + n) for n in range(5)]
        assert {clip for batch in batches for clip in batch} == {0, 1, 2, 10, 11, 12, 13, 14}
        assert all(len({clip >= 10 for clip in batch}) == 1 and len(batch) == 2 for batch in batches)
    assert order.clips(7) == Order([[0, 1, 2], [10, 11, 12, 13, 14]], 2, seed=3).clips(7)
    assert [order.clips(n) for n in range(5)] != [order.clips(n) for n in range(5, 10)]


@pytest.mark.parametrize("name", families.MODELS)
def test_every_familys_adapter_learns_a_fixed_batch(name):
    model, sample = families.training_model(name), families.sample_of(name)
    layers = finetune.adapter.trained_layers(model.part.transformer, "attention and feed-forward")
    adapter = finetune.adapter.Adapter(model.part.transformer, layers, 8, 1.0, 0)
    noises, predicts = draw_noise(sample, generator_of(7)), model.part.variant.prediction
    sigma = torch.tensor([0.7 if predicts == "flow" else 2.0])
    optimizer = torch.optim.AdamW(adapter.weights.values(), lr=2e-2)
    seen = []
    try:
        for _ in range(25):
            loss = losses(model, [sample], sigma, [noises])
            loss.sum().backward()
            assert all(weight.grad is not None for weight in adapter.weights.values()) or seen
            optimizer.step()
            optimizer.zero_grad()
            seen.append(loss.item())
    finally:
        adapter.remove()
    assert seen[-1] < 0.9 * seen[0], seen


PROCESS = """
import json, sys
sys.path.insert(0, {scripts!r})
import pack
pack.hide_scripts()
pack.mount()
import torch
torch.set_num_threads(1)
from pathlib import Path
from safetensors.torch import save_file
from opent2v import finetune
from opent2v.host import host
from opent2v.loaders import load_pipeline, open_folder
processes = finetune.Processes.launched(cpu=True)
pipeline = load_pipeline(open_folder(Path({model!r})), model_dtype=torch.float32, text_dtype=torch.float32,
                         vae_dtype=torch.float32)
model, clip, vae = host.model(pipeline.models[0]), host.clip(pipeline.text), host.vae(pipeline.vae)
settings = finetune.Settings(**json.loads({settings!r}))
encoders = finetune.Encoders(pipeline.models[0].variant, clip, vae)
prepared = finetune.prepare(encoders, Path({data!r}), Path({out!r}) / "cache", settings, processes=processes)
training = finetune.Training(host.training_model(model), prepared, settings, Path({out!r}), processes)
training.run()
processes.wait()
# A file each: with unbuffered output, the lines of two processes on one pipe are mixed.
report = f"{{processes.count}} {{training.step}} {{len(prepared.items)}}"
(Path({out!r}) / f"process_{{processes.rank}}").write_text(report)
"""


@pytest.mark.parametrize("count", [2])
def test_two_processes_equal_one(tmp_path, count):
    settings = dataclasses.asdict(dataclasses.replace(SETTINGS, batch=4, validation=0.2, validate_every=3, rate=1e-4))
    code = PROCESS.format(
        scripts=str(wan.ROOT / "scripts"), model=str(wan.folder()), settings=json.dumps(settings),
        data=str(folder() / "clips"), out=str(tmp_path / "two"),
    )  # fmt: skip
    script = tmp_path / "script.py"
    script.write_text(code)
    # accelerate launches processes on a CPU through MPI only; it takes those of torch's launcher as its own.
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(count),
        str(script),
    ]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    for rank in range(count):
        assert (tmp_path / "two" / f"process_{rank}").read_text() == "2 6 12"
    one = run(tmp_path / "one", Settings(**settings))
    two = training(tmp_path / "two", Settings(**settings))
    state = two.adapter.state()
    two.close()
    assert two.step == 6
    assert max((state[name] - one[name]).abs().max().item() for name in one) < 1e-5
