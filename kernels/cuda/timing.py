"""Timing on a GPU, by its own clock: the host only puts work into the stream, and the GPU notes when it is done."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kernels.measure.timing import MAX_SAMPLES, MIN_SAMPLES

__all__ = ["repeat", "sample"]

_SHORTEST = 1e-3  # seconds: events are exact to half a microsecond
_WARM_UP = 3


def sample(call: Callable[[], object], calls: int, cold: bool = False) -> float:
    """Seconds per call on the GPU, of `calls` calls in a row. cold: L2 is emptied before, which makes sense for one."""
    import cupy

    if cold:
        _flush_l2(cupy)
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    for _ in range(calls):
        call()
    stop.record()
    stop.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, stop)) / 1e3 / calls


def repeat(call: Callable[[], object], min_time: float = 0.2, cold: bool = False) -> list[float]:
    """Seconds per call, after warming up: at least MIN_SAMPLES samples and min_time seconds in all.

    A sample is made of as many calls as take a millisecond; with a cold cache, of one.
    """
    once = min(sample(call, 1) for _ in range(_WARM_UP))
    shortest = max(_SHORTEST, min_time / MAX_SAMPLES)
    calls = 1 if cold else max(1, math.ceil(shortest / max(once, 1e-9)))
    wanted = min(MAX_SAMPLES, max(MIN_SAMPLES, math.ceil(min_time / max(once * calls, 1e-9))))
    return [sample(call, calls, cold) for _ in range(wanted)]


def _flush_l2(cupy: Any) -> None:
    size = cupy.cuda.Device().attributes["L2CacheSize"]
    cupy.zeros(2 * size, cupy.uint8)
