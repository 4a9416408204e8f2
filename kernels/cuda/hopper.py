"""Launching cupy_hopper.cu: operands rounded to bf16 first, and maps that tell the copy engine where they lie."""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import numpy as np

from kernels.cuda import compile as compiler
from kernels.cuda import launch, sizes
from kernels.cuda.programs import Program
from kernels.cuda.tiles import Hopper, Tile

__all__ = ["HopperC", "Rounding", "tensor_map"]

_SIDE, _ROWS = 32, 8  # threads of round_operand
_BF16, _SWIZZLE_128, _PROMOTE_TO_256 = 9, 3, 3  # CUtensorMapDataType, CUtensorMapSwizzle, CUtensorMapL2promotion


class Rounding:
    """A product in two steps: operands rounded to bf16 by the kernel round_operand of cupy_hopper.cu, then multiplied.

    tile: sizes of that program; chosen for each product where it is None.
    """

    def __init__(self, program: Program, tile: Hopper | None = None) -> None:
        self.program, self.tile = program, tile

    def __call__(self, a: Any, b: Any, c: Any) -> None:
        """c (M,N) = a (M,K) · b (K,N), float32 CuPy arrays, operands rounded to bf16; C order or transposed."""
        self.multiply(*self.rounded(a, b), c, a.shape[1])

    def rounded(self, a: Any, b: Any) -> tuple[Any, Any]:
        """a and bᵀ as bf16, K along their rows and zeros after it: rows of 16 bytes, as the copy engine wants.

        They need not be kept until the launch is done: CuPy's pool gives memory out again in the same stream only.
        """
        import cupy

        # the same whatever the tile
        _, round_operand = _functions(self.program, self.tile or self.program.tile, cupy.cuda.Device().id)
        (m, k), n = a.shape, b.shape[1]
        pitch = 8 * math.ceil(k / 8)
        found = []
        for x, lines, k_contiguous in ((a, m, a.flags.c_contiguous), (b, n, not b.flags.c_contiguous)):
            y = cupy.empty((lines, pitch), np.uint16)
            distances = (k, 1) if k_contiguous else (1, lines)
            sizes = (np.int32(lines), np.int32(k), *map(np.int64, distances), np.int32(pitch))
            grid = (math.ceil(pitch / _SIDE) * math.ceil(lines / _SIDE),)
            round_operand(grid, (_SIDE, _ROWS), (x, y, *sizes))
            found.append(y)
        return found[0], found[1]

    def multiply(self, a: Any, b: Any, c: Any, k: int) -> None:
        """c (M,N) = a · b for what `rounded` gave."""
        raise NotImplementedError


class HopperC(Rounding):
    """The product of cupy_hopper.cu."""

    def multiply(self, a: Any, b: Any, c: Any, k: int) -> None:
        import cupy

        m, n = c.shape
        device = cupy.cuda.Device().id
        chip = launch.gpu(device)
        tile = self.tile or sizes.choose(self.program, m, n, chip.name, chip.multiprocessors, chip.shared_bytes)
        assert isinstance(tile, Hopper)
        matmul, _ = _functions(self.program, tile, device)
        maps = (_map(a, tile.block_m, tile.block_k), _map(b, tile.block_n // tile.cluster, tile.block_k))
        arguments = (*maps, c, np.int32(m), np.int32(n), np.int32(k))
        matmul(tile.resident_grid(m, n, chip.multiprocessors), tile.block, arguments, shared_mem=tile.shared_bytes)


@functools.cache
def _functions(program: Program, tile: Tile, device: int) -> tuple[Any, Any]:
    import cupy

    architecture = f"{launch.gpu(device).architecture}{program.variant}"
    module = cupy.RawModule(path=str(compiler.cubin(program.source, program.options(tile), architecture)))
    matmul = module.get_function("matmul")
    matmul.max_dynamic_shared_size_bytes = tile.shared_bytes
    return matmul, module.get_function("round_operand")


def _map(x: Any, box_rows: int, box_columns: int) -> np.ndarray:
    rows, columns = x.shape
    return tensor_map(x.data.ptr, rows, columns, box_rows, box_columns)


def tensor_map(pointer: int, rows: int, columns: int, box_rows: int, box_columns: int) -> np.ndarray:
    """The driver's map of a bf16 matrix (rows, columns) in C order, fetched in boxes; 128 bytes as one NumPy value.

    Columns are a multiple of 8; a row of a box is 128 bytes and swizzled. Raises RuntimeError where the driver refuses.
    """
    encode = ctypes.CDLL("libcuda.so.1").cuTensorMapEncodeTiled
    memory = ctypes.create_string_buffer(128 + 64)
    aligned = -ctypes.addressof(memory) % 64
    code = encode(
        ctypes.c_void_p(ctypes.addressof(memory) + aligned),
        ctypes.c_int(_BF16),
        ctypes.c_uint32(2),
        ctypes.c_void_p(pointer),
        (ctypes.c_uint64 * 2)(columns, rows),
        (ctypes.c_uint64 * 1)(2 * columns),  # bytes from row to row
        (ctypes.c_uint32 * 2)(box_columns, box_rows),
        (ctypes.c_uint32 * 2)(1, 1),
        ctypes.c_int(0),
        ctypes.c_int(_SWIZZLE_128),
        ctypes.c_int(_PROMOTE_TO_256),
        ctypes.c_int(0),  # zeros outside
    )
    if code:
        raise RuntimeError(f"the driver refuses a map of {rows} x {columns} bf16 numbers (CUDA error {code})")
    return np.frombuffer(memory.raw[aligned : aligned + 128], "V128").reshape(())
