"""Pictures show the numbers of the result file, computed by hand, in the unit of their axis."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from kernels.ladder import LADDER
from kernels.measure import machine, results
from kernels.measure.limits import Ceilings, Level
from plots import accuracy, cluster, machines, race, roofline, scaling, threads
from plots.style import THEMES, is_yardstick

RATES = [10.0, 20.0, 30.0, 50.0, 90.0]  # GFLOP/s: quartiles 20, 30, 50


def _matmul(kernel, m, k, n, factor=1.0):
    return results.MatmulPoint(kernel, m, k, n, 2, "ok", samples=[2 * m * k * n / (factor * r * 1e9) for r in RATES])


def _texts(figure):
    return [t.get_text() for t in figure.findobj(Text)]


def _bars(axes):
    """(x, low, high) of the error bars."""
    return sorted((s[0][0], s[0][1], s[1][1]) for c in axes.containers for s in c.lines[2][0].get_segments())


def test_scaling_draws_rates_quartiles_and_both_peaks():
    points = [_matmul("cpu-blas", n, n, n, f) for n, f in ((64, 1), (128, 2))]
    points += [_matmul("cpu-blas", 8, 9, 10), _matmul("cpu-python", 8, 9, 11), _matmul("cpu-blas", 8, 9, 11, 3)]
    found = results.new("x", [], points, Ceilings(2, 3e11, 7e9), gpu_ceilings=Ceilings(1, 5e12, 8e9))
    left, right = scaling.draw(found).axes
    (medians,) = [line for line in left.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
    np.testing.assert_allclose(medians.get_xydata(), [(64, 30), (128, 60)])
    (band,) = left.collections
    corners = band.get_paths()[0].vertices
    for x, low, high in ((64, 20, 50), (128, 40, 100)):
        ys = corners[np.isclose(corners[:, 0], x), 1]
        assert (ys.min(), ys.max()) == pytest.approx((low, high))
    peaks = sorted(float(line.get_ydata()[0]) for line in left.lines if line.get_linestyle() == ":")
    assert peaks == pytest.approx([300, 5000])
    np.testing.assert_allclose(_bars(right), [(0, 20, 50), (1, 20, 50), (1, 60, 150)])


def test_roofline_in_its_axes_units():
    found = results.new(
        "x", [], [_matmul("cpu-blas", 64, 64, 64)], Ceilings(2, 4e11, 1e10), [Level("L1", 1 << 15, 2e11)]
    )
    (axes,) = roofline.draw(found).axes
    (mark,) = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    np.testing.assert_allclose(mark.get_xydata(), [(2 * 64**3 / (3 * 4 * 64**2), 30)])
    slope, flat = [line.get_xydata() for line in axes.lines if len(line.get_xdata()) == 2]
    # 200 GB/s: 200 GFLOP/s at 1 FLOP/byte; it meets 400 GFLOP/s at 2
    np.testing.assert_allclose(slope[:, 1] / slope[:, 0], 200)
    np.testing.assert_allclose(slope[1], (2, 400))
    np.testing.assert_allclose(flat[:, 1], 400)
    assert flat[0, 0] == pytest.approx(2)


def test_speed_up_by_threads(monkeypatch):
    monkeypatch.setattr("kernels.measure.machine.cores", lambda: 2)
    times = {1: [4.0, 4.0, 8.0, 9.0, 9.0], 2: [4.0, 4.0, 5.0, 8.0, 8.0], 4: [4.0] * 5}
    found = results.new("x", [], [results.ThreadPoint("work", n, t) for n, t in times.items()], None)
    axes = threads.draw(found).axes[0]
    ideal, _, work = axes.lines[0], axes.lines[1], axes.lines[-1]
    np.testing.assert_allclose(ideal.get_xydata(), [(1, 1), (2, 2), (4, 2)])
    np.testing.assert_allclose(work.get_xydata(), [(1, 1), (2, 1.6), (4, 2)])
    (band,) = axes.collections
    ys = band.get_paths()[0].vertices
    ys = ys[ys[:, 0] == 2, 1]
    assert (ys.min(), ys.max()) == pytest.approx((1, 2))


def test_race_bars_have_their_quartiles_figure_and_colour():
    points = [
        results.StepPoint(name, 8, 8, 1, "ok", samples=[1e-3 * f * r for r in RATES])
        for name, f in (("fused, x", 1), ("PyTorch", 2))
    ]
    (axes,) = race.draw(results.new("x", [], points, None), None).axes
    spans = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(spans, [(20, 50), (40, 100)])
    assert {"30.0", "60.0"} <= set(_texts(axes.figure))
    assert [to_hex(b.get_facecolor()) for b in axes.patches] == [THEMES["light"].series[5], THEMES["light"].series[0]]


def test_cluster_ideal_quartiles_and_efficiency():
    panel = cluster.Panel(
        "t",
        {1: (1.0, 1.0, 1.0), 2: (1.2, 1.5, 1.9)},
        frozenset(),
        {"a": {1: 1.0, 100: 50.0}, "b": {1: 1.0, 1000: 10.0}},
    )
    figure = cluster.draw([panel, panel], results.new("x", [], [], None))
    axes = figure.axes[0]
    np.testing.assert_allclose(_bars(axes), [(1, 1, 1), (2, 1.2, 1.9)])
    ideal = next(line for line in axes.lines if line.get_label() == "ideal")
    np.testing.assert_array_equal(ideal.get_xdata(), ideal.get_ydata())
    assert {"50% of ideal", "1% of ideal"} <= set(_texts(figure))


def _run(name, price, real):
    return machines.Run(name, "k", False, price, real, 0.8, 10, ())


def test_prices_say_where_they_are_and_machines_have_colours_of_their_own():
    left, _ = machines.draw([_run("a", 850.0, 80.0), _run("b", 2000.0, 50.0), _run("c", None, 60.0)]).axes
    assert {f"${tick:,.0f}" for tick in left.get_xticks()} == {t.get_text() for t in left.get_xticklabels()}
    colours = {line.get_color() for line in left.lines if len(line.get_xdata()) == 1}
    assert len(colours) == 3


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (5, "5s"),
        (5.747, "5.7s"),
        (9.99, "10s"),
        (59.9, "59s"),
        (60, "1m"),
        (82.601, "1m22s"),
        (3600, "1h00m"),
        (3725, "1h02m"),
        (7265, "2h01m"),
    ],
)
def test_a_duration_is_told_as_one_says_it(seconds, said):
    left, _ = machines.draw([_run("a", 850.0, seconds)]).axes
    assert said in [text.get_text() for text in left.texts]


def test_accuracy_stands_in_its_runs_row_in_its_colour():
    tests = [
        accuracy.Tested(run, n, x, x - 0.1, x + 0.1)
        for run, n, x in (("a", 128, 0.5), ("a", 10_000, 0.6), ("b", 128, 0.7), ("b", 10_000, 0.8))
    ]
    (axes,) = accuracy.draw(tests).axes
    rows = {
        round(float(line.get_xdata()[0]), 3): round(float(line.get_ydata()[0]))
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }
    assert rows == {0.5: 0, 0.6: 0, 0.7: 1, 0.8: 1}
    colour = {
        line.get_label().split()[1]: line.get_color() for line in axes.lines if line.get_label().startswith("on ")
    }
    for line in axes.lines:
        if len(line.get_xdata()) == 2:
            few = round(float(np.mean(line.get_xdata())), 3) in (0.5, 0.7)
            assert line.get_color() == colour["128" if few else "10,000"]


def test_every_yardstick_of_the_ladder_is_drawn_as_one():
    assert {spec.name for spec in LADDER if is_yardstick(spec.name)} == {s.name for s in LADDER if not s.handwritten}
    assert is_yardstick("cpu-blas at 1024")


def test_a_roofline_of_wrong_kernels_alone_has_its_roofs():
    failed = results.MatmulPoint("cpu-blas", 8, 8, 8, 2, "failed", reason="wrong")
    found = results.new("x", [], [failed], Ceilings(2, 4e11, 1e10), [Level("L1", 1 << 15, 2e11)])
    assert "L1 200 GB/s" in _texts(roofline.draw(found))


def test_a_roofline_names_the_gpu_that_was_measured():
    found = results.new(
        "x", [], [_matmul("cuda-cublas", 64, 64, 64)], Ceilings(1 << 20, 4e13, 1e12), [Level("memory", 2**62, 1e12)]
    )
    gpu = machine.GPU("NVIDIA H200", 2**37, "9.0", 1980, "580")
    found = msgspec.structs.replace(found, machine=msgspec.structs.replace(found.machine, gpus=[gpu]))
    (caption,) = [text for text in _texts(roofline.draw(found)) if "medians" in text]
    assert caption.startswith("NVIDIA H200, in a machine with ")
    assert "threads" not in caption
