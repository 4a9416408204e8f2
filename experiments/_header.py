"""What an experiment says first: the machine, and a warning where other programs keep it busy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kernels import cli
from kernels.measure import machine
from kernels.measure.busy import busy_cores
from kernels.mpi.launcher import started
from kernels.threads import cores

if TYPE_CHECKING:
    from kernels.measure.results import Results

__all__ = ["read", "show", "warn_if_busy"]

_QUIET = 0.25  # cores: what a system does beside


def read(path: Path, what: str, holds: Callable[[Results], object]) -> Results:
    """A result file, whose machine and date are printed. Ends the command where it cannot be read or lacks `what`."""
    found = cli.read_results(path)
    if not holds(found):
        raise cli.CommandError(f"{path} holds no {what}; it is of another experiment")
    print(f"Machine: {found.machine.sentence()}; measured {found.created}")
    return found


def show() -> None:
    """Print both for what is measured here and now; call it before anything works."""
    print(f"Machine: {machine.describe().sentence()}", flush=True)
    warn_if_busy()


def warn_if_busy() -> None:
    """Print the warning where it applies."""
    if started().here > 1:
        return  # processes of the same job poll for messages while they wait, and are no other program
    busy = busy_cores()
    if busy > _QUIET:
        print(
            f"warning: other programs keep {busy:.1f} of {cores()} cores busy; these times will not be the machine's "
            "(wait, or stop them)",
            flush=True,
        )
