"""One training step from its begin to its end, as result files hold it: what it was at, one thing after another."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

__all__ = ["IMAGES", "PHASES", "Phase", "TimelinePoint", "microseconds"]

IMAGES = "images, pixels / 255"  # what a network is trained on, as result files name it

Phase = Literal[
    "matmul",
    "gates",
    "matmul and gates",  # where a gate is computed in the registers that its product was added up in
    "loss, sums, update",
    "weights",  # fetched or packed, before they are used in every time step
    "barrier",  # of a block
    "grid barrier",  # of all blocks
    "launch gap",  # the GPU is done with one kernel, and has not begun the next
]
PHASES: tuple[Phase, ...] = get_args(Phase)


class TimelinePoint(msgspec.Struct, frozen=True, tag="timeline"):
    """One training step of an engine, of several recorded the one of median length. Times are seconds.

    spans: phases and how long each took. They follow one another from the step's begin to its end, so that no moment is
    missing and none is counted twice. clock: what told the time. samples: of whole steps, with nothing recorded.
    sm_clock: of the GPU's multiprocessors in MHz, when the samples had been taken. inputs: what the step is trained on.
    """

    engine: str
    kernel: str
    batch_size: int
    hidden: int
    threads: int
    status: Literal["ok", "skipped", "failed"]
    reason: str | None = None
    clock: str | None = None
    spans: list[tuple[Phase, float]] = []
    samples: list[float] = []
    sm_clock: int | None = None
    inputs: str = IMAGES

    @property
    def name(self) -> str:
        return f"{self.engine}, {self.kernel}"

    @property
    def seconds(self) -> float:
        """Of the step."""
        return sum(seconds for _, seconds in self.spans)

    @property
    def phases(self) -> dict[Phase, float]:
        """Seconds by phase, of those that the step has, in the order of PHASES."""
        own = {phase: sum(seconds for at, seconds in self.spans if at == phase) for phase in PHASES}
        return {phase: seconds for phase, seconds in own.items() if seconds}

    def count(self, phase: Phase) -> int:
        """How many times the step was at it."""
        return sum(at == phase for at, _ in self.spans)


def microseconds(seconds: float) -> str:
    """As a text that is no more exact than what it tells."""
    return f"{seconds * 1e6:,.1f}" if seconds < 1e-4 else f"{seconds * 1e6:,.0f}"
