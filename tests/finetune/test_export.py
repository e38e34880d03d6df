"""The LoRA's file: the same change in our loader, in diffusers and under the adapter it was trained with."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open

from opent2v import finetune
from opent2v.finetune import Settings, Training
from opent2v.finetune.adapter import trained_layers
from opent2v.finetune.buckets import Bucket
from opent2v.finetune.clips import Clip, Refused
from opent2v.finetune.objective import draw_noise, losses
from opent2v.finetune.order import generator_of
from opent2v.finetune.prepare import Item, Prepared
from opent2v.host import host
from opent2v.loaders.lora import load_patches, match, read_lora
from opent2v.tests.finetune import families

SETTINGS = Settings(steps=3, batch=1, rank=4, alpha=8, rate=5e-2, warmup=0, validation=0.0, trigger="sks")


def trained(name: str, folder, settings: Settings = SETTINGS):
    """A training of a few steps, whose prepared clip is a random sample."""
    model, sample = families.training_model(name), families.sample_of(name)

    class OneClip(Prepared):
        def sample(self, item, with_picture):
            return sample

    item = Item(Clip("a.mp4", folder / "a.mp4", "sks ball\nrolls"), Bucket(32, 32, 9), "latents", "prompt")
    refused = (Refused("b.mp4", "It is broken."),)
    ready = OneClip(model.part.variant, (item,), refused, None)  # pyright: ignore
    training = Training(model, ready, settings, folder)
    training.run()
    return training, sample


def loss_of(model, sample):
    kind = model.part.variant.prediction
    with torch.no_grad():
        sigma = torch.tensor([0.7 if kind == "flow" else 2.0])
        return losses(model, [sample], sigma, [draw_noise(sample, generator_of(3))]).item()


@pytest.mark.parametrize("name", families.MODELS)
def test_our_loader_makes_the_change_that_was_trained(name, tmp_path):
    plain = families.hosted(name)
    before = loss_of(families.training_model(name), families.sample_of(name))
    training, sample = trained(name, tmp_path)
    changed = loss_of(training.model, sample)
    path = finetune.export(training, tmp_path / "my.safetensors", torch.float32)
    training.close()
    assert abs(changed - before) > 1e-3 * before
    assert loss_of(training.model, sample) == pytest.approx(before, rel=1e-6)
    verdict = match(read_lora(path), host.patch_target(plain))
    verdict.check()
    assert verdict.matched == verdict.total == len(training.adapter.layers)
    assert "Trigger words: sks" in verdict.lines()
    patched = host.apply_patches(plain, load_patches(verdict), 1.0)
    with patched.changed():
        assert loss_of(training.model, sample) == pytest.approx(changed, rel=1e-5)


@pytest.mark.parametrize("name", ["wan", "cogvideox 2b", "hunyuan_video", "ltx_video", "mochi", "videocrafter"])
def test_layers_outside_of_the_blocks_are_read_back(name, tmp_path):
    settings = dataclasses.replace(SETTINGS, layers="all linear", steps=1)
    training, sample = trained(name, tmp_path, settings)
    changed = loss_of(training.model, sample)
    path = finetune.export(training, tmp_path / "my.safetensors", torch.float32)
    training.close()
    blocks = trained_layers(training.model.part.transformer, "attention and feed-forward")
    assert len(training.adapter.layers) > len(blocks)
    verdict = match(read_lora(path), host.patch_target(families.hosted(name)))
    assert verdict.matched == verdict.total == len(training.adapter.layers)
    patched = host.apply_patches(families.hosted(name), load_patches(verdict), 1.0)
    with patched.changed():
        assert loss_of(training.model, sample) == pytest.approx(changed, rel=1e-5)


DIFFUSERS = {
    "wan": "WanTransformer3DModel",
    "cogvideox 2b": "CogVideoXTransformer3DModel",
    "ltx_video": "LTXVideoTransformer3DModel",
    "hunyuan_video": "HunyuanVideoTransformer3DModel",
    "mochi": "MochiTransformer3DModel",
}


@pytest.mark.parametrize("name", DIFFUSERS)
def test_diffusers_makes_the_change_that_was_trained(name, tmp_path):
    training, sample = trained(name, tmp_path)
    changed = loss_of(training.model, sample)
    path = finetune.export(training, tmp_path / "my.safetensors", torch.float32)
    training.close()
    transformer = training.model.part.transformer
    assert type(transformer).__name__ == DIFFUSERS[name]
    transformer.load_lora_adapter(str(path), prefix="transformer")
    try:
        assert loss_of(training.model, sample) == pytest.approx(changed, rel=1e-5)
    finally:
        transformer.unload_lora()


def test_what_the_file_and_its_card_say(tmp_path):
    training, _ = trained("wan", tmp_path)
    path = finetune.export(training, tmp_path / "my.safetensors")
    training.close()
    with safe_open(path, "pt") as file:
        said, names = file.metadata(), list(file.keys())
        dtypes = {file.get_tensor(name).dtype for name in names}
    assert dtypes == {torch.bfloat16}
    assert "transformer.blocks.0.attn1.to_q.lora_A.weight" in names
    assert said["ss_network_dim"] == said["ss_network_alpha"] == "4"  # alpha 8 is multiplied in
    assert said["ss_base_model_version"] == "Wan tiny" and said["modelspec.trigger_phrase"] == "sks"
    assert said["opent2v.base_fingerprint"] == training.model.fingerprint
    assert json.loads(said["ss_bucket_info"]) == {"32 x 32, 9 frames": 1}
    card = path.with_suffix(".md").read_text()
    assert (
        "A LoRA for Wan tiny." in card and "Trigger words: sks" in card and "1 learned, 0 to measure, 1 refused" in card
    )
    assert "- sks ball\n" in card


def test_the_page_shows_losses_and_samples(tmp_path):
    training, _ = trained("wan", tmp_path)
    training.close()
    shot = finetune.Shot("a <ball>", [], [], (32, 32, 9), 0)
    drawn = finetune.Drawn(2, [tmp_path / "samples" / "step000002_1.mp4"])
    page = finetune.write_page(tmp_path / "training.html", training, [shot], [drawn]).read_text()
    assert "3 of 3 steps" in page and "a &lt;ball&gt;" in page and 'src="samples/step000002_1.mp4"' in page
    assert "b.mp4: It is broken." in page and page.count("<polyline") == 2
    assert "http" not in page and "<script" not in page
