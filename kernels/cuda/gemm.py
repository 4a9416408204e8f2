"""cuBLAS, called without CuPy between: CuPy refuses it while a stream is captured, and cannot ask for TF32 in one call.

NumPy's order is row after row and cuBLAS's column after column, so what cuBLAS sees is Cᵀ = Bᵀ·Aᵀ: no number is moved.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import weakref
from typing import Any, NamedTuple

import numpy as np

__all__ = ["BF16", "FLOAT32", "IN_FLOAT32", "IN_TF32", "Operand", "float32_operands", "multiply"]

FLOAT32, BF16 = 0, 14  # cudaDataType
IN_FLOAT32, IN_TF32 = 68, 77  # cublasComputeType_t: what operands may be rounded to; sums are float32 in both
_AS_IT_LIES, _TRANSPOSED = 0, 1  # cublasOperation_t
_ANY_ALGORITHM = -1  # cublasGemmAlgo_t
_WORKSPACE = 32 * 2**20  # bytes: what cuBLAS's manual advises for Hopper, the most of all chips


class Operand(NamedTuple):
    """A (M,K) or B (K,N) on the GPU: either its steps of k are neighbours, or the rows of A and the columns of B are.

    What are not neighbours lie `pitch` numbers apart. type: of the numbers.
    """

    pointer: int
    k_contiguous: bool
    pitch: int
    type: int = FLOAT32


def float32_operands(a: Any, b: Any) -> tuple[Operand, Operand]:
    """Of a (M,K) and b (K,N), float32 CuPy arrays, each in C order or transposed."""
    (m, k), n = a.shape, b.shape[1]
    a_along, b_along = bool(a.flags.c_contiguous), not b.flags.c_contiguous
    return (
        Operand(a.data.ptr, a_along, k if a_along else m),
        Operand(b.data.ptr, b_along, k if b_along else n),
    )


def multiply(a: Operand, b: Operand, c: Any, k: int, compute: int = IN_FLOAT32) -> None:
    """c (M,N), a C-ordered float32 CuPy array, = a · b, in CuPy's current stream.

    Raises RuntimeError where cuBLAS refuses, or where the environment would have it compute otherwise than asked.
    """
    import cupy

    if "NVIDIA_TF32_OVERRIDE" in os.environ:
        raise RuntimeError("NVIDIA_TF32_OVERRIDE is set, so cuBLAS does not compute as it is asked to: unset it")
    (m, n), cublas, handle = c.shape, _library(), _handle(cupy.cuda.Device().id)
    # its own may not be used in a captured stream; CuPy's pool gives this memory out again in this stream only
    workspace = cupy.empty(_WORKSPACE, np.uint8)
    _check(cublas.cublasSetStream_v2(handle, ctypes.c_void_p(cupy.cuda.get_current_stream().ptr)))
    _check(cublas.cublasSetWorkspace_v2(handle, ctypes.c_void_p(workspace.data.ptr), ctypes.c_size_t(workspace.nbytes)))
    _check(
        cublas.cublasGemmEx(
            handle, _TRANSPOSED if b.k_contiguous else _AS_IT_LIES, _AS_IT_LIES if a.k_contiguous else _TRANSPOSED,
            n, m, k,
            ctypes.byref(ctypes.c_float(1)),
            ctypes.c_void_p(b.pointer), b.type, b.pitch,
            ctypes.c_void_p(a.pointer), a.type, a.pitch,
            ctypes.byref(ctypes.c_float(0)),
            ctypes.c_void_p(c.data.ptr), FLOAT32, n,
            compute, _ANY_ALGORITHM,
        )
    )  # fmt: skip


@functools.cache
def _library() -> Any:
    from cuda import pathfinder  # which CuPy finds its libraries with

    return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)


class _Handle(ctypes.c_void_p):
    """cuBLAS's state of one thread on the current GPU, given back when the thread ends or the program does."""

    def __init__(self) -> None:
        _check(_library().cublasCreate_v2(ctypes.byref(self)))
        weakref.finalize(self, _library().cublasDestroy_v2, ctypes.c_void_p(self.value))


class _Mine(threading.local):
    def __init__(self) -> None:
        self.handles: dict[int, _Handle] = {}


_mine = _Mine()


def _handle(device: int) -> _Handle:
    """This thread's: a handle keeps the stream and the workspace of the next product, so threads cannot share one."""
    handles = _mine.handles
    if device not in handles:
        handles[device] = _Handle()
    return handles[device]


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"cuBLAS refuses the product (cublasStatus_t {status})")
