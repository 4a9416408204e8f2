"""Packed panels, a register tile, explicit vector lanes, all cores.

At the same time: each core owns a rectangle of C; in it, one register tile (8 x 32 numbers of C with AVX-512) is under
way, and each of its vectors' fused multiply-adds is independent of all others.

How each level of memory is used, from the inside out:
    registers   a tile of C (ROWS x WIDTH) stays here for a whole block of k: no load or store of C per multiplication
    L1 cache    a panel of A (ROWS x depth), read again for every panel of B
    L2 cache    a block of B (depth x columns), read again for every panel of A
    L3 cache    a block of A (rows x depth), read again for every block of B
Packing copies each block once into the very order in which the innermost loop reads it: side by side, aligned, padded
with zeros at the edges, so one inner loop serves every shape and every transposed operand.
After Goto & van de Geijn, *Anatomy of High-Performance Matrix Multiplication* (ACM TOMS 34(3), 2008) and BLIS (Van Zee
& van de Geijn, ACM TOMS 41(3), 2015).
Limit: the cores' arithmetic. Only more cores lift that: see the GPU's.

What each step was worth, in GFLOP/s of one thread of a Zen 4 at 2048 (its measured peak is 117):
    cpu-numba-tiled                                                      70  (at 1024)
    packed panels and a register tile, a block of A in L2                98
    512 steps of k to a block: C passes memory half as often            104
    a block of B in L2 instead, blocks of equal size                    107
    asking for the lines of C before the loop over k (prefetch)         105 before and after: left out
    panels that start 4 bytes off a cache line                          no loss here; on Zen 5 it halves the rate
    packing by turning squares of registers, not number by number       1.2 -> 6.3 numbers/ns (A), 1.5 -> 9.5 (Bᵀ)
    8 rows to a tile instead of 12: as fast at 2048, and 128x156x512     99 -> 104, its transposes 82 -> 85, 103 -> 98
    both threads                                                        204
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import get_num_threads, njit, prange
from numpy.typing import NDArray

from kernels.cpu.lanes import LANES, REGISTERS, add_outer, add_rows, store, zeros
from kernels.cpu.memory import Workspace
from kernels.cpu.packing import packer
from kernels.measure.caches import cache_sizes

VECTORS = 2
# 16 or 12 registers of C, 2 of B, 1 of A: enough independent sums to hide an addition's latency. With 32 registers
# 12 rows fit too, but 128 = 16·8 leaves no ragged tile where 11·12 does.
ROWS = 8 if REGISTERS >= 32 else 6
WIDTH = VECTORS * LANES
SERIAL_FLOPS = 2_000_000  # a product of about 10 µs: waking a second core takes as long


class Blocks(NamedTuple):
    """How much of each operand a cache level holds: steps of k, rows of A, columns of B."""

    depth: int
    rows: int
    columns: int


@functools.cache
def blocks() -> Blocks:
    """From this machine's caches: a panel of A is 3/4 of L1 (or 512 steps), a block of B 1/2 of L2, of A 1/16 of L3."""
    caches = cache_sizes()
    depth = min(max(caches["L1"] * 3 // 4 // (4 * ROWS), 64), 512)
    columns = WIDTH * max(caches["L2"] // 2 // (4 * depth * WIDTH), 1)
    rows = ROWS * max(caches["L3"] // 16 // (4 * depth * ROWS), 16)
    return Blocks(depth, rows, columns)


def _shapes() -> tuple[tuple[int, ...], ...]:
    """Of one cell's packed blocks of A and B, and of a tile at the edge of C."""
    depth, rows, columns = blocks()
    return (rows * depth,), (depth * columns,), (ROWS * WIDTH,)


_workspace = Workspace(_shapes)


def product(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32; a and b in C order or transposed."""
    (m, n), depth = c.shape, a.shape[1]
    threads = get_num_threads() if 2 * m * n * depth > SERIAL_FLOPS else 1
    down, across = _grid(-(-m // ROWS), -(-n // WIDTH), threads) if threads > 1 else (1, 1)
    # seen from b's transpose, a panel of B is packed like a panel of A
    operands = (*_flat(a), *_flat(b.T), c.reshape(-1), n, depth, *blocks())
    if down * across == 1:
        a_block, b_block, edge = _workspace.get(1)
        _cell(*operands, 0, m, 0, n, a_block[0], b_block[0], edge[0])
    else:
        _cells(*operands, m, down, across, *_workspace.get(down * across))


def _flat(x: NDArray) -> tuple[NDArray, int, int]:
    """x's numbers in memory order, and the distances between its rows and its columns: one compiled code for all."""
    if x.flags.c_contiguous:
        return x.reshape(-1), x.shape[1], 1
    return x.T.reshape(-1), 1, x.shape[0]


@functools.cache
def _grid(tiles_down: int, tiles_across: int, threads: int) -> tuple[int, int]:
    """Rows and columns of the grid of cells whose largest cell has the fewest tiles; then the squarest cells."""

    def cost(grid: tuple[int, int]) -> tuple[int, int]:
        down, across = -(-tiles_down // grid[0]), -(-tiles_across // grid[1])
        return down * across, down * ROWS + across * WIDTH

    return min(((d, threads // d) for d in range(1, threads + 1)), key=cost)


@njit(cache=True, parallel=True)
def _cells(
    a: NDArray, a_down: int, a_along: int, b: NDArray, b_down: int, b_along: int, c: NDArray, n: int, depth: int,
    block_depth: int, block_rows: int, block_columns: int,
    m: int, down: int, across: int, a_blocks: NDArray, b_blocks: NDArray, edges: NDArray,
) -> None:  # fmt: skip
    """One rectangle of C to each thread; they meet only at the end."""
    tiles_down, tiles_across = (m + ROWS - 1) // ROWS, (n + WIDTH - 1) // WIDTH
    for cell in prange(down * across):
        y, x = cell // across, cell % across
        top, bottom = ROWS * (tiles_down * y // down), min(ROWS * (tiles_down * (y + 1) // down), m)
        left, right = WIDTH * (tiles_across * x // across), min(WIDTH * (tiles_across * (x + 1) // across), n)
        _cell(
            a, a_down, a_along, b, b_down, b_along, c, n, depth, block_depth, block_rows, block_columns,
            top, bottom, left, right, a_blocks[cell], b_blocks[cell], edges[cell],
        )  # fmt: skip


@njit(cache=True)
def _even_part(length: int, most: int, unit: int) -> int:
    """Size of equal parts, multiples of unit, none larger than most: no last block of a few rows only."""
    parts = max((length + most - 1) // most, 1)
    return unit * max((length + unit * parts - 1) // (unit * parts), 1)


@njit(cache=True)
def _cell(
    a: NDArray, a_down: int, a_along: int, b: NDArray, b_down: int, b_along: int, c: NDArray, n: int, depth: int,
    block_depth: int, block_rows: int, block_columns: int,
    top: int, bottom: int, left: int, right: int, a_block: NDArray, b_block: NDArray, edge: NDArray,
) -> None:  # fmt: skip
    """c[top:bottom, left:right], by one thread."""
    block_rows = _even_part(bottom - top, block_rows, ROWS)
    block_columns = _even_part(right - left, block_columns, WIDTH)
    block_depth = _even_part(depth, block_depth, 1)
    for i in range(top, bottom, block_rows):
        rows = min(block_rows, bottom - i)
        for k in range(0, depth, block_depth):
            steps = min(block_depth, depth - k)
            _pack_a(a, i * a_down + k * a_along, a_down, a_along, rows, steps, a_block)
            for j in range(left, right, block_columns):
                columns = min(block_columns, right - j)
                _pack_b(b, j * b_down + k * b_along, b_down, b_along, columns, steps, b_block)
                _block(a_block, b_block, c, n, i, rows, j, columns, steps, k == 0, edge)


_pack_a, _pack_b = packer(ROWS), packer(WIDTH)


@njit(cache=True)
def _block(
    a_block: NDArray, b_block: NDArray, c: NDArray, n: int,
    i: int, rows: int, j: int, columns: int, depth: int, first: bool, edge: NDArray,
) -> None:  # fmt: skip
    """Add the product of two packed blocks to c[i:i+rows, j:j+columns], or store it there first."""
    for y in range(0, rows, ROWS):
        for x in range(0, columns, WIDTH):
            tile = zeros(ROWS, VECTORS, LANES)
            for p in range(depth):
                tile = add_outer(tile, a_block, y * depth + p * ROWS, b_block, x * depth + p * WIDTH)
            corner = (i + y) * n + j + x
            if y + ROWS <= rows and x + WIDTH <= columns:
                if not first:
                    tile = add_rows(tile, c, corner, n)
                store(tile, c, corner, n)
            else:
                # part of the tile lies outside C: its numbers take the way through memory
                store(tile, edge, 0, WIDTH)
                for r in range(min(ROWS, rows - y)):
                    for s in range(min(WIDTH, columns - x)):
                        before = np.float32(0) if first else c[corner + r * n + s]
                        c[corner + r * n + s] = before + edge[r * WIDTH + s]
