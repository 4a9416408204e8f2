"""Events: the trace of a launch, access by access, as compact columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.recorder.accesses import Accesses
from kernels.recorder.faults import ThreadId, Threads
from kernels.recorder.memory import Array
from kernels.recorder.sites import Site

__all__ = ["Barrier", "Event", "EventLog", "Events", "Stranded"]

_COLUMNS = np.dtype(
    [("block", "i4"), ("interval", "i4"), ("thread", "i4"), ("site", "i4"), ("array", "i4"), ("element", "i8")]
)


@dataclass(frozen=True, slots=True)
class Event:
    """One access: by whom, after how many barriers of the block, where in the source, to which element."""

    who: ThreadId
    interval: int
    site: Site
    array: Array
    index: tuple[int, ...]


class Barrier(NamedTuple):
    """The threads of a block have met at a barrier, which ends an interval of that number.

    absent: the numbers of those that had left before.
    """

    block: int
    interval: int
    line: int
    absent: tuple[int, ...]


class Stranded(NamedTuple):
    """A thread of a block that waits for ever, at this line."""

    block: int
    thread: int
    line: int


@dataclass(frozen=True)
class Events:
    """The trace in the order in which it happened; iterate for `Event`s, or use `table` for the bare numbers.

    table: a structured array of int32 block, interval (barriers that the block has passed), thread, site (into sites)
    and array (into arrays), and int64 element (row-major). barriers: where blocks met. stranded: threads that wait for
    ever, for others or at different places. dropped: how many accesses did not fit in.
    """

    table: NDArray[np.void]
    sites: tuple[Site, ...]
    arrays: tuple[Array, ...]
    barriers: tuple[Barrier, ...]
    stranded: tuple[Stranded, ...]
    dropped: int
    names: Threads

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Event]:
        for block, interval, thread, site, array, element in self.table.tolist():
            shape = self.arrays[array].shape
            index = tuple(int(i) for i in np.unravel_index(element, shape))
            yield Event(self.names.name(block, thread), interval, self.sites[site], self.arrays[array], index)


class EventLog:
    """Keeps the first accesses of a launch, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._tables: list[NDArray[np.void]] = []
        self._barriers: list[Barrier] = []
        self._dropped = 0

    def add(self, block: int, interval: int, accesses: Accesses) -> None:
        kept = min(self._room, len(accesses))
        self._room -= kept
        self._dropped += len(accesses) - kept
        table = np.empty(kept, _COLUMNS)
        table["block"], table["interval"] = block, interval
        for name in ("thread", "site", "element"):
            table[name] = getattr(accesses, name)[:kept]
        table["array"] = accesses.placement[:kept]
        self._tables.append(table)

    def barrier(self, met: Barrier) -> None:
        self._barriers.append(met)

    def events(
        self, sites: Sequence[Site], arrays: Sequence[Array], stranded: Sequence[Stranded], names: Threads
    ) -> Events:
        table = np.concatenate(self._tables) if self._tables else np.empty(0, _COLUMNS)
        barriers, dropped = tuple(self._barriers), self._dropped
        return Events(table, tuple(sites), tuple(arrays), barriers, tuple(stranded), dropped, names)
