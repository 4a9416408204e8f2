"""How fast each level of memory feeds the cores: numbers read per second, each used in one fused multiply-add."""

from __future__ import annotations

import time

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from kernels.cpu.lanes import LANES, add_rows, store, zeros
from kernels.cpu.memory import aligned_empty
from kernels.measure.caches import cache_sizes, sharers_of_l3
from kernels.measure.limits import Level

__all__ = ["measure"]

_VECTORS = 8  # independent sums, so that none waits for the one before
_LEAST = 2**31  # bytes read per thread and attempt: long enough to time
_ATTEMPTS = 5


def measure(threads: int) -> list[Level]:
    """L1, L2, L3 and memory, nearest first, best of several attempts, with every thread reading its own data."""
    sizes, sharers = cache_sizes(), min(threads, sharers_of_l3())
    # half of a level, to leave room for what else lives there; L3 is shared, memory must be out of its reach
    data = {
        "L1": sizes["L1"] // 2,
        "L2": sizes["L2"] // 2,
        "L3": max(sizes["L3"] // 2 // sharers, min(2 * sizes["L2"], sizes["L3"] // sharers)),
        # of all threads together; a virtual machine may tell the whole host's L3, and not have its memory
        "memory": max(min(4 * sizes["L3"] // sharers, 2**30 // threads), 2 * sizes["L2"]),
    }
    capacity = {"L1": sizes["L1"], "L2": sizes["L2"], "L3": sizes["L3"], "memory": 2**62}
    return [Level(name, capacity[name], _bandwidth(threads, size)) for name, size in data.items()]


def _bandwidth(threads: int, size: int) -> float:
    step = _VECTORS * LANES
    count = max(size // 4 // step, 1) * step
    data = aligned_empty((threads, count))
    data[...] = 0
    sums = aligned_empty((threads, step))
    repeats = max(_LEAST // (4 * count), 1)
    _read(data, sums, 1)
    shortest = float("inf")
    for _ in range(_ATTEMPTS):
        start = time.perf_counter()
        _read(data, sums, repeats)
        shortest = min(shortest, time.perf_counter() - start)
    return 4.0 * threads * count * repeats / shortest


@njit(cache=True, parallel=True)
def _read(data: NDArray, sums: NDArray, repeats: int) -> None:
    for thread in prange(data.shape[0]):
        tile = zeros(_VECTORS, 1, LANES)
        for _ in range(repeats):
            for start in range(0, data.shape[1], _VECTORS * LANES):
                tile = tile * np.float32(0.5) + add_rows(zeros(_VECTORS, 1, LANES), data[thread], start, LANES)
        store(tile, sums[thread], 0, LANES)
