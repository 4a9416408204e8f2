"""The figure of experiments.roofline: rate against arithmetic intensity, under the measured roofs."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kernels.measure.results import MatmulPoint, Results
from plots.style import series, themed

__all__ = ["draw"]

_LEFT, _RIGHT = 0.06, 1000  # FLOP per byte
_ROOM = 1.6  # factor between two roofs that a label fits between


def draw(results: Results, theme: str = "light") -> Figure:
    """Log-log: a slanted roof for each level of memory, a flat one for arithmetic, a point per kernel and shape."""
    assert results.ceilings is not None
    points = [point for point in results.points if isinstance(point, MatmulPoint) and point.samples]
    peak = results.ceilings.peak_flops / 1e9
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 6), layout="constrained")
        axes = figure.subplots()
        above = np.inf
        for place, level in enumerate(results.levels):
            slope = level.bandwidth / 1e9
            x = np.array([_LEFT, peak / slope])
            axes.plot(x, x * slope, color=colours.ink, linewidth=1)
            at = _LEFT * 1.1 * 1.9**place  # each further along its roof than the one above: no two labels meet
            over = above > _ROOM * slope  # where the next roof leaves no room, below
            axes.text(
                at, at * slope * (1.07 if over else 1 / 1.07), f"{level.name} {slope:.0f} GB/s",
                rotation=np.degrees(np.arctan(slope)), transform_rotates_text=True, rotation_mode="anchor",
                va="bottom" if over else "top", fontsize=10,
            )  # fmt: skip
            above = slope
        first = min((peak / (level.bandwidth / 1e9) for level in results.levels), default=_LEFT)
        axes.plot([first, _RIGHT], [peak, peak], color=colours.ink, linewidth=1.5)
        axes.text(_RIGHT * 0.9, peak * 1.08, f"multiply-adds in registers {peak:.0f} GFLOP/s", ha="right", fontsize=10)
        names = list(dict.fromkeys(point.kernel for point in points))
        colour = series(names, colours)
        shapes: dict[float, list[str]] = {}
        for point in points:
            intensity, rate = point.intensity, point.rate.median
            marker = "o" if point.square else "^"
            axes.plot(intensity, rate / 1e9, marker, color=colour[point.kernel], markersize=7, alpha=0.9)
            shapes.setdefault(round(intensity, 2), []).append(f"{point.n}²" if point.square else point.shape)
        for intensity, labels in shapes.items():
            text = "\n".join(dict.fromkeys(labels))
            height = 0.02 if text.endswith("²") else 0.07  # longer names stand above the squares'
            axes.text(intensity, height, text, transform=axes.get_xaxis_transform(), ha="center", fontsize=9)
        for name in names:
            axes.plot([], [], "o", color=colour[name], label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(_LEFT, _RIGHT)
        axes.set_ylim(min(point.rate[0] for point in points) / 1e9 / 15, peak * 2)
        axes.grid(True, which="major", linewidth=0.6)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(
            "arithmetic intensity: FLOP per byte that must move at least (A and B read once, C written once)"
        )
        axes.set_ylabel("GFLOP/s")
        key = "● squares\n▲ the network's shapes"
        axes.legend(frameon=False, fontsize=10, loc="upper left", bbox_to_anchor=(1.01, 1), title=key)
        figure.suptitle("Under the roofs", x=0.01, ha="left", fontsize=15, fontweight="bold")
        threads = results.ceilings.threads
        figure.supxlabel(
            f"{results.machine.cpu}, {results.machine.cores} cores, {threads} threads; medians",
            x=0.01,
            ha="left",
            fontsize=9,
        )
    return figure
