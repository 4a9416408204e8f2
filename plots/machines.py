"""The figure of experiments.machines: what a machine's price buys in time, and how accuracy grows meanwhile."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator

from kernels.measure.results import TranscriptLine
from plots.style import Theme, entitle, themed

__all__ = ["Run", "draw"]

_LONGEST_NAME = 36  # letters of a line: three stand side by side
_WINDOW = 5  # transcript lines averaged: a batch of 128 images alone jumps by several percent
_TICKS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200, 18_000, 36_000, 86_400)  # seconds


@dataclass(frozen=True)
class Run:
    """One job; real in seconds, price in dollars. accuracy: on the first 128 test images, as published."""

    machine: str
    by: str
    published: bool
    price: float | None
    real: float
    accuracy: float
    steps: int
    transcript: tuple[TranscriptLine, ...]
    caveat: str = ""


def draw(runs: Sequence[Run], theme: str = "light") -> Figure:
    """Left: time against price, both logarithmic. Right: accuracy against time, published runs by their end alone."""
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 5.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        colour = {id(run): colours.series[(5 - index) % len(colours.series)] for index, run in enumerate(runs)}
        _prices(left, runs, colour, colours)
        _curves(right, runs, colour)
        lowest = min(run.real for run in runs)
        ticks = [s for s in _TICKS if lowest / 2 <= s <= 2 * max(run.real for run in runs)]
        for axes, axis in ((left, left.yaxis), (right, right.xaxis)):
            axis.set_major_formatter(FuncFormatter(_duration))
            axis.set_minor_locator(NullLocator())
            axes.grid(True)
        left.set_yticks(ticks)
        figure.legend(*_legend(left, runs, colour), fontsize=10, loc="outside lower left", ncols=min(3, len(runs)))
        caption = "\n".join(f"{run.machine}: measured while {run.caveat}" for run in runs if run.caveat)
        entitle(figure, "The same training on several machines", caption)
    return figure


def _marker(run: Run) -> str:
    return "D" if run.published else "o"


def _legend(axes: Axes, runs: Sequence[Run], colour: dict[int, str]) -> tuple[list, list[str]]:
    handles = [axes.plot([], [], _marker(run), color=colour[id(run)], markersize=8)[0] for run in runs]
    names = [textwrap.fill(run.machine, _LONGEST_NAME) for run in runs]
    return handles, [
        f"{name}\n{run.by}{' (published 2018)' if run.published else ''}" for name, run in zip(names, runs, strict=True)
    ]


def _prices(axes: Axes, runs: Sequence[Run], colour: dict[int, str], colours: Theme) -> None:
    known = [run.price for run in runs if run.price is not None]
    low, high = min(known, default=1000.0) / 3, max(known, default=1000.0) * 3
    beside = high * 2.5  # where runs without a price stand
    axes.axvspan(high, high * 6, color=colours.faint, alpha=0.5, linewidth=0)
    axes.text(
        beside, 0.985, "price\nnot known", ha="center", va="top", fontsize=10, transform=axes.get_xaxis_transform()
    )
    for run in runs:
        axes.plot(run.price or beside, run.real, _marker(run), color=colour[id(run)], markersize=10)
        axes.annotate(
            _duration(run.real, 0), (run.price or beside, run.real), (0, 9), textcoords="offset points", ha="center",
            fontsize=10,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high * 6)
    bottom, longest = min(run.real for run in runs) / 1.6, max(run.real for run in runs)
    axes.set_ylim(bottom, longest * max(1.9, (longest / bottom) ** 0.25))  # no mark stands in the words above
    ticks = [price for price in (10**e * d for e in range(6) for d in (1, 3)) if low <= price <= high]
    axes.set_xticks(ticks, [f"${tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("price of the machine")
    axes.set_ylabel("time for the whole job")


def _curves(axes: Axes, runs: Sequence[Run], colour: dict[int, str]) -> None:
    for run in runs:
        if run.transcript:
            seconds = np.array([line.step for line in run.transcript]) * (run.real / run.steps)
            accuracy = np.array([line.accuracy for line in run.transcript])
            axes.plot(seconds, accuracy, color=colour[id(run)], linewidth=0.8, alpha=0.35)
            middle = (_WINDOW - 1) // 2
            if len(accuracy) > _WINDOW:
                smooth = np.convolve(accuracy, np.full(_WINDOW, 1 / _WINDOW), "valid")
                axes.plot(seconds[middle:-middle], smooth, color=colour[id(run)], linewidth=2)
        axes.plot(run.real, run.accuracy, _marker(run), color=colour[id(run)], markersize=10)
    longest = max(run.real for run in runs)
    axes.set_xlim(0, longest * 1.06)
    axes.xaxis.set_major_locator(MultipleLocator(next((tick for tick in _TICKS if longest / tick < 7), longest)))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.set_xlabel("time")
    axes.text(
        0.98, 0.03, f"line: training batches, mean of {_WINDOW}\nmark: first 128 test images", ha="right", fontsize=10,
        transform=axes.transAxes,
    )  # fmt: skip
    axes.set_ylabel("accuracy")


def _duration(seconds: float, _: object) -> str:
    """As one says it: 5.7s, 45s, 5m, 5m25s, 1h02m."""
    if seconds < 10:
        return f"{round(seconds, 1):g}s"
    whole = int(seconds)  # as the article's 1m22.601s is called 1m22s
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m" + (f"{whole % 60:02d}s" if whole % 60 else "")
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
