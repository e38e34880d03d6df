"""The gate around a transformer's blocks: either they run, or what they would add stands in for them.

No forward of a model is copied: the blocks' own `forward` is covered while the gate is attached, and the module that
runs after them gets the stand-in. Whatever a model does between its blocks (hints of a control branch, joined streams)
is inside the kept difference once and never twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SamplingError

# (what enters the blocks, the first block, its args and kwargs, what entered the block before or None) -> the stand-in
# for what leaves them, or None to run them.
Enter = Callable[[Tensor, nn.Module, tuple[Any, ...], Mapping[str, Any], "Tensor | None"], "Tensor | None"]
# (what entered the blocks, what left them)
Leave = Callable[[Tensor, Tensor], None]


def region(transformer: nn.Module) -> list[nn.Module]:
    """The transformer's blocks: its lists of modules of one class, in their order.

    Raises:
        SamplingError: it has none, as the UNets of older models.
    """
    lists = [child for child in transformer.children() if isinstance(child, nn.ModuleList) and _are_blocks(child)]
    if not lists:
        raise SamplingError(
            f"{type(transformer).__name__} has no list of equal blocks that a step cache could stand in for. "
            "Take the step cache out."
        )
    return [block for one in lists for block in one]


def _are_blocks(modules: nn.ModuleList) -> bool:
    kinds = {type(module) for module in modules}
    # A layer holds no modules, and a Sequential is a stage of a UNet.
    return len(kinds) == 1 and not any(isinstance(m, nn.Sequential) or not list(m.children()) for m in modules)


class Gate:
    """Covers the blocks of a transformer.

    Attributes:
        after_first: the first block always runs, and the rest are the region.
        runs: how often a block has run.
    """

    def __init__(self, transformer: nn.Module, enter: Enter, leave: Leave, after_first: bool):
        self.transformer, self.enter, self.leave, self.after_first = transformer, enter, leave, after_first
        self.blocks = region(transformer)
        self.runs = 0
        self._is_open = False
        self._returned: dict[nn.Module, tuple[bool, list[torch.Size]]] = {}

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Cover the blocks; whatever happens inside, the transformer is as it was afterwards."""
        if any(getattr(block.__dict__.get("forward"), "is_opent2v_gate", False) for block in self.blocks):
            raise SamplingError("This model's blocks are under a step cache already. Use one step cache a run.")
        own = [block.__dict__.get("forward") for block in self.blocks]
        others = [m for m in self.transformer.children() if not isinstance(m, nn.ModuleList)]
        hooks = []
        try:
            for block in self.blocks:
                block.forward = self._covered(block, block.forward)
            hooks = [m.register_forward_pre_hook(self._exit, with_kwargs=True) for m in others]
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for block, forward in zip(self.blocks, own, strict=True):
                block.__dict__.pop("forward", None)
                if forward is not None:
                    block.forward = forward

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call of the transformer."""
        self._ran, self._left, self._is_open = 0, False, True
        self._entered = self._stand_in = self._first = None
        try:
            yield
        finally:
            self._is_open = False
            self._entered = self._stand_in = self._first = None

    @property
    def left(self) -> bool:
        """Whether the last call went through the blocks' end, or never came to the blocks."""
        return self._left or not self._ran

    def _covered(self, block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def covered(*args: Any, **kwargs: Any) -> Any:
            if not self._is_open:
                return forward(*args, **kwargs)
            position, self._ran = self._ran, self._ran + 1
            if position == 0 and self.after_first:
                self._first = _stream(args, kwargs).clone()
            elif position == int(self.after_first):
                x = _stream(args, kwargs)
                self._stand_in = self.enter(x, block, args, kwargs, self._first)
                if self._stand_in is None:
                    self._entered = x.clone()  # blocks may work in place
            if self._stand_in is not None:
                return self._passed(block, args, kwargs)
            self.runs += 1
            output = forward(*args, **kwargs)
            parts = [output] if isinstance(output, Tensor) else output
            self._returned[block] = isinstance(output, Tensor), [part.shape for part in parts]
            return output

        covered.is_opent2v_gate = True  # pyright: ignore[reportFunctionMemberAccess]
        return covered

    def _passed(self, block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A block's inputs in the shape of its outputs: what follows needs tensors, and the exit drops them."""
        is_single, shapes = self._returned[block]
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        passed = []
        for shape in shapes:
            at = next((n for n, value in enumerate(given) if value.shape == shape), None)
            passed.append(given[0].new_zeros(shape) if at is None else given.pop(at))
        return passed[0] if is_single else tuple(passed)

    def _exit(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The first module that runs after all blocks have."""
        if not self._is_open or self._left or self._ran < len(self.blocks):
            return None
        self._left = True
        found = _stream(args, kwargs)
        if self._stand_in is None:
            assert self._entered is not None
            if self._entered.shape != found.shape:
                raise SamplingError(
                    f"{type(self.transformer).__name__}: {list(self._entered.shape)} enters the blocks and "
                    f"{list(found.shape)} leaves them; a step cache needs the same. Take the step cache out."
                )
            self.leave(self._entered, found)
            return None
        new = self._stand_in.to(found.dtype)
        if args:
            return (new, *args[1:]), kwargs
        name = next(name for name, value in kwargs.items() if value is found)
        return args, {**kwargs, name: new}


def _stream(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The video's tokens: the first argument, by position or by name."""
    value = next(iter((*args, *kwargs.values())), None)
    if not isinstance(value, Tensor):
        raise SamplingError(
            f"This model's blocks take a {type(value).__name__} first; a step cache needs one tensor. Take it out."
        )
    return value
