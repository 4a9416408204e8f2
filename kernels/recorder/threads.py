"""The threads of a block, as greenlets: plain Python that can wait in the middle of a loop."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from types import FrameType, FunctionType
from typing import Any

import numpy as np
from greenlet import greenlet

from kernels.recorder.faults import position
from kernels.recorder.intrinsics import Wait

__all__ = ["Segments", "Thread"]


class Thread:
    """One thread: how it waits, and in which epoch of its warp, which counts the times the whole warp has met."""

    def __init__(self, number: int, block: tuple[int, ...], kernel: FunctionType, arguments: Sequence[Any]) -> None:
        self.number = number
        self.x, self.y, self.z = (*position(number, block), 0, 0)[:3]
        self.wait: Wait | None = None
        self.answer: Any = None
        self.epoch = 0
        self._kernel, self._arguments = kernel, arguments
        self._frame: FrameType | None = None
        self._greenlet = greenlet(self._run)

    @property
    def done(self) -> bool:
        """It has returned, or a fault has ended it."""
        return self._greenlet.dead

    @property
    def last_line(self) -> int | None:
        """The line where it is or, when it has returned, where it did so; None where a profiler is in the way."""
        return self._frame.f_lineno if self._frame else None

    def resume(self) -> None:
        """Run it to its next wait, or to its end."""
        answer, self.wait = self.answer, None
        wait = self._greenlet.switch(answer) if self._greenlet else self._greenlet.switch()
        self.wait = wait if isinstance(wait, Wait) else None

    def kill(self) -> None:
        """End a thread that waits for what will not come."""
        self._greenlet.throw()

    def _run(self) -> None:
        with np.errstate(all="ignore"):
            # a frame is lost when its thread returns, but a barrier may want to know where: a profiler sees every call
            if sys.getprofile() is None:
                sys.setprofile(self._keep)
            self._kernel(*self._arguments)

    def _keep(self, frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code is self._kernel.__code__:
            sys.setprofile(None)
            self._frame = frame


class Segments:
    """Who wrote which part of a log: from starts[n] on it was threads[n], in epoch epochs[n] of its warp."""

    def __init__(self) -> None:
        self.threads, self.epochs, self.starts = array("q"), array("q"), array("q")

    def begin(self, thread: Thread, start: int) -> None:
        self.threads.append(thread.number)
        self.epochs.append(thread.epoch)
        self.starts.append(start)

    def clear(self) -> None:
        for column in (self.threads, self.epochs, self.starts):
            del column[:]
