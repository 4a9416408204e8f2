"""Data races: two threads, one address, nothing that orders them, and not both reading or both atomic.

Only the first and the last thread that writes an address are paired with the others: enough to find every address
that races, in time that grows as n·log n with the number of accesses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.recorder.accesses import ATOMIC, KINDS, READ, WRITE, Accesses
from kernels.recorder.sites import LIMIT

__all__ = ["Between", "Race", "Witness", "unordered", "within_interval"]


@dataclass(frozen=True)
class Witness:
    """One access that takes part in a race."""

    block: int
    thread: int
    site: int


@dataclass(frozen=True)
class Race:
    """Two accesses that race at an element of an array, and how many pairs of the same sites and array do."""

    first: Witness
    second: Witness
    array: int
    element: int
    count: int


def unordered(accesses: Accesses, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether nothing orders the accesses of two rows, for each pair of rows of one interval."""
    same_warp = accesses.warp[one] == accesses.warp[other]
    same_epoch = accesses.epoch[one] == accesses.epoch[other]
    return (accesses.thread[one] != accesses.thread[other]) & (~same_warp | same_epoch)


def within_interval(block: int, accesses: Accesses) -> list[Race]:
    """Races between threads of one block that no barrier separates.

    Threads of one warp are also ordered by syncwarp: they race only within one epoch of the warp.
    """
    if not np.any(accesses.kind != READ):
        return []
    _, cell = np.unique(accesses.byte, return_inverse=True)
    warps, epochs = accesses.warp.max() + 1, accesses.epoch.max() + 1
    _, in_epoch = np.unique((cell * warps + accesses.warp) * epochs + accesses.epoch, return_inverse=True)
    pairs = [_conflicts(accesses, cell, accesses.warp), _conflicts(accesses, in_epoch, accesses.thread)]
    first, second = np.concatenate(pairs, axis=1)
    sites = np.sort(accesses.site[np.stack((first, second))], axis=0)
    return [
        Race(
            _witness(block, accesses, first[pair]),
            _witness(block, accesses, second[pair]),
            int(accesses.placement[first[pair]]),
            int(accesses.element[first[pair]]),
            count,
        )
        for pair, count in _distinct(np.stack((*sites, accesses.placement[first])))
    ]


def _conflicts(accesses: Accesses, cell: NDArray[np.intp], actor: NDArray[np.int64]) -> NDArray[np.intp]:
    """Pairs of rows, (2, pairs), by different actors in one cell."""
    cells = int(cell.max()) + 1
    by_kind = (cell[accesses.kind == kind] for kind in (WRITE, ATOMIC))
    written, updated = (np.bincount(cells_of_kind, minlength=cells) > 0 for cells_of_kind in by_kind)
    low, high = np.full(cells, np.iinfo(np.int64).max), np.full(cells, -1)
    np.minimum.at(low, cell, actor)
    np.maximum.at(high, cell, actor)
    racing = (low != high) & (written | updated)
    rows = np.flatnonzero(racing[cell])
    if not rows.size:
        return np.empty((2, 0), np.intp)
    # where nobody writes plainly, an atomic update is what races with the reads
    changes = accesses.kind[rows] == np.where(written[cell[rows]], WRITE, ATOMIC)
    changing = rows[changes]
    changing = changing[np.lexsort((actor[changing], cell[changing]))]
    anchors = np.zeros((2, cells), np.intp)
    anchors[1, cell[changing]] = changing
    anchors[0, cell[changing[::-1]]] = changing[::-1]
    pairs = []
    for anchor in anchors:
        first = anchor[cell[rows]]
        others = (actor[first] != actor[rows]) & (written[cell[rows]] | ~changes)
        pairs.append(np.stack((first[others], rows[others])))
    # both anchors may be one row, and each may be paired with the other
    return np.unique(np.sort(np.concatenate(pairs, axis=1), axis=0), axis=1)


class Between:
    """Finds races between blocks in global memory: blocks are never ordered, so one table serves the whole launch.

    The table keeps one access of each kind to each element, by the first block that makes one: 24 bytes per element of
    the smallest type there is.
    """

    def __init__(self, size: int, granule: int, threads: int) -> None:
        self._granule, self._threads = granule, threads
        self._first = np.full((len(KINDS), size // granule + 1), -1, np.int64)

    def check(self, block: int, accesses: Accesses) -> list[Race]:
        """Races of these accesses with those of earlier blocks, which come first in each race."""
        cell = accesses.byte // self._granule
        races: list[Race] = []
        for kind, others in ((READ, (WRITE, ATOMIC)), (WRITE, (READ, WRITE, ATOMIC)), (ATOMIC, (READ, WRITE))):
            rows = np.flatnonzero(accesses.kind == kind)
            for other in others:
                earlier = self._first[other, cell[rows]]
                apart = (earlier >= 0) & (earlier // LIMIT // self._threads != block)
                races += self._races(block, accesses, rows[apart], earlier[apart])
        for kind in range(len(KINDS)):
            rows = np.flatnonzero(accesses.kind == kind)
            rows = rows[self._first[kind, cell[rows]] < 0]
            who = block * self._threads + accesses.thread[rows]
            self._first[kind, cell[rows]] = who * LIMIT + accesses.site[rows]
        return races

    @property
    def changed(self) -> int:
        """How many elements the launch has written or updated."""
        return int(np.count_nonzero((self._first[WRITE] >= 0) | (self._first[ATOMIC] >= 0)))

    def _races(
        self, block: int, accesses: Accesses, rows: NDArray[np.intp], earlier: NDArray[np.int64]
    ) -> Iterator[Race]:
        keys = np.stack((earlier % LIMIT, accesses.site[rows], accesses.placement[rows]))
        for pair, count in _distinct(keys):
            who, site = divmod(int(earlier[pair]), LIMIT)
            first, second = Witness(*divmod(who, self._threads), site), _witness(block, accesses, rows[pair])
            yield Race(first, second, int(accesses.placement[rows[pair]]), int(accesses.element[rows[pair]]), count)


def _distinct(keys: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """The first column of each different kind, and how many there are of it."""
    if keys.shape[1]:
        _, at, count = np.unique(keys, axis=1, return_index=True, return_counts=True)
        yield from zip(at.tolist(), count.tolist(), strict=True)


def _witness(block: int, accesses: Accesses, row: np.intp) -> Witness:
    return Witness(block, int(accesses.thread[row]), int(accesses.site[row]))
