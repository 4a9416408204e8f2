"""The figure of experiments.gpu_race: how fast each rung climbs on a GPU, and how the fastest ones stand to cuBLAS."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from kernels.measure.figures import figure, times
from kernels.measure.results import MatmulPoint, Results
from kernels.measure.timing import Spread
from plots.style import Theme, entitle, is_yardstick, themed

__all__ = ["draw"]

_FORMATS = {"float32": 5, "tf32": 4, "bf16": 2}  # and the number of each one's colour
_RATES, _SHARES = (1, 10, 100, 1000), (0.25, 0.5, 1, 2, 4)  # where the axes have ticks


def draw(results: Results, shares: Mapping[str, Mapping[str, Spread]], theme: str = "light") -> Figure:
    """Rates at the shape that most kernels ran, from the first rung down; beside them shares of cuBLAS at all shapes.

    shares: times as fast as cuBLAS in the same format, by shape and hand-written kernel; at least one.
    """
    points = [p for p in results.of(MatmulPoint) if p.samples and "," not in p.kernel]
    shape = max((p.shape for p in points), key=lambda s: _size(points, s))
    bars = [p for p in points if p.shape == shape]
    bars.sort(key=lambda p: (list(_FORMATS).index(p.rounds_to), p.rate.median))
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 2.2 + 0.36 * len(bars)), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _rates(left, bars, shares[shape], colours)
        _shares(right, results, shares, colours)
        left.set_title(f"TFLOP/s at {shape}, logarithmic", fontsize=11)
        right.set_title("the fastest of each format, against cuBLAS", fontsize=11)
        formats = [name for name in _FORMATS if any(p.rounds_to == name for p in bars)]
        keys = [Patch(color=colours.series[_FORMATS[name]], label=f"operands in {name}") for name in formats]
        keys.append(Patch(facecolor=colours.paper, edgecolor=colours.ink, label="cuBLAS"))
        left.legend(handles=keys, fontsize=9, loc="upper right", handlelength=1.2)
        driver = "".join(f", driver {gpu.driver}" for gpu in results.machine.gpus[:1])
        caption = f"{results.machine.processor(gpu=True)}{driver}; float32 in and out, N(0,1); "
        caption += "bar, dot = median, line = quartiles"
        entitle(figure, "The ladder on a GPU, in turns with cuBLAS", caption, results.caveat)
    return figure


def _size(points: list[MatmulPoint], shape: str) -> tuple[int, int]:
    here = [p for p in points if p.shape == shape]
    return len(here), here[0].flops


def _rates(axes: Axes, bars: list[MatmulPoint], shares: Mapping[str, Spread], colours: Theme) -> None:
    for place, point in enumerate(bars):
        low, median, high = (rate / 1e12 for rate in point.rate)
        colour = colours.series[_FORMATS[point.rounds_to]]
        own = not is_yardstick(point.kernel)
        axes.barh(place, median, height=0.68, color=colour if own else colours.paper, edgecolor=colour, linewidth=1.5)
        axes.plot([low, high], [place, place], color=colours.ink, linewidth=1.5)
        axes.annotate(
            _said(median, shares.get(point.kernel)), (high, place), (5, 0), textcoords="offset points", va="center",
            fontsize=10,
        )  # fmt: skip
    axes.set_yticks(range(len(bars)), [p.kernel for p in bars], fontsize=11)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    rates = [p.rate.median / 1e12 for p in bars]
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 2, max(rates) * 12)
    axes.xaxis.set_major_locator(FixedLocator(_RATES))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _said(rate: float, share: Spread | None) -> str:
    if share is None:
        return figure(rate)
    return f"{figure(rate)}: {times(share.median)}" + (" of cuBLAS" if share.median >= 0.1 else "")


def _shares(axes: Axes, results: Results, shares: Mapping[str, Mapping[str, Spread]], colours: Theme) -> None:
    """A row for each shape, in it a dot for each format, one below the other."""
    formats = {p.kernel: p.rounds_to for p in results.of(MatmulPoint)}
    axes.set_xscale("log")
    for row, here in enumerate(shares.values()):
        for line, (name, number) in enumerate(_FORMATS.items()):
            own = [share for kernel, share in here.items() if formats[kernel] == name]
            best = max(own, key=lambda share: share.median, default=None)
            if best is None:
                continue
            colour, place = colours.series[number], row + 0.26 * (line - 1)
            axes.plot([best[0], best[2]], [place, place], color=colour, linewidth=1.5)
            axes.plot(best.median, place, "o", color=colour, markersize=7)
            right = max(best[2], best.median)
            axes.annotate(
                f"{best.median:.2f}", (right, place), (6, 0), textcoords="offset points", va="center", fontsize=10,
                bbox={"facecolor": colours.paper, "edgecolor": "none", "pad": 1},  # no line runs through a figure
            )  # fmt: skip
    axes.axvline(1, color=colours.ink, linewidth=1.2, linestyle=":")
    axes.set_yticks(range(len(shares)), list(shares), fontsize=10)
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.yaxis.tick_right()
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    least, most = axes.get_xlim()
    axes.set_xlim(min(0.22, least), max(9, most))
    axes.xaxis.set_major_locator(FixedLocator(_SHARES))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(True, axis="x")
