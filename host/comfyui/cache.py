"""A step cache in the host's runs: one wrapper attaches it to a run, another reports each call of the model to it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import comfy.model_patcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key

from ...sampling import SamplingError
from ...sampling.caches import BatchItem, CachedStage, CacheRequest, CacheRun, StepCache, cache_runs
from ...sampling.caches.report import preview, remarks
from .model import variant
from .streams import packing_of

KEY = "opent2v_step_cache"
# Key in the host's options of a call: the name of the guidance pass, for passes beside the two prompts.
PASS = "opent2v_pass"


def apply_step_cache(model: Any, step_cache: CacheRequest | StepCache) -> Any:
    return with_step_cache(model, cache_runs(step_cache, variant(model)), says=True)


def with_step_cache(model: Any, make: Callable[[], CacheRun], says: bool = False, expert: int = 0) -> Any:
    """A clone of the MODEL whose runs use a step cache.

    Args:
        make: called once for each run.
        says: write the plan and the report to the log.
        expert: which of the run's models this is.
    """

    def outer_sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
        guider, cache = executor.class_obj, make()
        sigmas = kwargs["sigmas"] if "sigmas" in kwargs else args[3]
        before = guider.model_options
        # A clone, because an entry in the guider's own options would outlive the run.
        guider.model_options = comfy.model_patcher.create_model_options_clone(before)
        try:
            with cache.attached(guider.model_patcher.model.diffusion_model, sigmas, expert) as stage:
                if stage is not None:
                    _check_compiled(guider.model_patcher)
                    _check_split(guider.model_patcher)
                    options = guider.model_options
                    add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _telling(stage), options, is_model_options=True)
                if says:
                    for line in preview(cache.resolved[-1], sigmas.tolist()):
                        logging.info(line)
                result = executor(*args, **kwargs)
        finally:
            guider.model_options = before
        if says:
            for remark in remarks(cache):
                logging.info(remark)
        return result

    model = model.clone()
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, outer_sample)
    return model


def _check_compiled(model: Any) -> None:
    """Refuse core's compile node: it swaps modules at each call, and the gate would be compiled with them."""
    if model.get_wrappers(WrappersMP.APPLY_MODEL, "torch.compile"):
        raise SamplingError(
            "This MODEL is compiled by TorchCompileModel or a node like it, and a step cache would be compiled into "
            "it. Take out the compile node or the step cache; blocks that are compiled one by one with block.compile() "
            "keep their speed under the cache."
        )


def _check_split(model: Any) -> None:
    """Refuse a split over GPUs: each GPU calls its own modules at the same time, and the cache follows one."""
    if model.get_additional_models_with_key("multigpu"):
        raise SamplingError(
            "This MODEL is split over several GPUs by MultiGPU CFG Split, and a step cache follows the calls of one. "
            "Take out MultiGPU CFG Split or the step cache."
        )


def _telling(stage: CachedStage) -> Callable[..., Any]:
    def apply_model(executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = kwargs["transformer_options"] if "transformer_options" in kwargs else args[5]
        # Patches that replace blocks (skipped layers) make a separate pass of the same condition.
        replaced = tuple(sorted(str(key) for key in options.get("patches_replace", {}).get("dit", {})))
        window = getattr(options.get("context_window"), "index_list", None)
        named = options.get(PASS)
        marks = (replaced, named, None if window is None else tuple(window))
        items = [
            BatchItem((uuid, *marks), named or ("negative" if index else "positive"))
            for uuid, index in zip(options["uuids"], options["cond_or_uncond"], strict=True)
        ]
        x, shapes = args[0], kwargs.get("latent_shapes") or ()
        # Of picture and sound in one row, rules judge the picture: SeaCache's filter works along its frames and sides.
        picture = packing_of(shapes).unpack(x)[0] if len(shapes) > 1 else x
        with stage.call(items, float(options["sigmas"][0]), picture, is_partial=bool(replaced)):
            return executor(*args, **kwargs)

    return apply_model
