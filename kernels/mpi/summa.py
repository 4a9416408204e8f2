"""SUMMA: A, B and C lie in blocks on a grid of processes, and panels of A and B pass along its rows and columns.

At the same time: every process computes its own block of C, each on all the cores or the GPU it has. In step p the
processes that hold columns p of A send them along their row of the grid, and those that hold rows p of B send them down
their column; each process multiplies the two panels and adds the product to its block. The next panels travel while
these are multiplied. No process ever holds more than its blocks and two pairs of panels.
Limit: a process receives k·(m/rows + n/columns) numbers for 2·m·n·k/(rows·columns) operations: on a grid twice as wide
each does a quarter of the work, but receives half as much. The network, not the arithmetic, ends that.
Rank 0 holds a and b and receives c, so a call also scatters and gathers: m·k + k·n + m·n numbers through one process.
R. van de Geijn & J. Watts, SUMMA: Scalable Universal Matrix Multiplication Algorithm, Concurrency 9(4), 1997.

With one process it needs no mpiexec. The product of two panels is a kernel of the ladder; SUMMA_LOCAL in the
environment names another than the default. A CUDA kernel copies its panels through the host.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

import kernels
from kernels.mpi.ranks import COMM, announce, together

PANEL = 256  # most columns of A, and rows of B, that travel together

Range = tuple[int, int]


def product(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32, on rank 0; the other ranks are in `ranks.serve_unless_first`."""
    shape = (a.shape[0], b.shape[1], a.shape[1])
    announce(shape)
    with together():
        multiply(shape, a, b, c)


def multiply(
    shape: tuple[int, int, int], a: NDArray | None = None, b: NDArray | None = None, c: NDArray | None = None
) -> None:
    """Every rank's share of a product (m,n,k); a, b and c are rank 0's."""
    m, n, k = shape
    grid = _Grid.of(*grid_of(COMM.size, m, n))
    own_a = _scattered(a, [(_part(m, grid.rows, i), _part(k, grid.columns, j)) for i, j in grid.places])
    own_b = _scattered(b, [(_part(k, grid.rows, i), _part(n, grid.columns, j)) for i, j in grid.places])
    own_c = np.zeros((own_a.shape[0], own_b.shape[1]), np.float32)
    partial = np.empty_like(own_c)
    local = kernels.get(os.environ.get("SUMMA_LOCAL", "numba"))
    panels = list(_panels(k, grid))
    travelling = _send(grid, own_a, own_b, k, panels[0])
    for p in range(len(panels)):
        a_panel, b_panel, requests = travelling
        MPI.Request.Waitall(requests)
        if p + 1 < len(panels):
            travelling = _send(grid, own_a, own_b, k, panels[p + 1])
        own_c += local.matmul(a_panel, b_panel, partial)
    _gathered(own_c, c, [(_part(m, grid.rows, i), _part(n, grid.columns, j)) for i, j in grid.places])


def grid_of(processes: int, m: int, n: int) -> tuple[int, int]:
    """Rows and columns of the grid of all processes on which each receives fewest numbers for a C of (m,n)."""
    pairs = [(rows, processes // rows) for rows in range(1, processes + 1) if processes % rows == 0]
    return min(pairs, key=lambda pair: m / pair[0] + n / pair[1])


class _Grid:
    """Processes in rows and columns, row by row; `row` and `column` are the communicators of this one's."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.places = [divmod(rank, columns) for rank in range(rows * columns)]
        i, j = self.places[COMM.rank]
        self.row, self.column = COMM.Split(i, j), COMM.Split(j, i)

    @classmethod
    @functools.cache
    def of(cls, rows: int, columns: int) -> _Grid:
        """Made once: MPI has not many communicators to give."""
        return cls(rows, columns)


def _part(length: int, parts: int, i: int) -> Range:
    return length * i // parts, length * (i + 1) // parts


def _panels(k: int, grid: _Grid) -> Iterator[Range]:
    """Ranges of k, none longer than PANEL, each held by one column of the grid (of A) and one row (of B)."""
    edges = {k * j // grid.columns for j in range(grid.columns + 1)} | {
        k * i // grid.rows for i in range(grid.rows + 1)
    }
    bounds = sorted(edges)
    for first, last in itertools.pairwise(bounds):
        for start in range(first, last, PANEL):
            yield start, min(start + PANEL, last)


def _send(
    grid: _Grid, own_a: NDArray, own_b: NDArray, k: int, panel: Range
) -> tuple[NDArray, NDArray, list[MPI.Request]]:
    """Begin to send, or to receive, a panel of A along this process's row and one of B along its column."""
    start, stop = panel
    holds_a, first_a = _holder(k, grid.columns, start)
    holds_b, first_b = _holder(k, grid.rows, start)
    if holds_a == grid.row.rank:
        a_panel = np.ascontiguousarray(own_a[:, start - first_a : stop - first_a])
    else:
        a_panel = np.empty((own_a.shape[0], stop - start), np.float32)
    if holds_b == grid.column.rank:
        b_panel = own_b[start - first_b : stop - first_b]
    else:
        b_panel = np.empty((stop - start, own_b.shape[1]), np.float32)
    return a_panel, b_panel, [grid.row.Ibcast(a_panel, holds_a), grid.column.Ibcast(b_panel, holds_b)]


def _holder(k: int, parts: int, at: int) -> tuple[int, int]:
    """Which part of k holds a place, and where that part begins."""
    return next((i, first) for i in range(parts) for first, last in [_part(k, parts, i)] if first <= at < last)


def _scattered(whole: NDArray | None, blocks: list[tuple[Range, Range]]) -> NDArray:
    """This rank's block, in C order; whole is rank 0's."""
    if whole is not None:
        # MPI takes neither strides nor numbers off the 4-byte grid
        pieces = [np.require(whole[i0:i1, j0:j1], requirements=["C", "A"]) for (i0, i1), (j0, j1) in blocks]
        MPI.Request.Waitall([COMM.Isend(piece, rank) for rank, piece in enumerate(pieces) if rank])
        return pieces[0]
    (i0, i1), (j0, j1) = blocks[COMM.rank]
    block = np.empty((i1 - i0, j1 - j0), np.float32)
    COMM.Recv(block, 0)
    return block


def _gathered(block: NDArray, whole: NDArray | None, blocks: list[tuple[Range, Range]]) -> None:
    if whole is None:
        COMM.Send(block, 0)
        return
    for rank, ((i0, i1), (j0, j1)) in enumerate(blocks):
        if rank:
            block = np.empty((i1 - i0, j1 - j0), np.float32)
            COMM.Recv(block, rank)
        whole[i0:i1, j0:j1] = block
