"""Mounts the pack as `opent2v` without running the root module, and keeps runs repeatable."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Why a file is slow -> the files and folders. `-m "not slow"` leaves them out, and does not even import them.
SLOW: dict[str, tuple[str, ...]] = {
    "runs whole models, step by step": (
        "base/test_memory.py", "families/test_cogvideox.py", "families/test_hunyuan_video.py",
        "families/ltx2/test_sound_pieces.py", "families/test_ltx_streamed.py", "nodes/test_click_track.py",
        "families/test_ltx_video.py", "families/test_ltx_video_guidance.py", "families/test_mochi.py",
        "families/test_open_sora.py", "nodes/test_seam.py",
        "families/test_videocrafter.py", "families/test_wan_stream.py", "host/embedded/test_caches.py",
        "host/embedded/test_reference.py", "host/embedded/test_sample.py", "host/embedded/test_stream.py",
        "loaders/test_gguf_text.py", "nodes/test_cache_tools.py", "nodes/test_clips.py", "nodes/test_ltx2.py",
        "nodes/test_packed_folder.py", "nodes/test_prompt_cache.py", "sampling/caches/test_models.py", "workflows",
        "workflows_of_old",
    ),
    "compares with diffusers' pipelines": (
        "families/ltx2/test_pipelines.py", "families/test_cogvideox_pipelines.py", "families/test_wan_pipelines.py",
    ),
    "builds the published networks": (
        "families/test_cogvideox_files.py", "families/test_hunyuan_video_files.py", "families/test_ltx_video_files.py",
        "families/minimax_h3/test_published.py", "families/test_mochi_files.py",
        "families/test_videocrafter_files.py", "families/test_wan_files.py", "families/test_whole.py",
        "loaders/lora/test_families_apart.py", "loaders/lora/test_real_keys.py",
    ),
    "tries LoRA formats on every family": (
        "loaders/lora/test_bad_files.py", "loaders/lora/test_formats.py", "loaders/lora/test_text_encoders.py",
        "loaders/lora/test_unet.py",
    ),
    "tries damaged and odd files": (
        "loaders/test_damaged.py", "media/test_damaged_media.py", "media/test_odd_files.py",
        "media/test_reader_kinds.py",
    ),
    "starts processes": (
        "packaging/test_install.py", "packaging/test_missing.py", "scripts/test_batch.py", "scripts/test_batch_ray.py",
        "scripts/test_quickstart.py", "scripts/test_serve.py",
        "scripts/test_run_workflow.py", "scripts/test_train_lora.py", "test_commands.py", "test_import_time.py",
    ),
    "trains": ("finetune", "nodes/test_train.py", "training"),
    "needs a ComfyUI": ("browser",),
}  # fmt: skip
SLOW_PATHS = [ROOT / "tests" / path for paths in SLOW.values() for path in paths]

_spec = importlib.util.spec_from_file_location("opent2v_pack", ROOT / "scripts" / "pack.py")
assert _spec is not None and _spec.loader is not None
_pack = importlib.util.module_from_spec(_spec)
sys.modules["opent2v_pack"] = _pack
_spec.loader.exec_module(_pack)
_pack.mount("opent2v")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("markexpr") == "not slow" and collection_path in SLOW_PATHS else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what the list names, and whatever needs a ComfyUI."""
    for item in items:
        if item.get_closest_marker("host") or not {item.path, *item.path.parents}.isdisjoint(SLOW_PATHS):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests are shared out, those that need a ComfyUI stay in one process, so that each is started once."""
    from xdist.scheduler import LoadFileScheduling

    class OneHost(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            needs_host = nodeid.startswith(("tests/host/test_", "tests/browser/"))
            return "a ComfyUI" if needs_host else super()._split_scope(nodeid)

    return OneHost(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_report_header() -> str:
    from opent2v.tests.comfyui import described

    return f"ComfyUI: {described()}"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _plain_settings(tmp_path: Path):
    """Every test gets an output folder of its own."""
    from opent2v.host import embedded

    embedded.configure(output=tmp_path / "output")
    yield
    embedded.configure()
