"""The figure of matmul_scaling: rate against size for each kernel, up to the machine's measured peak."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from kernels.measure.results import MatmulPoint, Results
from plots.labels import apart
from plots.style import Theme, entitle, is_yardstick, line_styles, series, themed

__all__ = ["draw"]

_LABELS = 20  # how many fit one above another


def draw(results: Results, theme: str = "light") -> Figure:
    """GFLOP/s against N (both logarithmic), band = interquartile range; other shapes beside it as points."""
    points = [point for point in results.of(MatmulPoint) if point.samples]
    squares = [point for point in points if point.square]
    others = [point for point in points if not point.square]
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 5.6), layout="constrained")
        both = bool(squares and others)
        panels = figure.subplots(1, 1 + both, sharey=True, width_ratios=(2.4, 1) if both else (1,), squeeze=False)[0]
        names = list(dict.fromkeys(point.kernel for point in points))
        colour = series(names, colours)
        for panel in panels:
            _limits(panel, points, results, colours)
        if squares:
            _lines(panels[0], squares, colour, line_styles(names, colours), colours.paper)
        if others:
            _shapes(panels[-1], others, colour, label=not squares)
        panels[0].set_ylabel("GFLOP/s")
        machine = results.machine
        threads = max((point.threads for point in points), default=machine.threads)
        gpus = "".join(f", {gpu.name}" for gpu in machine.gpus[:1] if results.gpu_ceilings)
        caption = f"{machine.cpu}, {machine.cores} cores, {threads} threads{gpus}, float32 from N(0,1); "
        caption += "line = median, band = interquartile range"
        entitle(figure, "C = A·B, one kernel after another", caption, results.caveat)
    return figure


def _lines(
    panel: Axes, points: Sequence[MatmulPoint], colour: dict[str, str], line_style: dict[str, str], paper: str
) -> None:
    ends: dict[str, tuple[float, float]] = {}
    for name in colour:
        own = sorted((point for point in points if point.kernel == name), key=lambda point: point.n)
        if not own:
            continue
        sizes = [point.n for point in own]
        low, median, high = (np.array([point.rate[q] for point in own]) / 1e9 for q in range(3))
        style = line_style[name]
        panel.plot(sizes, median, linestyle=style, marker="o", markersize=4, color=colour[name], linewidth=2)
        panel.fill_between(sizes, low, high, color=colour[name], alpha=0.25, linewidth=0)
        ends[name] = (sizes[-1], float(median[-1]))
    panel.set_xscale("log", base=2)
    panel.set_xlabel("N, for NxN·NxN")
    ticks = sorted({point.n for point in points})
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.xaxis.set_minor_locator(NullLocator())
    right = max(x for x, _ in ends.values())
    left = min(ticks) * 0.85
    width = right / left  # as a factor; half as much again leaves room for the longest name
    panel.set_xlim(left, right * width**0.5)
    bottom, top = panel.get_ylim()
    heights = apart({name: y for name, (_, y) in ends.items()}, (top / bottom) ** (1 / _LABELS))
    for name, (x, y) in ends.items():
        panel.annotate(
            name, (x, y), (right * width**0.03, heights[name]), color=colour[name], va="center", fontsize=11,
            bbox={"facecolor": paper, "edgecolor": "none", "pad": 1.5},  # no line runs through a name
            arrowprops={"arrowstyle": "-", "color": colour[name], "alpha": 0.4, "linewidth": 0.8, "relpos": (0, 0.5)},
        )  # fmt: skip


def _two_lines(shape: str) -> str:
    """Neighbours' names would run into each other."""
    rows_and_depth, _, columns = shape.replace(":", " ").rpartition("x")
    return f"{rows_and_depth}\nx{columns}"


def _shapes(panel: Axes, points: Sequence[MatmulPoint], colour: dict[str, str], *, label: bool) -> None:
    shapes = list(dict.fromkeys(point.shape for point in points))
    for name in colour:
        own = [point for point in points if point.kernel == name]
        at = [shapes.index(point.shape) for point in own]
        rates = np.array([[rate / 1e9 for rate in point.rate] for point in own]).reshape(-1, 3).T
        low, median, high = rates
        panel.errorbar(
            at, median, yerr=(median - low, high - median), fmt="D" if is_yardstick(name) else "o", markersize=6,
            color=colour[name], label=name,
        )  # fmt: skip
    panel.set_xticks(range(len(shapes)), [_two_lines(shape) for shape in shapes], fontsize=9)
    panel.set_xlim(-0.5, len(shapes) - 0.5)
    panel.set_xlabel("MxKxN (t: transposed)")
    if label:
        panel.legend(fontsize=9)


def _limits(panel: Axes, points: Sequence[MatmulPoint], results: Results, colours: Theme) -> None:
    panel.set_yscale("log")
    panel.grid(True)
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    slowest = min((point.rate[0] for point in points), default=1e9) / 1e9
    fastest = max((point.rate[2] for point in points), default=1e9) / 1e9
    peaks = {
        whose: limits.peak_flops / 1e9
        for whose, limits in (("measured peak", results.ceilings), ("the GPU's measured peak", results.gpu_ceilings))
        if limits
    }
    panel.set_ylim(slowest / 1.6, max(fastest, *peaks.values(), 0) * 1.6)
    for whose, top in peaks.items():
        panel.axhline(top, color=colours.ink, linewidth=1, linestyle=":")
        panel.text(0.01, top * 1.08, f"{whose} {top:,.0f} GFLOP/s", transform=panel.get_yaxis_transform(), fontsize=9)
