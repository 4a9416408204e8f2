"""Pictures as the experiments write them: refused before the work where they could not be written after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kernels import cli

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["require", "save"]


def require(path: Path | None) -> None:
    """End the command now if a picture could not be written to path."""
    if path is not None and path.suffix not in (".png", ".svg", ".pdf"):
        raise cli.CommandError(f"cannot draw {path}: the name must end in .png, .svg or .pdf")
    cli.require_writable(path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure, or end the command."""
    from plots import style

    try:
        style.save(figure, path)
    except OSError as error:
        raise cli.CommandError(f"cannot write {path}: {error.strerror}", cli.CHECK_FAILED) from error
    print(f"wrote {path}")
