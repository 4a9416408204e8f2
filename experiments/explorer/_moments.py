"""When a fault happened, and to whom: what the explorer's page has to show to let a learner watch it."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from kernels.recorder import Fault, Kind, Recording, ThreadId

__all__ = ["moment"]


def moment(fault: Fault, recording: Recording) -> dict[str, Any]:
    """A fault for JSON, with when it happened.

    kind, line, message: the fault's. at: [interval, step], a step being a thread's n-th access since the last barrier;
    of two accesses the later one. witnesses: number in the launch, interval, step and line of each thread that a race
    or an index names. array (its number in the recording) and element (row-major), or None.
    """
    found: dict[str, Any] = {"kind": fault.kind, "line": fault.line, "message": fault.message}
    found |= {"array": None, "element": None, "witnesses": []}
    if fault.kind in ("out of bounds", "negative index"):
        return found | _stopped(fault, recording)
    if fault.array is not None:
        return found | _touched(fault, recording)
    if fault.kind == "missed barrier":
        # as on a GPU of today the others go on: this barrier ended an interval
        interval = _missed(fault, recording)
        return found | {"at": [interval, _steps(recording, interval)]}
    block = _number(fault.threads[0], recording) // prod(recording.block)
    interval = sum(barrier.block == block for barrier in recording.events.barriers)
    return found | {"at": [interval, _steps(recording, interval)]}


def _stopped(fault: Fault, recording: Recording) -> dict[str, Any]:
    """The thread's last access: the one outside is not in the recording."""
    number = _number(fault.threads[0], recording)
    interval, step = _last(recording, number)
    return {"witnesses": [[number, interval, step, fault.line]], "at": [interval, step]}


def _touched(fault: Fault, recording: Recording) -> dict[str, Any]:
    """The first accesses of one element by the threads that are named, in one interval where they share a block."""
    events = recording.events
    number = next(n for n, array in enumerate(events.arrays) if array.name == fault.array)
    assert fault.index is not None
    element = int(np.ravel_multi_index(fault.index, events.arrays[number].shape))
    here, *there = fault.accesses
    one = _accesses(recording, fault.threads[0], fault.line, here, number, element)
    if fault.other_threads:
        other = _accesses(recording, fault.other_threads[0], fault.other_line, there[0], number, element)
        together = [pair for pair in product(one, other) if pair[0][1] == pair[1][1] or "between" in fault.kind]
        witnesses = [*min(together, key=lambda pair: max(pair[0][1:3], pair[1][1:3]))]
    else:
        witnesses = one[:1]
    at = max(witness[1:3] for witness in witnesses)
    return {"array": number, "element": element, "witnesses": witnesses, "at": at}


def _accesses(
    recording: Recording, who: ThreadId, line: int | None, kind: Kind, array: int, element: int
) -> list[list[int]]:
    """[thread, interval, step, line] of each access of this kind to an element that a thread makes at a line."""
    number = _number(who, recording)
    own = _of(recording, number)
    found = []
    for row in np.flatnonzero((own["array"] == array) & (own["element"] == element)):
        interval = int(own["interval"][row])
        site = recording.events.sites[own["site"][row]]
        if (site.line, site.kind) == (line, kind):
            found.append([number, interval, int(np.count_nonzero(own["interval"][:row] == interval)), site.line])
    return found


def _of(recording: Recording, number: int) -> Any:
    block, thread = divmod(number, prod(recording.block))
    table = recording.events.table
    return table[(table["block"] == block) & (table["thread"] == thread)]


def _last(recording: Recording, number: int) -> tuple[int, int]:
    """Interval and step of a thread's last access."""
    own = _of(recording, number)
    interval = int(own["interval"].max(initial=0))
    return interval, max(int(np.count_nonzero(own["interval"] == interval)) - 1, 0)


def _missed(fault: Fault, recording: Recording) -> int:
    """The interval that ended without the thread that had left."""
    block, gone = divmod(_number(fault.other_threads[0], recording), prod(recording.block))
    met = recording.events.barriers
    return next(b.interval for b in met if (b.block, b.line) == (block, fault.line) and gone in b.absent)


def _steps(recording: Recording, interval: int) -> int:
    """The first step of an interval that no thread has: whoever waits, waits by then."""
    table = recording.events.table[recording.events.table["interval"] == interval]
    _, counts = np.unique(np.stack((table["block"], table["thread"])), axis=1, return_counts=True)
    return int(counts.max(initial=0))


def _number(who: ThreadId, recording: Recording) -> int:
    """A thread's number in the launch, block by block, x fastest."""
    block, thread = (
        int(np.ravel_multi_index(place[::-1], extents[::-1]))
        for place, extents in zip(who, (recording.grid, recording.block), strict=True)
    )
    return block * prod(recording.block) + thread
