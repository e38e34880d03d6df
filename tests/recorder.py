"""Records what the pack computes and saves on tiny models of every family, to compare two versions of its code.

    python tests/recorder.py folders --work WORK
    python tests/recorder.py record --work WORK --pack PACK --host embedded --out NAME.json
    python tests/recorder.py compare BEFORE.json AFTER.json

`folders` writes the models once, with the makers of the tests in PACK (this checkout where it is not given); every
version of the code then loads the very same weights. `record` runs the pack in the folder PACK through its nodes alone
and writes each case's hash and remarks, with the latents and frames beside it in NAME.safetensors. Inside ComfyUI it is
`--host comfyui --comfyui FOLDER`, with ComfyUI's own Python. `compare` tells how far apart the two recordings are and
exits with 1 where they differ in anything.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Beside this file lie folders with names of Python's and the pack's own modules.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT / "tests"]
sys.path.append(str(ROOT / "scripts"))

import comfyui_start  # noqa: E402
from pack import mount  # noqa: E402

PROMPT = "a red triangle moving to the right on a black background"
SEED, STEPS = 7, 4
# The tiny models have other names of their own; under these the official TeaCache sets are found.
OFFICIAL = {
    "wan-t2v": "2.1 T2V 1.3B", "cogvideox-2b": "2B", "cogvideox-1.5": "1.5 5B", "ltx-0.9.1": "2B 0.9.1",
    "mochi": "1", "hunyuan": "T2V",
}  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """A folder of WORK/models/diffusers.

    Attributes:
        start: "text", "picture" or "both ends": what a run starts from.
        is_brief: a near relative of another folder; only the runs that tell them apart are recorded.
        loras: its name in the LoRA tests' table.
        steps: of a plain run and of a cached one.
    """

    start: str = "text"
    is_brief: bool = False
    loras: str = ""
    steps: tuple[int, int] = (4, 6)


MODELS = {
    "quickstart": Recorded(loras="quickstart"),
    "wan-t2v": Recorded(loras="wan"),
    "wan-euler": Recorded(is_brief=True),
    "wan-ti2v": Recorded(),
    "wan-t2v_a14b": Recorded(),
    "wan-i2v": Recorded("picture"),
    "wan-flf2v": Recorded("both ends", is_brief=True),
    "wan-i2v_a14b": Recorded("picture", is_brief=True),
    "cogvideox-2b": Recorded(),
    "cogvideox-5b": Recorded(loras="cogvideox"),
    "cogvideox-5b-i2v": Recorded("picture", is_brief=True),
    "cogvideox-1.5": Recorded(is_brief=True),
    "cogvideox-1.5-i2v": Recorded("picture"),
    "ltx-0.9.0": Recorded(is_brief=True),
    "ltx-0.9.1": Recorded(loras="ltx_video"),
    "ltx-static": Recorded(is_brief=True),
    "ltx-0.9.5": Recorded(is_brief=True),
    "ltx-0.9.7": Recorded("picture"),
    "ltx-0.9.8-distilled": Recorded(is_brief=True, steps=(8, 8)),
    "mochi": Recorded(loras="mochi"),
    "hunyuan": Recorded(loras="hunyuan_video"),
    "hunyuan-i2v-concat": Recorded("picture"),
    "hunyuan-i2v-replace": Recorded("picture", is_brief=True),
    "open_sora": Recorded(loras="open_sora"),
    "videocrafter": Recorded(loras="videocrafter"),
    "videocrafter-no-rate": Recorded(is_brief=True),
}
LORA_FORMATS = ("diffusers", "kohya", "lokr", "dora")
SCHEDULES = {
    "cogvideox": ("dynamic", "dynamic (reference)", "auto"),
    "open_sora": ("oscillating", "auto"),
    "wan": ("auto", "dynamic"),
}


@dataclass(frozen=True)
class SingleFiles:
    """Files in WORK/models; no text files or no vae: they are in the model's."""

    model: str
    text: tuple[str, ...] = ()
    vae: str = ""
    size: tuple[int, int, int] = (32, 32, 9)


_UMT5, _T5 = "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors"
_CLIP, _HUNYUAN_VAE = "clip_l.safetensors", "hunyuan_video_vae_bf16.safetensors"
FILES = {
    "wan2.1": SingleFiles("wan2.1_t2v_1.3B_fp16.safetensors", (_UMT5,), "wan_2.1_vae.safetensors"),
    "wan2.2-5b": SingleFiles("wan2.2_ti2v_5B_fp16.safetensors", (_UMT5,), "wan2.2_vae.safetensors", size=(64, 64, 9)),
    "ltx": SingleFiles("ltx-video-2b-v0.9.5.safetensors", (_T5,), size=(96, 64, 17)),
    "mochi": SingleFiles("mochi_preview_bf16.safetensors", (_T5,), "mochi_vae.safetensors", size=(32, 32, 13)),
    "hunyuan": SingleFiles(
        "hunyuan_video_t2v_720p_bf16.safetensors", ("llava_llama3_fp8_scaled.safetensors", _CLIP), _HUNYUAN_VAE
    ),
    "open_sora": SingleFiles("Open_Sora_v2.safetensors", (_T5, _CLIP), _HUNYUAN_VAE),
    "videocrafter": SingleFiles("videocrafter2.safetensors", size=(64, 32, 3)),
}  # fmt: skip


# --- folders ---


def folders(work: Path, pack: Path) -> None:
    """Write the tiny models, their LoRAs and single files into WORK/models."""
    models = work / "models"
    if models.exists():
        raise SystemExit(f"{models} is there already; remove it to make the models anew, and record everything again.")
    mount(root=pack)
    _write_folders(models / "diffusers")
    _write_loras(models, pack / "models" / "loras")
    _write_files(models)
    (work / "input").mkdir()
    count = sum(path.is_file() for path in models.rglob("*"))
    print(f"{count} files in {models}")


def _write_folders(target: Path) -> None:
    from opent2v.tests.tiny import (
        cogvideox,
        hunyuan_video,
        ltx_video,
        mochi,
        open_sora,
        videocrafter,
        wan,
        wan_variants,
    )

    target.mkdir(parents=True)
    shutil.copytree(wan.BUNDLED, target / "quickstart")
    for name, kind in (("t2v", "plain"), ("ti2v", "ti2v"), ("euler", "euler")):
        wan.make(target / f"wan-{name}", kind)
    for kind in wan_variants.KINDS:
        wan_variants.make(target / f"wan-{kind}", kind)
    for kind in cogvideox.KINDS:
        cogvideox.make(target / f"cogvideox-{kind}", kind)
    for kind in ltx_video.KINDS:
        ltx_video.make(target / f"ltx-{kind}", kind)
    mochi.make(target / "mochi")
    hunyuan_video.make(target / "hunyuan")
    pictured = {
        "concat": {"in_channels": 33, "guidance_embeds": False, "image_condition_type": "latent_concat"},
        "replace": {"image_condition_type": "token_replace"},
    }
    for kind, changes in pictured.items():
        folder = target / f"hunyuan-i2v-{kind}"
        hunyuan_video.make(folder)
        shutil.rmtree(folder / "transformer")
        hunyuan_video.transformer(**changes).save_pretrained(folder / "transformer")
    open_sora.make(target / "open_sora")
    videocrafter.make(target / "videocrafter")
    videocrafter.make(target / "videocrafter-no-rate", False)
    for name, title in OFFICIAL.items():
        wan.edit(target / name / "opent2v.json", title=title)
    if set(MODELS) != {folder.name for folder in target.iterdir()}:
        raise SystemExit(f"made {sorted(folder.name for folder in target.iterdir())}; expected {sorted(MODELS)}")


def _write_loras(models: Path, bundled: Path) -> None:
    import torch

    from opent2v.loaders import load_pipeline, open_folder
    from opent2v.tests.loaders.lora import files, text_files
    from opent2v.tests.loaders.lora.models import FAMILIES

    target = models / "loras"
    target.mkdir()
    for path in sorted(bundled.glob("*.safetensors")):
        shutil.copy(path, target / path.name.replace("opent2v-", "bundled-"))
    dtypes = dict.fromkeys(("model_dtype", "text_dtype", "vae_dtype"), torch.float32)
    for name, recorded in MODELS.items():
        if not recorded.loras:
            continue
        parts = load_pipeline(open_folder(models / "diffusers" / name), **dtypes)
        state = parts.models[0].transformer.state_dict()
        for style in LORA_FORMATS:
            fmt = files.FORMATS[style].of(recorded.loras)
            files.write(target / f"{name}-{style}.safetensors", fmt, FAMILIES[recorded.loras].sites, state)
        text_files.write(target / f"{name}-text.safetensors", "kohya", parts.text.encoders, ("text_encoder",))


def _write_files(models: Path) -> None:
    from opent2v.tests.workflows import tiny_files

    wanted = set()
    for one in FILES.values():
        is_whole = not one.text or not one.vae
        wanted |= {("checkpoints" if is_whole else "diffusion_models", one.model)}
        wanted |= {("text_encoders", name) for name in one.text} | {("vae", name) for name in (one.vae,) if name}
    tiny_files.put(models, sorted(wanted))
    # It was put there for its tokenizers, which the folder `hunyuan` has as well.
    shutil.rmtree(models / "diffusers" / "HunyuanVideo")


# --- record ---


def start_comfyui(comfyui: Path, work: Path, scratch: Path) -> None:
    """Start ComfyUI in this process, with the models of WORK as its own."""
    (scratch / "user").mkdir()
    places = {"base": work, "output": scratch / "output", "user": scratch / "user", "temp": scratch}
    comfyui_start.start(
        comfyui, "--cpu", *(part for name, path in places.items() for part in (f"--{name}-directory", str(path)))
    )
    folder_paths = import_module("folder_paths")  # its server, which does not run, would set these
    folder_paths.set_output_directory(str(scratch / "output"))
    folder_paths.set_user_directory(str(scratch / "user"))


class Pack:
    """The pack's nodes on a host, called by id and by the names of their inputs."""

    def __init__(self, pack: Path, work: Path, scratch: Path, comfyui: Path | None) -> None:
        import torch

        torch.set_num_threads(1)
        self.output = scratch / "output"
        self.is_embedded = comfyui is None
        self._hidden_words = (str(scratch), str(work), str(pack))
        if comfyui is not None:
            start_comfyui(comfyui, work, scratch)
        mount(root=pack)
        from opent2v.nodes import NODE_CLASS_MAPPINGS

        self.classes = dict(NODE_CLASS_MAPPINGS)
        if comfyui is None:
            from opent2v.host import embedded

            embedded.configure(models=work / "models", output=self.output)
        else:
            import nodes as core

            self.classes |= core.NODE_CLASS_MAPPINGS
            # What the root module does; older versions did it on import.
            side = getattr(import_module("opent2v.host"), "host", None)
            if side is not None:
                side.install(import_module("opent2v.nodes.lora_for_host").read_for_host)

    def has_input(self, node: str, name: str) -> bool:
        inputs = self.classes[node].INPUT_TYPES()
        return name in inputs["required"] or name in inputs.get("optional", {})

    def call(self, node: str, **given: Any) -> tuple[tuple[Any, ...], list[str]]:
        """(results, remarks) of a node; a required input that is not given has its default."""
        import torch

        cls = self.classes[node]
        for name, spec in cls.INPUT_TYPES()["required"].items():
            if name not in given:
                options = spec[1] if len(spec) > 1 else {}
                if "default" in options:
                    given[name] = options["default"]
                elif isinstance(spec[0], list):
                    given[name] = spec[0][0]
        torch.manual_seed(0)
        with torch.inference_mode():  # as both hosts' executors do
            returned = getattr(cls(), cls.FUNCTION)(**given)
        if isinstance(returned, dict):
            return tuple(returned.get("result", ())), list(returned.get("ui", {}).get("opent2v_remarks", ()))
        return tuple(returned), []

    def first(self, node: str, **given: Any) -> Any:
        return self.call(node, **given)[0][0]

    def remark(self, text: str) -> str:
        """A remark without this machine's folders and the time that something took."""
        for word in self._hidden_words:
            text = text.replace(word, "…")
        return re.sub(r"[\d.]+(?= ms)|(?<=sampling about )[\d.]+", "…", text)


# What a run asks for besides Video Sampler's plain inputs -> the input that has it on each node, first name first.
GUIDANCE_INPUTS = {
    "cfg_schedule": ("cfg_schedule", "schedule"),
    "cfg_rescale": ("cfg_rescale", "rescale"),
    "picture_cfg": ("picture_cfg", "image_cfg"),
    "low_noise_cfg": ("low_noise_cfg", "second_cfg"),
}
STG_INPUTS = {
    "schedule": ("stg_schedule", "schedule"),
    "scale": ("stg_scale", "stg", "scale"),
    "rescale": ("stg_rescale", "rescale"),
    "cfg_star": ("cfg_star", "cfg_zero_star"),
    "blocks": ("stg_blocks", "blocks"),
}


def guidance_inputs(pack: Pack, sampler: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a sampler for `asked`: a part of `GUIDANCE_INPUTS`, and "stg" with a part of `STG_INPUTS`.

    Where the sampler has no input of such a name, it is the guidance node's.
    """
    stg = asked.get("stg")
    direct = {name: value for name, value in asked.items() if name != "stg" and pack.has_input(sampler, name)}
    further = {name: value for name, value in asked.items() if name != "stg" and name not in direct}
    if stg is None and not further:
        return direct
    settings = {_input(pack, GUIDANCE_INPUTS[name]): value for name, value in further.items()}
    if stg is not None:
        own = {"schedule": "constant", "scale": 1.0, "rescale": 0.7, "cfg_star": False, "blocks": "1", **stg}
        settings |= {_input(pack, STG_INPUTS[name]): value for name, value in own.items()}
    return direct | {"guidance": pack.first("OpenT2VGuidance", **settings)}


def _input(pack: Pack, names: tuple[str, ...]) -> str:
    for name in names:
        if pack.has_input("OpenT2VGuidance", name):
            return name
    raise SystemExit(f"OpenT2VGuidance has none of the inputs {names}: add its name to tests/recorder.py.")


class Recording:
    """Cases by name: {"sha256", "shape"} of a tensor or file, or {"refused": message}; and "remarks"."""

    def __init__(self, pack: Pack, only: str) -> None:
        self.pack, self.only = pack, only
        self.cases: dict[str, dict[str, Any]] = {}
        self.tensors: dict[str, Any] = {}
        self._group = ""

    @contextmanager
    def group(self, name: str) -> Iterator[None]:
        self._group, before = f"{name}: ", (len(self.cases), time.monotonic())
        yield
        print(f"{name}: {len(self.cases) - before[0]} cases, {time.monotonic() - before[1]:.1f} s", flush=True)

    def wants(self, group: str) -> bool:
        return self.only in group

    def case(self, name: str, run: Callable[[], tuple[Any, list[str]]]) -> Any:
        """Record what `run` returns: (a tensor, a path, a text or a list of tensors; remarks). None where refused."""
        key = self._group + name
        if key in self.cases:
            raise SystemExit(f"two cases are called {key!r}")
        try:
            result, remarks = run()
        except Exception as error:
            logging.debug("%s", key, exc_info=True)
            self.cases[key] = {"refused": self.pack.remark(f"{type(error).__name__}: {error}")}
            return None
        self.cases[key] = self._described(key, result) | {"remarks": [self.pack.remark(line) for line in remarks]}
        return result

    def latent(self, name: str, run: Callable[[], tuple[tuple[Any, ...], list[str]]], index: int = 0) -> Any:
        """The same of a node's LATENT; returns it."""
        made: list[Any] = []

        def samples() -> tuple[Any, list[str]]:
            results, remarks = run()
            made.append(results[index])
            return results[index]["samples"], remarks

        self.case(name, samples)
        return made[0] if made else None

    def _described(self, key: str, result: Any) -> dict[str, Any]:
        if isinstance(result, Path):
            files = [result] if result.is_file() else sorted(result.iterdir())
            content = b"".join(map(_content, files))
            return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        if isinstance(result, str):
            return {"text": self.pack.remark(result)}
        tensor = result.detach().float().cpu().contiguous()
        self.tensors[key] = tensor.clone()
        content = tensor.numpy().tobytes()
        return {"sha256": hashlib.sha256(content).hexdigest(), "shape": list(tensor.shape)}

    def save(self, out: Path) -> None:
        from safetensors.torch import save_file

        out.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, out.with_suffix(".safetensors"))
        out.write_text(json.dumps(self.cases, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def _content(file: Path) -> bytes:
    """Without the random numbers by which Matroska tells files and tracks apart, and their checksums."""
    content = file.read_bytes()
    if file.suffix not in (".mkv", ".webm"):
        return content
    # SegmentUID, TrackUID, TagTrackUID, CRC-32
    for element, size in ((b"\x73\xa4", 16), (b"\x73\xc5", 8), (b"\x63\xc5", 8), (b"\xbf", 4)):
        pattern = re.escape(element + bytes([0x80 | size])) + b".{%d}" % size
        content = re.sub(pattern, element, content, flags=re.DOTALL)
    return content


def picture(seed: int, frames: int = 1, width: int = 96, height: int = 64) -> Any:
    """IMAGE of coarse random patches that move to the right: codecs have something to do, and little."""
    import torch

    patches = torch.rand(3, 8, 16, generator=torch.Generator().manual_seed(seed))
    one = torch.nn.functional.interpolate(patches[None], size=(height, width), mode="bilinear")[0]
    return torch.stack([one.roll(2 * n, dims=2) for n in range(frames)]).movedim(1, -1).mul(255).round().div(255)


def record(work: Path, pack: Path, host: str, comfyui: Path, out: Path, only: str) -> None:
    with tempfile.TemporaryDirectory(prefix="opent2v-recorder-") as scratch:
        mounted = Pack(pack, work, Path(scratch), comfyui if host == "comfyui" else None)
        recording = Recording(mounted, only)
        for name, model in MODELS.items():
            if recording.wants(name):
                with recording.group(name):
                    Runs(recording, name, model).record()
        for name, files in FILES.items():
            if recording.wants(f"files {name}"):
                with recording.group(f"files {name}"):
                    record_files(recording, files)
        if recording.wants("finishing"):
            with recording.group("finishing"):
                record_finishing(recording)
        if mounted.is_embedded and recording.wants("saving"):
            with recording.group("saving"):
                record_saving(recording)
    recording.save(out)
    refused = sum("refused" in case for case in recording.cases.values())
    print(f"{len(recording.cases)} cases, {refused} of them refusals, in {out}")


class Runs:
    """The runs of one model folder."""

    def __init__(self, recording: Recording, name: str, model: Recorded) -> None:
        self.recording, self.pack, self.name, self.model = recording, recording.pack, name, model
        loaded = self.pack.call("OpenT2VLoadModel", model=name, dtype="fp32")[0]
        self.transformer, self.clip, self.vae, self.low, self.vision = loaded
        encoded = self.pack.call("OpenT2VEncodePrompt", clip=self.clip, positive=PROMPT, negative="blurry, dark")[0]
        self.positive, self.negative = encoded
        recording.case("prompt", lambda: (self.positive[0][0], []))
        recording.case("negative prompt", lambda: (self.negative[0][0], []))
        size = {"width": 32, "height": 32, "frames": 9} if name == "quickstart" else {}
        self.size = {"width": 0, "height": 0, "frames": 0, **size}
        self.starts: dict[str, Callable[[], tuple[tuple[Any, ...], list[str]]]] = {"text": self._empty}
        self.starts |= {"picture": lambda: self._pictured(False), "both ends": lambda: self._pictured(True)}
        self.start: Any = None

    def _empty(self) -> tuple[tuple[Any, ...], list[str]]:
        results, remarks = self.pack.call("OpenT2VEmptyLatent", model=self.transformer, **self.size)
        return (self.positive, self.negative, results[0]), remarks

    def _pictured(self, has_end: bool) -> tuple[tuple[Any, ...], list[str]]:
        images = {"start_image": picture(1)} | ({"end_image": picture(2)} if has_end else {})
        if self.vision is not None:
            import torch

            with torch.inference_mode():
                images["clip_vision_output"] = self.vision.encode_image(torch.cat(list(images.values())))
        given = {"model": self.transformer, "vae": self.vae, "positive": self.positive, "negative": self.negative}
        results, remarks = self.pack.call("OpenT2VImageToVideo", **given, **self.size, **images)
        return results[:3], remarks

    def inputs(self, start: Any = None, **changes: Any) -> dict[str, Any]:
        positive, negative, latent = start or self.start
        given = {"model": self.transformer, "positive": positive, "negative": negative, "latent": latent}
        given |= {"seed": SEED, "steps": self.model.steps[0]}
        if self.low is not None:
            given["low_noise_model"] = self.low
        return given | changes

    def sample(self, name: str, start: Any = None, asked: dict[str, Any] | None = None, **changes: Any) -> Any:
        def run() -> tuple[tuple[Any, ...], list[str]]:
            further = guidance_inputs(self.pack, "OpenT2VSampler", asked or {})
            return self.pack.call("OpenT2VSampler", **self.inputs(start, **changes), **further)

        return self.recording.latent(name, run)

    def cache(self, **settings: Any) -> Any:
        """Reuses all that it may: every second step at most."""
        own = {"policy": "easycache", "threshold": 10.0, "start": 0.0, "end": 1.0, "max_consecutive": 1}
        return self.pack.first("OpenT2VStepCache", **own | settings, few_steps=True)

    def record(self) -> None:
        first = None
        for kind, start in self.starts.items():
            begun: list[Any] = []

            def prepared(start: Callable[[], Any] = start, begun: list[Any] = begun) -> tuple[Any, list[str]]:
                results, remarks = start()
                begun.append(results)
                return results[2]["samples"], remarks

            self.recording.case(f"start from {kind}", prepared)
            if not begun:
                continue
            if kind == self.model.start:
                self.start = begun[0]
            latent = self.sample(f"plain, from {kind}", begun[0])
            first = latent if kind == self.model.start else first
            if kind == "picture" and self.model.start == "text":
                self.sample("cfg_rescale 0.7, from picture", begun[0], {"cfg_rescale": 0.7})
                self.sample("picture_cfg 2, from picture", begun[0], {"picture_cfg": 2.0})
        if first is None:
            print(f"{self.name}: the plain run is refused, so the others are left out")
            return
        frames = self.recording.case(
            "frames", lambda: (self.pack.first("OpenT2VDecode", vae=self.vae, latent=first), [])
        )
        encoded = self.recording.latent(
            "encoded", lambda: self.pack.call("OpenT2VEncodeVideo", vae=self.vae, images=frames)
        )
        self.guided()
        if encoded is not None:
            self.from_latent(encoded)
        self.cached()
        if self.model.loras:
            self.with_loras()
        if not self.model.is_brief:
            self.stored()
        if not self.pack.is_embedded:
            self.in_core(encoded)

    def guided(self) -> None:
        self.sample("cfg 1", cfg=1.0)
        self.sample("cfg 3.5, shift 5", cfg=3.5, shift=5.0)
        self.sample("cfg_rescale 0.7", asked={"cfg_rescale": 0.7})
        for schedule in SCHEDULES.get(self.name.split("-")[0], ()):
            # Open-Sora's first ten steps have one cfg.
            steps = 13 if schedule == "oscillating" else self.model.steps[0]
            self.sample(f"cfg_schedule {schedule}", asked={"cfg_schedule": schedule}, steps=steps)
        for solver in ("euler", "unipc", "dpm++ 2m"):
            self.sample(f"solver {solver}", solver=solver)
        if self.low is not None:
            self.sample("low_noise_cfg 3", asked={"low_noise_cfg": 3.0})
        if self.name == "wan-t2v":
            self.sample("stg", asked={"stg": {}})
        if self.name.startswith("ltx"):
            self.sample("stg", asked={"stg": {}})
            self.sample("stg, cfg star", asked={"stg": {"cfg_star": True, "scale": 2.0, "rescale": 0.0}})
            self.sample("cfg star alone", asked={"stg": {"cfg_star": True, "scale": 0.0}})
            self.sample("stg at cfg 1", asked={"stg": {}}, cfg=1.0)
            self.sample("stg and cfg_rescale", asked={"stg": {}, "cfg_rescale": 0.5})
            self.sample("stg published", asked={"stg": {"schedule": "published"}})
            self.sample("stg and cache", asked={"stg": {}}, steps=self.model.steps[1], step_cache=self.cache())

    def from_latent(self, encoded: dict[str, Any]) -> None:
        import torch

        positive, negative, latent = self.start
        encoded = {"samples": encoded["samples"]}
        self.sample("denoise 0.5", (positive, negative, {**latent, **encoded}), denoise=0.5, steps=STEPS)
        if self.model.is_brief:
            return
        mask = torch.zeros(1, *encoded["samples"].shape[-2:])
        mask[..., mask.shape[-1] // 2 :] = 1.0
        mask[..., 0] = 0.5
        masked = {**encoded, "noise_mask": mask}
        self.sample("mask", (positive, negative, masked))
        self.sample("mask, denoise 0.5, unipc", (positive, negative, masked), denoise=0.5, solver="unipc")
        two = {"samples": torch.cat([encoded["samples"], encoded["samples"].flip(-1)])}
        self.sample("two videos", (positive, negative, two), denoise=0.5)

    def cached(self) -> None:
        def sample(name: str, settings: dict[str, Any], **changes: Any) -> None:
            self.sample(f"cache {name}", steps=self.model.steps[1], step_cache=self.cache(**settings), **changes)

        sample("first block", {"policy": "first block"})
        sample("plan 2", {"policy": "plan", "plan": "2"})
        if self.model.is_brief:
            return
        sample("easycache", {})
        sample("seacache", {"policy": "seacache"})
        sample("teacache", {"policy": "teacache"})
        blocks = {"policy": "plan", "plan": "ccrcrr", "boundary": "blocks", "predictor": "linear"}
        sample("plan of blocks, linear", blocks, asked={"cfg_rescale": 0.7})
        sample("plan of blocks on the cpu", blocks | {"device": "cpu", "predictor": "last"}, cfg=1.0)

        def applied() -> tuple[tuple[Any, ...], list[str]]:
            model = self.pack.first("OpenT2VApplyStepCache", model=self.transformer, step_cache=self.cache())
            return self.pack.call("OpenT2VSampler", **self.inputs(model=model, steps=self.model.steps[1]))

        self.recording.latent("cache applied to the MODEL", applied)
        profile: list[Any] = []

        def calibrated() -> tuple[tuple[Any, ...], list[str]]:
            results, remarks = self.pack.call(
                "OpenT2VCalibrateCache", **self.inputs(steps=self.model.steps[1]), name=self.name
            )
            profile.append(results[0])
            return results, remarks

        self.recording.latent("calibrated", calibrated, 1)
        if profile:
            for policy in ("optimal", "magcache", "auto"):
                target = 0.0 if policy == "magcache" else 1.5
                sample(f"{policy} by profile", {"policy": policy, "profile": profile[0], "target_speedup": target})
        if self.name == "wan-t2v":
            given = self.inputs(steps=self.model.steps[1]) | {"vae": self.vae, "step_cache": self.cache()}
            self.recording.latent("sweep", lambda: (self.pack.call("OpenT2VSweepCache", **given)[0], []), 1)

    def with_loras(self) -> None:
        names = [f"{self.name}-{style}.safetensors" for style in LORA_FORMATS]
        if self.name == "quickstart":
            names.append("bundled-quickstart-outline.safetensors")
        for file in names:

            def run(file: str = file) -> tuple[tuple[Any, ...], list[str]]:
                results, remarks = self.pack.call(
                    "OpenT2VLoadLora", model=self.transformer, clip=self.clip, lora=file, strength_model=0.8
                )
                sampled, further = self.pack.call("OpenT2VSampler", **self.inputs(model=results[0]))
                return sampled, [*remarks, *further]

            self.recording.latent(f"LoRA {file.removeprefix(self.name + '-').removesuffix('.safetensors')}", run)

        def prompt() -> tuple[Any, list[str]]:
            given = {"model": self.transformer, "clip": self.clip, "lora": f"{self.name}-text.safetensors"}
            (_, clip, *_), remarks = self.pack.call("OpenT2VLoadLora", **given)
            return self.pack.first("OpenT2VEncodePrompt", clip=clip, positive=PROMPT)[0][0], remarks

        self.recording.case("prompt by a LoRA of the text encoder", prompt)

        def stack() -> tuple[tuple[Any, ...], list[str]]:
            files = {"lora_1": names[0], "strength_1": 0.5, "lora_3": names[1], "strength_3": -0.3}
            results, remarks = self.pack.call("OpenT2VLoraStack", model=self.transformer, **files)
            sampled, _ = self.pack.call(
                "OpenT2VSampler", **self.inputs(model=results[0], steps=self.model.steps[1], step_cache=self.cache())
            )
            return sampled, remarks

        self.recording.latent("stack of LoRAs and cache", stack)
        self.sample("plain again, without LoRA")

    def stored(self) -> None:
        """Weights in other dtypes."""
        choices = self.pack.classes["OpenT2VLoadModel"].INPUT_TYPES()["required"]["dtype"][0]
        for dtype in (choice for choice in choices if choice.startswith(("bf16", "fp8"))):

            def run(dtype: str = dtype, lora: str = "") -> tuple[tuple[Any, ...], list[str]]:
                loaded, remarks = self.pack.call("OpenT2VLoadModel", model=self.name, dtype=dtype)
                model, low = loaded[0], loaded[3]
                if lora:
                    model = self.pack.first("OpenT2VLoadLora", model=model, lora=lora)
                changes = {"model": model} | ({} if low is None else {"low_noise_model": low})
                sampled, further = self.pack.call("OpenT2VSampler", **self.inputs(**changes))
                return sampled, [*remarks, *further]

            self.recording.latent(f"stored as {dtype}", run)
            if self.model.loras:
                file = f"{self.name}-diffusers.safetensors"
                self.recording.latent(f"stored as {dtype}, LoRA", lambda run=run, file=file: run(lora=file))

    def in_core(self, encoded: Any) -> None:
        """ComfyUI's own nodes with our MODEL, CLIP and VAE."""
        positive, negative, latent = self.start
        given = {
            "positive": positive,
            "negative": negative,
            "latent_image": latent,
            "seed": SEED,
            "steps": self.model.steps[0],
        }
        given |= {"model": self.transformer, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple"}
        sampled = self.recording.latent("KSampler", lambda: self.pack.call("KSampler", **given))
        if self.model.is_brief or sampled is None:
            return
        self.recording.case("VAEDecode", lambda: (self.pack.first("VAEDecode", vae=self.vae, samples=sampled), []))
        started = {"latent_image": encoded, "denoise": 0.5, "sampler_name": "dpmpp_2m"}
        self.recording.latent("KSampler, denoise 0.5", lambda: self.pack.call("KSampler", **given | started))

        def cached() -> tuple[tuple[Any, ...], list[str]]:
            model = self.pack.first("OpenT2VApplyStepCache", model=self.transformer, step_cache=self.cache())
            return self.pack.call("KSampler", **given | {"model": model, "steps": self.model.steps[1]})

        self.recording.latent("KSampler under a cache", cached)
        text = {"clip": self.clip, "text": PROMPT}
        self.recording.case("CLIPTextEncode", lambda: (self.pack.first("CLIPTextEncode", **text)[0][0], []))
        if self.model.loras:
            lora = {"model": self.transformer, "lora_name": f"{self.name}-diffusers.safetensors", "strength_model": 0.8}

            def with_lora() -> tuple[tuple[Any, ...], list[str]]:
                model = self.pack.first("LoraLoaderModelOnly", **lora)
                return self.pack.call("KSampler", **given | {"model": model})

            self.recording.latent("KSampler, core's LoRA loader", with_lora)


def record_files(recording: Recording, files: SingleFiles) -> None:
    """Load single files, sample, decode."""
    pack = recording.pack
    (model, clip, vae, *_), remarks = pack.call("OpenT2VLoadDiffusionModel", file=files.model, dtype="fp32")
    recording.case("model", lambda: ("loaded", remarks))
    if files.text:
        second = files.text[1] if len(files.text) > 1 else "none"
        (clip,), said = pack.call("OpenT2VLoadTextEncoder", model=model, file=files.text[0], file_2=second)
        recording.case("text encoder", lambda: ("loaded", said))
    if files.vae:
        (vae,), heard = pack.call("OpenT2VLoadVAE", file=files.vae)
        recording.case("VAE", lambda: ("loaded", heard))
    width, height, frames = files.size
    latent = pack.first("OpenT2VEmptyLatent", model=model, width=width, height=height, frames=frames)
    positive, negative = pack.call("OpenT2VEncodePrompt", clip=clip, positive=PROMPT, negative="blurry")[0]
    recording.case("prompt", lambda: (positive[0][0], []))
    given = {"model": model, "positive": positive, "negative": negative, "latent": latent, "seed": SEED, "steps": STEPS}
    sampled = recording.latent("plain", lambda: pack.call("OpenT2VSampler", **given))
    recording.case("frames", lambda: (pack.first("OpenT2VDecode", vae=vae, latent=sampled), []))

    def as_stored() -> tuple[tuple[Any, ...], list[str]]:
        loaded, remarks = pack.call("OpenT2VLoadDiffusionModel", file=files.model, dtype="auto")
        sampled, further = pack.call("OpenT2VSampler", **given | {"model": loaded[0]})
        return sampled, [*remarks, *further]

    recording.latent("as stored", as_stored)


def record_finishing(recording: Recording) -> None:
    """Each finishing node alone, all in a row, and two clips joined."""
    pack, frames = recording.pack, picture(3, frames=24)
    flickering = (frames * (1 + 0.1 * (frames.new_tensor(range(24)) % 2).view(-1, 1, 1, 1))).clamp(0, 1)
    settings: dict[str, dict[str, Any]] = {
        "OpenT2VColourMatch": {"reference": picture(4)},
        "OpenT2VDeflicker": {},
        "OpenT2VFrameRate": {"fps": 25.0},
        "OpenT2VCaption": {"text": "two words"},
        "OpenT2VWatermark": {"image": picture(5)},
        "OpenT2VLoop": {},
    }
    chain: dict[str, Any] = {}
    for node, given in settings.items():

        def run(node: str = node, given: dict[str, Any] = given) -> tuple[Any, list[str]]:
            steps = pack.first(node, **given)
            chain["finishing"] = pack.first(node, **given, **chain)
            results, remarks = pack.call("OpenT2VFinishFrames", images=flickering, finishing=steps)
            return results[0], remarks

        recording.case(node, run)

    def whole() -> tuple[Any, list[str]]:
        results, remarks = pack.call("OpenT2VFinishFrames", images=flickering, **chain)
        return results[0], [*remarks, f"fps {results[1]}"]

    recording.case("all in a row", whole)
    joined = {"first": frames, "second": picture(6, frames=12), "overlap": 4, "match_colours": 0.5}
    recording.case("OpenT2VJoinClips", lambda: (pack.first("OpenT2VJoinClips", **joined), []))
    compared = {"images": flickering, "reference_images": frames}
    recording.case("OpenT2VCompareCache", lambda: (pack.first("OpenT2VCompareCache", **compared), []))


def record_saving(recording: Recording) -> None:
    """Files of every format, with metadata and sound, and a latent decoded straight into a file."""
    import torch

    pack, frames = recording.pack, picture(3, frames=12)
    times = torch.arange(44100) / 44100
    sound = {"waveform": torch.stack([torch.sin(2764 * times), torch.sin(3456 * times)])[None], "sample_rate": 44100}
    graph = {"1": {"class_type": "OpenT2VSaveVideo", "inputs": {"seed": 5, "model": "quickstart"}}}
    written = {"prompt": graph, "extra_pnginfo": {"workflow": {"nodes": []}}, "unique_id": "1"}

    def save(node: str, **given: Any) -> tuple[Path, list[str]]:
        results, remarks = pack.call(node, **given, **written, fps=16.0)
        file = next(one for one in results if isinstance(one, str))
        return Path(file), remarks

    formats = pack.classes["OpenT2VSaveVideo"].INPUT_TYPES()["optional"]["format"][0]
    for format in formats:
        if any(maker in format for maker in ("nvenc", "qsv", "amf", "videotoolbox")):
            continue
        given = {"images": frames, "format": format, "filename_prefix": f"plain/{format}"}
        recording.case(f"{format}", lambda given=given: save("OpenT2VSaveVideo", **given))
        heard = given | {"audio": sound, "filename_prefix": f"sound/{format}"}
        recording.case(f"{format}, sound", lambda heard=heard: save("OpenT2VSaveVideo", **heard))
    odd = frames[:, :63, :71]
    deep = {"images": odd, "bit_depth": "10", "crf": 20.0, "preset": "fast", "size_rule": "crop", "provenance": False}
    recording.case("mp4 h264, all settings", lambda: save("OpenT2VSaveVideo", **deep, filename_prefix="deep"))
    clear = torch.cat([frames, frames[..., :1]], dim=-1)
    for format in ("webm vp9", "mov prores 4444", "gif", "webp", "png sequence", "mkv ffv1"):
        given = {"images": clear, "format": format, "filename_prefix": f"alpha/{format}"}
        recording.case(f"{format}, alpha", lambda given=given: save("OpenT2VSaveVideo", **given))

    for name in ("quickstart", "wan-t2v", "ltx-0.9.1", "mochi", "hunyuan", "cogvideox-2b", "videocrafter"):
        model, _, vae, *_ = pack.call("OpenT2VLoadModel", model=name, dtype="fp32")[0]
        latent = pack.first("OpenT2VEmptyLatent", model=model)
        noise = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(SEED))
        given = {"vae": vae, "latent": {**latent, "samples": noise}, "audio": sound}
        if name == "quickstart":
            given["finishing"] = pack.first("OpenT2VFrameRate", fps=24.0)
        given["filename_prefix"] = f"stream/{name}"
        recording.case(f"{name}, decoded to a file", lambda given=given: save("OpenT2VDecodeToVideo", **given))


# --- compare ---


def compare(before: Path, after: Path, only: str, is_verbose: bool) -> int:
    """Print how the second recording differs from the first; the number of cases that differ."""
    from safetensors import safe_open

    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    names = [name for name in sorted(old.keys() | new.keys()) if only in name.split(": ")[0]]
    different, remarked = 0, 0
    with (
        safe_open(before.with_suffix(".safetensors"), "pt") as first,
        safe_open(after.with_suffix(".safetensors"), "pt") as second,
    ):
        for name in names:
            difference = _difference(name, old.get(name), new.get(name), first, second)
            same_words = _words(old.get(name)) == _words(new.get(name))
            if difference:
                different += 1
                print(f"DIFFERENT  {name}: {difference}")
            if not same_words:
                remarked += 1
                print(f"REMARKS    {name}\n  before: {_words(old.get(name))}\n  after:  {_words(new.get(name))}")
            if is_verbose and not difference and same_words:
                print(f"equal      {name}")
    print(f"{len(names)} cases: {different} differ in what they give, {remarked} in what they say")
    return different + remarked


def _words(case: dict[str, Any] | None) -> Any:
    return None if case is None else case.get("refused") or case.get("text") or case.get("remarks")


def _difference(name: str, old: dict[str, Any] | None, new: dict[str, Any] | None, first: Any, second: Any) -> str:
    if old is None or new is None:
        return "only in the " + ("second" if old is None else "first")
    if ("refused" in old) != ("refused" in new):
        return "refused only in the " + ("first" if "refused" in old else "second")
    if old.get("sha256") == new.get("sha256"):
        return ""
    if "shape" not in old or "shape" not in new:
        return f"files of {old.get('bytes')} and {new.get('bytes')} bytes"
    if old["shape"] != new["shape"]:
        return f"shape {old['shape']} and {new['shape']}"
    a, b = first.get_tensor(name), second.get_tensor(name)
    apart = (a - b).abs().max().item()
    return f"up to {apart:.3g} apart, {apart / max(a.abs().max().item(), 1e-30):.2g} of the largest value"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    making = ways.add_parser("folders", help="write the models")
    recording = ways.add_parser("record", help="run the cases")
    comparing = ways.add_parser("compare", help="compare two recordings")
    for one in (making, recording):
        one.add_argument("--work", type=Path, required=True, help="the folder with the models")
        one.add_argument("--pack", type=Path, default=ROOT, help="the checkout whose code runs (default: this one)")
    recording.add_argument("--host", choices=("embedded", "comfyui"), default="embedded")
    recording.add_argument("--comfyui", type=Path, default=Path.home() / "comfy" / "ComfyUI", help="its checkout")
    recording.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--verbose", action="store_true", help="list equal cases too")
    for one in (recording, comparing):
        one.add_argument("--only", default="", help="only the cases of models whose name holds this")
    given = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    os.environ |= {
        "DIFFUSERS_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
        "SVT_LOG": "0",
        "TQDM_DISABLE": "1",
    }
    if given.way != "compare":
        places = [path.expanduser().resolve() for path in (given.work, given.pack)]
    if given.way == "folders":
        folders(*places)
    elif given.way == "record":
        record(*places, given.host, given.comfyui.expanduser().resolve(), given.out.resolve(), given.only)
    else:
        sys.exit(1 if compare(given.before, given.after, given.only, given.verbose) else 0)


if __name__ == "__main__":
    main()
