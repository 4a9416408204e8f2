"""How long a process waits for the others before it holds them for lost.

A process that dies is noticed by MPI's launcher, which ends the job. A machine that is cut off is noticed by nobody:
the network only fails to bring what is waited for. So a second thread counts the seconds of each wait.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["SECONDS", "Patience"]

SECONDS = 20.0
_ONE_BY_ONE = 2.0  # the others keep silent where the first can still speak


class Patience:
    """Ends this process where it waits too long: SECONDS, or twice as long as it worked since the wait before."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._waits = 0  # begun and ended: odd while waiting
        self._ended, self._most = time.monotonic(), 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def waiting(self, least: float = 0.0) -> Iterator[None]:
        """Around what needs all processes at once. least: seconds that the others may need in any case."""
        self._most = max(SECONDS, least, 2 * (time.monotonic() - self._ended))
        self._waits += 1
        try:
            yield
        finally:
            self._waits += 1
            self._ended = time.monotonic()

    def _watch(self) -> None:
        tick = SECONDS / 20
        seen, waited = 0, 0.0
        while True:
            time.sleep(tick)
            # ticks, not the clock: a process that was stopped and continued has not waited meanwhile
            waited = waited + tick if self._waits == seen and seen % 2 else 0.0
            seen = self._waits
            if waited > self._most + (_ONE_BY_ONE if self._rank else 0):
                print(
                    f"error: process {self._rank} has waited {waited:.0f} s for the others: one of them, or the "
                    f"network between them, does not answer",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)
