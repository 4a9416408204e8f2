"""What is said of threads beyond the cores follows from their times, in the sentence and over the picture."""

from __future__ import annotations

import pytest

from experiments import thread_scaling
from kernels.measure import results
from kernels.measure.beyond import Beyond
from plots import threads as figure

UNSTEADY = [1.0, 1.0, 1.0, 1.0, 1.3, 1.3, 1.3]


def _times(work: str, **samples: list[float]) -> list[results.ThreadPoint]:
    return [results.ThreadPoint(work, int(count.removeprefix("at")), taken) for count, taken in samples.items()]


def _work(work: str, factor: float) -> list[results.ThreadPoint]:
    """4 threads are factor times as fast as 2."""
    return _times(work, at1=[2.0] * 7, at2=[1.0] * 7, at4=[1.0 / factor] * 7)


@pytest.mark.parametrize(
    ("points", "wait"),
    [
        (_work("a", 1.0), True),
        (_work("a", 0.36) + _work("b", 1.09), True),
        (_work("a", 1.0) + _work("b", 1.44), False),  # something waits, but not these threads
        (_times("a", at2=UNSTEADY, at4=[1.0] * 7), False),
        (_times("a", at2=[1.0] * 7, at4=[1 / seconds for seconds in UNSTEADY]), False),
        (_times("a", at2=[1.0] * 7, at4=UNSTEADY), True),  # often slower, and never faster
        (_times("a", at1=UNSTEADY, at2=[1.0] * 7, at3=UNSTEADY, at4=[1.0] * 7), True),  # neither is compared
    ],
)
def test_threads_wait_where_the_times_bear_it_out(points: list[results.ThreadPoint], wait: bool) -> None:
    beyond = Beyond.of(points, cores=2)
    assert beyond is not None
    assert (beyond.most, beyond.wait) == (4, wait)
    said = thread_scaling.sentence(beyond, cores=2)
    assert ("Threads beyond the 2 cores wait: 4 threads" in said) == wait
    assert ("do not show that" in said) != wait


def test_the_factors_are_of_medians() -> None:
    beyond = Beyond.of(_work("a", 0.5) + _work("b", 2.0), cores=2)
    assert beyond is not None
    assert [factor.median for factor in beyond.factors] == [0.5, 2.0]
    assert "4 threads are 0.50 to 2.00 times as fast as 2: " in thread_scaling.sentence(beyond, cores=2)


def test_of_no_more_threads_than_cores_nothing_is_said() -> None:
    points = _work("a", 1.0)
    assert Beyond.of(points[:2], cores=2) is None
    assert Beyond.of(points, cores=4) is None
    assert Beyond.of(points, cores=3) is None, "never timed with one for each"


@pytest.mark.parametrize(
    ("factor", "title"), [(1.0, "Threads beyond the cores wait"), (1.44, "Speed-up by number of threads")]
)
def test_the_title_of_the_picture_follows_the_times(factor: float, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.measure.machine.cores", lambda: 2)
    assert figure.draw(results.new("x", [], _work("a", factor), None)).get_suptitle() == title
