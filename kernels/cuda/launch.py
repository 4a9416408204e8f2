"""Launching: how many thread blocks, of which size, with which machine code.

A launch is put into CuPy's current stream and does not wait for the GPU.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kernels.cuda import compile as compiler
from kernels.cuda import sizes
from kernels.cuda.programs import PROGRAMS, Program
from kernels.cuda.tiles import Hopper, Tile

if TYPE_CHECKING:
    from types import ModuleType

    from kernels.ladder import KernelSpec

__all__ = ["GPU", "CudaC", "Layout", "NumbaCuda", "Sized", "for_program", "gpu", "product"]

_MOST_BLOCKS_DOWN = 65_535  # of a grid in y; in x there may be 2³¹ - 1


def product(spec: KernelSpec) -> Callable[[Any, Any, Any], None]:
    """The product of a cuda kernel: CuPy arrays, C-ordered c."""
    if spec.name in PROGRAMS:
        return for_program(PROGRAMS[spec.name])
    module = importlib.import_module(spec.module)
    return NumbaCuda(module) if hasattr(module, "kernel") else module.product


def for_program(program: Program, tile: Tile | None = None) -> Callable[[Any, Any, Any], None]:
    """The product of a CUDA C program, with these sizes or those it chooses."""
    if isinstance(program.tile, Hopper):
        from kernels.cuda.hopper import HopperC

        return HopperC(program, tile)
    return CudaC(program, tile)


class GPU(NamedTuple):
    """What a launch must know of the chip.

    shared_bytes: the most that a block may have. cooperative: whether a launch can ask that all blocks be resident.
    watchdog: whether the driver ends a kernel after about two seconds, as where the GPU drives a screen.
    """

    name: str
    architecture: int
    multiprocessors: int
    shared_bytes: int
    cooperative: bool = True
    watchdog: bool = False


@functools.cache
def gpu(device: int) -> GPU:
    """The GPU of CuPy's number `device`."""
    import cupy

    chip = cupy.cuda.Device(device)
    properties = cupy.cuda.runtime.getDeviceProperties(device)
    attributes = chip.attributes
    shared = attributes.get("MaxSharedMemoryPerBlockOptin") or attributes["MaxSharedMemoryPerBlock"]
    cooperative = bool(attributes.get("CooperativeLaunch"))
    return GPU(
        properties["name"].decode(),
        int(chip.compute_capability),
        attributes["MultiProcessorCount"],
        shared,
        cooperative,
        watchdog=bool(properties.get("kernelExecTimeoutEnabled")),
    )


class Sized:
    """A product whose program has sizes. tile: those to use; chosen for each C where it is None."""

    program: Program
    tile: Tile | None

    def tile_at(self, m: int, n: int, device: int) -> Tile:
        """The sizes for a C of (m,n) on the GPU of CuPy's number `device`. Raises ValueError where none fits it."""
        chip = gpu(device)
        return self.tile or sizes.choose(self.program, m, n, chip.name, chip.multiprocessors, chip.shared_bytes)


class Layout(NamedTuple):
    """How the operands lie in memory, which a program is compiled for.

    aligned: everything starts at a multiple of 16 bytes, and so do all rows, so four numbers move at once.
    """

    a_k_contiguous: bool
    b_k_contiguous: bool
    aligned: bool

    @classmethod
    def of(cls, a: Any, b: Any, c: Any) -> Layout:
        """Of a (M,K), b (K,N), each in C order or transposed, and c (M,N) in C order."""
        (m, n), k = c.shape, a.shape[1]
        along_a, along_b = bool(a.flags.c_contiguous), not b.flags.c_contiguous
        pitches = (k if along_a else m, k if along_b else n, n)
        aligned = all(pitch % 4 == 0 for pitch in pitches) and all(x.data.ptr % 16 == 0 for x in (a, b, c))
        return cls(along_a, along_b, aligned)


class CudaC(Sized):
    """The product of a CUDA C program."""

    def __init__(self, program: Program, tile: Tile | None = None) -> None:
        self.program, self.tile = program, tile

    def __call__(self, a: Any, b: Any, c: Any) -> None:
        """c (M,N) = a (M,K) · b (K,N), float32 CuPy arrays; a and b in C order or transposed."""
        import cupy

        (m, n), k = c.shape, a.shape[1]
        device = cupy.cuda.Device().id
        layout = Layout.of(a, b, c)
        tile = self.tile_at(m, n, device)
        function = _function(self.program, tile, layout, device)
        strides = (k, 1) if layout.a_k_contiguous else (1, m), (1, k) if layout.b_k_contiguous else (n, 1)

        def launch(rows: slice, columns: slice) -> None:
            assert columns == slice(0, n), "a program's rows of C lie n numbers apart"
            part = c[rows]
            sizes_of_part = (np.int32(len(part)), np.int32(n), np.int32(k))
            distances = (np.int64(distance) for pair in strides for distance in pair)
            grid = tile.grid(len(part), n)
            function(grid, tile.block, (a[rows], b, part, *sizes_of_part, *distances), shared_mem=tile.shared_bytes)

        in_parts(m, n, tile.grid, launch)


@functools.cache
def _function(program: Program, tile: Tile, layout: Layout, device: int) -> Any:
    import cupy

    architecture = f"{gpu(device).architecture}{program.variant}"
    code = compiler.cubin(program.source, program.options(tile, *layout), architecture)
    function = cupy.RawModule(path=str(code)).get_function("matmul")
    if tile.shared_bytes:
        # beyond 48 KiB a block must ask; and as many as fit are meant to run side by side, whatever L1 has to give up
        function.max_dynamic_shared_size_bytes = tile.shared_bytes
        function.preferred_shared_memory_carveout = 100  # percent
    return function


class NumbaCuda:
    """The product of a Numba CUDA kernel's module."""

    def __init__(self, module: ModuleType) -> None:
        from numba import config

        # Numba warns of every grid below 128 blocks; a small product has no more. It reads the environment again where
        # that has changed since
        os.environ["NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS"] = "0"
        config.CUDA_LOW_OCCUPANCY_WARNINGS = 0
        self.module = module

    def __call__(self, a: Any, b: Any, c: Any) -> None:
        """c (M,N) = a (M,K) · b (K,N), float32 CuPy arrays; a and b in C order or transposed."""
        import cupy
        from numba import cuda

        stream = cuda.external_stream(cupy.cuda.get_current_stream().ptr)

        def launch(rows: slice, columns: slice) -> None:
            part = c[rows, columns]
            grid, block = self.module.launch(*part.shape)
            # the same stream on both sides: nothing to wait for
            arrays = (cuda.as_cuda_array(x, sync=False) for x in (a[rows], b[:, columns], part))
            self.module.kernel[grid, block, stream](*arrays)

        m, n = c.shape
        in_parts(m, n, lambda height, width: self.module.launch(height, width)[0], launch)


def in_parts(
    m: int, n: int, grid: Callable[[int, int], tuple[int, int]], launch: Callable[[slice, slice], None]
) -> None:
    """Launch for a C of (m,n), in parts of it where the grid would have too many blocks in y."""
    work = [(slice(0, m), slice(0, n))]
    while work:
        rows, columns = work.pop()
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if grid(height, width)[1] <= _MOST_BLOCKS_DOWN:
            launch(rows, columns)
        elif grid(height, 1)[1] > 1:
            middle = rows.start + height // 8 * 4  # multiples of 4 stay multiples of 16 bytes
            work += [(slice(rows.start, middle), columns), (slice(middle, rows.stop), columns)]
        else:
            middle = columns.start + width // 2
            work += [(rows, slice(columns.start, middle)), (rows, slice(middle, columns.stop))]
