"""The yardstick of cuda-cupy-tensor and cuda-cupy-hopper-tf32: cuBLAS on the tensor cores, operands shortened to TF32.

At the same time: whatever NVIDIA's engineers found best for this chip and this shape.
Limit: the tensor cores. cuBLAS does not say whether it rounds to TF32 or cuts off, so the error bound allows either.
"""

from __future__ import annotations

from typing import Any

from kernels.cuda import gemm


def product(a: Any, b: Any, c: Any) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32 CuPy arrays; a and b in C order or transposed."""
    gemm.multiply(*gemm.float32_operands(a, b), c, a.shape[1], gemm.IN_TF32)
