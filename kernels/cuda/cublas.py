"""The yardstick: NVIDIA's cuBLAS, in true float32.

At the same time: whatever NVIDIA's engineers found best for this chip and this shape.
Limit: the chip's ordinary arithmetic units. TF32, which cuBLAS may use for float32 and which rounds the operands
thousands of times as coarsely, stays off, or the comparison would be with another problem: cublas_tf32.py.
"""

from __future__ import annotations

from typing import Any

from kernels.cuda import gemm


def product(a: Any, b: Any, c: Any) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32 CuPy arrays; a and b in C order or transposed."""
    gemm.multiply(*gemm.float32_operands(a, b), c, a.shape[1])
