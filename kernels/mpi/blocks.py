"""How SUMMA lays matrices in blocks on a grid of processes, in numbers alone: MPI is not needed to know it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

__all__ = ["PANEL", "Range", "grid_of", "holder", "panels", "part"]

# most columns of A, and rows of B, that travel together: so many that little time goes into adding their product to C
PANEL = 1024

Range = tuple[int, int]


def grid_of(processes: int, m: int, n: int) -> tuple[int, int]:
    """Rows and columns of the grid of all processes on which each receives fewest numbers for a C of (m,n).

    Of two that are equal the one with more rows: its blocks are whole rows of the matrices for longer.
    """
    pairs = [(rows, processes // rows) for rows in range(processes, 0, -1) if processes % rows == 0]
    return min(pairs, key=lambda pair: m / pair[0] + n / pair[1])


def part(length: int, parts: int, i: int) -> Range:
    """Where the i-th of so many equal parts begins and ends."""
    return length * i // parts, length * (i + 1) // parts


def holder(length: int, parts: int, at: int) -> tuple[int, int]:
    """Which part holds a place, and where that part begins."""
    return next((i, first) for i in range(parts) for first, last in [part(length, parts, i)] if first <= at < last)


def panels(k: int, rows: int, columns: int) -> Iterator[Range]:
    """Ranges of k, none longer than PANEL, each held by one column of the grid (of A) and one row (of B)."""
    edges = {k * j // columns for j in range(columns + 1)} | {k * i // rows for i in range(rows + 1)}
    for first, last in itertools.pairwise(sorted(edges)):
        for start in range(first, last, PANEL):
            yield start, min(start + PANEL, last)
