"""Launching cupy_hopper.cu: operands laid out first, and maps that tell the copy engine where they lie."""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import numpy as np

from kernels.cuda import compile as compiler
from kernels.cuda import launch
from kernels.cuda.programs import Program
from kernels.cuda.tiles import Hopper, Tile

__all__ = ["HopperC", "InTwoSteps", "tensor_map"]

_SIDE, _ROWS = 32, 8  # threads of lay_out
_NUMBERS: dict[int, np.dtype] = {2: np.dtype(np.uint16), 4: np.dtype(np.float32)}  # by their bytes; NumPy knows no bf16
_TYPES = {2: 9, 4: 11}  # CUtensorMapDataType: bf16, and float32 that is shortened to TF32 on the way
_SWIZZLE_128, _PROMOTE_TO_256 = 3, 3  # CUtensorMapSwizzle, CUtensorMapL2promotion


class InTwoSteps:
    """A product in two steps: operands laid out by the kernel lay_out of cupy_hopper.cu, then multiplied.

    tile: sizes of that program; chosen for each product where it is None.
    """

    def __init__(self, program: Program, tile: Tile | None = None) -> None:
        self.program, self.tile = program, tile
        self.numbers = _NUMBERS[program.tile.defines()["BYTES"]]

    def __call__(self, a: Any, b: Any, c: Any) -> None:
        """c (M,N) = a (M,K) · b (K,N), float32 CuPy arrays; C order or transposed."""
        self.multiply(*self.laid_out(a, b), c, a.shape[1])

    def laid_out(self, a: Any, b: Any) -> tuple[Any, Any]:
        """a and bᵀ in the program's numbers, K along their rows and zeros after it: rows of whole 16 bytes.

        An operand that lies so is given back as it is. What is new need not be kept until the launch is done: CuPy's
        pool gives memory out again in the same stream only.
        """
        return self._laid_out(a), self._laid_out(b.T)

    def _laid_out(self, x: Any) -> Any:
        import cupy

        lines, depth = x.shape
        k_contiguous = bool(x.flags.c_contiguous)
        whole = 16 // self.numbers.itemsize
        if k_contiguous and x.dtype == self.numbers and depth % whole == 0 and x.data.ptr % 16 == 0:
            return x
        # the same whatever the tile
        _, lay_out = _functions(self.program, self.program.tile, cupy.cuda.Device().id)
        pitch = whole * math.ceil(depth / whole)
        y = cupy.empty((lines, pitch), self.numbers)
        distances = (depth, 1) if k_contiguous else (1, lines)
        grid = (math.ceil(pitch / _SIDE) * math.ceil(lines / _SIDE),)
        lay_out(
            grid, (_SIDE, _ROWS), (x, y, np.int32(lines), np.int32(depth), *map(np.int64, distances), np.int32(pitch))
        )
        return y

    def multiply(self, a: Any, b: Any, c: Any, k: int) -> None:
        """c (M,N) = a · b for what `laid_out` gave."""
        raise NotImplementedError


class HopperC(InTwoSteps, launch.Sized):
    """The product of cupy_hopper.cu and cupy_hopper_tf32.cu."""

    def multiply(self, a: Any, b: Any, c: Any, k: int) -> None:
        import cupy

        m, n = c.shape
        device = cupy.cuda.Device().id
        tile = self.tile_at(m, n, device)
        assert isinstance(tile, Hopper)
        matmul, _ = _functions(self.program, tile, device)
        maps = (_map(a, tile.block_m, tile.block_k), _map(b, tile.block_n // tile.cluster, tile.block_k))
        arguments = (*maps, c, np.int32(m), np.int32(n), np.int32(k))
        grid = tile.resident_grid(m, n, launch.gpu(device).multiprocessors)
        matmul(grid, tile.block, arguments, shared_mem=tile.shared_bytes)


@functools.cache
def _functions(program: Program, tile: Tile, device: int) -> tuple[Any, Any]:
    import cupy

    architecture = f"{launch.gpu(device).architecture}{program.variant}"
    module = cupy.RawModule(path=str(compiler.cubin(program.source, program.options(tile), architecture)))
    matmul = module.get_function("matmul")
    matmul.max_dynamic_shared_size_bytes = tile.shared_bytes
    return matmul, module.get_function("lay_out")


def _map(x: Any, box_rows: int, box_columns: int) -> np.ndarray:
    rows, columns = x.shape
    return tensor_map(x.data.ptr, x.itemsize, rows, columns, box_rows, box_columns)


def tensor_map(pointer: int, bytes_: int, rows: int, columns: int, box_rows: int, box_columns: int) -> np.ndarray:
    """The driver's map of a matrix (rows, columns) in C order, fetched in boxes; 128 bytes as one NumPy value.

    bytes_: of a number, 2 for bf16, 4 for what becomes TF32. A row is whole 16 bytes; a row of a box is 128 bytes and
    swizzled. Raises RuntimeError where the driver refuses.
    """
    encode = ctypes.CDLL("libcuda.so.1").cuTensorMapEncodeTiled
    memory = ctypes.create_string_buffer(128 + 64)
    aligned = -ctypes.addressof(memory) % 64
    code = encode(
        ctypes.c_void_p(ctypes.addressof(memory) + aligned),
        ctypes.c_int(_TYPES[bytes_]),
        ctypes.c_uint32(2),
        ctypes.c_void_p(pointer),
        (ctypes.c_uint64 * 2)(columns, rows),
        (ctypes.c_uint64 * 1)(bytes_ * columns),  # bytes from row to row
        (ctypes.c_uint32 * 2)(box_columns, box_rows),
        (ctypes.c_uint32 * 2)(1, 1),
        ctypes.c_int(0),
        ctypes.c_int(_SWIZZLE_128),
        ctypes.c_int(_PROMOTE_TO_256),
        ctypes.c_int(0),  # zeros outside
    )
    if code:
        raise RuntimeError(
            f"the driver refuses a map of {rows} x {columns} numbers of {bytes_} bytes (CUDA error {code})"
        )
    return np.frombuffer(memory.raw[aligned : aligned + 128], "V128").reshape(())
