"""When a fault happened, and to whom: what the explorer's page has to show to let a learner watch it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from kernels.recorder import Fault, Recording, ThreadId

__all__ = ["moment"]


def moment(fault: Fault, recording: Recording) -> dict[str, Any]:
    """A fault for JSON, with when it happened.

    kind, line, message: the fault's. at: [interval, step], a step being a thread's n-th access since the last barrier;
    of two accesses the later one. witnesses: number in the launch, interval, step and line of each thread that a race
    or an index names. array (its number in the recording) and element (row-major), or None. stuck: [thread, line] of
    all that wait for ever.
    """
    first, *others = fault.threads[:1], fault.other_threads[:1]
    found: dict[str, Any] = {"kind": fault.kind, "line": fault.line, "message": fault.message}
    found |= {"array": None, "element": None, "witnesses": [], "stuck": []}
    if fault.kind in ("race", "race between blocks", "uninitialised read"):
        _touched(found, fault, recording, [(first, fault.line), *((other, fault.other_line) for other in others)])
    elif fault.kind in ("out of bounds", "negative index"):
        number = _number(fault.threads[0], recording)
        interval, step = _last(recording, number)
        found |= {"witnesses": [[number, interval, step, fault.line]], "at": [interval, step]}
    else:
        # the barrier that some threads miss ends an interval; where threads diverge, none ends any more
        interval = _missed(fault, recording)
        if fault.kind != "missed barrier":
            interval = _meetings(recording)[_number(fault.threads[0], recording) // prod(recording.block)]
            found["stuck"] = _stuck(fault, recording, interval)
        found["at"] = [interval, _steps(recording, interval)]
    return found


def _touched(
    found: dict[str, Any],
    fault: Fault,
    recording: Recording,
    sides: Sequence[tuple[tuple[ThreadId, ...], int | None]],
) -> None:
    """The first accesses of one element by the threads that are named, in one interval where they share a block."""
    events = recording.events
    number = next(n for n, array in enumerate(events.arrays) if array.name == fault.array)
    assert fault.index is not None
    element = int(np.ravel_multi_index(fault.index, events.arrays[number].shape))
    each = [_accesses(recording, threads[0], line, number, element) for threads, line in sides if threads]
    pairs = [(one, other) for one in each[0] for other in each[-1] if one[1] == other[1] or "between" in fault.kind]
    first, last = min(pairs, key=lambda pair: max(pair[0][1:3], pair[1][1:3]))
    witnesses = [first] if len(each) == 1 else [first, last]
    found |= {"array": number, "element": element, "witnesses": witnesses, "at": max(w[1:3] for w in witnesses)}


def _accesses(recording: Recording, who: ThreadId, line: int | None, array: int, element: int) -> list[list[int]]:
    """[thread, interval, step, line] of each access of an element that a thread makes at a line."""
    number = _number(who, recording)
    own = _of(recording, number)
    found = []
    for row in np.flatnonzero((own["array"] == array) & (own["element"] == element)):
        interval = int(own["interval"][row])
        at = recording.events.sites[own["site"][row]].line
        if at == line:
            found.append([number, interval, int(np.count_nonzero(own["interval"][:row] == interval)), at])
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
    block = _number(fault.threads[0], recording) // prod(recording.block)
    return next((b.interval for b in recording.events.barriers if b.block == block and b.line == fault.line), 0)


def _meetings(recording: Recording) -> dict[int, int]:
    met = Counter(barrier.block for barrier in recording.events.barriers)
    return {block: met[block] for block in range(prod(recording.grid))}


def _stuck(fault: Fault, recording: Recording, interval: int) -> list[list[int]]:
    """The fault names the threads of one block; others that got no further than that one are stuck as it is."""
    per_block = prod(recording.block)
    waits = [
        (_number(thread, recording) % per_block, line)
        for threads, line in ((fault.threads, fault.line), (fault.other_threads, fault.other_line or fault.line))
        for thread in threads
    ]
    blocks = [block for block, met in _meetings(recording).items() if met == interval]
    return [[block * per_block + thread, line] for block in blocks for thread, line in waits]


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
