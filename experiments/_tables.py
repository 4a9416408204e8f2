"""Tables as the experiments print them."""

from __future__ import annotations

from rich import box
from rich.table import Table

__all__ = ["table"]


def table(title: str, name: str, *figures: str) -> Table:
    """A table whose first column holds names, never cut short, and whose other columns hold figures."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column(name, no_wrap=True)
    for figure in figures:
        made.add_column(figure, justify="right")
    return made
