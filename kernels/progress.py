"""Progress bars: drawn on stderr of a terminal, silent anywhere else, and never in the way of stdout."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

__all__ = ["named", "steps"]


@contextmanager
def steps(done: int, total: int, unit: str = "steps") -> Iterator[Callable[[int], None]]:
    """A bar with units/s and time left; yields the function to call with the number done."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    rate = TextColumn(f"{{task.fields[rate]:.1f}} {unit}/s")
    with _bar(BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=total, completed=done, rate=0.0)
        begin = time.perf_counter()

        def advance(step: int) -> None:
            bar.update(task, completed=step, rate=(step - done) / (time.perf_counter() - begin))

        yield advance


@contextmanager
def named(total: int) -> Iterator[Callable[[str], None]]:
    """A bar that names what is under way; yields the function to call with the name when it begins."""
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    with _bar(TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn()) as bar:
        task = bar.add_task("compiling", total=total)
        done = itertools.count()  # when one begins, those before it are done
        yield lambda name: bar.update(task, description=name, completed=next(done))


def _bar(*columns: ProgressColumn) -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    # stdout is left alone where it is a file or a pipe: redirected, its lines would land on the terminal
    return Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty(), transient=True)
