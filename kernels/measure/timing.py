"""Timing that can be believed: warm up, at least seven samples, median and interquartile range.

Means are pulled up by every interruption; medians are not. Two things are compared only within one run and in turns,
because a machine's speed drifts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

__all__ = [
    "MAX_SAMPLES",
    "MIN_SAMPLES",
    "UNSTEADY",
    "Spread",
    "alternate",
    "ratio",
    "repeat",
    "seconds_of",
    "settle",
    "spread",
    "turn",
]

MIN_SAMPLES = 7
MAX_SAMPLES = 101
UNSTEADY = 0.2  # interquartile range over median: a quiet machine stays well below it
_SHORTEST = 1e-3  # seconds: a sample is made of as many calls as take at least this long
_SETTLE = 0.05  # seconds: thread pools of different libraries spin for a while after their last call


class Spread(tuple[float, float, float]):
    """(first quartile, median, third quartile) of a set of samples."""

    __slots__ = ()

    def __str__(self) -> str:
        """Median ± half of the interquartile range, as a sentence says how many times as fast something is."""
        return f"{self.median:.2f} ± {self.half_range:.2f}"

    @property
    def median(self) -> float:
        return self[1]

    @property
    def half_range(self) -> float:
        """Half of the interquartile range."""
        return (self[2] - self[0]) / 2

    @property
    def unsteady(self) -> bool:
        """Whether the samples are so far apart that their median tells little: something came between them."""
        return self[2] - self[0] > UNSTEADY * self.median


def spread(samples: Sequence[float]) -> Spread:
    """Quartiles of the samples, in the samples' unit."""
    low, median, high = (float(q) for q in np.percentile(samples, [25, 50, 75]))
    return Spread((low, median, high))


def ratio(slower: Sequence[float], faster: Sequence[float]) -> Spread:
    """How many times as fast: the ratio of medians, between the quartiles of the ratios of all pairs of samples."""
    low, _, high = np.percentile(np.divide.outer(slower, faster), [25, 50, 75])
    return Spread((float(low), float(np.median(slower) / np.median(faster)), float(high)))


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds of one call; a first one compiles, or loads compiled code, besides its work."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def settle(call: Callable[[], object]) -> float:
    """Call until thread pools of libraries used before have gone to sleep; seconds of the last call."""
    start = time.perf_counter()
    while True:
        last = seconds_of(call)
        if time.perf_counter() - start > _SETTLE:
            return last


def repeat(call: Callable[[], object], min_time: float = 0.2) -> list[float]:
    """Seconds per call, after warming up: at least MIN_SAMPLES samples and at least min_time seconds in all."""
    shortest = max(_SHORTEST, min_time / MAX_SAMPLES)
    calls = max(1, math.ceil(shortest / max(settle(call), 1e-9)))
    samples: list[float] = []
    begin = time.perf_counter()
    while len(samples) < MAX_SAMPLES and (len(samples) < MIN_SAMPLES or time.perf_counter() - begin < min_time):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        samples.append((time.perf_counter() - start) / calls)
    return samples


def turn(call: Callable[[], object]) -> list[float]:
    """Seconds of MIN_SAMPLES calls, after warming up: one contestant's turn."""
    settle(call)
    return [seconds_of(call) for _ in range(MIN_SAMPLES)]


def alternate(turns: Mapping[str, Callable[[], list[float]]], rounds: int = 5) -> dict[str, list[float]]:
    """Samples of several contestants, who take `rounds` turns one after another."""
    samples: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, take in turns.items():
            samples[name] += take()
    return samples
