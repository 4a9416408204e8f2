"""The figure of experiments.training_race: the time of a training step by each contestant, as bars."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kernels.measure.results import Results, StepPoint
from plots.style import entitle, themed

__all__ = ["draw"]

_FAR = 50  # times: beyond, the fastest bars could not be seen beside the slowest


def draw(results: Results, limit: float | None, theme: str = "light") -> Figure:
    """Fastest on top; this project's engines coloured. limit: seconds that the arithmetic alone would take."""
    points = [point for point in results.of(StepPoint) if point.samples]
    points.sort(key=lambda point: point.seconds.median)
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 1.6 + 0.42 * len(points)), layout="constrained")
        axes = figure.subplots()
        # in milliseconds, unless they would all begin with 0
        unit, scale, digits = ("ms", 1e3, 1) if not points or points[0].seconds.median > 1e-3 else ("µs", 1e6, 0)
        longest = 0.0
        for place, point in enumerate(points):
            low, median, high = (scale * seconds for seconds in point.seconds)
            longest = max(longest, high)
            colour = colours.series[5] if point.ours else colours.series[0]
            axes.barh(place, median, color=colour, height=0.68)
            axes.plot([low, high], [place, place], color=colours.ink, linewidth=1.5)
            axes.annotate(
                f"{median:,.{digits}f}", (high, place), (6, 0), textcoords="offset points", va="center", fontsize=12
            )  # fmt: skip
        axes.set_yticks(range(len(points)), [point.contestant for point in points], fontsize=12)
        axes.invert_yaxis()
        least = scale * min([point.seconds.median for point in points], default=0.0)
        logarithmic = longest > _FAR * least > 0
        if logarithmic:
            axes.set_xscale("log")
            axes.set_xlim(min(least, scale * limit if limit else least) / 2, longest * 3)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        else:
            axes.set_xlim(0, longest * 1.12)
        if limit is not None:
            axes.axvline(scale * limit, color=colours.ink, linewidth=1.5, linestyle=":")
            peak = "the GPU's measured peak" if results.gpu_ceilings else "the measured peak"
            text = f"{scale * limit:,.{digits}f}: the arithmetic alone, at {peak}"
            axes.annotate(
                text, (scale * limit, len(points) - 0.45), (4, 0), textcoords="offset points", va="top", fontsize=11
            )  # fmt: skip
            axes.set_ylim(len(points) + 0.1, -0.6)
        axes.tick_params(axis="y", length=0)
        how = "logarithmic; " if logarithmic else ""
        axes.set_xlabel(f"{unit} for one training step; {how}bar = median, line = quartiles")
        caption = ""
        if points:
            first, machine = points[0], results.machine
            processor = machine.processor(gpu=results.gpu_ceilings is not None)
            caption = f"{processor}, {machine.cores} cores, {first.threads} threads; LSTM of {first.hidden}, "
            caption += f"batch {first.batch_size}; blue: this project's"
        entitle(figure, "One training step, in turns", caption, results.caveat)
    return figure
