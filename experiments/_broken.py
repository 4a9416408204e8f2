"""A kernel that raises something: its point has failed, and the others are kept."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernels import Kernel

__all__ = ["broke"]


def broke(kernel: Kernel, error: Exception) -> str:
    """Why the kernel's point failed; the place is printed.

    What it may be is of many kinds, CuPy's, Numba's, cuBLAS's. Raised again where other processes wait for the kernel.
    """
    if kernel.spec.family == "mpi":
        raise error
    traceback.print_exception(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
