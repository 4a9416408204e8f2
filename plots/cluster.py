"""The figure of experiments.cluster_scaling: speed-up against processes, measured and predicted to 1,000."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from kernels.measure.results import Results
from plots.labels import apart
from plots.style import Theme, entitle, themed

__all__ = ["Panel", "draw"]

_TICKS = (1, 10, 100, 1000)


@dataclass(frozen=True)
class Panel:
    """One work; measured: quartiles of the speed-up by processes. sharing: those that had not a core for each.

    curves: each prediction's speed-up, by its name. note: stands below them.
    """

    title: str
    measured: Mapping[int, tuple[float, float, float]]
    sharing: frozenset[int]
    curves: Mapping[str, Mapping[int, float]]
    note: str = ""


def draw(panels: Sequence[Panel], results: Results, theme: str = "light") -> Figure:
    """Two panels in a row, both axes logarithmic; beside a curve's end its efficiency there."""
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 8.2), layout="constrained")
        grid = figure.subplots(-(-len(panels) // 2), 2, sharex=True, sharey=True, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=True):
            _panel(axes, panel, colours)
        lowest = min(min(curve.values()) for panel in panels for curve in panel.curves.values())
        grid.flat[0].set_ylim(min(0.85, lowest / 1.3), 1300)
        for axes in grid[-1]:
            axes.set_xlabel(f"processes of one thread, on {results.machine.cpu}")
        for axes in grid[:, 0]:
            axes.set_ylabel("speed-up over one process")
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=10, loc="outside lower left", ncols=2)
        entitle(figure, "What a thousand processes would buy", caveat=results.caveat)
    return figure


def _panel(axes: Axes, panel: Panel, colours: Theme) -> None:
    axes.plot(_TICKS, _TICKS, ":", color=colours.ink, linewidth=1.2, label="ideal")
    ends: dict[str, tuple[int, float]] = {}
    for (name, curve), colour, style in zip(panel.curves.items(), colours.series[5:1:-3], ("-", "--"), strict=True):
        axes.plot(list(curve), list(curve.values()), style, color=colour, linewidth=2, label=name)
        ends[colour] = list(curve.items())[-1]
    _efficiencies(axes, ends)
    for own, filled, meaning in (
        (panel.measured.keys() - panel.sharing, colours.ink, "measured: median, interquartile range"),
        (panel.sharing, colours.paper, "measured, processes share cores"),
    ):
        if own:
            low, median, high = np.array([panel.measured[count] for count in sorted(own)]).T
            axes.errorbar(
                sorted(own), median, yerr=(median - low, high - median), fmt="o", markersize=6, color=colours.ink,
                markerfacecolor=filled, label=meaning, zorder=3,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.85, 12_000)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(_TICKS)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_minor_locator(NullLocator())
    axes.grid(True)
    axes.set_title(panel.title, fontsize=11)
    axes.text(0.98, 0.04, panel.note, transform=axes.transAxes, ha="right", fontsize=10)


def _efficiencies(axes: Axes, ends: Mapping[str, tuple[int, float]]) -> None:
    """Beside the curves' ends, apart from each other."""
    heights = apart({colour: speed_up for colour, (_, speed_up) in ends.items()}, 1.55)
    for colour, (count, speed_up) in ends.items():
        place = (count * 1.2, heights[colour])
        axes.annotate(f"{100 * speed_up / count:.2g}% of ideal", place, color=colour, va="center", fontsize=10)
