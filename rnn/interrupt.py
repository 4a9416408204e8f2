"""Ctrl-C, noted while a step is made and heeded after it; so is SIGTERM, by which batch systems end a run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["interrupt_flag"]


@contextmanager
def interrupt_flag() -> Iterator[list[bool]]:
    """A list that is no longer empty once one of them came: a step is never left half done. The same again stops."""
    told: list[bool] = []
    defaults: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def note(number: int, frame: object) -> None:
        told.append(True)
        # of this one only: Open MPI's launcher answers Ctrl-C with SIGTERM
        signal.signal(number, defaults[number])

    before = {number: signal.signal(number, note) for number in defaults}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
