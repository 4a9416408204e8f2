"""The nested loop of cpu-python, compiled by Numba to machine code.

At the same time: still nothing. The processor finishes one multiplication and addition, then starts the next.
Limit: every addition waits for the last one (about 4 cycles), and b[k, j] jumps a whole row of B at each step, so
large matrices miss the cache on every read.
Lifted by: cpu-numba-reordered, which only swaps two loops.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def product(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32."""
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            total = np.float32(0)
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            c[i, j] = total
