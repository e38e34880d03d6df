"""Tomorrow's model today: a family, text encoder, weight format, container, guidance and cache policy of the test's.

Nothing of the rooms is edited: a model of two streams (video and sound) goes from its files through every node of a
graph to a saved video with its sound.

Tests: base, families, loaders, sampling, host/embedded, nodes
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from opent2v.base import (
    Defaults,
    Family,
    Geometry,
    Guided,
    Images,
    Network,
    Prompt,
    Recognised,
    Recognition,
    Sampling,
    Sound,
    SoundStream,
    Text,
    TextEncoderKind,
    TextLayout,
    Variant,
    Video,
    VideoStream,
)
from opent2v.base.guidance import Guide, Pass
from opent2v.base.keys import rename
from opent2v.base.packed import PackedTensor, PackedWeight, take_rows
from opent2v.base.stg import OwnStg
from opent2v.base.text import ANY_TOKENIZER, count_layers
from opent2v.families import families
from opent2v.families.text import text_encoders
from opent2v.host import embedded
from opent2v.loaders import TensorInfo, containers, quantised
from opent2v.loaders.quantised.layer import StoredLayer
from opent2v.sampling import make_schedule
from opent2v.sampling.caches import POLICIES, Policy
from opent2v.sampling.streams import seeded_noise
from opent2v.tests.loaders import text_files
from opent2v.tests.nodes.calls import call, remarks

CHANNELS, PITCHES, WIDTH, TEXT, RATE = 2, 3, 16, 32, 800
SIZE, FPS, STEPS = (16, 16, 9), 3.0, 6
PROMPT, AVOIDED = "a red circle", "the sun rises"


# The networks. A library would hold them; the tests put them there.


class Module(nn.Module):
    """What diffusers' modules have that the loaders use."""

    load_config = None

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(WIDTH, WIDTH)])

    def forward(self, hidden_states: Tensor) -> Tensor:
        q, k, v = (layer(hidden_states) for layer in (self.to_q, self.to_k, self.to_v))
        return self.to_out[0](functional.scaled_dot_product_attention(q, k, v))


class Block(nn.Module):
    """Tokens of both streams attend to each other."""

    def __init__(self):
        super().__init__()
        self.attn1 = Attention()

    def forward(self, video: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([video, sound], 1)
        changed = both + torch.tanh(self.attn1(both))
        return changed[:, : video.shape[1]], changed[:, video.shape[1] :]


class TomorrowTransformer(Module):
    def __init__(self, layers: int):
        super().__init__()
        self.video_in, self.sound_in = nn.Linear(2 * CHANNELS, WIDTH), nn.Linear(PITCHES, WIDTH)
        self.text = nn.Linear(TEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(layers))
        self.video_out, self.sound_out = nn.Linear(WIDTH, CHANNELS), nn.Linear(WIDTH, PITCHES)

    def forward(self, video: Tensor, sound: Tensor, t: Tensor, context: Tensor, picture: Tensor):
        """[B, C, T, h, w] and [B, pitches, L] at t [B] in 0..1000 -> noise minus clean of each."""
        time = self.text(context.mean(1)) + (t / 1000).view(-1, 1)
        seen = torch.cat([video, picture], 1)
        a = self.video_in(seen.flatten(2).transpose(1, 2)) + time[:, None]
        b = self.sound_in(sound.transpose(1, 2)) + time[:, None]
        for block in self.blocks:
            a, b = block(a, b)
        return self.video_out(a).transpose(1, 2).reshape(video.shape), self.sound_out(b).transpose(1, 2)


class TomorrowVideoVAE(Module):
    """4 frames and 8 x 8 pixels to a latent; the first latent frame is one frame."""

    def __init__(self):
        super().__init__()
        self.pixels_out, self.pixels_in = nn.Linear(CHANNELS, 3), nn.Linear(3, CHANNELS)

    def decode(self, latent: Tensor) -> Tensor:
        pixels = torch.tanh(self.pixels_out(latent.movedim(1, -1)).movedim(-1, 1))
        frames = [pixels[:, :, :1], pixels[:, :, 1:].repeat_interleave(4, 2)]
        return torch.cat(frames, 2).repeat_interleave(8, 3).repeat_interleave(8, 4)

    def encode(self, video: Tensor) -> Tensor:
        small = functional.avg_pool3d(video[:, :, ::4], (1, 8, 8))
        return self.pixels_in(small.movedim(1, -1)).movedim(-1, 1)


class TomorrowAudioVAE(Module):
    def __init__(self):
        super().__init__()
        self.wave_out = nn.Linear(PITCHES, RATE // 2)

    def decode(self, latent: Tensor) -> Tensor:
        return torch.tanh(self.wave_out(latent.transpose(1, 2))).flatten(1).unsqueeze(1)


# The text encoder.


def find_text(shapes):
    if "model.layers.0.self_attn.q_proj.bias" not in shapes:
        return None
    vocabulary, width = shapes["model.embed_tokens.weight"]
    config = {
        "vocab_size": vocabulary, "hidden_size": width, "intermediate_size": 48, "num_attention_heads": 4,
        "num_hidden_layers": count_layers(shapes, "model.layers.{}.self_attn.q_proj.weight"), "num_key_value_heads": 2,
    }  # fmt: skip
    rules = (rename("^spiece_model"), rename("^model", ""))
    return TextLayout(f"Qwen ({width} wide)", config, width, rules)


def embed(encoders, tokens):
    ids, mask = tokens["text_encoder"]
    return encoders["text_encoder"](input_ids=ids, attention_mask=mask).last_hidden_state * mask.unsqueeze(-1), {}


ENCODER = TextEncoderKind(
    "Qwen2Model", frozenset({"Qwen2Tokenizer"}) | ANY_TOKENIZER, ("Qwen 2",), find_text, spiece="spiece_model"
)


# The weight format: 8-bit integers with one step for each row.


class RowInt8:
    name, layout, stays_packed = "row int8", "", True

    def layers(self, file):
        ends = [name for name in file.header if name.endswith(".weight_rows8")]
        return {
            name.removesuffix("_rows8"): StoredLayer(
                self, file.header[name].shape, {"weight": name, "step": f"{name.removesuffix('_rows8')}_step"}
            )
            for name in ends
        }

    def rows(self, weight: PackedWeight, index: Tensor):
        return {role: take_rows(tensor, index) for role, tensor in weight.tensors.items()}

    def dequantise(self, weight: PackedWeight, dtype: torch.dtype) -> Tensor:
        return (weight.tensors["weight"].float() * weight.tensors["step"].unsqueeze(-1)).to(dtype)


def packed(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(tensors as stored, the numbers that they stand for): the blocks' matrices are packed."""
    stored, exact = {}, dict(tensors)
    for name, tensor in tensors.items():
        if name.startswith("blocks.") and name.endswith(".weight"):
            step = tensor.abs().amax(1) / 127
            numbers = (tensor / step.unsqueeze(-1)).round().to(torch.int8)
            stored |= {f"{name}_rows8": numbers, f"{name}_step": step}
            exact[name] = numbers.float() * step.unsqueeze(-1)
        else:
            stored[name] = tensor
    return stored, exact


# The container: a word of its own, then what safetensors would write.

MAGIC = b"TOMORROW"
DTYPES = {torch.float32: "F32", torch.int8: "I8", torch.uint8: "U8"}


@dataclass(frozen=True)
class Box:
    path: Path
    header: dict[str, TensorInfo]
    metadata: dict[str, str]

    @contextmanager
    def tensors(self):
        yield load(self.path.read_bytes()[len(MAGIC) :]).__getitem__


class BoxFormat:
    endings = (".tomorrow",)

    def matches(self, start: bytes) -> bool:
        return start.startswith(MAGIC)

    def open(self, path: Path) -> Box:
        inside = load(path.read_bytes()[len(MAGIC) :])
        return Box(path, {name: TensorInfo(DTYPES[t.dtype], tuple(t.shape)) for name, t in inside.items()}, {})


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAGIC + save({name: tensor.clone().contiguous() for name, tensor in tensors.items()}))


# The family.


def find(shapes, name):
    if "blocks.0.attn1.to_q.weight" in shapes:
        count = count_layers(shapes, "blocks.{}.attn1.to_q.weight")
        return Recognised("transformer", "diffusers", "TomorrowTransformer", {"layers": count}, VARIANT)
    for part, marker in (("vae", "pixels_out.weight"), ("audio_vae", "wave_out.weight")):
        if marker in shapes:
            class_name = {"vae": "TomorrowVideoVAE", "audio_vae": "TomorrowAudioVAE"}[part]
            return Recognised(part, "diffusers", class_name, {}, VARIANT)
    return "no blocks.0.attn1.to_q.weight"


def condition(variant, entry, shapes):
    video = shapes[0]
    picture = entry.get("concat_latent_image")
    return {
        "context": entry["cross_attn"],
        "picture": torch.zeros(1, *video[1:]) if picture is None else picture.expand(1, *video[1:]),
    }


def predict(variant, transformer, x, t, conditions):
    return transformer(*x, t, conditions["context"], conditions["picture"])


def prepare(variant, pictures):
    latent = pictures.encode(pictures.start)
    _, *size = variant.geometry.latent_shape(*SIZE[:2], pictures.frames)
    return Guided({"concat_latent_image": latent}, torch.zeros(1, CHANNELS, *size))


def image_scales(variant, schedule, scale, entry, steps, frames):
    return torch.full((steps, 1), scale) if "concat_latent_image" in entry else None


class Louder(Guide):
    """Away from a pass whose first block is left out."""

    remark = "louder"

    def passes(self):
        return (Pass("without_block", change=self.left_out),)

    @contextmanager
    def left_out(self, transformer):
        block = transformer.blocks[0]
        block.forward = lambda video, sound: (video, sound)
        try:
            yield
        finally:
            del block.forward

    def after_cfg(self, clean, results):
        return clean + 0.5 * (results.clean["positive"] - results.clean["without_block"])


FAMILY = Family(
    id="tomorrow",
    title="Tomorrow",
    recognition=Recognition(find),
    network=Network(predict, condition, reads_rate=True),
    text=Text({"text_encoder": ENCODER}, embed),
    video=Video(lambda vae, latent, seed: vae.decode(latent), lambda vae, video: vae.encode(video)),
    sound=Sound(lambda vae, latent: vae.decode(latent), lambda vae: RATE),
    images=Images(prepare, guidance=image_scales),
    sampling=Sampling(
        stg=lambda variant: OwnStg((1,)),
        guides=lambda variant, entry, sigma, cfg: (Louder(),) if entry.get("louder") else (),
    ),
)
VARIANT = Variant(
    family=FAMILY,
    name="1",
    streams=(
        VideoStream(Geometry(channels=CHANNELS, temporal=4, spatial=8, patch=1), mean=(0.5, -0.5), std=(2.0, 4.0)),
        SoundStream(lambda frames, fps: (PITCHES, round(frames / fps * 2)), std=(0.5,)),
    ),
    defaults=Defaults(*SIZE, fps=FPS, steps=STEPS, guidance=3.0),
    scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0},
    prompts=(Prompt(12),),
    context_width=TEXT,
    task="image",
)
SHAPES = (1, CHANNELS, 3, 2, 2), (1, PITCHES, 6)


def qwen() -> nn.Module:
    from transformers import Qwen2Config, Qwen2Model

    config = Qwen2Config(
        vocab_size=99, hidden_size=TEXT, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    return Qwen2Model(config).eval()


@pytest.fixture
def exact(tmp_path, monkeypatch) -> dict[str, Tensor]:
    """Everything is registered and its files are in models/; the numbers of the denoiser."""
    import diffusers

    for network in (TomorrowTransformer, TomorrowVideoVAE, TomorrowAudioVAE):
        monkeypatch.setattr(diffusers, network.__name__, network, raising=False)
    monkeypatch.setitem(families(), FAMILY.id, FAMILY)
    monkeypatch.setitem(text_encoders(), ENCODER.class_name, ENCODER)
    monkeypatch.setattr(quantised, "FORMATS", [*quantised.FORMATS, RowInt8()])
    monkeypatch.setattr(containers, "FORMATS", [*containers.FORMATS, BoxFormat()])
    models = tmp_path / "models"
    embedded.configure(models=models, output=tmp_path / "output")
    torch.manual_seed(0)
    stored, exact = packed({name: tensor.detach() for name, tensor in TomorrowTransformer(3).state_dict().items()})
    text = {f"model.{name}": tensor for name, tensor in qwen().state_dict().items()}
    text["spiece_model"] = torch.tensor(list(text_files.spiece()), dtype=torch.uint8)
    write(models / "diffusion_models/tomorrow.safetensors", stored)
    write(models / "text_encoders/qwen.safetensors", text)
    write(models / "vae/tomorrow_vae.safetensors", TomorrowVideoVAE().state_dict())
    write(models / "vae/tomorrow_audio_vae.safetensors", TomorrowAudioVAE().state_dict())
    lora = {"lora_A": torch.randn(2, WIDTH), "lora_B": torch.randn(WIDTH, 2)}
    write(models / "loras/one.safetensors", {f"transformer.blocks.1.attn1.to_v.{k}.weight": v for k, v in lora.items()})
    return exact


def loaded():
    """(MODEL, CLIP, VAE, audio VAE) through the loader nodes."""
    (model, *_), ui = call("OpenT2VLoadDiffusionModel", file="tomorrow.safetensors")
    assert remarks(ui).startswith("Tomorrow 1, diffusers layout, stored as row int8 0.0 MiB, ")
    (clip,), _ = call("OpenT2VLoadTextEncoder", model=model, file="qwen.safetensors")
    (vae,), _ = call("OpenT2VLoadVAE", file="tomorrow_vae.safetensors")
    (audio_vae,), _ = call("OpenT2VLoadVAE", file="tomorrow_audio_vae.safetensors")
    return model, clip, vae, audio_vae


def prompts(clip):
    (positive, negative), _ = call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative=AVOIDED)
    return positive, negative


def sampled(model, positive, negative, latent, **given):
    (made, report), _ = call(
        "OpenT2VSampler", model=model, positive=positive, negative=negative, latent=latent, seed=1, **given
    )
    return made["samples"].unbind(), report, made


def by_hand(exact, positive, negative, cfg=3.0):
    """Euler's steps on two tensors side by side, by a network that holds the packed weights' numbers."""
    network = TomorrowTransformer(3)
    network.load_state_dict(exact)
    x, picture = seeded_noise(SHAPES, 1), torch.zeros(SHAPES[0])
    sigmas = make_schedule(VARIANT.scheduler, steps=STEPS).sigmas
    with torch.no_grad():
        for sigma, after in pairwise(sigmas):
            towards, away = (network(*x, sigma[None] * 1000, c[0][0], picture) for c in (positive, negative))
            x = [one + (after - sigma) * (b + cfg * (a - b)) for one, a, b in zip(x, towards, away, strict=True)]
    return [stream.denormalise(one) for stream, one in zip(VARIANT.streams, x, strict=True)]


def apart(some, others) -> float:
    return max((one - other).abs().max().item() for one, other in zip(some, others, strict=True))


def test_it_samples_what_its_numbers_say(exact):
    model, clip, *_ = loaded()
    (latent, *_), ui = call("OpenT2VEmptyLatent", model=model)
    assert "With sound" in remarks(ui)
    positive, negative = prompts(clip)
    plain, report, _ = sampled(model, positive, negative, latent)
    assert [tuple(one.shape) for one in plain] == list(SHAPES) and report.startswith(f"{STEPS} steps, cfg 3, ")
    assert apart(plain, by_hand(exact, positive, negative)) < 1e-4
    weight = model.part.transformer.get_parameter("blocks.0.attn1.to_q.weight")
    assert isinstance(weight, PackedTensor)


def test_guidance_lora_and_cache_reach_both_streams(exact, monkeypatch):
    monkeypatch.setitem(POLICIES, "every other", Policy("every other", plan=every_other, has_strength=False))
    model, clip, *_ = loaded()
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model)
    positive, negative = prompts(clip)
    plain, *_ = sampled(model, positive, negative, latent)
    (stg,), _ = call("OpenT2VGuidance", stg=1.0)
    (cache,), _ = call("OpenT2VStepCache", policy="every other", start=0.0, end=1.0)
    (changed, _, verdict, *_), _ = call("OpenT2VLoadLora", model=model, lora="one.safetensors")
    assert "1 of 1 match" in verdict and "the row int8 weights stay as they are" in verdict
    own = [[context, {**further, "louder": True}] for context, further in positive]
    reports = {}
    for name, prompt, used, given in (
        ("stg", positive, model, {"guidance": stg}),
        ("cache", positive, model, {"step_cache": cache}),
        ("lora", positive, changed, {}),
        ("own guidance", own, model, {}),
        ("all", own, changed, {"guidance": stg, "step_cache": cache}),
    ):
        made, reports[name], _ = sampled(used, prompt, negative, latent, **given)
        for one, other in zip(made, plain, strict=True):
            assert torch.isfinite(one).all() and 1e-5 < (one - other).abs().max() < 100, name
    assert "spatio-temporal guidance 1" in reports["stg"] and "louder" in reports["own guidance"]
    assert "Step cache (every other): 4 of 6 steps computed" in reports["cache"]


def every_other(settings, sigmas, expert):
    return [step in (2, 4) for step in range(len(sigmas) - 1)]


def test_a_first_picture_guides_it(exact):
    model, clip, vae, _ = loaded()
    positive, negative = prompts(clip)
    picture = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(2))
    results, _ = call(
        "OpenT2VImageToVideo", model=model, vae=vae, positive=positive, negative=negative, start_image=picture
    )
    seen, avoided, latent = results[:3]
    assert [tuple(one.shape) for one in latent["samples"].unbind()] == list(SHAPES)
    plain, *_ = sampled(model, seen, avoided, latent)
    (empty, *_), _ = call("OpenT2VEmptyLatent", model=model)
    assert apart(plain, sampled(model, positive, negative, empty)[0]) > 1e-3
    (closer,), _ = call("OpenT2VGuidance", picture_cfg=2.0)
    made, report, _ = sampled(model, seen, avoided, latent, guidance=closer)
    assert "picture_cfg 2" in report and all(apart([a], [b]) > 1e-5 for a, b in zip(made, plain, strict=True))


def test_it_is_decoded_and_saved_with_its_sound(exact, tmp_path):
    import av

    model, clip, vae, audio_vae = loaded()
    (latent, *_), _ = call("OpenT2VEmptyLatent", model=model)
    streams, _, made = sampled(model, *prompts(clip), latent)
    (frames, audio), _ = call("OpenT2VDecode", vae=vae, latent=made, audio_vae=audio_vae)
    assert frames.shape == (9, 16, 16, 3) and frames.min() >= 0 and frames.max() <= 1
    assert audio["sample_rate"] == RATE and audio["waveform"].shape == (1, 1, 6 * RATE // 2)
    sound = TomorrowAudioVAE()
    sound.load_state_dict(load((tmp_path / "models/vae/tomorrow_audio_vae.safetensors").read_bytes()[len(MAGIC) :]))
    with torch.no_grad():
        assert torch.allclose(audio["waveform"], sound.decode(streams[1]), atol=1e-5)
    call("OpenT2VSaveVideo", images=frames, fps=FPS, filename_prefix="tomorrow", audio=audio)
    call("OpenT2VDecodeToVideo", vae=vae, latent=made, fps=FPS, filename_prefix="streamed", audio_vae=audio_vae)
    files = sorted((tmp_path / "output").rglob("*.mp4"))
    assert len(files) == 2
    for file in files:
        with av.open(file) as film:
            assert len(list(film.decode(video=0))) == 9 and len(film.streams.audio) == 1
            assert abs(float(film.duration / av.time_base) - 3.0) < 0.2
