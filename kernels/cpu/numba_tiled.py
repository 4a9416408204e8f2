"""Blocks of B that stay in cache, and a 6x4 block of multiplications for each pair of numbers fetched.

At the same time: a band of rows of C on each core; within it, one vector instruction updates 4 to 16 neighbours of a
row, and the 24 multiplications of a step (6 rows of C, 4 steps of k) wait for nothing but each other's sums.
How the caches are used: a block of B (DEPTH x WIDTH, 384 KiB) is copied side by side and stays in L2 while every row of
the band passes over it; six rows of partial sums (12 KiB) stay in L1. A row of B fetched once serves 6 rows of C, a
partial sum fetched once takes 4 products: cpu-numba-parallel fetches both for every single product.
Limit: partial sums still travel between L1 and registers, and which values stay in registers is left to the compiler.
Lifted by: cpu-numba-simd, whose partial sums stay in registers for a whole block of k.
"""

from __future__ import annotations

from numba import get_num_threads, njit, prange
from numpy.typing import NDArray

from kernels.cpu.memory import Workspace

ROWS, STEPS = 6, 4  # the block of multiplications: 24 numbers of A in registers
WIDTH = 512  # most columns of a block of B
DEPTH = 192  # most rows of a block of B


_workspace = Workspace(lambda: ((DEPTH, WIDTH), (ROWS, DEPTH), (ROWS, WIDTH)))


def product(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32; a and b in C order or transposed."""
    bands = min(get_num_threads(), -(-c.shape[0] // ROWS))
    _product(a, b, c, bands, *_workspace.get(bands))


@njit(cache=True, parallel=True, fastmath={"contract"})
def _product(
    a: NDArray, b: NDArray, c: NDArray, bands: int, b_blocks: NDArray, a_tiles: NDArray, sums: NDArray
) -> None:
    rows, columns, depth = c.shape[0], c.shape[1], a.shape[1]
    tiles = _parts(rows, ROWS)
    # equal parts: 256 + 4 columns would leave the second block with nothing to do
    width = -(-columns // _parts(columns, WIDTH))
    step = STEPS * _parts(-(-depth // _parts(depth, DEPTH)), STEPS)
    for band in prange(bands):
        first, last = ROWS * (band * tiles // bands), min(ROWS * ((band + 1) * tiles // bands), rows)
        b_block, a_tile, tile_sums = b_blocks[band], a_tiles[band], sums[band]
        for j in range(0, columns, width):
            w = min(width, columns - j)
            for k in range(0, depth, step):
                d = min(step, depth - k)
                _copy_padded(b, k, d, j, w, b_block)
                for i in range(first, last, ROWS):
                    r = min(ROWS, last - i)
                    _copy_padded(a, i, r, k, d, a_tile)
                    _multiply(a_tile, b_block, tile_sums, d, w)
                    _add_tile(tile_sums, c, i, r, j, w, k == 0)


@njit(cache=True)
def _parts(length: int, most: int) -> int:
    """Number of parts, none longer than most, that cover length."""
    return (length + most - 1) // most


@njit(cache=True)
def _copy_padded(source: NDArray, i: int, rows: int, j: int, columns: int, block: NDArray) -> None:
    """Copy source[i:i+rows, j:j+columns] to block's corner and zero the next STEPS - 1 rows and columns.

    So the last steps of k at an edge of the matrix multiply zeros by zeros, and need no code of their own.
    """
    # whole row views: the compiler makes vector loops of them, but not of source[i + r, j + s], which may wrap
    for r in range(rows):
        source_row, block_row = source[i + r, j : j + columns], block[r]
        for s in range(columns):
            block_row[s] = source_row[s]
        block_row[columns : columns + STEPS - 1] = 0
    block[rows : rows + STEPS - 1, :columns] = 0


@njit(cache=True)
def _add_tile(sums: NDArray, c: NDArray, i: int, rows: int, j: int, columns: int, first: bool) -> None:
    for r in range(rows):
        c_row, sums_row = c[i + r, j : j + columns], sums[r]
        if first:
            for s in range(columns):
                c_row[s] = sums_row[s]
        else:
            for s in range(columns):
                c_row[s] += sums_row[s]


@njit(cache=True, fastmath={"contract"})
def _multiply(a: NDArray, b: NDArray, sums: NDArray, depth: int, width: int) -> None:
    """sums (6,width) = a (6,depth) · b (depth,width), four steps of depth at a time."""
    sums[:, :width] = 0
    s0, s1, s2, s3, s4, s5 = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
    for k in range(0, depth, STEPS):
        b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
        a00, a01, a02, a03 = a[0, k], a[0, k + 1], a[0, k + 2], a[0, k + 3]
        a10, a11, a12, a13 = a[1, k], a[1, k + 1], a[1, k + 2], a[1, k + 3]
        a20, a21, a22, a23 = a[2, k], a[2, k + 1], a[2, k + 2], a[2, k + 3]
        a30, a31, a32, a33 = a[3, k], a[3, k + 1], a[3, k + 2], a[3, k + 3]
        a40, a41, a42, a43 = a[4, k], a[4, k + 1], a[4, k + 2], a[4, k + 3]
        a50, a51, a52, a53 = a[5, k], a[5, k + 1], a[5, k + 2], a[5, k + 3]
        for j in range(width):
            x0, x1, x2, x3 = b0[j], b1[j], b2[j], b3[j]
            s0[j] = s0[j] + a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
            s1[j] = s1[j] + a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
            s2[j] = s2[j] + a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
            s3[j] = s3[j] + a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3
            s4[j] = s4[j] + a40 * x0 + a41 * x1 + a42 * x2 + a43 * x3
            s5[j] = s5[j] + a50 * x0 + a51 * x1 + a52 * x2 + a53 * x3
