"""The yardstick: NVIDIA's cuBLAS through CuPy, in true float32.

At the same time: whatever NVIDIA's engineers found best for this chip and this shape.
Limit: the chip's ordinary arithmetic units. TF32, which cuBLAS may use for float32 at the price of a rounding error a
thousand times larger, stays off, or the comparison would be with another problem.
"""

from __future__ import annotations

import os
from typing import Any


def product(a: Any, b: Any, c: Any) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32 CuPy arrays; a and b in C order or transposed.

    Raises RuntimeError where CuPy was told to use TF32.
    """
    import cupy

    if os.environ.get("CUPY_TF32", "0") != "0":
        raise RuntimeError("CUPY_TF32 is set, so cuBLAS would round to TF32 and not compute in float32: unset it")
    cupy.matmul(a, b, out=c)
