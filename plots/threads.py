"""The figure of experiments.thread_scaling: speed-up against threads, with the ideal line and the cores marked."""

from __future__ import annotations

from matplotlib.figure import Figure

from kernels.measure.beyond import Beyond, by_work
from kernels.measure.results import Results
from kernels.measure.timing import spread
from plots.style import entitle, series, themed

__all__ = ["draw"]


def draw(results: Results, theme: str = "light") -> Figure:
    """One line for each kind of work, relative to its own time with 1 thread."""
    points = by_work(results.points)
    cores = results.machine.threads
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 5.8), layout="constrained")
        axes = figure.subplots()
        colour = series(list(points), colours)
        counts = sorted({count for own in points.values() for count in own})
        axes.plot(counts, [min(count, cores) for count in counts], ":", color=colours.ink, linewidth=1.5)
        axes.annotate("ideal", (cores, cores), (0, 6), textcoords="offset points", ha="center", fontsize=10)
        axes.axvline(cores, color=colours.faint, linewidth=8, zorder=0)
        top = axes.get_xaxis_transform()
        axes.text(cores, 0.99, f"{cores} cores", transform=top, ha="center", va="top", fontsize=10)
        for name, own in points.items():
            taken = [point.samples for point in own.values()]
            one = spread(taken[0]).median
            low, median, high = zip(*(spread([one / s for s in samples]) for samples in taken), strict=True)
            x = list(own)
            axes.plot(x, median, "o-", color=colour[name], linewidth=2, markersize=5, label=name)
            axes.fill_between(x, low, high, color=colour[name], alpha=0.2, linewidth=0)
        axes.set_xticks(counts)
        axes.set_ylim(0, max(cores, 1) * 1.2)
        axes.set_xlabel(f"threads, on {results.machine.cpu}; line = median, band = interquartile range")
        axes.set_ylabel("speed-up over 1 thread")
        axes.grid(True, axis="y")
        figure.legend(fontsize=11, loc="outside lower left", ncols=3)
        beyond = Beyond.of(results.points, cores)
        title = "Threads beyond the cores wait" if beyond and beyond.wait else "Speed-up by number of threads"
        entitle(figure, title, caveat=results.caveat)
    return figure
