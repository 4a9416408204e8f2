"""Vectors in registers, and the packed panels that feed them, calculate element by element."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from kernels.cpu.lanes import LANES, add_outer, add_rows, clamp, rows, store, transposed, zeros
from kernels.cpu.memory import CACHE_LINE, aligned_empty
from kernels.cpu.packing import packer


@pytest.mark.parametrize("lanes", sorted({4, LANES}))
@pytest.mark.parametrize(("height", "vectors"), [(1, 1), (3, 2), (8, 2)])
def test_a_tile_adds_outer_products(height: int, vectors: int, lanes: int) -> None:
    width = vectors * lanes

    @njit
    def multiply(a: np.ndarray, b: np.ndarray, c: np.ndarray, steps: int) -> None:
        tile = zeros(height, vectors, lanes)
        for k in range(steps):
            tile = add_outer(tile, a, k * height, b, k * width)
        tile = add_rows(tile, c, 1, width + 3)
        store(tile, c, 1, width + 3)

    random = np.random.default_rng(0)
    a, b = random.integers(-4, 5, (5, height)), random.integers(-4, 5, (5, width))
    c = np.full((height, width + 3), 7, np.float32)
    expected = c.copy()
    expected[:, 1 : 1 + width] += a.T @ b
    multiply(a.astype(np.float32).ravel(), b.astype(np.float32).ravel(), c.reshape(-1), 5)
    np.testing.assert_array_equal(c, expected)


def test_tiles_calculate_element_by_element() -> None:
    @njit
    def calculate(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
        a, b = add_rows(zeros(2, 1, 4), x, 0, 4), add_rows(zeros(2, 1, 4), y, 0, 4)
        store((a + b) * 2.0 - a / b, out, 0, 4)
        store(clamp(1.0 - a, -1.0, 0.5), out, 8, 4)
        store(rows(a, 1, 1), out, 16, 4)

    x, y = np.arange(8, dtype=np.float32), np.arange(1, 9, dtype=np.float32)
    x[3] = np.nan
    out = np.zeros(20, np.float32)
    calculate(x, y, out)
    np.testing.assert_allclose(out[:8], (x + y) * 2 - x / y, rtol=1e-6)
    np.testing.assert_array_equal(out[8:16], np.clip(1 - x, -1, 0.5))
    np.testing.assert_array_equal(out[16:], x[4:])


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_a_square_tile_transposes(lanes: int) -> None:
    @njit
    def turn(x: np.ndarray, y: np.ndarray) -> None:
        store(transposed(add_rows(zeros(lanes, 1, lanes), x, 0, lanes)), y, 0, lanes)

    x = np.arange(lanes * lanes, dtype=np.float32)
    y = np.empty_like(x)
    turn(x, y)
    np.testing.assert_array_equal(y.reshape(lanes, lanes), x.reshape(lanes, lanes).T)


@pytest.mark.parametrize("width", [6, 12, 2 * LANES])
@pytest.mark.parametrize("transpose", [False, True])
def test_panels_hold_what_the_loop_reads(width: int, transpose: bool) -> None:
    pack = packer(width)
    x = np.arange(70 * 37, dtype=np.float32).reshape(70, 37)
    for first, count, k, depth in ((0, 70, 0, 37), (3, 2 * width, 5, 17), (1, 1, 2, 1), (0, width + 1, 1, 33)):
        panels = -(-count // width)
        block = np.full(panels * width * depth, np.nan, np.float32)
        down, along = (1, 70) if transpose else (37, 1)
        memory = np.ascontiguousarray(x.T).ravel() if transpose else x.ravel()
        pack(memory, first * down + k * along, down, along, count, depth, block)
        expected = np.zeros((panels * width, depth), np.float32)
        expected[:count] = x[first : first + count, k : k + depth]
        expected = expected.reshape(panels, width, depth).transpose(0, 2, 1)
        np.testing.assert_array_equal(block.reshape(panels, depth, width), expected)


def test_memory_starts_on_a_cache_line() -> None:
    for shape in ((3,), (2, 5, 7), (1, 1)):
        array = aligned_empty(shape)
        assert array.shape == shape
        assert array.ctypes.data % CACHE_LINE == 0
