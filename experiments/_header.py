"""What an experiment says first: the machine, and a warning where other programs keep it busy."""

from __future__ import annotations

from kernels.measure import machine
from kernels.measure.busy import busy_cores
from kernels.mpi.launcher import started
from kernels.threads import cores

__all__ = ["show", "warn_if_busy"]

_QUIET = 0.25  # cores: what a system does beside


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
