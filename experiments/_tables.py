"""Tables as the experiments print them, with a mark on figures whose samples are far apart."""

from __future__ import annotations

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

from kernels.measure.timing import UNSTEADY, Spread

__all__ = ["marked", "print_table", "table"]

_MARK, _WIDEST = "~", 1000


def table(title: str, name: str, *figures: str, justify: JustifyMethod = "right") -> Table:
    """A table whose first column holds names, never cut short, and whose other columns hold figures, or words where
    they are justified "left"."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.min_width = len(title)
    made.add_column(name, no_wrap=True)
    for figure in figures:
        made.add_column(figure, justify=justify)
    return made


def marked(figure: str, *spreads: Spread) -> str:
    """The figure, with a mark where any of what it was made from is unsteady."""
    return f"{_MARK}{figure}" if any(spread.unsteady for spread in spreads) else figure


def print_table(made: Table) -> None:
    """Print a table, and beneath it what the mark means where there is one.

    It is as wide as its figures need, also on a narrower screen: there its lines are broken, and no figure cut short.
    """
    screen, any_width = Console(), Console(width=_WIDEST)
    Console(width=max(screen.width, any_width.measure(made).maximum)).print(made)
    if any(str(cell).startswith(_MARK) for column in made.columns for cell in column.cells):
        print(f"{_MARK} unsteady: the interquartile range is more than {UNSTEADY:.0%} of the median; measure again")
