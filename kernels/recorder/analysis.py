"""Reads the log of each barrier interval while a block runs: faults, counts and events."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.recorder.accesses import WRITE, Accesses
from kernels.recorder.counts import Counter, Counts
from kernels.recorder.events import Barrier, EventLog, Events, Stranded
from kernels.recorder.faults import Fault, FaultKind, Faults, ThreadId, Threads
from kernels.recorder.memory import SPACES, Memory
from kernels.recorder.races import Between, Race, Witness, unordered, within_interval
from kernels.recorder.schedule import Meeting
from kernels.recorder.sites import VERBS, Site, Sites
from kernels.recorder.threads import Segments

__all__ = ["Analysis"]

_GLOBAL, _SHARED, _LOCAL = (SPACES.index(space) for space in ("global", "shared", "local"))


class Analysis:
    """Collects what the threads of a launch do. Made after all arguments have their place in memory."""

    def __init__(self, names: Threads, sites: Sites, memory: Memory, faults: Faults, max_events: int) -> None:
        self._names, self._sites, self._memory, self._faults = names, sites, memory, faults
        blocks, threads = int(np.prod(names.grid)), int(np.prod(names.block))
        granule = min((placement.itemsize for placement in memory.placements), default=1)
        self._between = Between(memory.global_bytes, granule, threads)
        self._counter = Counter(blocks, threads)
        self._events = EventLog(max_events)
        self._written = np.empty(0, np.int64)
        self._block = self._interval = 0

    def start_block(self, block: int) -> None:
        self._block, self._interval = block, 0
        self._written = np.empty(0, np.int64)

    def interval_ends(self, log: array[int], segments: Segments, met: Meeting | None) -> None:
        """All accesses since the last barrier; met is the next one, None at the end of the block."""
        if log:
            accesses = Accesses.read_from(log, segments, self._sites.all, self._memory.placements)
            self._unwritten(accesses.where((accesses.space == _SHARED) | (accesses.space == _LOCAL)))
            for race in within_interval(self._block, accesses.where(accesses.space <= _SHARED)):
                self._race(race)
            for race in self._between.check(self._block, accesses.where(accesses.space == _GLOBAL)):
                self._race(race)
            self._counter.add(self._block, accesses)
            self._events.add(self._block, self._interval, accesses)
        if met:
            line = self._sites.all[met.site].line
            self._events.barrier(Barrier(self._block, self._interval, line, met.absent))
        self._interval += 1

    def counts(self) -> Counts:
        return self._counter.counts(self._sites.all, self._memory.placements, self._between.changed)

    def events(self, stranded: Sequence[Stranded]) -> Events:
        arrays = [placement.array for placement in self._memory.placements]
        return self._events.events(self._sites.all, arrays, stranded, self._names)

    def _unwritten(self, accesses: Accesses) -> None:
        """Reads and atomics of shared and local memory before anybody has written there.

        Where another thread writes at the same time, the fault is their race, whoever comes first.
        """
        if not len(accesses):
            return
        cells, cell = np.unique(accesses.byte, return_inverse=True)
        first = np.where(np.isin(cells, self._written, assume_unique=True), -1, len(accesses))
        np.minimum.at(first, cell[accesses.kind == WRITE], np.flatnonzero(accesses.kind == WRITE))
        rows = np.flatnonzero((accesses.kind != WRITE) & (first[cell] > np.arange(len(accesses))))
        writer = np.where(first[cell[rows]] < len(accesses), first[cell[rows]], rows)
        rows = rows[~unordered(accesses, rows, writer)]
        self._written = np.union1d(self._written, cells[first < len(accesses)])
        for row in _first_of_each(accesses, rows):
            site, name = self._sites.all[accesses.site[row]], self._array(accesses.placement[row])
            who = self._names.name(self._block, int(accesses.thread[row]))
            index = self._index(int(accesses.placement[row]), int(accesses.element[row]))
            times = int(np.count_nonzero(accesses.site[rows] == accesses.site[row]))
            message = f"{who} {VERBS[site.kind]} {_at(name, index)} before anything is written there"
            self._faults.add(
                Fault(
                    "uninitialised read",
                    message,
                    site.file,
                    site.line,
                    (who,),
                    array=name,
                    index=index,
                    count=times,
                    accesses=(site.kind,),
                )
            )

    def _race(self, race: Race) -> None:
        name, index = self._array(race.array), self._index(race.array, race.element)
        (here, who), (there, other) = sorted(
            (self._place(race.first), self._place(race.second)), key=lambda place: (place[0].line, place[1])
        )
        apart = "they are in different blocks" if who.block != other.block else "no barrier lies between"
        message = (
            f"{who} {VERBS[here.kind]} {_at(name, index)}, {other} {VERBS[there.kind]} it at line {there.line}: {apart}"
        )
        kind: FaultKind = "race" if who.block == other.block else "race between blocks"
        kinds = here.kind, there.kind
        self._faults.add(
            Fault(kind, message, here.file, here.line, (who,), there.line, (other,), name, index, race.count, kinds)
        )

    def _place(self, witness: Witness) -> tuple[Site, ThreadId]:
        return self._sites.all[witness.site], self._names.name(witness.block, witness.thread)

    def _array(self, number: int) -> str:
        return self._memory.placements[number].array.name

    def _index(self, number: int, element: int) -> tuple[int, ...]:
        return tuple(int(i) for i in np.unravel_index(element, self._memory.placements[number].array.shape))


def _first_of_each(accesses: Accesses, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The first row of each site and array."""
    if not rows.size:
        return rows
    _, first = np.unique(np.stack((accesses.site[rows], accesses.placement[rows])), axis=1, return_index=True)
    return rows[np.sort(first)]


def _at(name: str, index: Sequence[int]) -> str:
    return f"{name}[{', '.join(map(str, index))}]"
