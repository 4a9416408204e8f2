"""How sure is an accuracy? The same runs tested on 128 images and on all of them, with their 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from plots.style import entitle, themed

__all__ = ["Tested", "draw"]


@dataclass(frozen=True)
class Tested:
    """One run tested on a number of images: the share it read right, and its 95% interval."""

    run: str
    images: int
    accuracy: float
    low: float
    high: float


def draw(tests: Sequence[Tested], theme: str = "light") -> Figure:
    """A row for each run, a colour for each number of images."""
    runs = list(dict.fromkeys(test.run for test in tests))
    counts = sorted({test.images for test in tests})
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 1.7 + 0.34 * len(runs)), layout="constrained")
        axes = figure.subplots()
        colour = dict(zip(counts, (colours.series[2], colours.series[5]), strict=False))
        for test in tests:
            # side by side, so that neither interval hides the other
            height = runs.index(test.run) + (0.16 if test.images == counts[-1] else -0.16)
            axes.plot([test.low, test.high], [height, height], color=colour[test.images], linewidth=2.5)
            axes.plot(test.accuracy, height, "D" if test.images == counts[0] else "o", color=colour[test.images])
        for count in counts:
            marker = "D-" if count == counts[0] else "o-"
            axes.plot([], [], marker, color=colour[count], linewidth=2.5, label=f"on {count:,} test images")
        axes.set_yticks(range(len(runs)), runs, fontsize=12)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(True, axis="x")
        axes.set_xlabel("accuracy, with its 95% interval")
        figure.legend(loc="outside upper right", ncols=2, fontsize=12)
        entitle(figure, "How sure is an accuracy?")
    return figure
