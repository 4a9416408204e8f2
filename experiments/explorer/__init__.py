"""The threads of a kernel, access by access, on one page."""

from __future__ import annotations

from kernels.ladder import LADDER

__all__ = ["KERNELS"]

# those that the recorder can run: written for Numba, and in plain Python loops
KERNELS = tuple(spec.name for spec in LADDER if spec.name.split("-")[1] == "numba" and spec.name != "cpu-numba-simd")
