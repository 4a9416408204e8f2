"""Who trains together: one process by itself, or all that mpiexec started. Each runs the same program.

Every process has its share of each batch and all of the weights, and all make the same update, so all have the same
weights after it. Only the first prints, and writes result files and checkpoints.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kernels import cli
from kernels.mpi.launcher import started, why_no_mpi

__all__ = ["Team", "join", "why_no_team"]

_T = TypeVar("_T")
_A_MOMENT = 1.0  # seconds


class Team:
    """One process by itself. `rnn.mpi_team.MPITeam` has the same methods for several; its processes call them alike."""

    size, rank = 1, 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that speaks and writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of `count` images are this process's."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sentence(self) -> str | None:
        """Who they are and where, or None for one process."""
        return None

    def use_gpu(self) -> None:
        """Choose this process's GPU among the machine's."""

    def from_first(self, call: Callable[[], _T]) -> _T:
        """What call() gives, or raises as a CommandError, on the first process; the others do not call it."""
        return call()

    def gather(self, value: _T, least: float = 0.0) -> list[_T]:
        """Every process's value, in their order. least: seconds that one may be later than another in any case."""
        return [value]

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """What each process does by itself: a CommandError of one is raised by all, and names it."""
        yield

    def require_same(self, facts: Callable[[], dict[str, Any]]) -> None:
        """Raise CommandError where a process has other facts than the first; one by itself does not gather any."""

    def if_lost(self, kept: str) -> None:
        """What there is to go on from, to be said should this run be ended by the loss of a process."""

    def disband(self) -> None:
        """From here on the processes do different things, and may end one by one."""

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """The whole command: only the first process is heard, and a process that fails ends all."""
        yield


def join() -> Team:
    """The team that this process was started in. Raises CommandError where that needs an MPI that is not there."""
    if started().processes == 1:
        return Team()
    if reason := why_no_team():
        raise cli.CommandError(f"cannot train in {started().processes} processes: {reason}", cli.ABSENT)
    from rnn.mpi_team import MPITeam

    return MPITeam()


def why_no_team() -> str | None:
    """Why there is no MPI for the processes that were started, or None; said by the first, or by who lacks it."""
    reason = why_no_mpi()
    if reason and started().rank:
        # the launcher ends all with the first; who is still there lacks what the first has
        time.sleep(_A_MOMENT)
        return f"process {started().rank} on {socket.gethostname()}: {reason}"
    return reason
