"""The i-k-j loops with the rows of C spread over all cores.

At the same time: as many rows of C as there are cores, and within a row as many c(i,j) as a vector has lanes. No two
rows touch the same c(i,j), so no thread waits for another until the end.
Limit: every multiplication loads and stores a c(i,j), and all of B streams through each core's cache once per row.
Lifted by: cpu-numba-tiled, which uses each number several times once it is fetched.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray


def product(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32; a transposed b is copied, as the point is to walk its rows."""
    _product(a, np.ascontiguousarray(b), c)


@njit(cache=True, parallel=True, fastmath={"contract"})
def _product(a: NDArray, b: NDArray, c: NDArray) -> None:
    for i in prange(c.shape[0]):
        c[i, :] = 0
        for k in range(a.shape[1]):
            a_ik = a[i, k]
            for j in range(c.shape[1]):
                c[i, j] += a_ik * b[k, j]
