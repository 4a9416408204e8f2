"""The accesses of one block between two barriers, as columns: who, where in the source, which byte of which memory."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.recorder.intrinsics import WARP
from kernels.recorder.memory import SPACES, Placement
from kernels.recorder.sites import LIMIT, Kind, Site
from kernels.recorder.threads import Segments

__all__ = ["ATOMIC", "KINDS", "READ", "WRITE", "Accesses"]

KINDS: tuple[Kind, ...] = ("read", "write", "atomic")
READ, WRITE, ATOMIC = range(3)
Column = NDArray[np.int64]


@dataclass(frozen=True)
class Accesses:
    """One row per access, in the order in which they happened.

    site, placement: indices into all sites and placements; kind: into KINDS; space: into memory.SPACES; element: in
    row-major order within its array; byte: of all memories; thread and warp: of the block; epoch: of the thread's warp.
    """

    site: Column
    kind: Column
    placement: Column
    space: Column
    element: Column
    byte: Column
    thread: Column
    warp: Column
    epoch: Column

    def __len__(self) -> int:
        return len(self.site)

    def where(self, rows: NDArray[np.bool_]) -> Accesses:
        """Only these rows."""
        return Accesses(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @classmethod
    def read_from(
        cls, log: array[int], segments: Segments, sites: Sequence[Site], placements: Sequence[Placement]
    ) -> Accesses:
        """The columns behind a log of addresses and sites."""
        entries = np.array(log, np.int64)
        site, address = entries % LIMIT, entries // LIMIT
        lengths: NDArray[np.intp] = np.diff([*segments.starts, len(entries)])
        thread = np.repeat(np.array(segments.threads, np.int64), lengths)
        epoch = np.repeat(np.array(segments.epochs, np.int64), lengths)
        starts = np.array([placement.start for placement in placements], np.int64)
        # arrays without elements share their start with the next one, which is the one meant
        number = np.searchsorted(starts, address, side="right") - 1
        element = address - starts[number]
        byte = np.empty_like(element)
        for n in np.unique(number):
            rows = number == n
            byte[rows] = placements[n].bytes_of(element[rows], thread[rows])
        kinds = np.array([KINDS.index(s.kind) if s.kind in KINDS else -1 for s in sites], np.int64)
        spaces = np.array([SPACES.index(placement.array.space) for placement in placements], np.int64)
        return cls(site, kinds[site], number, spaces[number], element, byte, thread, thread // WARP, epoch)
