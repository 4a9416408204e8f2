"""The figure of experiments.training_race: milliseconds of a training step by each contestant, as bars."""

from __future__ import annotations

from matplotlib.figure import Figure

from kernels.measure.results import Results, StepPoint
from kernels.measure.timing import spread
from plots.style import entitle, themed

__all__ = ["draw"]


def draw(results: Results, limit: float | None, theme: str = "light") -> Figure:
    """Fastest on top; this project's engines coloured. limit: seconds that the arithmetic alone would take."""
    points = [point for point in results.of(StepPoint) if point.samples]
    points.sort(key=lambda point: spread(point.samples).median)
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 1.6 + 0.42 * len(points)), layout="constrained")
        axes = figure.subplots()
        longest = 0.0
        for place, point in enumerate(points):
            low, median, high = (1e3 * seconds for seconds in spread(point.samples))
            longest = max(longest, high)
            colour = colours.series[5] if point.ours else colours.series[0]
            axes.barh(place, median, color=colour, height=0.68)
            axes.plot([low, high], [place, place], color=colours.ink, linewidth=1.5)
            axes.annotate(
                f"{median:.1f}", (high, place), (6, 0), textcoords="offset points", va="center", fontsize=12
            )  # fmt: skip
        axes.set_yticks(range(len(points)), [point.contestant for point in points], fontsize=12)
        axes.invert_yaxis()
        axes.set_xlim(0, longest * 1.12)
        if limit is not None:
            axes.axvline(1e3 * limit, color=colours.ink, linewidth=1.5, linestyle=":")
            text = f"{1e3 * limit:.1f}: the arithmetic alone, at the measured peak"
            axes.annotate(
                text, (1e3 * limit, len(points) - 0.45), (4, 0), textcoords="offset points", va="top", fontsize=11
            )  # fmt: skip
            axes.set_ylim(len(points) + 0.1, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("ms for one training step; bar = median, line = interquartile range")
        caption = ""
        if points:
            first, machine = points[0], results.machine
            caption = f"{machine.cpu}, {machine.cores} cores, {first.threads} threads; LSTM of {first.hidden}, "
            caption += f"batch {first.batch_size}; blue: this project's"
        entitle(figure, "One training step, in turns", caption)
    return figure
