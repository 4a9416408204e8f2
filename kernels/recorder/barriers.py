"""What is said when a barrier does not find all its threads."""

from __future__ import annotations

from collections.abc import Sequence

from kernels.recorder.faults import Fault, ThreadId, Threads, listed
from kernels.recorder.intrinsics import WARP
from kernels.recorder.sites import Site
from kernels.recorder.threads import Thread

__all__ = ["diverged", "missed", "missed_by_lanes"]


def missed(names: Threads, block: int, barrier: Site, threads: Sequence[Thread]) -> list[Fault]:
    """Some threads of the block wait at the barrier, the others have returned: one fault per line of return."""
    waiting = names.names(block, [thread.number for thread in threads if not thread.done])
    returned: dict[int | None, list[int]] = {}
    for thread in threads:
        if thread.done:
            returned.setdefault(thread.last_line, []).append(thread.number)
    faults = []
    for line, numbers in returned.items():
        gone = names.names(block, numbers)
        where = f"at line {line}" if line else "earlier"
        message = f"{_waiting(waiting)} here, but {listed(gone)} returned {where}"
        faults.append(Fault("missed barrier", message, barrier.file, barrier.line, waiting, line, gone))
    return faults


def diverged(names: Threads, block: int, sites: Sequence[Site], waiting: Sequence[Thread]) -> list[Fault]:
    """The threads of the block wait at different barriers: the first place, paired with each other one.

    A place is told where the ways of the two part: where one device function waits for both, at its two calls.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for thread in waiting:
        if thread.wait:
            groups.setdefault(thread.wait.path, []).append(thread.number)
    first, *others = sorted(groups, key=lambda path: [(sites[site].line, site) for site in path])
    here_threads = names.names(block, groups[first])
    faults = []
    for other in others:
        here, there = next((sites[a], sites[b]) for a, b in zip(first, other, strict=False) if a != b)
        threads = names.names(block, groups[other])
        message = f"{_waiting(here_threads)} here, but {_waiting(threads)} at line {there.line}"
        faults.append(Fault("divergent barrier", message, here.file, here.line, here_threads, there.line, threads))
    return faults


def missed_by_lanes(names: Threads, block: int, sites: Sequence[Site], alive: Sequence[Thread]) -> list[Fault]:
    """Lanes named in the mask of a warp function are not where the others wait for them."""
    groups: dict[tuple[int, tuple[int, ...], int], list[Thread]] = {}
    for thread in alive:
        if thread.wait and thread.wait.mask is not None:
            groups.setdefault((thread.number // WARP, thread.wait.path, thread.wait.mask), []).append(thread)
    faults = []
    for (warp, path, mask), group in groups.items():
        called = [t for t in alive if t.number // WARP == warp and mask >> t.number % WARP & 1]
        absent = [thread for thread in called if thread not in group]
        here, waiting = sites[path[-1]], names.names(block, [thread.number for thread in group])
        missing = names.names(block, [thread.number for thread in absent])
        line = absent[0].last_line if absent else None
        at = "is" if len(absent) == 1 else "are"
        why = f"but {listed(missing)}, named in the mask, {at} at line {line}" if absent else "and no mask names them"
        message = f"{_waiting(waiting)} here, {why}"
        faults.append(Fault("missed warp barrier", message, here.file, here.line, waiting, line, missing))
    return faults


def _waiting(threads: Sequence[ThreadId]) -> str:
    return f"{listed(threads)} wait{'s' if len(threads) == 1 else ''}"
