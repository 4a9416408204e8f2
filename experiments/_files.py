"""An experiment's files: the result that it writes, or shows again, and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kernels import cli
from kernels.measure.results import Results

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Container

    from matplotlib.figure import Figure

__all__ = ["add_options", "read_or_measure", "require_writable", "save_picture"]


def add_options(parser: argparse.ArgumentParser, *, picture: bool = True) -> None:
    """--results and --from; --plot where the experiment has a picture."""
    parser.add_argument("--results", type=Path, metavar="FILE", help="write a result file (.json)")
    if picture:
        parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it (.png, .svg or .pdf)")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="show a result file, measure nothing")


def read_or_measure(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    what: str,
    holds: Callable[[Results], object],
    measure: Callable[[], Results],
    shows: Container[str] = (),
) -> Results:
    """The result that --from names, or a new one, written where --results says. shows: options that go with --from.

    Ends the command before it measures if --results or --plot cannot be written, or if beside --from an option says
    what to measure, and not what is the default. What was measured is written before any of it is shown: no reader who
    leaves, and no picture that fails, takes it along.
    """
    require_writable(options)
    if options.source:
        _refuse_others(parser, options, shows)
    found = _read(options.source, what, holds) if options.source else measure()
    cli.write_results(options.results, found)
    return found


def _refuse_others(parser: argparse.ArgumentParser, options: argparse.Namespace, shows: Container[str]) -> None:
    others = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if name not in ("results", "plot", "source") and name not in shows and value != parser.get_default(name)
    ]
    if others:
        raise cli.CommandError(f"--from shows a result file and measures nothing: leave out {', '.join(others)}")


def _read(path: Path, what: str, holds: Callable[[Results], object]) -> Results:
    """A result file, whose machine and date are printed. Ends the command where it cannot be read or lacks `what`."""
    found = cli.read_results(path)
    if not holds(found):
        raise cli.CommandError(f"{path} holds no {what}; it is of another experiment")
    meanwhile = f", while {found.caveat}" if found.caveat else ""
    print(f"Machine: {found.machine.sentence()}; measured {found.created}{meanwhile}")
    return found


def require_writable(options: argparse.Namespace) -> None:
    """End the command now if what --results or --plot name, where they do, could not be written."""
    cli.require_results(options.results)
    path: Path | None = getattr(options, "plot", None)
    if path is not None and path.suffix not in (".png", ".svg", ".pdf"):
        raise cli.CommandError(f"cannot draw {path}: the name must end in .png, .svg or .pdf")
    cli.require_writable(path)


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure, or end the command."""
    from plots import style

    try:
        style.save(figure, path)
    except OSError as error:
        raise cli.CommandError(f"cannot write {path}: {error.strerror}", cli.CHECK_FAILED) from error
    print(f"wrote {path}")
