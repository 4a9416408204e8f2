"""The product of two panels on one process of SUMMA: a kernel of the ladder, on the process's cores or on its GPU.

Panels for a GPU travel between GPUs where the MPI library can (is CUDA-aware), and else through the host's memory.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kernels
from kernels import Kernel, KernelUnavailable, UnknownKernel
from kernels.cuda.requirements import wants_gpu
from kernels.mpi.cuda_aware import is_cuda_aware

__all__ = ["Local", "local"]


class Local:
    """A CPU kernel. name: what multiplies, and where."""

    def __init__(self, kernel: Kernel) -> None:
        self.matmul = kernel.matmul
        self.name = kernel.name
        self._kept: dict[str, NDArray] = {}

    def kept(self, use: str, height: int, width: int) -> NDArray:
        """Memory of the host for one use, the same for each product: fresh memory takes as long to touch as to fill."""
        size = height * width
        if use not in self._kept or self._kept[use].size < size:
            self._kept[use] = np.empty(size, np.float32)
        return self._kept[use][:size].reshape(height, width)

    def to_travel(self, block: Any) -> Any:
        """A block where MPI finds the panels that it sends."""
        return block

    def sums(self, use: str, height: int, width: int) -> Any:
        """Where the kernel may put a product."""
        return self.kept(use, height, width)

    def room(self, use: str, height: int, width: int) -> Any:
        """Where MPI may put a panel that it receives."""
        return self.kept(use, height, width)

    def to_multiply(self, panel: Any) -> Any:
        """A panel that has arrived where the kernel wants it."""
        return panel

    def before_travel(self) -> None:
        """Wait for all that uses memory in which MPI is about to read or write."""

    def to_host(self, c: Any) -> Any:
        return c


class LocalGPU(Local):
    """A CUDA kernel; C stays on the GPU until all panels are multiplied."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._aware = is_cuda_aware()
        self.name += ", panels from GPU to GPU" if self._aware else ", panels through the host's memory"

    def to_travel(self, block: Any) -> Any:
        return self.to_multiply(block) if self._aware else block

    def sums(self, use: str, height: int, width: int) -> Any:
        import cupy

        return cupy.empty((height, width), np.float32)  # CuPy's pool keeps memory by itself

    def room(self, use: str, height: int, width: int) -> Any:
        return self.sums(use, height, width) if self._aware else super().room(use, height, width)

    def to_multiply(self, panel: Any) -> Any:
        import cupy

        return cupy.asarray(panel)

    def before_travel(self) -> None:
        if self._aware:
            import cupy

            # MPI knows nothing of streams, and the pool may give out memory that a launched kernel still reads
            cupy.cuda.get_current_stream().synchronize()

    def to_host(self, c: Any) -> Any:
        return c.get()


@functools.cache
def local() -> Local:
    """Of the kernel that SUMMA_LOCAL in the environment names, else of the fastest hand-written one for the CPU.

    Raises KernelUnavailable.
    """
    name = os.environ.get("SUMMA_LOCAL", "numba")
    if name.startswith("mpi-"):
        raise KernelUnavailable(f"SUMMA_LOCAL={name} must name a kernel of one process, such as numba or cuda")
    try:
        if wants_gpu(name):
            from kernels.mpi.ranks import use_own_gpu

            use_own_gpu()
        kernel = kernels.get(name)
    except (KernelUnavailable, UnknownKernel) as error:
        raise KernelUnavailable(f"SUMMA_LOCAL={name}: {error}") from error
    return LocalGPU(kernel) if kernel.spec.family == "cuda" else Local(kernel)
