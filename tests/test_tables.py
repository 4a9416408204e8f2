"""A figure whose samples are far apart bears a mark in every table, and the mark is explained beneath."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import _tables, training_race
from kernels.measure import results, timing
from kernels.measure.limits import Ceilings, Level
from tests.points import timeline_point
from tests.test_cluster import _scaling
from tests.test_reference_check import _agreement

STEADY, UNSTEADY = [1.0] * 7, [1.0, 1.0, 1.0, 1.0, 1.3, 1.3, 1.3]
MEANING = "~ unsteady: the interquartile range is more than 20% of the median; measure again"


def test_a_fifth_between_the_quartiles_is_unsteady() -> None:
    assert timing.Spread((0.95, 1.0, 1.16)).unsteady
    assert not timing.Spread((0.95, 1.0, 1.14)).unsteady
    assert not timing.Spread((9.5, 10.0, 11.4)).unsteady


def test_a_figure_made_of_several_is_as_unsteady_as_the_worst() -> None:
    good, bad = timing.spread(STEADY), timing.spread(UNSTEADY)
    assert [_tables.marked("1.0", *spreads) for spreads in ((good,), (bad,), (good, bad))] == ["1.0", "~1.0", "~1.0"]


def test_no_figure_is_cut_short_on_a_narrow_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    made = _tables.table("A title that is wider than its table, or the screen", "kernel", *"ABCDEFGH")
    made.add_row("cpu-numba-reordered", *["123.45"] * 8)
    _tables.print_table(made)
    title, *_, row = capsys.readouterr().out.rstrip().splitlines()
    assert title.rstrip() == made.title
    assert row.split() == ["cpu-numba-reordered", *["123.45"] * 8]


def _matmul(samples: list[float], kernel: str = "cpu-blas") -> results.MatmulPoint:
    return results.MatmulPoint(kernel, m=8, k=8, n=8, threads=1, status="ok", samples=samples)


def _steps(samples: list[float]) -> list[results.Point]:
    return [
        results.StepPoint(name, 128, 128, 2, "ok", samples=samples, first_call=1.0)
        for name in ("fused, x", "TensorFlow, graph")
    ]


def _cluster(samples: list[float]) -> list[results.Point]:
    scaling = _scaling()
    shared = [
        type(point)(point.work, point.scaling, point.processes, point.threads, point.size, point.shares_cores, samples)
        for point in scaling.shared
    ]
    return [*shared, *scaling.parts]


TABLES: dict[str, Callable[[list[float]], list[Any]]] = {
    "matmul_scaling": lambda samples: [_matmul(samples)],
    "roofline": lambda samples: [_matmul(samples)],
    "gpu_race": lambda samples: [_matmul(samples, "cuda-cublas")],
    "thread_scaling": lambda samples: [results.ThreadPoint("work", 1, STEADY), results.ThreadPoint("work", 2, samples)],
    "timeline": lambda samples: [timeline_point("fused", [("matmul", 1.0)], samples=samples)],
    "reference_check": lambda samples: [_agreement(), *_steps(samples)],
    "cluster_scaling.__main__": _cluster,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_of_times_marks_what_is_unsteady(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for samples, times in ((STEADY, 0), (UNSTEADY, 1)):
        file = tmp_path / "run.json"
        levels = (Level("memory", 2**62, 1e10),) if name == "roofline" else ()
        results.write(file, results.new("x", [], TABLES[name](samples), Ceilings(1, 1e15, 1e10), levels))
        importlib.import_module(f"experiments.{name}").main(["--from", str(file)])
        shown = capsys.readouterr().out
        assert shown.count(MEANING) == times
        assert (" ~" in shown) == bool(times)


def test_the_race_marks_what_is_unsteady(capsys: pytest.CaptureFixture[str]) -> None:
    for samples, times in ((STEADY, 0), (UNSTEADY, 1)):
        training_race._show(results.new("x", [], [*_steps(samples)], None))
        shown = capsys.readouterr().out
        assert shown.count(MEANING) == times
        assert shown.count("~1000.00") == 2 * times


def test_an_unsteady_speed_up_makes_an_unsteady_serial_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kernels.measure.machine.cores", lambda: 2)
    thread_scaling = importlib.import_module("experiments.thread_scaling")
    for at_two, beyond, row in (
        (UNSTEADY, STEADY, ["1.00", "~1.00", "1.00", "~100.0%"]),
        (STEADY, UNSTEADY, ["1.00", "1.00", "~1.00", "100.0%"]),
    ):
        points = [results.ThreadPoint("work", 1, STEADY), results.ThreadPoint("work", 2, at_two)]
        points.append(results.ThreadPoint("work", 4, beyond))
        results.write(tmp_path / "run.json", results.new("x", [], points, None))
        thread_scaling.main(["--from", str(tmp_path / "run.json")])
        rows = [line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.startswith(" work ")]
        assert row in rows
