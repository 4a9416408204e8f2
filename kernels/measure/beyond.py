"""Do threads beyond the cores wait? What times by number of threads say of it, and whether they say anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kernels.measure.results import ThreadPoint
from kernels.measure.timing import spread

__all__ = ["Beyond"]

_GAIN = 1.1  # threads that share a core take turns in another order each time: so much is no gain


@dataclass(frozen=True)
class Beyond:
    """The most threads beside one for each core.

    factors: how many times as fast they are, one for each kind of work. steady: whether no time of either is unsteady.
    """

    most: int
    factors: list[float]
    steady: bool

    @classmethod
    def of(cls, points: Iterable[ThreadPoint], cores: int) -> Beyond | None:
        """None where nothing was timed both with as many threads as cores and with more."""
        taken: dict[str, dict[int, ThreadPoint]] = {}
        for point in points:
            taken.setdefault(point.work, {})[point.threads] = point
        pairs = [
            (spread(own[cores].samples), spread(own[max(own)].samples))
            for own in taken.values()
            if cores in own and max(own) > cores
        ]
        if not pairs:
            return None
        return cls(
            most=max(max(own) for own in taken.values()),
            factors=[at_cores.median / most.median for at_cores, most in pairs],
            steady=not any(seconds.unsteady for pair in pairs for seconds in pair),
        )

    @property
    def wait(self) -> bool:
        """Whether the times bear out that the threads beyond the cores wait: they gain nothing anywhere."""
        return self.steady and max(self.factors) <= _GAIN
