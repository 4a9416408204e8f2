"""Do threads beyond the cores wait? What times by number of threads say of it, and whether they say anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kernels.measure.results import Point, ThreadPoint
from kernels.measure.timing import Spread, ratio

__all__ = ["Beyond", "by_work"]

_GAIN = 1.1  # threads that share a core take turns in another order each time: so much is no gain


def by_work(points: Iterable[Point]) -> dict[str, dict[int, ThreadPoint]]:
    """Those of them that are times by number of threads: each kind of work's, fewer threads first."""
    timed = [point for point in points if isinstance(point, ThreadPoint)]
    return {
        work: {point.threads: point for point in sorted(timed, key=lambda point: point.threads) if point.work == work}
        for work in dict.fromkeys(point.work for point in timed)
    }


@dataclass(frozen=True)
class Beyond:
    """The most threads beside one for each core.

    factors: how many times as fast they are, one for each kind of work.
    """

    most: int
    factors: list[Spread]

    @classmethod
    def of(cls, points: Iterable[Point], cores: int) -> Beyond | None:
        """None where nothing was timed both with as many threads as cores and with more."""
        taken = by_work(points)
        factors = [
            ratio(own[cores].samples, own[max(own)].samples)
            for own in taken.values()
            if cores in own and max(own) > cores
        ]
        return cls(max(max(own) for own in taken.values()), factors) if factors else None

    @property
    def wait(self) -> bool:
        """Whether the times bear out that the threads beyond the cores wait: they gain nothing anywhere, and no time is
        so unsteady that a gain could hide in it."""
        return max(high for _, _, high in self.factors) <= _GAIN
