"""Vectors in registers, and the packed panels that feed them, calculate element by element."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from kernels.cpu import numba_simd
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


@pytest.mark.parametrize(
    ("l1", "l2", "l3"), [(48, 2048, 32_768), (32, 512, 8192), (16, 256, 4096), (128, 4096, 2**20)], ids=str
)
def test_blocks_fill_their_share_of_the_caches(l1: int, l2: int, l3: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel of A 3/4 of L1, or 512 steps; a block of B half of L2, one of A a sixteenth of L3, in whole panels."""
    monkeypatch.setattr(numba_simd, "cache_sizes", lambda: {"L1": l1 * 1024, "L2": l2 * 1024, "L3": l3 * 1024})
    depth, height, width = numba_simd.blocks.__wrapped__()
    assert depth == min(l1 * 1024 * 3 // 4 // (4 * numba_simd.ROWS), 512)
    assert width % numba_simd.WIDTH == height % numba_simd.ROWS == 0
    assert 4 * depth * width <= l2 * 1024 / 2 < 4 * depth * (width + numba_simd.WIDTH)
    assert 4 * depth * height <= l3 * 1024 / 16 < 4 * depth * (height + numba_simd.ROWS)


@pytest.mark.parametrize(("m", "alone"), [(100, True), (101, False)])
def test_a_product_of_two_million_operations_is_one_threads(
    m: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    monkeypatch.setattr(numba_simd, "get_num_threads", lambda: 2)
    monkeypatch.setattr(numba_simd, "_cell", lambda *_: called.append("alone"))
    monkeypatch.setattr(numba_simd, "_cells", lambda *_: called.append("shared"))
    a, b, c = (np.zeros(shape, np.float32) for shape in ((m, 100), (100, 100), (m, 100)))
    numba_simd.product(a, b, c)
    assert called == ["alone" if alone else "shared"]


@pytest.mark.parametrize(
    ("down", "across", "threads", "grid"), [(5, 3, 3, (1, 3)), (3, 5, 3, (3, 1)), (5, 3, 4, (1, 4)), (7, 1, 2, (2, 1))]
)
def test_the_largest_cell_has_the_fewest_tiles(down: int, across: int, threads: int, grid: tuple[int, int]) -> None:
    assert numba_simd._grid(down, across, threads) == grid
