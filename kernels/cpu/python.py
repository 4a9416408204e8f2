"""The nested loop: the definition of the product, one c(i,j) after another.

At the same time: nothing. One multiplication is under way at any moment.
Limit: the interpreter, which spends some 50 ns around each multiplication that takes the core a fraction of one.
Lifted by: cpu-numba-serial, the same loop compiled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def product(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32; the sum runs in Python's float64 and is rounded once."""
    rows, columns, depth = c.shape[0], c.shape[1], a.shape[1]
    # lists hold plain Python numbers: reading one from an array costs three times as much
    a_rows, b_rows = a.tolist(), b.tolist()
    with np.errstate(over="ignore"):
        for i in range(rows):
            for j in range(columns):
                total = 0.0
                for k in range(depth):
                    total += a_rows[i][k] * b_rows[k][j]
                c[i, j] = total
