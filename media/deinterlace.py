"""Whole pictures from interlaced ones, by FFmpeg's bwdif filter."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from .pyav import av


def deinterlaced(frames: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """The same (number, frame), each interlaced frame made whole from its neighbours; progressive ones as they are."""
    graph, kind, kept = None, None, deque[tuple[int, Any]]()
    for number, frame in frames:
        if graph is not None and _kind(frame) != kind:
            yield from _flushed(graph, kept)
            graph = None
        if graph is None:
            if not frame.interlaced_frame:
                yield number, frame
                continue
            graph, kind = _graph(frame), _kind(frame)
        kept.append((number, frame))
        graph.push(frame)
        yield from _pulled(graph, kept)
    if graph is not None:
        yield from _flushed(graph, kept)


def _kind(frame: Any) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name


def _graph(frame: Any) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or av.time_base
    )
    # One picture for each frame, and only for those that are marked as interlaced.
    whole, sink = graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    source.link_to(whole)
    whole.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Any, kept: deque[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    while kept:
        try:
            picture = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield kept.popleft()[0], picture


def _flushed(graph: Any, kept: deque[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    graph.push(None)
    yield from _pulled(graph, kept)
    yield from kept
    kept.clear()
