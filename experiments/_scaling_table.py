"""What matmul_scaling prints: GFLOP/s by kernel and size, what was skipped, and one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.table import Table

from experiments._tables import marked, print_table, table
from kernels.ladder import LADDER
from kernels.measure.figures import gigaflops
from kernels.measure.results import MatmulPoint
from kernels.measure.timing import ratio

__all__ = ["summary", "tables"]

_YARDSTICKS = {spec.name for spec in LADDER if not spec.handwritten}


def tables(points: Sequence[MatmulPoint]) -> None:
    """Print one table of the squares and one of the other shapes."""
    squares = [point for point in points if point.square]
    others = [point for point in points if not point.square]
    if squares:
        print_table(_table("GFLOP/s (median) of NxN·NxN, by N", squares, lambda point: str(point.n)))
    if others:
        print_table(_table("GFLOP/s (median) of MxK·KxN; t: a transposed view", others, lambda point: point.shape))
    for point in points:
        if point.status != "ok":
            print(f"{point} {point.status}: {point.reason}")


def _table(title: str, points: Sequence[MatmulPoint], column: Callable[[MatmulPoint], str]) -> Table:
    columns = list(dict.fromkeys(map(column, points)))
    made = table(title, "kernel", *columns)
    for kernel in dict.fromkeys(point.kernel for point in points):
        cells = {column(point): _cell(point) for point in points if point.kernel == kernel}
        made.add_row(kernel, *(cells.get(name, "") for name in columns))
    return made


def _cell(point: MatmulPoint) -> str:
    if not point.samples:
        return "–" if point.status == "skipped" else point.status
    return marked(gigaflops(point.rate.median), point.seconds)


def summary(points: Iterable[MatmulPoint]) -> str | None:
    """The fastest hand-written kernel against cpu-python (or the slowest) at the largest size both ran."""
    squares = [point for point in points if point.square and point.samples and point.kernel not in _YARDSTICKS]
    slow_name = "cpu-python" if any(point.kernel == "cpu-python" for point in squares) else None
    for size in sorted({point.n for point in squares}, reverse=True):
        here = sorted((point for point in squares if point.n == size), key=lambda point: point.seconds.median)
        slow = next((point for point in here if point.kernel == slow_name), None if slow_name else here[-1])
        if slow is not None and here[0] is not slow:
            times = ratio(slow.samples, here[0].samples)
            digits = ",.0f" if times.median >= 100 else ",.1f"
            return (
                f"{here[0].kernel} is {times.median:{digits}} ± {times.half_range:{digits}} times as fast "
                f"as {slow.kernel} at {size}"
            )
    return None
