"""How every figure looks: light and dark, colours that colour-blind readers tell apart, files written whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from kernels.measure.files import write_atomically

__all__ = ["THEMES", "Theme", "entitle", "is_yardstick", "line_styles", "save", "series", "themed"]


@dataclass(frozen=True)
class Theme:
    """Colours of paper and ink, and the series' colours (Okabe & Ito 2008, their black left to the yardstick)."""

    paper: str
    ink: str
    faint: str
    series: tuple[str, ...]


THEMES = {
    "light": Theme(
        "#ffffff",
        "#1f2328",
        "#d8dee4",
        ("#999999", "#cc79a7", "#d55e00", "#b58900", "#009e73", "#0072b2", "#56b4e9"),
    ),
    "dark": Theme(
        "#0d1117",
        "#e6edf3",
        "#30363d",
        ("#999999", "#cc79a7", "#e8722e", "#e6c229", "#1fbf92", "#3d9be0", "#8fd0f5"),
    ),
}


@contextmanager
def themed(name: str) -> Iterator[Theme]:
    """Draw inside this context."""
    theme = THEMES[name]
    settings: dict[str, Any] = {
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "grid.color": theme.faint,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 13,
        "figure.titlesize": 15,
        "figure.titleweight": "bold",
        "figure.labelsize": 9,
        "font.size": 11,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
    }
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        yield theme


def entitle(figure: Figure, title: str, caption: str = "", caveat: str = "") -> None:
    """The figure's title above, and whose figures they are below, both from the left edge. caveat: as of `Results`."""
    figure.suptitle(title, x=0.01, ha="left")
    if caveat:
        caption = "\n".join(filter(None, (caption, f"Measured while {caveat}: not the machine's own times.")))
    if caption:
        figure.supxlabel(caption, x=0.01, ha="left")


def is_yardstick(name: str) -> bool:
    """Whether a kernel is a vendor's library, also where more than its name is said, as in ``cpu-blas at 1024``."""
    return re.search(r"blas\b", name) is not None


def series(names: Sequence[str], theme: Theme) -> dict[str, str]:
    """A colour for each name; a yardstick's is the ink."""
    return {
        name: theme.ink if is_yardstick(name) else theme.series[index % len(theme.series)]
        for index, name in enumerate(names)
    }


def line_styles(names: Sequence[str], theme: Theme) -> dict[str, str]:
    """A line style for each name: where the colours begin anew the lines differ; a yardstick's is dashed."""
    others = ("-", "-.", (0, (1, 1)))
    return {
        name: "--" if is_yardstick(name) else others[index // len(theme.series) % len(others)]  # type: ignore[misc]
        for index, name in enumerate(names)
    }


def save(figure: Figure, path: Path) -> None:
    """Write the figure whole or not at all; the name's ending chooses the format. Raises OSError."""
    kind = path.suffix[1:]
    metadata = {"Date": None} if kind == "svg" else {"CreationDate": None} if kind == "pdf" else None
    with mpl.rc_context({"svg.hashsalt": "matmul-ladder"}):  # the same figure is the same file
        write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=144, metadata=metadata))
