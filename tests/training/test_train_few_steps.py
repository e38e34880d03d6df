"""The LoRA of 4 steps: its training goes on where it stopped, its goals are the teacher's states, and the shipped file
draws what prompts say, with the schedule that it states."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from opent2v.base.few_steps import stated
from opent2v.host import embedded
from opent2v.loaders import load_pipeline, open_folder
from opent2v.loaders.lora import match, read_lora
from opent2v.training import captions, evaluate, latents, train_few_steps, world
from opent2v.training.train_few_steps import STEPS, go_on, levels, loss_of, set_out
from opent2v.training.train_lora import FOLDER, Lots
from opent2v.training.train_transformer import Pair

SHIPPED = FOLDER.parents[1] / "loras" / "opent2v-quickstart-4steps.safetensors"


@pytest.fixture
def pool():
    """Three clips whose state n is n everywhere, plus a hundred for each clip."""
    every = torch.arange(STEPS + 1.0).view(1, -1, 1, 1, 1, 1) + 100 * torch.arange(3.0).view(-1, 1, 1, 1, 1, 1)
    states = every.expand(3, STEPS + 1, 16, 9, 8, 8)
    return {"ids": torch.zeros(3, captions.MAX_TOKENS, dtype=torch.long), "states": states.half()}


def test_a_flow_that_leads_to_the_teachers_next_state_has_no_error(pool):
    sigmas = levels()
    assert len(sigmas) == STEPS + 1 and sigmas[-1] == 0
    batch = set_out(Lots(0), 8, pool, anywhere=True)
    length = (sigmas[batch["step"]] - sigmas[batch["step"] + 1]).view(-1, 1, 1, 1, 1)
    goal = pool["states"][batch["clip"], batch["step"] + 1].float()
    flow = (batch["x"] - goal) / length
    assert loss_of(flow, batch, pool, sigmas) < 1e-6
    away = loss_of(flow + 1, batch, pool, sigmas)
    torch.testing.assert_close(away, length.mean(), atol=1e-4, rtol=1e-4)
    way = go_on(batch, flow, Lots(1), pool, sigmas)
    for n in range(8):
        ends = batch["step"][n] + 1 == STEPS
        assert way["step"][n] == (0 if ends else batch["step"][n] + 1)
        torch.testing.assert_close(way["x"][n], pool["states"][way["clip"][n], 0].float() if ends else goal[n])


def test_the_teachers_states_lead_to_clips_that_show_what_is_said(monkeypatch):
    monkeypatch.setattr(train_few_steps, "BATCH", 6)
    pair = Pair(len(captions.tokenizer()))
    pair.load_folder(FOLDER)
    space = latents.LatentSpace.load()
    pool = train_few_steps.trajectories(6, pair, world.split()[0], space)
    assert 1 <= len(pool["ids"]) <= 6 and pool["states"].shape[1:] == (STEPS + 1, 16, 9, 8, 8)
    assert pool["states"][:, 0].float().std() == pytest.approx(1, abs=0.05)
    clips = space.decode(pool["states"][:, -1].float())
    assert float(clips.abs().mean()) < 1.2


def test_a_stopped_run_goes_on_and_the_file_states_its_schedule(tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="peft is what trains a LoRA")
    monkeypatch.setattr(train_few_steps, "BATCH", 6)

    def train(work, stop):
        out = work / "lora.safetensors"
        options = ["--clips", "6", "--batch", "6", "--stop", stop]
        train_few_steps.main(["--work", str(work), "--out", str(out), *options])
        return load_file(out)

    whole = train(tmp_path / "whole", "2")
    train(tmp_path / "parts", "1")
    parts = train(tmp_path / "parts", "2")
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, atol=1e-4, rtol=0, msg=name)
    few = stated(read_lora(tmp_path / "whole" / "lora.safetensors").metadata, "lora")
    assert few is not None and (few.steps, few.cfg, few.shift) == (4, 1.0, (3.0,))
    assert few.sigmas == pytest.approx(levels()[:-1].tolist(), abs=1e-5)


def test_the_shipped_file_fits_and_draws_in_4_steps():
    parts = load_pipeline(open_folder(FOLDER), **embedded.device_dtypes(None, None))
    verdict = match(read_lora(SHIPPED), embedded.patch_target(embedded.model(parts.models[0])))
    assert verdict.matched == verdict.total == 62 and verdict.few_steps is not None
    source = evaluate.from_folder(FOLDER, SHIPPED)
    assert (source.steps, source.cfg) == (4, 1.0)
    records = [record for record, _ in evaluate.evaluate(source, world.split()[1][:12], "en", batch=6)]
    shares = evaluate.shares(records)
    assert shares["colour"] == shares["background"] == 100
    assert shares["motion"] >= 75 and shares["shape"] >= 50
