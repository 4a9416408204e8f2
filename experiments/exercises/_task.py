"""What an exercise is: its NumPy specification, its launch, the sizes it is tried at, and what it may cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.recorder import Recording

__all__ = ["STUBS", "Launch", "Missed", "Operands", "Shape", "Task", "at_most", "at_work", "shown", "total", "worst"]

STUBS = Path(__file__).parent / "stubs"

Shape = tuple[int, ...]
Launch = tuple[Shape, Shape]


@dataclass(frozen=True)
class Missed:
    """A target that a right kernel missed: what was counted, what is allowed, and what to think about."""

    says: str
    hint: str


@dataclass(frozen=True)
class Operands:
    """Arguments of a launch. The last is the output; exact is what it should hold, within error componentwise."""

    arguments: tuple[NDArray, ...]
    exact: NDArray
    error: NDArray


@dataclass(frozen=True)
class Task:
    """One exercise; the stub of that name tells it to the learner.

    teaches: one line. goal: the target in words. sizes: each given to operands and launch. missed(recording, size):
    the first target that is missed, or None. hints: by kind of failure, what this exercise adds to the general one.
    """

    name: str
    teaches: str
    goal: str
    sizes: tuple[Shape, ...]
    operands: Callable[[Shape], Operands]
    launch: Callable[[Shape], Launch]
    missed: Callable[[Recording, Shape], Missed | None]
    hints: dict[str, str]

    @property
    def stub(self) -> str:
        """The file a learner starts from."""
        return (STUBS / f"{self.name}.py").read_text(encoding="utf-8")


def shown(size: Shape) -> str:
    """A size in words: 40x56, or for a product of m, n, k the shapes of a and b."""
    if len(size) == 3:
        m, n, k = size
        return f"({m},{k})·({k},{n})"
    return "x".join(map(str, size))


def at_most(counted: float, allowed: float, what: str, hint: str) -> Missed | None:
    """Missed, if more was counted than is allowed. what: with {} for both numbers."""
    if counted <= allowed:
        return None
    return Missed(what.format(_plain(counted), _plain(allowed)), hint)


def at_work(recording: Recording, kind: Any, needed: int, does: str) -> Missed | None:
    """Missed, if fewer threads than needed have accesses of this kind to global memory. does: in words."""
    busy = int(np.count_nonzero(recording.counts.threads["global", kind]))
    if busy >= needed:
        return None
    says = f"only {busy} thread{' ' + does + 's' if busy == 1 else 's ' + does}, and {needed} should"
    return Missed(says, "nobody has to wait for another here: which share is each thread's own?")


def total(recording: Recording, kind: Any = None, array: str | None = None, space: str | None = None) -> int:
    """Accesses of a launch, of one kind, array or memory space."""
    rows = recording.counts.of(array=array, kind=kind)
    return sum(row.accesses for row in rows if space in (None, row.array.space))


def worst(recording: Recording, space: str) -> Any:
    """The instruction with most sectors (global) or turns of the banks (shared) for an access of a warp, or None."""
    rows = [row for row in recording.counts.instructions if row.array.space == space]
    return max(rows, key=lambda row: max(row.sectors, row.conflicts), default=None)


def _plain(number: float) -> str:
    return f"{number:,.0f}" if number == round(number) else f"{number:,.1f}"
