"""How long a product will take is told from smaller ones, which must not take long themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from experiments._forecast import Forecast
from kernels import Kernel
from kernels.cuda import launch
from kernels.ladder import find
from tests import fake_cupy

CALLS = 9


class Clocked:
    """A kernel whose products take what `seconds` says of their side, on a clock that only they move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float]) -> None:
        self.now, self.seconds, self.sides = 0.0, seconds, []  # type: ignore[var-annotated]
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        self.kernel = Kernel(find("cpu-blas"), self)

    def __call__(self, a: Any, b: Any, c: Any) -> None:
        self.sides.append(len(a))
        self.now += self.seconds(len(a))


@pytest.mark.parametrize("rate", [2e7, 1e9, 1e11, 1e13])
def test_the_forecast_is_near_whatever_a_call_costs_besides(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    clocked = Clocked(monkeypatch, lambda side: 50e-6 + 2 * side**3 / rate)
    side = 4096
    truth = CALLS * clocked.seconds(side)
    for limit, skipped in ((truth / 1.1, True), (truth * 3, False)):
        forecast = Forecast(limit)
        forecast.probe(clocked.kernel, 2 * side**3)
        assert (forecast.too_long("cpu-blas", 2 * side**3, CALLS) is not None) is skipped
    assert clocked.now < 5, "of two probes"


def test_calls_that_are_held_up_for_a_while_do_not_stand_for_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    # every third call, at each size
    clocked = Clocked(monkeypatch, lambda side: 2 * side**3 / 1e11 + (15e-3 if len(clocked.sides) % 3 == 0 else 0))
    forecast = Forecast(CALLS * 2 * 512**3 / 1e11 * 1.5)
    forecast.probe(clocked.kernel, 2 * 512**3)
    assert forecast.too_long("cpu-blas", 2 * 512**3, CALLS) is None


def test_a_kernel_may_compile_again_for_a_larger_size(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = Clocked(
        monkeypatch, lambda side: 2 * side**3 / 1e11 + (0.4 if side not in clocked.sides[:-1] and side > 32 else 0)
    )
    forecast = Forecast(CALLS * 2 * 4096**3 / 1e11 * 1.1)
    forecast.probe(clocked.kernel, 2 * 4096**3)
    assert forecast.too_long("cpu-blas", 2 * 4096**3, CALLS) is None


def test_the_probe_goes_no_further_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = Clocked(monkeypatch, lambda side: 2 * side**3 / 1e13)
    Forecast(1).probe(clocked.kernel, 2 * 8192**3)
    assert max(clocked.sides) == 1024


def test_nothing_larger_is_tried_than_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = Clocked(monkeypatch, lambda side: 1e-6)
    Forecast(1).probe(clocked.kernel, 2 * 200**3)
    assert max(clocked.sides) == 128


def test_the_first_call_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = Clocked(monkeypatch, lambda side: 1e-4 if clocked.sides[1:] else 7.0)
    forecast = Forecast(1)
    assert forecast.probe(clocked.kernel, 2 * 64**3) == 7
    assert forecast.too_long("cpu-blas", 2 * 64**3, CALLS) is None


def test_the_largest_product_made_counts_and_of_these_the_last() -> None:
    forecast = Forecast(10)
    forecast.learn("cpu-blas", 1.0, 1000)
    assert forecast.too_long("cpu-blas", 1000, 11) == "would take 11 s"
    forecast.learn("cpu-blas", 0.5, 1000)
    assert forecast.too_long("cpu-blas", 1000, 11) is None
    assert forecast.too_long("cpu-blas", 1_000_000, 1) == "would take 8 min"
    forecast.learn("cpu-blas", 0.4, 10)
    assert forecast.too_long("cpu-blas", 1000, 11) is None


@pytest.mark.parametrize(("watchdog", "skipped"), [(True, True), (False, False)])
def test_no_kernel_runs_into_a_watchdog(watchdog: bool, skipped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call of 3 s; the limit allows ten times as much."""
    fake_cupy.install(monkeypatch)
    monkeypatch.setattr(launch, "gpu", lambda device: launch.GPU("chip", 86, 28, 101_376, watchdog=watchdog))
    forecast = Forecast(30)
    for name in ("cuda-cupy-naive", "cpu-python"):
        forecast.learn(name, 0.3, 10**9)
    reason = forecast.too_long("cuda-cupy-naive", 10**10, 1)
    assert (reason is not None) is skipped
    assert not skipped or "would take 3.0 s, and this GPU's driver ends a kernel after about two" in str(reason)
    assert forecast.too_long("cuda-cupy-naive", 4 * 10**9, 1) is None
    assert forecast.too_long("cpu-python", 10**10, 1) is None
