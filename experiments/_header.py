"""What an experiment says first: the machine, and a warning where other programs keep it busy."""

from __future__ import annotations

from kernels.measure import machine
from kernels.measure.busy import QUIET, busy_cores
from kernels.mpi.launcher import started
from kernels.threads import cores

__all__ = ["show", "warn_if_busy"]


def show() -> float:
    """Print both for what is measured here and now; call it before anything works. Returns as `warn_if_busy` does."""
    print(f"Machine: {machine.describe().sentence()}", flush=True)
    return warn_if_busy()


def warn_if_busy() -> float:
    """Print the warning where it applies. Returns the cores that other programs keep busy."""
    if started().here > 1:
        return 0.0  # processes of the same job poll for messages while they wait, and are no other program
    busy = busy_cores()
    if busy > QUIET:
        print(
            f"warning: other programs keep {busy:.1f} of {cores()} cores busy; these times will not be the machine's "
            "(wait, or stop them)",
            flush=True,
        )
    return busy
