"""The gate around a transformer's blocks: either they run, or a prediction stands in for their output.

No forward of a model is copied: the blocks' own calls are covered while the gate is attached, and the modules that run
after them get the stand-ins. Whatever a model does between its blocks (hints of a control branch, joined streams) is
inside the kept difference once and never twice. A model without such blocks, a UNet, is covered as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SamplingError

# (streams that enter the blocks, first block, its args and kwargs, input of the block before or None) -> stream number
# -> stand-in for its output, or None to run the blocks. The video is stream 0.
Enter = Callable[
    [list[Tensor], nn.Module, tuple[Any, ...], Mapping[str, Any], "Tensor | None"], "dict[int, Tensor] | None"
]
# (stream number, input of the blocks or None where the whole model is covered, their output)
Leave = Callable[[int, "Tensor | None", Tensor], None]
# (input of the first block, its output)
Saw = Callable[[Tensor, Tensor], None]


def region(transformer: nn.Module) -> list[nn.Module]:
    """The transformer's blocks: its lists of modules of one class, in their order; none in a UNet."""
    if any(hasattr(transformer, name) for name in ("mid_block", "middle_block")):
        return []
    lists = [child for child in transformer.children() if isinstance(child, nn.ModuleList) and _are_blocks(child)]
    return [block for blocks in lists for block in blocks]


def _are_blocks(modules: nn.ModuleList) -> bool:
    kinds = {type(_inner(module)) for module in modules}
    # Lists of plain layers (no children) and of a UNet's stages (Sequential) are not lists of blocks.
    return len(kinds) == 1 and not any(isinstance(m, nn.Sequential) or not list(m.children()) for m in modules)


def _inner(module: nn.Module) -> nn.Module:
    """The original module of one that `torch.compile` has wrapped."""
    return getattr(module, "_orig_mod", module)


def _call_of(module: nn.Module) -> str:
    """The attribute that a call of the module goes through; replacing it keeps a compiled call compiled."""
    return "forward" if module._compiled_call_impl is None else "_compiled_call_impl"


class Gate:
    """Covers the blocks of a transformer, or the whole transformer where it has none.

    Attributes:
        after_first: the first block always runs, and the rest are the region.
        is_whole: the model is covered as a whole: by choice, or because it has no blocks.
        runs: how often a block, or the whole, has run.
    Raises:
        SamplingError: the transformer is compiled as a whole, or has no blocks where the first is to be looked at.
    """

    def __init__(
        self,
        transformer: nn.Module,
        enter: Enter,
        leave: Leave,
        after_first: bool = False,
        saw: Saw | None = None,
        is_whole: bool = False,
    ):
        self.transformer, self.enter, self.leave, self.after_first, self.saw = (
            transformer, enter, leave, after_first, saw
        )  # fmt: skip
        self.blocks = [] if is_whole else region(_inner(transformer))
        self.is_whole = not self.blocks
        name = type(_inner(transformer)).__name__
        if self.blocks and (transformer is not _inner(transformer) or transformer._compiled_call_impl is not None):
            raise SamplingError(
                f"{name} is compiled as a whole, and a step cache works between its blocks. Compile the blocks one by "
                "one instead (they keep their speed under the cache), or set its boundary to model; policies first "
                "block and teacache, and Calibrate Step Cache, always work between the blocks."
            )
        if self.is_whole and after_first:
            raise SamplingError(
                f"{name} has no list of equal blocks, so the step cache's policy first block has nothing to look at. "
                "Set policy to easycache."
            )
        self.runs = 0
        self._is_open = False
        self._returned: dict[nn.Module, tuple[type, list[torch.Size]]] = {}
        self._exits: dict[nn.Module, int] = {}  # module where a stream leaves -> number of the stream

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Cover the blocks inside the context; the transformer is restored at the end, also after an error."""
        covered = self.blocks or [self.transformer]
        if any(getattr(getattr(module, _call_of(module)), "is_opent2v_gate", False) for module in covered):
            raise SamplingError("This model's blocks are under a step cache already. Use one step cache a run.")
        with ExitStack() as stack:
            for module in covered:
                name = _call_of(module)
                stack.callback(_restore, module, name, module.__dict__.get(name))
                cover = self._whole if self.is_whole else self._covered
                module.__dict__[name] = _marked(cover(module, getattr(module, name)))
            for module in self.transformer.children() if self.blocks else ():
                if not isinstance(module, nn.ModuleList):
                    stack.callback(module.register_forward_pre_hook(self._exit, with_kwargs=True).remove)
            yield

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call of the transformer."""
        self._clear()
        self._is_open = True
        try:
            yield
        finally:
            self._clear()

    def _clear(self) -> None:
        self._ran, self._left, self._is_open = 0, False, False
        self._entered: dict[int, Tensor] = {}
        self._out: list[Tensor] = []
        self._stand_ins: dict[int, Tensor] | None = None
        self._first: Tensor | None = None

    @property
    def left(self) -> bool:
        """Whether this call has left the blocks, or has not reached them."""
        return self._left or not self._ran

    def _whole(self, model: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        kind: type = Tensor

        def covered(*args: Any, **kwargs: Any) -> Any:
            nonlocal kind
            if not self._is_open:
                return forward(*args, **kwargs)
            stand_ins = self.enter([_stream(args, kwargs)], model, args, kwargs, None)
            if stand_ins is not None:
                return _like(kind, [stand_ins[n] for n in sorted(stand_ins)])
            self.runs += 1
            output = forward(*args, **kwargs)
            kind = type(output)
            # Iterating one of diffusers' outputs gives its keys, so take its values with to_tuple.
            parts = [output] if isinstance(output, Tensor) else getattr(output, "to_tuple", lambda: output)()
            for number, part in enumerate(parts):
                self.leave(number, None, part)
            return output

        return covered

    def _covered(self, block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def covered(*args: Any, **kwargs: Any) -> Any:
            if not self._is_open:
                return forward(*args, **kwargs)
            position, self._ran = self._ran, self._ran + 1
            if position == 0 and (self.after_first or self.saw):
                self._first = _stream(args, kwargs).clone()
            if position == int(self.after_first):
                streams = _streams(args, kwargs)
                self._stand_ins = self.enter(streams, block, args, kwargs, self._first)
                if self._stand_ins is None:
                    # Copy the inputs, since blocks may work in place. After the first call the streams that leave are
                    # known, and only those are copied.
                    needed = self._exits.values() or range(len(streams))
                    self._entered = {n: streams[n].clone() for n in needed}
            if self._stand_ins is not None:
                return self._passed(block, args, kwargs)
            self.runs += 1
            output = forward(*args, **kwargs)
            self._out = [output] if isinstance(output, Tensor) else list(output)
            self._returned[block] = type(output), [part.shape for part in self._out]
            if position == 0 and self.saw and self._first is not None:
                # Flux's blocks hand the text back before the video.
                alike = (part for part in self._out if part.shape == self._first.shape)
                self.saw(self._first, next(alike, self._out[0]))
            return output

        return covered

    def _passed(self, block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A skipped block's inputs, shaped like its outputs: later code needs tensors, and the exit replaces them."""
        kind, shapes = self._returned[block]
        tensors = _tensors(args, kwargs)
        passed = []
        for shape in shapes:
            at = next((n for n, value in enumerate(tensors) if value.shape == shape), None)
            passed.append(tensors[0].new_zeros(shape) if at is None else tensors.pop(at))
        return _like(kind, passed)

    def _exit(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Hook on modules that run after the blocks: the first takes the video's stream, others may take another."""
        if not self._is_open or self._ran < len(self.blocks):
            return None
        value = next(iter((*args, *kwargs.values())), None)
        if not isinstance(value, Tensor):
            return None
        number = self._number(value) if self._stand_ins is None else self._exits.get(module)
        if number is None:
            return None
        self._left = True
        if self._stand_ins is None:
            self._exits[module], entered = number, self._entered[number]
            if entered.shape != value.shape:
                raise SamplingError(
                    f"{type(self.transformer).__name__}: {list(entered.shape)} enters the blocks and "
                    f"{list(value.shape)} leaves them; a step cache needs the same. Take the step cache out."
                )
            self.leave(number, entered, value)
            return None
        new = self._stand_ins[number].to(value.dtype)
        if args:
            return (new, *args[1:]), kwargs
        name = next(name for name, argument in kwargs.items() if argument is value)
        return args, {**kwargs, name: new}

    def _number(self, value: Tensor) -> int | None:
        """The number of the stream that leaves: the video, 0, comes first; others are outputs of the last block."""
        if not self._left:
            return 0
        if any(value is part for part in self._out[1:]):
            return next((n for n, entered in self._entered.items() if n and entered.shape == value.shape), None)
        return None


def _like(kind: type, parts: list[Tensor]) -> Any:
    """A tensor, a tuple or list of tensors, or one of diffusers' outputs."""
    if issubclass(kind, Tensor):
        return parts[0]
    return kind(parts) if issubclass(kind, tuple | list) else kind(*parts)


def _tensors(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """All tensors of a call in order; pairs of streams are flattened."""
    groups = [value if isinstance(value, tuple | list) else [value] for value in (*args, *kwargs.values())]
    return [value for group in groups for value in group if isinstance(value, Tensor)]


def _streams(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Candidates for streams through all blocks: the video's tokens first, then tensors of the same rank and batch."""
    first = _stream(args, kwargs)
    following = _tensors(args, kwargs)[1:]
    return [first, *(tensor for tensor in following if tensor.ndim == first.ndim and len(tensor) == len(first))]


def _stream(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The video's tokens: the first argument, by position or by name, or the first of a pair."""
    value = next(iter((*args, *kwargs.values())), None)
    video = value[0] if isinstance(value, tuple | list) and value else value
    if not isinstance(video, Tensor):
        raise SamplingError(
            f"This model's blocks take a {type(value).__name__} first; a step cache needs a tensor. Take it out."
        )
    return video


def _marked(covered: Callable[..., Any]) -> Callable[..., Any]:
    covered.is_opent2v_gate = True  # pyright: ignore[reportFunctionMemberAccess]
    return covered


def _restore(module: nn.Module, name: str, attribute: Any) -> None:
    module.__dict__.pop(name, None)
    if attribute is not None:
        module.__dict__[name] = attribute
