"""The figure of experiments.timeline: what each engine's training step is at, from its begin to its end."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox, TransformedBbox
from mpl_toolkits.axes_grid1.inset_locator import BboxConnectorPatch

from kernels.measure.results import Results, TimelinePoint
from kernels.measure.timeline import Phase, microseconds
from kernels.measure.timing import spread
from plots.style import Theme, entitle, themed

__all__ = ["draw"]

_SAME_SCALE = 4  # the longest step may be so many times the shortest, if all are to stand over one scale
_PART = (0.15, 0.185)  # of a step, that is shown once more enlarged: two or three time steps
_FEWEST = 4  # spans that end in that part and make it worth showing
_STRIP, _ENLARGED = 1.25, 0.85  # inches, with what is written around them


def draw(results: Results, theme: str = "light") -> Figure:
    """A strip for each engine, a part of it enlarged below, and beside it the sums by phase, which explain the colours.

    Steps of very different lengths have a scale each; then a line over each strip compares them.
    """
    points = [point for point in results.of(TimelinePoint) if point.spans]
    longest = max(point.seconds for point in points)
    shared = longest <= _SAME_SCALE * min(point.seconds for point in points)
    heights = [height for point in points for height in (_STRIP, _ENLARGED if _has_detail(point) else 0.1)]
    with themed(theme) as colours:
        figure = Figure(figsize=(10, 1.25 + sum(heights)), layout="constrained")
        grid = figure.add_gridspec(2 * len(points), 2, width_ratios=(2.5, 1), height_ratios=heights)
        for row, point in enumerate(points):
            strip = figure.add_subplot(grid[2 * row, 0])
            _strip(strip, point, colours)
            strip.set_xlim(0, 1e6 * (longest if shared else point.seconds))
            strip.set_title(f"{point.name}: {microseconds(point.seconds)} µs", fontsize=12, fontweight="bold", pad=12)
            if not shared:
                _compare(strip, point.seconds / longest, colours)
            if _has_detail(point):
                _enlarge(figure, strip, figure.add_subplot(grid[2 * row + 1, 0]), point, colours)
            _sums(figure.add_subplot(grid[2 * row : 2 * row + 2, 1]), point, colours)
        entitle(figure, "Where a training step goes", _caption(results, points, shared), results.caveat)
    return figure


def _colours(theme: Theme) -> dict[Phase, str]:
    """Arithmetic is cold, waiting is warm, and where the GPU has nothing to do there is next to nothing."""
    _, pink, red, amber, green, blue, sky = theme.series
    return {
        "matmul": blue,
        "gates": green,
        "matmul and gates": sky,
        "loss, sums, update": pink,
        "weights": amber,
        "barrier": red,
        "grid barrier": theme.ink,
        "launch gap": theme.faint,
    }


def _strip(axes: Axes, point: TimelinePoint, colours: Theme) -> None:
    """In µs; one collection of bars for each phase, which bears its name."""
    bars: dict[Phase, list[tuple[float, float]]] = {phase: [] for phase in point.phases}
    for (phase, _), (begin, end) in zip(point.spans, pairwise([0.0, *_ends(point)]), strict=True):
        if end > begin:
            bars[phase].append((begin, end - begin))
    for phase, own in bars.items():
        axes.broken_barh(own, (0, 1), facecolor=_colours(colours)[phase], linewidth=0, label=phase)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value % 1 == 0 else f"{value:g}"))
    axes.tick_params(axis="x", labelsize=9)


def _ends(point: TimelinePoint) -> list[float]:
    """When each span ends, in µs."""
    return [1e6 * end for end in accumulate(seconds for _, seconds in point.spans)]


def _compare(strip: Axes, share: float, colours: Theme) -> None:
    strip.plot(
        [0, share], [1.06, 1.06], color=colours.ink, linewidth=2, clip_on=False, transform=strip.transAxes,
        solid_capstyle="butt",
    )  # fmt: skip


def _has_detail(point: TimelinePoint) -> bool:
    first, last = (1e6 * share * point.seconds for share in _PART)
    return sum(first < end < last for end in _ends(point)) >= _FEWEST


def _enlarge(figure: Figure, strip: Axes, part: Axes, point: TimelinePoint, colours: Theme) -> None:
    first, last = (1e6 * share * point.seconds for share in _PART)
    _strip(part, point, colours)
    part.set_xlim(first, last)
    for edge in (first, last):
        strip.plot([edge, edge], [0, 1], color=colours.ink, linewidth=0.8)
    here = TransformedBbox(Bbox.from_extents(first, 0, last, 1), strip.get_xaxis_transform())
    lower_left, lower_right, upper_left, upper_right = 3, 4, 2, 1
    # a faint area, on which the strip's tick labels stay legible: lines would run through them
    figure.add_artist(
        BboxConnectorPatch(
            here, part.bbox, lower_left, upper_left, lower_right, upper_right,
            facecolor=colours.faint, edgecolor="none", zorder=-1,
        )
    )  # fmt: skip


def _sums(axes: Axes, point: TimelinePoint, colours: Theme) -> None:
    axes.set_axis_off()

    def write(line: int, x: float, text: str, colour: str, aligned: Literal["left", "right"] = "right") -> None:
        axes.annotate(
            text, (x, 1), (0, -14.5 * line), xycoords="axes fraction", textcoords="offset points", va="top",
            ha=aligned, color=colour, fontsize=10,
        )  # fmt: skip

    write(0, 0.82, "µs", colours.ink)
    write(0, 1.0, "share", colours.ink)
    for line, (phase, seconds) in enumerate(point.phases.items(), 1):
        write(line, 0.0, "■", _colours(colours)[phase], "left")
        write(line, 0.07, phase, colours.ink, "left")
        write(line, 0.82, microseconds(seconds), colours.ink)
        write(line, 1.0, f"{seconds / point.seconds:.1%}", colours.ink)


def _caption(results: Results, points: list[TimelinePoint], shared: bool) -> str:
    one, machine = points[0], results.machine
    on_gpu = any(point.kernel.startswith("cuda") for point in points)
    where = [
        f"{machine.cpu}, {machine.cores} cores, {one.threads} threads",
        *(gpu.name for gpu in machine.gpus if on_gpu),
    ]
    names = [point.engine if len({point.kernel for point in points}) == 1 else point.name for point in points]
    unwatched = ", ".join(
        f"{microseconds(spread(point.samples).median)} ({name})" for name, point in zip(names, points, strict=True)
    )
    scale = "" if shared else "; each strip has its own scale, the line above it compares"
    return (
        f"µs from the begin of a step{scale}\n"
        f"{'; '.join(where)}; LSTM of {one.hidden}, batch {one.batch_size}\n"
        f"unwatched a step took {unwatched}"
    )
