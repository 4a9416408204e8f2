"""The yardstick of cuda-cupy-hopper: cuBLAS on operands rounded to bf16, with float32 sums and a float32 result.

At the same time: whatever NVIDIA's engineers found best for this chip and this shape.
The operands are rounded by the same kernel as cuda-cupy-hopper's, and laid out alike, K along the rows, which suits the
tensor cores best: what differs is the product. Both can be timed without the rounding (`multiply`).
Limit: the tensor cores, and for the rounding the memory's bandwidth.
"""

from __future__ import annotations

from typing import Any

from kernels.cuda import gemm
from kernels.cuda.hopper import InTwoSteps
from kernels.cuda.programs import PROGRAMS


class CublasBF16(InTwoSteps):
    """The product in two steps."""

    def multiply(self, a: Any, b: Any, c: Any, k: int) -> None:
        depth = a.shape[1]  # with the zeros after k: cuBLAS is slow where k is no multiple of 8
        first, second = (gemm.Operand(x.data.ptr, True, depth, gemm.BF16) for x in (a, b))
        gemm.multiply(first, second, c, depth)


product = CublasBF16(PROGRAMS["cuda-cupy-hopper"])
