"""Yardstick: NumPy's own matrix product, from the BLAS it was built with.

At the same time: all cores, all vector lanes, on panels packed for each cache level.
Limit: the cores' arithmetic. Nothing here can be read or learnt from; it tells how far the hand-written kernels are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def product(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32."""
    # BLAS is right about NaN and Inf; the warning would be about the input, not the product
    with np.errstate(invalid="ignore", over="ignore"):
        np.matmul(a, b, out=c)
