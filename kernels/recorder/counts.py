"""Counts: what a kernel reads and writes, per instruction, per thread and per result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.recorder.accesses import KINDS, Accesses
from kernels.recorder.memory import SPACES, Array, Placement, Space
from kernels.recorder.sites import Kind, Site
from kernels.recorder.traffic import traffic

__all__ = ["Count", "Counter", "Counts"]


@dataclass(frozen=True)
class Count:
    """The accesses of one instruction to one array.

    accesses counts threads' accesses; warp_accesses what warps make of them (0 outside global and shared memory).
    units are 32-byte sectors in global memory; in shared memory they are conflict degrees (see `conflicts`).
    """

    site: Site
    array: Array
    accesses: int = 0
    warp_accesses: int = 0
    units: int = 0
    most_units: int = 0

    @property
    def line(self) -> int:
        return self.site.line

    @property
    def kind(self) -> Kind:
        return self.site.kind

    @property
    def sectors(self) -> float:
        """32-byte sectors per access of a warp, on average: 4 for 32 neighbours of 4 bytes, 1 where all want one."""
        return self._average("global")

    @property
    def conflicts(self) -> float:
        """How many turns the banks need per access of a warp, on average: 1 is the least, 2 for numbers of 8 bytes."""
        return self._average("shared")

    def _average(self, space: Space) -> float:
        return self.units / self.warp_accesses if self.array.space == space and self.warp_accesses else 0.0


@dataclass(frozen=True)
class Counts:
    """All counts of a launch.

    instructions: one row per instruction and array, by line; threads[space, kind]: accesses per thread, shape
    (blocks, threads of a block), numbered with x fastest; results: how many different elements of global memory were
    written, the c(i,j) of a product.
    """

    instructions: tuple[Count, ...]
    threads: dict[tuple[Space, Kind], NDArray[np.int64]]
    results: int

    def of(self, array: str | None = None, kind: Kind | None = None, line: int | None = None) -> tuple[Count, ...]:
        """The rows for an array, a kind of access or a line, or any of them together."""
        return tuple(
            row
            for row in self.instructions
            if array in (None, row.array.name) and kind in (None, row.kind) and line in (None, row.line)
        )

    def per_thread(self, space: Space, kind: Kind) -> float:
        """Accesses per thread of the launch, on average."""
        return float(self.threads[space, kind].mean())

    def per_result(self, space: Space, kind: Kind) -> float:
        """Accesses per element that was written; nan where nothing was."""
        return float(self.threads[space, kind].sum() / self.results) if self.results else float("nan")


class Counter:
    """Adds up the counts of a launch, one barrier interval after another."""

    def __init__(self, blocks: int, threads: int) -> None:
        self._per_thread = np.zeros((len(SPACES), len(KINDS), blocks, threads), np.int64)
        self._rows: dict[tuple[int, int], list[int]] = {}

    def add(self, block: int, accesses: Accesses) -> None:
        np.add.at(self._per_thread[:, :, block], (accesses.space, accesses.kind, accesses.thread), 1)
        where, count = np.unique(np.stack((accesses.site, accesses.placement)), axis=1, return_counts=True)
        for (site, array), n in zip(where.T.tolist(), count.tolist(), strict=True):
            self._rows.setdefault((site, array), [0, 0, 0, 0])[0] += n
        for cost in traffic(accesses):
            row = self._rows[cost.site, cost.array]
            row[1] += cost.warp_accesses
            row[2] += cost.units
            row[3] = max(row[3], cost.most_units)

    def counts(self, sites: Sequence[Site], placements: Sequence[Placement], results: int) -> Counts:
        rows = [Count(sites[site], placements[array].array, *row) for (site, array), row in self._rows.items()]
        rows.sort(key=lambda row: (row.site.file, row.line, row.site.column, row.array.name))
        threads = {(s, k): self._per_thread[i, j] for i, s in enumerate(SPACES) for j, k in enumerate(KINDS)}
        return Counts(tuple(rows), threads, results)
