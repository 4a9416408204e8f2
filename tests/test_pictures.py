"""What the pictures show is what the result files say."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from experiments import gallery, readme, training_race
from kernels.measure import results
from kernels.measure.limits import Ceilings, Level
from kernels.measure.results import TranscriptLine
from plots import accuracy, machines, race, roofline, scaling
from plots.labels import apart
from tests.points import training_point
from tests.test_reference_check import _agreement


def _marks(axes: Axes, marker: str) -> set[tuple[float, float]]:
    """Where single marks of this kind stand."""
    lines = [line for line in axes.lines if line.get_marker() == marker and len(line.get_xdata()) == 1]
    return {(float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0])) for line in lines}


def _texts(axes: Axes) -> set[str]:
    return {text.get_text() for text in axes.findobj(Text)}


def test_race_bars_are_medians_and_the_fastest_is_on_top() -> None:
    def step(name: str, samples: list[float]) -> results.StepPoint:
        return results.StepPoint(name, 128, 128, 2, "ok", samples=samples)

    points = [step("PyTorch", [0.02] * 7), step("fused, mine", [0.009, 0.01, 0.012])]
    points.append(results.StepPoint("TensorFlow", 128, 128, 2, "skipped", reason="not installed"))
    figure = race.draw(results.new("x", [], points, ceilings=None), limit=0.004)
    (axes,) = figure.axes
    assert [(bar.get_width(), round(bar.get_y() + bar.get_height() / 2)) for bar in axes.patches] == [(10, 0), (20, 1)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fused, mine", "PyTorch"]
    assert axes.yaxis_inverted()
    ours, theirs = (bar.get_facecolor() for bar in axes.patches)
    assert ours != theirs
    assert "4.0: the arithmetic alone, at the measured peak" in _texts(axes)
    assert any(set(line.get_xdata()) == {4.0} for line in axes.lines)
    assert not any("arithmetic" in text for text in _texts(race.draw(results.new("x", [], points, None), None).axes[0]))


def test_the_limit_is_the_arithmetic_at_the_measured_peak() -> None:
    points = [results.StepPoint("fused, mine", 128, 128, 2, "ok", samples=[0.01] * 7)]
    found = results.new("x", [], points, Ceilings(threads=2, peak_flops=1e9, memory_bandwidth=1e9))
    # 28 steps of 128x156x512 forward and once more for dW; 27 of 128x512x128 backward through time
    flops = 28 * 2 * 2 * 128 * 156 * 512 + 27 * 2 * 128 * 512 * 128
    assert training_race.arithmetic_limit(found) == pytest.approx(flops / 1e9)
    assert training_race.arithmetic_limit(results.new("x", [], points, ceilings=None)) is None


def test_accuracy_shows_both_intervals_of_a_run() -> None:
    tests = [accuracy.Tested("seed 0", 128, 0.9, 0.83, 0.94), accuracy.Tested("seed 0", 10_000, 0.87, 0.86, 0.88)]
    (axes,) = accuracy.draw(tests).axes
    assert {x for x, _ in _marks(axes, "D")} == {0.9}
    assert {x for x, _ in _marks(axes, "o")} == {0.87}
    assert {tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2} == {
        (0.83, 0.94),
        (0.86, 0.88),
    }


def _boxes(figure: Figure, texts: Collection[str]) -> dict[str, Bbox]:
    """Where texts stand, in pixels; without the arrows of those that have one."""
    figure.draw_without_rendering()
    shown = (text for text in figure.findobj(Text) if text.get_text() in texts)
    found = {text.get_text(): Text.get_window_extent(text) for text in shown}
    assert found.keys() == set(texts)
    return found


def _matmul(kernel: str, m: int, k: int, n: int, seconds: float) -> results.MatmulPoint:
    return results.MatmulPoint(kernel, m, k, n, threads=2, status="ok", samples=[seconds] * 7)


def test_labels_are_pushed_down_from_the_highest() -> None:
    assert apart({"low": 9.0, "high": 20.0, "far": 1.0, "middle": 10.0}, gap=2.0) == {
        "high": 20.0, "middle": 10.0, "low": 5.0, "far": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("bandwidths", [(352, 204, 165, 31), (110, 56, 60, 31), (60, 60.1, 60.2, 60.3)])
def test_names_of_roofs_stand_on_no_line_and_apart(bandwidths: tuple[float, ...]) -> None:
    names = ("L1", "L2", "L3", "memory")
    levels = [Level(name, 2**15, 1e9 * bandwidth) for name, bandwidth in zip(names, bandwidths, strict=True)]
    points = [_matmul("cpu-python", 64, 64, 64, 2e-2), _matmul("cpu-blas", 64, 64, 64, 1e-5)]
    figure = roofline.draw(results.new("x", [], points, Ceilings(2, 233e9, 3e10), levels))
    labels = [f"{level.name} {level.bandwidth / 1e9:.0f} GB/s" for level in levels]
    boxes = list(_boxes(figure, labels).values())
    (axes,) = figure.axes
    roofs = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert len(roofs) == 5
    first = min(axes.transData.transform(line.get_xydata())[:, 0].min() for line in roofs)
    for place, box in enumerate(boxes):
        assert axes.bbox.xmin < box.xmin < box.xmax < first
        assert not any(box.overlaps(other) for other in boxes[:place])


def test_shapes_of_one_intensity_are_told_apart() -> None:
    sides = ((128, 156, 512), (128, 512, 156), (156, 128, 512), (64, 64, 64))
    points = [_matmul("cpu-blas", *side, 1e-4) for side in sides]
    figure = roofline.draw(results.new("x", [], points, Ceilings(2, 1e12, 1e10), [Level("memory", 2**62, 1e10)]))
    (axes,) = figure.axes
    marks = {marker: _marks(axes, marker) for marker in "^v<o"}
    assert all(len(places) == 1 for places in marks.values())
    x = [place for marker in "^v<" for place, _ in marks[marker]]
    assert x == sorted(set(x))
    assert x[1] == pytest.approx(points[0].intensity)
    assert {x for x, _ in marks["o"]} == {points[3].intensity}
    assert "▲ 128x156x512\n▼ 128x512x156\n◀ 156x128x512" in _texts(axes)
    assert "64²" in _texts(axes)


@pytest.mark.parametrize("sizes", [(512,), (32, 64), (16, 4096)])
@pytest.mark.parametrize("name", ["cpu-numba-reordered", "cuda-cupy-hopper-tf32"])
def test_names_at_the_ends_of_lines_stay_in_their_panel(name: str, sizes: tuple[int, ...]) -> None:
    points = [_matmul(name, size, size, size, 1e-4) for size in sizes] + [_matmul(name, 128, 156, 512, 1e-4)]
    figure = scaling.draw(results.new("x", [], points, ceilings=None))
    (box,) = _boxes(figure, [name]).values()
    assert box.xmax < figure.axes[0].bbox.xmax


@pytest.mark.parametrize("slowest", [1.0, 1e-5])
def test_names_of_lines_that_end_together_stand_apart(slowest: float) -> None:
    """However far down the axis goes: to where the slowest kernel began."""
    names = ["cpu-blas", "cpu-numba-tiled", "cpu-numba-simd", "cpu-numba-parallel"]
    points = [_matmul(name, 512, 512, 512, 1e-3 + n * 1e-5) for n, name in enumerate(names)]
    points += [_matmul("cpu-numba-serial", 16, 16, 16, 8192 / 1e9 / slowest)]
    boxes = list(_boxes(scaling.draw(results.new("x", [], points, ceilings=None)), names).values())
    assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n])


def _run(*, price: float | None, real: float, published: bool = False) -> machines.Run:
    lines = () if published else tuple(TranscriptLine(step, 1.0, step / 2000) for step in range(200, 2001, 200))
    return machines.Run("a machine", "a kernel", published, price, real, 0.875, 2000, lines)


def test_machines_stand_at_their_price_and_time() -> None:
    runs = [_run(price=850, real=82.601, published=True), _run(price=2000, real=50.0), _run(price=None, real=70.0)]
    left, right = machines.draw(runs).axes
    assert _marks(left, "D") == {(850, 82.601)}
    assert (2000, 50.0) in _marks(left, "o")
    ((unknown, _),) = _marks(left, "o") - {(2000, 50.0)}
    (band,) = left.patches
    assert band.get_x() > 2000, "no price is taken for one"
    assert band.get_x() < unknown < band.get_x() + band.get_width()
    assert {"1m22s", "50s", "1m10s"} <= _texts(left)
    assert _marks(right, "D") == {(82.601, 0.875)}
    assert _marks(right, "o") == {(50.0, 0.875), (70.0, 0.875)}
    curves = [line for line in right.lines if len(line.get_xdata()) > 1]
    assert len(curves) == 4, "a faint and a smooth one for each of the measured"
    assert max(curves[0].get_xdata()) == pytest.approx(50.0)
    np.testing.assert_allclose(curves[1].get_ydata(), np.array(curves[1].get_xdata()) / 50.0)


def test_readme_takes_in_whatever_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "RESULTS", tmp_path)
    steps = [
        results.StepPoint(name, 128, 128, 2, "ok", samples=[seconds] * 7)
        for name, seconds in (("fused, cpu-numba-simd", 0.01), ("TensorFlow, graph", 0.015))
    ]
    runs = [training_point(8700), training_point(8710, kernel="tensorflow", engine="graph")]
    (tmp_path / "reference_check").mkdir()
    for name, points in (
        ("elman", [_agreement(cell="elman")]),
        ("lstm", [_agreement(), *steps, *runs]),
        ("lstm-again", [_agreement()]),
    ):
        found = results.new("experiments.reference_check", ["--cell", name], points, ceilings=None)
        results.write(tmp_path / "reference_check" / f"{name}.json", found)
    table = readme.reference_table()
    assert "| lstm, sgd, graph | 2e-06 | 1e-04 | 0.8700 (0.8633 to 0.8764) | 0.8710 (" in table
    assert table.count("lstm, sgd, graph") == 1
    assert "| elman, sgd, graph | 2e-06 | 1e-04 | – | – |" in table
    assert f"Measured on {results.new('', [], [], ceilings=None).machine.cpu}, " in table
    assert "1.50 ± 0.00 times as fast as TensorFlow's best mode, graph" in table
    assert readme.machines_table().splitlines()[0] == "| | 48-core server, 2 Xeons | home-built box |"
    (tmp_path / "machines").mkdir()
    mine = results.new("experiments.machines", [], [training_point(real=100.0)], ceilings=None, price=1000.0)
    results.write(tmp_path / "machines" / "mine.json", mine)
    table = readme.machines_table()
    assert "| speed-up over the first | 1.00 | 3.93 | 3.25 |" in table
    assert "| price | – | $850 | $1,000 |" in table
