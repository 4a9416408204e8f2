"""The figure of experiments.roofline: rate against arithmetic intensity, under the measured roofs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kernels.measure.results import MatmulPoint, Results
from plots.labels import apart
from plots.style import Theme, entitle, series, themed

__all__ = ["draw"]

_LEFT, _BEGIN, _RIGHT = 0.005, 0.08, 1000  # FLOP per byte: where the figure begins, the roofs, and where both end
_LABELS = 26  # how many fit one above another
_MARKERS = {"^": "▲", "v": "▼", "<": "◀", ">": "▶"}  # of shapes that are no squares, and how a text shows them
_BESIDE = 1.15  # factor between two shapes of one intensity: their marks stand side by side


def draw(results: Results, theme: str = "light") -> Figure:
    """Log-log: a slanted roof for each level of memory, a flat one for arithmetic, a point per kernel and shape."""
    assert results.ceilings is not None
    points = [point for point in results.of(MatmulPoint) if point.samples]
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 6), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(_LEFT, _RIGHT)
        peak = results.ceilings.peak_flops
        rates = [rate for point in points for rate in point.rate]  # tensor cores are above the roof of float32
        axes.set_ylim(min(rates, default=peak) / 1e9 / 15, max([peak, *rates]) / 1e9 * 2)
        axes.grid(True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(
            "arithmetic intensity: FLOP per byte that must move at least (A and B read once, C written once)"
        )
        axes.set_ylabel("GFLOP/s")
        _roofs(axes, results, colours)
        _points(axes, points, colours)
        caption = f"{_whose(results, points)}; medians; shapes of one intensity side by side"
        entitle(figure, "Under the roofs", caption, results.caveat)
    return figure


def _whose(results: Results, points: Sequence[MatmulPoint]) -> str:
    """The machine, or its GPU where that is what was measured."""
    machine = results.machine
    if machine.gpus and any(point.kernel.startswith("cuda-") for point in points):
        return f"{machine.gpus[0].name}, in a machine with {machine.cpu}"
    assert results.ceilings is not None
    return f"{machine.cpu}, {machine.cores} cores, {results.ceilings.threads} threads"


def _roofs(axes: Axes, results: Results, colours: Theme) -> None:
    """Each roof's name stands where the roof begins, on no line, and apart from its neighbours'."""
    assert results.ceilings is not None
    peak = results.ceilings.peak_flops / 1e9
    slopes = {f"{level.name} {level.bandwidth / 1e9:.0f} GB/s": level.bandwidth / 1e9 for level in results.levels}
    bottom, top = axes.get_ylim()
    heights = apart({name: _BEGIN * slope for name, slope in slopes.items()}, (top / bottom) ** (1 / _LABELS))
    for name, slope in slopes.items():
        begin = (_BEGIN, _BEGIN * slope)
        axes.plot([begin[0], peak / slope], [begin[1], peak], color=colours.ink, linewidth=1)
        axes.annotate(
            name, begin, (_BEGIN / 1.4, heights[name]), ha="right", va="center", fontsize=10,
            bbox={"facecolor": colours.paper, "edgecolor": "none", "pad": 1},  # no grid line runs through a name
            arrowprops={"arrowstyle": "-", "color": colours.ink, "alpha": 0.4, "linewidth": 0.8, "relpos": (1, 0.5)},
        )  # fmt: skip
    first = min((peak / slope for slope in slopes.values()), default=_BEGIN)
    axes.plot([first, _RIGHT], [peak, peak], color=colours.ink, linewidth=1.5)
    axes.text(_RIGHT * 0.9, peak * 1.08, f"multiply-adds in registers {peak:.0f} GFLOP/s", ha="right", fontsize=10)


def _points(axes: Axes, points: Sequence[MatmulPoint], colours: Theme) -> None:
    """The kernels' colours beside the figure, the shapes' names below their marks."""
    names = list(dict.fromkeys(point.kernel for point in points))
    colour = series(names, colours)
    places: dict[str, tuple[float, str]] = {point.shape: (point.intensity, "o") for point in points if point.square}
    others: dict[float, list[str]] = {}
    for point in points:
        own = others.setdefault(point.intensity, [])
        if not point.square and point.shape not in own:
            own.append(point.shape)
    for intensity, shapes in others.items():
        for place, (shape, marker) in enumerate(zip(shapes, cycle(_MARKERS))):
            places[shape] = intensity * _BESIDE ** (place - (len(shapes) - 1) / 2), marker
        text = "\n".join(f"{_MARKERS[places[shape][1]]} {shape}" for shape in shapes)
        axes.text(intensity, 0.07, text, transform=axes.get_xaxis_transform(), ha="center", fontsize=9)
    for point in points:
        x, marker = places[point.shape]
        axes.plot(x, point.rate.median / 1e9, marker, color=colour[point.kernel], markersize=6, alpha=0.9)
    for size, x in {point.n: point.intensity for point in points if point.square}.items():
        axes.text(x, 0.02, f"{size}²", transform=axes.get_xaxis_transform(), ha="center", fontsize=9)
    for name in names:
        axes.plot([], [], "o", color=colour[name], label=name)
    if points:
        axes.legend(fontsize=10, loc="upper left", bbox_to_anchor=(1.01, 1))
