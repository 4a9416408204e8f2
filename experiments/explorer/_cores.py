"""The CPU kernels on the recorder: one thread for each core, with the rows or bands that Numba gives to it."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
from numba import cuda, get_num_threads, get_thread_id, njit, prange
from numpy.typing import NDArray

__all__ = ["one_thread_per_core", "passes"]


@njit(parallel=True)
def _takers(count: int) -> NDArray[np.int64]:
    taker = np.empty(count, np.int64)
    for i in prange(count):
        taker[i] = get_thread_id()
    return taker


@cache
def passes(count: int) -> tuple[tuple[int, ...], ...]:
    """Which passes of a prange of `count` each of Numba's threads takes here: asked of Numba, not guessed."""
    taker = _takers(count)
    return tuple(tuple(np.flatnonzero(taker == thread).tolist()) for thread in range(get_num_threads()))


@cuda.jit(device=True)
def _own_passes(count: int) -> tuple[int, ...]:
    return passes(count)[cuda.threadIdx.x]


def one_thread_per_core(module: ModuleType) -> tuple[int]:
    """Let a module's kernels run as one thread block, a thread for a core, each its own passes of a prange.

    Returns the size of that block.
    """
    vars(module)["prange"] = _own_passes
    return (get_num_threads(),)
