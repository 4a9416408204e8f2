"""Faults: what a kernel does wrong, told once for all the threads that do it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from kernels.recorder.sites import Kind

__all__ = ["Fault", "FaultKind", "Faults", "RecorderError", "ThreadId", "Threads", "listed", "position"]

FaultKind = Literal[
    "out of bounds",
    "negative index",
    "missed barrier",
    "divergent barrier",
    "missed warp barrier",
    "race",
    "race between blocks",
    "uninitialised read",
]


class ThreadId(NamedTuple):
    """blockIdx and threadIdx, with as many numbers as the launch has dimensions, x first."""

    block: tuple[int, ...]
    thread: tuple[int, ...]

    def __str__(self) -> str:
        return f"thread {_plain(self.thread)} of block {_plain(self.block)}"


@dataclass(frozen=True)
class Fault:
    """One kind of mistake at one place (for races and barriers: a pair of places).

    threads are at `line`, other_threads at `other_line` (None where there is no second place). Barriers name all the
    threads of one block; the others name the first that was seen. index is into `array`; count is how often it
    happened, in accesses, pairs of accesses or barriers. accesses: of a race or a read, what is done at each place.
    """

    kind: FaultKind
    message: str
    file: str
    line: int
    threads: tuple[ThreadId, ...]
    other_line: int | None = None
    other_threads: tuple[ThreadId, ...] = ()
    array: str | None = None
    index: tuple[int, ...] | None = None
    count: int = 1
    accesses: tuple[Kind, ...] = ()

    def __str__(self) -> str:
        often = f" ({self.count} times)" if self.count > 1 else ""
        return f"{self.file}:{self.line}: {self.kind}: {self.message}{often}"


class RecorderError(AssertionError):
    """The kernel has faults; they are in `faults` and in the message."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class Faults:
    """Collects faults; the same place again only adds to the count."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Fault] = {}

    def add(self, *faults: Fault) -> None:
        for fault in faults:
            key = (fault.kind, fault.file, fault.line, fault.other_line, fault.array)
            first = self._found.get(key)
            self._found[key] = replace(first, count=first.count + fault.count) if first else fault

    def all(self) -> tuple[Fault, ...]:
        """In the order in which they were first seen."""
        return tuple(self._found.values())


class Threads:
    """Names of the threads of a launch, from the numbers of block and thread (x runs fastest)."""

    def __init__(self, grid: tuple[int, ...], block: tuple[int, ...]) -> None:
        self.grid, self.block = grid, block

    def name(self, block: int, thread: int) -> ThreadId:
        return ThreadId(position(block, self.grid), position(thread, self.block))

    def names(self, block: int, threads: Sequence[int]) -> tuple[ThreadId, ...]:
        return tuple(self.name(block, thread) for thread in threads)


def position(number: int, extents: tuple[int, ...]) -> tuple[int, ...]:
    """The place of a block in its grid, or of a thread in its block: x runs fastest."""
    place = []
    for extent in extents:
        number, at = divmod(number, extent)
        place.append(at)
    return tuple(place)


def listed(threads: Sequence[ThreadId]) -> str:
    """Some threads of one block, in words."""
    shown = ", ".join(_plain(thread.thread) for thread in threads[:3])
    more = f" and {len(threads) - 3} more" if len(threads) > 3 else ""
    return f"thread{'s' if len(threads) > 1 else ''} {shown}{more} of block {_plain(threads[0].block)}"


def _plain(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"({', '.join(map(str, numbers))})"
