"""Samples are enough, taken in turns, and their spread is the quartiles."""

from __future__ import annotations

import statistics
from functools import partial
from itertools import groupby

import numpy as np
import pytest

from kernels.measure import timing
from tests.clock import Clock


def test_spread_is_the_quartiles() -> None:
    found = timing.spread([4.0, 1.0, 3.0, 2.0, 5.0])
    assert found == (2.0, 3.0, 4.0)
    assert (found.median, found.half_range) == (3.0, 1.0)


@pytest.mark.parametrize("count", [7, 8, 35])
def test_spread_is_what_statistics_says(count: int) -> None:
    samples = np.random.default_rng(count).random(count).tolist()
    assert timing.spread(samples) == pytest.approx(statistics.quantiles(samples, n=4, method="inclusive"), rel=1e-14)


def test_ratio_is_of_medians() -> None:
    # all pairs: 1 2 3, 2 4 6, 6 12 18
    assert timing.ratio([6.0, 12.0, 36.0], [6.0, 3.0, 2.0]) == (2.0, 4.0, 6.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(timing, "time", found)
    return found


@pytest.mark.parametrize("seconds", [1e-5, 1e-3, 0.03, 2.0])
def test_repeat_takes_enough_samples_and_time(clock: Clock, seconds: float) -> None:
    calls: list[float] = []

    def call() -> None:
        calls.append(seconds)
        clock.now += seconds

    samples = timing.repeat(call, min_time=1.0)
    assert samples == pytest.approx([seconds] * len(samples))
    assert len(samples) >= 7
    assert sum(calls) >= 1.0
    assert sum(calls) >= 1e-3 * len(samples), "what a clock cannot tell apart is timed in groups"
    assert sum(calls) < 10 * max(1.0, 7 * seconds)


def test_the_first_call_is_not_counted(clock: Clock) -> None:
    compiling = iter([5.0])

    def call() -> None:
        clock.now += next(compiling, 0.03)

    samples = timing.repeat(call, min_time=1.0)
    assert samples == pytest.approx([0.03] * len(samples))
    assert len(samples) == 34


def test_pools_of_threads_get_the_time_to_fall_asleep(clock: Clock) -> None:
    def call() -> None:
        clock.now += 0.02 if clock.now < 0.03 else 0.01

    assert timing.settle(call) == pytest.approx(0.01)
    assert clock.now > timing._SETTLE


def test_contestants_take_turns(clock: Clock) -> None:
    order: list[str] = []

    def contestant(name: str, seconds: float) -> None:
        # slower in its first call after the other's, as its thread pool wakes and the other's still spins
        clock.now += seconds if order[-1:] == [name] else 20 * seconds
        order.append(name)

    turns = {name: partial(timing.turn, partial(contestant, name, took)) for name, took in (("a", 0.004), ("b", 0.03))}
    samples = timing.alternate(turns, rounds=3)
    assert [name for name, _ in groupby(order)] == ["a", "b"] * 3
    assert samples == {"a": pytest.approx([0.004] * 21), "b": pytest.approx([0.03] * 21)}
