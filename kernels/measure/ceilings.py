"""The machine's limits, measured: how fast it can multiply and add, and how fast memory can feed it.

Every figure of a kernel is set against these. They are measured, not looked up, because clocks, virtual machines and
neighbours change them; each is the best of several attempts, as a ceiling should be.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from kernels.cpu.lanes import LANES, REGISTERS, add_outer, store, zeros
from kernels.measure.caches import cache_sizes, sharers_of_l3
from kernels.measure.limits import Ceilings

__all__ = ["measure"]

_ATTEMPTS = 25  # in all long enough for a moment without interruption
_STEPS = 1_000_000

# independent sums that fit the registers beside three vectors of b and one broadcast number
_ROWS, _VECTORS = REGISTERS // 4, 3
_CHAINS = _ROWS * _VECTORS


def measure(threads: int) -> Ceilings:
    """Measure this machine, in about 2 s; call `kernels.threads.set_threads(threads)` first."""
    a = np.full(_ROWS, 1e-30, np.float32)
    b = np.ones(_VECTORS * LANES, np.float32)
    c = np.empty((threads, _CHAINS * LANES), np.float32)
    chains = _best(lambda: _fma_chains(a, b, c, _STEPS))
    # out of any cache's reach together; a virtual machine may tell the whole host's L3, and not have its memory
    caches = -(-threads // sharers_of_l3())
    count = min(max(2**26, 2 * caches * cache_sizes()["L3"]), 2**28) // 4
    x, y, z = (np.ones(count, np.float32) for _ in range(3))
    triad = _best(lambda: _triad(x, y, z, np.float32(3)))
    return Ceilings(
        threads=threads,
        peak_flops=2.0 * threads * _CHAINS * LANES * _STEPS / chains,
        memory_bandwidth=3 * x.nbytes / triad,
    )


def _best(call: Callable[[], object]) -> float:
    call()
    shortest = float("inf")
    for _ in range(_ATTEMPTS):
        start = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


@njit(cache=True, parallel=True)
def _fma_chains(a: NDArray, b: NDArray, c: NDArray, steps: int) -> None:
    """Fused multiply-adds on registers alone: enough of them that none waits for the one before."""
    for thread in prange(c.shape[0]):
        tile = zeros(_ROWS, _VECTORS, LANES)
        for _ in range(steps):
            tile = add_outer(tile, a, 0, b, 0)
        store(tile, c[thread], 0, _VECTORS * LANES)


@njit(cache=True, parallel=True, fastmath={"contract"})
def _triad(x: NDArray, y: NDArray, z: NDArray, scale: np.float32) -> None:
    """STREAM's triad (McCalpin 1995): two numbers read, one written, for one multiplication and addition."""
    for i in prange(x.shape[0]):
        x[i] = y[i] + scale * z[i]
