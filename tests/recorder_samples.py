"""Small kernels for the tests of the recorder, right ones and broken ones, and what the tests ask of a recording."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numba import cuda, float32

from kernels.recorder import Fault, Recording, record

TILE = 16


def line_of(kernel: Any, text: str) -> int:
    """The number of the one line of the kernel that contains the text."""
    lines, first = inspect.getsourcelines(getattr(kernel, "py_func", kernel))
    (found,) = (number for number, line in enumerate(lines, first) if text in line)
    return found


def only(recording: Recording) -> Fault:
    (fault,) = recording.faults
    return fault


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([*shape, seed]).standard_normal(shape, np.float32)


def product(
    kernel: Any, m: int = 64, k: int = 64, n: int = 64, block: tuple[int, int] = (TILE, TILE), **options: Any
) -> tuple[Recording, np.ndarray, np.ndarray]:
    """The recording of a product, what it computed, and what it should have."""
    a, b, c = numbers(m, k), numbers(k, n, seed=1), np.full((m, n), np.nan, np.float32)
    blocks = (-(-max(m, n) // block[0]), -(-max(m, n) // block[1]))
    return record(kernel, blocks, block, a, b, c, **options), c, a.astype(float) @ b


@cuda.jit
def naive(a, b, c):
    i, j = cuda.grid(2)
    if i < c.shape[0] and j < c.shape[1]:
        total = float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        c[i, j] = total


@cuda.jit
def coalesced(a, b, c):
    j, i = cuda.grid(2)
    if i < c.shape[0] and j < c.shape[1]:
        total = float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        c[i, j] = total


@cuda.jit
def tiled(a, b, c):
    a_tile = cuda.shared.array((TILE, TILE), float32); b_tile = cuda.shared.array((TILE, TILE), float32)  # fmt: skip  # noqa: E702
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        a_tile[y, x] = a[i, start + x] if i < a.shape[0] and start + x < a.shape[1] else float32(0)
        b_tile[y, x] = b[start + y, j] if start + y < b.shape[0] and j < b.shape[1] else float32(0)
        cuda.syncthreads()
        for k in range(TILE):
            total += a_tile[y, k] * b_tile[k, x]
        cuda.syncthreads()
    if i < c.shape[0] and j < c.shape[1]:
        c[i, j] = total


@cuda.jit
def tiled_without_first_barrier(a, b, c):
    tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        tile[y, x] = a[i, start + x]  # fetch
        for k in range(TILE):
            total += tile[y, k] * b[start + k, j]  # use
        cuda.syncthreads()
    c[i, j] = total


@cuda.jit
def tiled_without_second_barrier(a, b, c):
    tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        tile[y, x] = a[i, start + x]  # fetch
        cuda.syncthreads()
        for k in range(TILE):
            total += tile[y, k] * b[start + k, j]  # use
    c[i, j] = total


@cuda.jit
def tiled_with_early_return(a, b, c):
    tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    if i >= c.shape[0]:
        return  # too early
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        tile[y, x] = b[start + y, j]
        cuda.syncthreads()  # the first of the loop
        for k in range(TILE):
            total += a[i, start + k] * tile[k, x]  # use
        cuda.syncthreads()  # the second of the loop
    c[i, j] = total


@cuda.jit
def register_tile(a, b, c):
    total = cuda.local.array((2, 2), float32)
    column = cuda.local.array(2, float32)
    x, y = cuda.grid(2)
    for r in range(2):
        for s in range(2):
            total[r, s] = float32(0)
    for k in range(a.shape[1]):
        for r in range(2):
            column[r] = a[2 * y + r, k]
        for s in range(2):
            number = b[k, 2 * x + s]
            for r in range(2):
                total[r, s] += column[r] * number
    for r in range(2):
        for s in range(2):
            c[2 * y + r, 2 * x + s] = total[r, s]
