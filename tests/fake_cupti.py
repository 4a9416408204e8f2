"""A stand-in for NVIDIA's cupti-python, and for the GPU's time that it records: each launch takes what it is told.

It is as strict as the real one may be: records are CUPTI's again when the callback returns, come in no order, and a
graph is seen into only if it was made while CUPTI was recording.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests import fake_cupy

GAP = 3000  # ns between two launches


class ActivityKind(enum.IntEnum):
    MEMCPY = 1
    MEMSET = 2
    CONCURRENT_KERNEL = 10


class cuptiError(Exception):  # noqa: N801 - NVIDIA's name
    def __init__(self, status: str) -> None:
        super().__init__(f"{status} (99)")


class Cupti:
    """refuses: the name of the error that switching it on ends in. lost: how many of a flush's records never come."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.refuses: str | None = None
        self.lost = 0
        self.enabled: set[int] = set()
        self._pending: list[Any] = []
        self._completed: Callable[[list[Any]], None] = lambda records: None

    def launch(self, name: str, taken: int) -> None:
        """Put a launch into the stream; while a graph is captured, for each time that it is replayed."""
        seen = bool(self.enabled)
        fake_cupy.do(lambda: self._run(name, taken, seen))

    def _run(self, name: str, taken: int, seen: bool) -> None:
        begin = self.now + GAP
        self.now = begin + taken
        kind = ActivityKind.MEMCPY if name == "memory" else ActivityKind.CONCURRENT_KERNEL
        if seen and kind in self.enabled:
            named = {} if name == "memory" else {"name": name}
            self._pending.append(SimpleNamespace(kind=kind, start=begin, end=self.now, **named))

    def activity_enable(self, kind: int) -> None:
        if self.refuses:
            raise cuptiError(self.refuses)
        self.enabled.add(kind)

    def activity_disable(self, kind: int) -> None:
        self.enabled.remove(kind)

    def activity_register_callbacks(self, requested: Any, completed: Any) -> None:
        size, most = requested()
        assert size >= 2**20
        assert most == 0
        self._completed = completed

    def activity_flush_all(self, flag: int) -> None:
        records, self._pending = self._pending[self.lost :], []
        self._completed(records[::-1])  # in no order that one may count on
        for record in records:
            vars(record).clear()


def install(monkeypatch: pytest.MonkeyPatch) -> Cupti:
    """Make `from cupti import cupti` find the stand-in until the test ends."""
    package, module, cupti = ModuleType("cupti"), ModuleType("cupti.cupti"), Cupti()
    for name in dir(cupti):
        if name.startswith("activity_"):
            setattr(module, name, getattr(cupti, name))
    module.ActivityKind, module.cuptiError = ActivityKind, cuptiError  # type: ignore[attr-defined]
    package.cupti = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupti", package)
    monkeypatch.setitem(sys.modules, "cupti.cupti", module)
    return cupti
