"""Runs a block: each thread goes on to its next barrier, then the next thread runs. Nobody is ever interrupted."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import CodeType, FrameType, FunctionType
from typing import Any, Literal, NamedTuple

from greenlet import getcurrent

from kernels.recorder import barriers
from kernels.recorder.arrays import IndexFault
from kernels.recorder.events import Stranded
from kernels.recorder.faults import Fault, FaultKind, Faults, Threads
from kernels.recorder.intrinsics import WARP, Current, Intrinsics, Resolve, Wait
from kernels.recorder.sites import VERBS, Sites
from kernels.recorder.threads import Segments, Thread

__all__ = ["Meeting", "Order", "Schedule"]

Order = Literal["forward", "reverse"] | int


class Meeting(NamedTuple):
    """A barrier's site, and the numbers of the block's threads that had left before."""

    site: int
    absent: tuple[int, ...]


class Schedule:
    """Runs blocks, one after another.

    interval_ends is called with a meeting when all threads have come to a barrier, and with None when a block has
    ended. The order is that of threads between two barriers, and of blocks: as numbered, the other way round, or
    shuffled by a seed, anew at each barrier.
    """

    def __init__(
        self,
        names: Threads,
        order: Order,
        sites: Sites,
        faults: Faults,
        log: array[int],
        interval_ends: Callable[[Meeting | None], None],
    ) -> None:
        if order not in ("forward", "reverse") and not isinstance(order, int):
            raise ValueError(f"the order is 'forward', 'reverse' or a seed, not {order!r}")
        self._names, self._sites, self._faults, self._log = names, sites, faults, log
        self._interval_ends = interval_ends
        self._step = -1 if order == "reverse" else 1
        self._random = random.Random(order) if isinstance(order, int) else None
        self._hub = getcurrent()
        self._block = 0
        self._kernel: CodeType | None = None
        self.segments = Segments()
        self.stranded: list[Stranded] = []
        self.current = Current(0, prod(names.block), self._arrive)

    def ordered(self, items: Sequence[Any]) -> list[Any]:
        """The items in the order of this schedule."""
        result = list(items)[:: self._step]
        if self._random:
            self._random.shuffle(result)
        return result

    def run(self, block: int, kernel: FunctionType, arguments: Sequence[Any], cuda: Intrinsics) -> None:
        """All threads of one block, until the last has returned or a fault keeps the block from going on."""
        self._block, self._kernel = block, kernel.__code__
        threads = [Thread(n, self._names.block, kernel, arguments) for n in range(self.current.threads)]
        try:
            ready: Sequence[Thread] = threads
            stopped = False
            while ready:
                for thread in self.ordered(ready):
                    stopped |= self._resume(thread, cuda)
                ready = self._met_warps(threads)
                if not ready and not stopped:
                    ready = self._met_block(threads)
            sites = self._sites.all
            self.stranded += [Stranded(block, t.number, sites[t.wait.site].line) for t in threads if t.wait]
            self._interval_ends(None)
        finally:
            for thread in threads:
                if not thread.done:
                    thread.kill()

    def _resume(self, thread: Thread, cuda: Intrinsics) -> bool:
        """Run a thread until it waits or ends; true if a fault ended it."""
        cuda.threadIdx.move(thread.x, thread.y, thread.z)
        self.current.thread = thread.number
        self.segments.begin(thread, len(self._log))
        try:
            thread.resume()
        except IndexFault as fault:
            self._outside(thread, fault)
            return True
        except Exception as error:
            error.add_note(f"in {self._names.name(self._block, thread.number)} of the recorded kernel")
            raise
        return False

    def _arrive(self, frame: FrameType, value: Any, resolve: Resolve, mask: int | None) -> Any:
        path = [self._sites.number(frame, "wait")]
        while frame.f_code is not self._kernel and frame.f_back:
            frame = frame.f_back
            path.append(self._sites.number(frame, "wait"))
        return self._hub.switch(Wait(tuple(reversed(path)), value, resolve, mask))

    def _met_warps(self, threads: Sequence[Thread]) -> list[Thread]:
        """Threads whose warp function has found all its lanes, with their answers."""
        ready: list[Thread] = []
        for start in range(0, len(threads), WARP):
            warp = threads[start : start + WARP]
            alive = {thread.number % WARP: thread for thread in warp if not thread.done}
            calls = dict.fromkeys((t.wait.path, t.wait.mask) for t in alive.values() if t.wait)
            for path, mask in calls:
                if mask is None:
                    continue
                lanes = {lane: thread for lane, thread in alive.items() if mask >> lane & 1}
                if lanes and all(t.wait and (t.wait.path, t.wait.mask) == (path, mask) for t in lanes.values()):
                    if len(lanes) == len(warp) and _meeting(lanes).orders_memory:
                        for thread in lanes.values():
                            thread.epoch += 1
                    _answer(lanes)
                    ready += lanes.values()
        return ready

    def _met_block(self, threads: Sequence[Thread]) -> Sequence[Thread]:
        """All waiting threads where they wait at one barrier; nobody, and faults, where they can not go on."""
        waiting = {thread.number: thread for thread in threads if not thread.done}
        waits = [thread.wait for thread in waiting.values() if thread.wait]
        if not waits:
            return []
        alive = list(waiting.values())
        if any(wait.mask is not None for wait in waits):
            self._faults.add(*barriers.missed_by_lanes(self._names, self._block, self._sites.all, alive))
            return []
        if any(wait.path != waits[0].path for wait in waits):
            self._faults.add(*barriers.diverged(self._names, self._block, self._sites.all, alive))
            return []
        if len(waiting) < len(threads):
            # as on a GPU of today, the barrier then counts only the threads that are left
            site = self._sites.all[waits[0].site]
            self._faults.add(*barriers.missed(self._names, self._block, site, threads))
        self._interval_ends(Meeting(waits[0].site, tuple(thread.number for thread in threads if thread.done)))
        _answer(waiting)
        return alive

    def _outside(self, thread: Thread, fault: IndexFault) -> None:
        site, who = self._sites.all[fault.site], self._names.name(self._block, thread.number)
        numbers = tuple(i for i in fault.index if not isinstance(i, slice))
        kind: FaultKind = "negative index" if min(numbers) < 0 else "out of bounds"
        at = ", ".join(":" if isinstance(i, slice) else str(i) for i in fault.index)
        message = f"{who} {VERBS[site.kind]} {fault.name}[{at}], outside its shape {fault.shape}, and is stopped"
        self._faults.add(Fault(kind, message, site.file, site.line, (who,), array=fault.name, index=fault.index))


def _meeting(threads: Mapping[int, Thread]) -> Wait:
    wait = next(iter(threads.values())).wait
    assert wait is not None
    return wait


def _answer(threads: Mapping[int, Thread]) -> None:
    """Give every thread of a meeting what the values of all of them make."""
    answers = _meeting(threads).resolve({n: thread.wait.value for n, thread in threads.items() if thread.wait})
    for number, thread in threads.items():
        thread.answer = answers[number]
