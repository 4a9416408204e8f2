"""What is said of threads follows from their times: the serial share is Amdahl's, and beyond the cores they wait."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from experiments import thread_scaling
from kernels.measure import results
from kernels.measure.beyond import Beyond
from plots import threads as figure
from tests.points import results_of

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


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_serial_share_is_amdahls(share: float) -> None:
    counts = [1, 2, 3, 4, 8]
    times = [share + (1 - share) / min(count, 4) for count in counts]
    assert thread_scaling.serial_share(counts, times, cores=4) == pytest.approx(share, abs=1e-12)
    assert thread_scaling.serial_share([1], [1.0], cores=4) is None


def test_no_serial_share_explains_threads_that_are_slower_than_one() -> None:
    assert thread_scaling.serial_share([1, 2], [1.0, 1.02], cores=2) == 1.0, "noise"
    assert thread_scaling.serial_share([1, 2], [1.0, 2.4], cores=2) is None


def test_thread_scaling_shows_and_draws_a_result_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = results_of([results.ThreadPoint("work", count, [1.0 / min(count, 2)] * 7) for count in (1, 2, 4)])
    found = msgspec.structs.replace(found, machine=msgspec.structs.replace(found.machine, threads=2))
    file, picture = tmp_path / "threads.json", tmp_path / "threads.png"
    results.write(file, found)
    thread_scaling.main(["--from", str(file), "--plot", str(picture)])
    shown = capsys.readouterr().out
    assert "Threads beyond the 2 cores wait: 4 threads are 1.00 to 1.00 times as fast as 2" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
