"""SUMMA: A, B and C lie in blocks on a grid of processes, and panels of A and B pass along its rows and columns.

At the same time: every process computes its own block of C, each on all the cores or the GPU it has. In step p the
processes that hold columns p of A send them along their row of the grid, and those that hold rows p of B send them down
their column; each process multiplies the two panels and adds the product to its block. The next panels travel while
these are multiplied. In `multiply_blocks` no process ever holds more than its blocks, the product of two panels and two
pairs of panels; in a call rank 0 also holds a, b, c and a copy of one operand.
Limit: a process receives k·(m/rows + n/columns) numbers for 2·m·n·k/(rows·columns) operations: on a grid twice as wide
each does a quarter of the work, but receives half as much. The network, not the arithmetic, ends that.
Rank 0 holds a and b and receives c, so a call also scatters and gathers: m·k + k·n + m·n numbers through one process.
`multiply_blocks` is the product without that, of blocks that lie on the processes already.
R. van de Geijn & J. Watts, SUMMA: Scalable Universal Matrix Multiplication Algorithm, Concurrency 9(4), 1997.

With one process it needs no mpiexec. The product of two panels is a kernel of the ladder (local.py); SUMMA_LOCAL in
the environment names another than the default.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from kernels.mpi.blocks import Range, grid_of, holder, panels, part
from kernels.mpi.local import local
from kernels.mpi.ranks import COMM, announce, together

Blocks = list[tuple[Range, Range]]

# threads of rank 0 take turns: the other ranks know of one product, and there is memory for one
_ONE_AT_A_TIME = threading.Lock()


def product(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32, on rank 0; the other ranks are in `ranks.serve_unless_first`."""
    shape = (a.shape[0], b.shape[1], a.shape[1])
    with _ONE_AT_A_TIME:
        announce(shape)
        with together():
            multiply(shape, a, b, c)


def multiply(
    shape: tuple[int, int, int], a: NDArray | None = None, b: NDArray | None = None, c: NDArray | None = None
) -> None:
    """Every rank's share of a product (m,n,k); a, b and c are rank 0's."""
    m, n, k = shape
    grid = _Grid.of(*grid_of(COMM.size, m, n))
    own_a, own_b = _scattered("a", a, grid.blocks(m, k)), _scattered("b", b, grid.blocks(k, n))
    _gathered(multiply_blocks(shape, own_a, own_b), c, grid.blocks(m, n))


def multiply_blocks(shape: tuple[int, int, int], own_a: NDArray, own_b: NDArray) -> NDArray:
    """This rank's block of C from its blocks of A and B, where all three stay on the ranks; k is at least 1.

    Valid until the next call.
    """
    m, n, k = shape
    grid = _Grid.of(*grid_of(COMM.size, m, n))
    here, size = local(), (own_a.shape[0], own_b.shape[1])
    own_a, own_b = here.to_travel(own_a), here.to_travel(own_b)
    own_c, partial = here.sums("c", *size), here.sums("partial", *size)
    ranges = list(panels(k, grid.rows, grid.columns))
    travelling = _send(grid, own_a, own_b, k, ranges[0], "even")
    for p in range(len(ranges)):
        a_panel, b_panel, requests = travelling
        MPI.Request.Waitall(requests)
        if p + 1 < len(ranges):
            travelling = _send(grid, own_a, own_b, k, ranges[p + 1], "odd" if p % 2 == 0 else "even")
        if p == 0:
            here.matmul(here.to_multiply(a_panel), here.to_multiply(b_panel), own_c)
        else:
            own_c += here.matmul(here.to_multiply(a_panel), here.to_multiply(b_panel), partial)
    return here.to_host(own_c)


class _Grid:
    """Processes in rows and columns, row by row; `row` and `column` are the communicators of this one's."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        i, j = divmod(COMM.rank, columns)
        self.row, self.column = COMM.Split(i, j), COMM.Split(j, i)

    @classmethod
    @functools.cache
    def of(cls, rows: int, columns: int) -> _Grid:
        """Made once: MPI has not many communicators to give."""
        return cls(rows, columns)

    def blocks(self, height: int, width: int) -> Blocks:
        """Each process's rows and columns of a matrix."""
        return [
            (part(height, self.rows, i), part(width, self.columns, j))
            for i in range(self.rows)
            for j in range(self.columns)
        ]


def _send(grid: _Grid, own_a: Any, own_b: Any, k: int, panel: Range, use: str) -> tuple[Any, Any, list[MPI.Request]]:
    """Begin to send, or to receive, a panel of A along this process's row and one of B along its column."""
    here, (start, stop) = local(), panel
    holds_a, first_a = holder(k, grid.columns, start)
    holds_b, first_b = holder(k, grid.rows, start)
    a_panel = here.room(f"a, {use}", own_a.shape[0], stop - start)
    if holds_a == grid.row.rank:
        a_panel[...] = own_a[:, start - first_a : stop - first_a]
    if holds_b == grid.column.rank:
        b_panel = own_b[start - first_b : stop - first_b]
    else:
        b_panel = here.room(f"b, {use}", stop - start, own_b.shape[1])
    here.before_travel()
    return a_panel, b_panel, [grid.row.Ibcast(a_panel, holds_a), grid.column.Ibcast(b_panel, holds_b)]


def _scattered(use: str, whole: NDArray | None, blocks: Blocks) -> NDArray:
    """This rank's block, in C order; whole is rank 0's."""
    if whole is not None:
        # MPI takes neither strides nor numbers off the 4-byte grid
        pieces = [np.require(whole[i0:i1, j0:j1], requirements=["C", "A"]) for (i0, i1), (j0, j1) in blocks]
        MPI.Request.Waitall([COMM.Isend(piece, rank) for rank, piece in enumerate(pieces) if rank])
        return pieces[0]
    (i0, i1), (j0, j1) = blocks[COMM.rank]
    block = local().kept(use, i1 - i0, j1 - j0)
    COMM.Recv(block, 0)
    return block


def _gathered(block: NDArray, whole: NDArray | None, blocks: Blocks) -> None:
    if whole is None:
        COMM.Send(block, 0)
        return
    for rank, ((i0, i1), (j0, j1)) in enumerate(blocks):
        place = whole[i0:i1, j0:j1]
        if rank:
            block = place if place.flags.carray else np.empty(place.shape, np.float32)
            COMM.Recv(block, rank)
        if not np.may_share_memory(block, place):
            place[...] = block
