"""The processes of one training run, started by mpiexec, on one machine or several."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from mpi4py import MPI

from kernels.cli import CommandError
from kernels.mpi import ranks
from kernels.mpi.ranks import COMM, together
from rnn.patience import Patience
from rnn.team import Team
from rnn.witness import Witness

__all__ = ["MPITeam"]

_T = TypeVar("_T")


class MPITeam(Team):
    """All processes of MPI's world, or of another communicator.

    comm: theirs. host: this process's machine. patience: watches over the waiting of `waiting`.
    """

    def __init__(self, comm: MPI.Intracomm = COMM) -> None:
        self.comm, self.host = comm, socket.gethostname()
        self.size, self.rank = comm.size, comm.rank
        self._hosts = comm.allgather(self.host)
        self._witness = Witness() if self.first else None
        self.waiting = Patience(self.rank).waiting

    def sentence(self) -> str | None:
        return ranks.sentence(self._hosts)

    def use_gpu(self) -> None:
        ranks.use_own_gpu()

    def from_first(self, call: Callable[[], _T]) -> _T:
        result: Any = None
        error: CommandError | None = None
        if self.first:
            try:
                result = call()
            except CommandError as found:
                error = found
        result, error = self.comm.bcast((result, error))
        if error:
            raise error
        found_result: _T = result
        return found_result

    def gather(self, value: _T) -> list[_T]:
        values: list[_T] = self.comm.allgather(value)
        return values

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        error: CommandError | None = None
        try:
            yield
        except CommandError as found:
            error = found
        errors = self.gather(error)
        lines = {str(found) for found in errors}
        if worst := next((found for found in errors if found), None):
            if len(lines) == 1:
                raise worst
            rank = errors.index(worst)
            raise CommandError(f"process {rank} on {self._hosts[rank]}: {worst}", worst.code)

    def require_same(self, facts: dict[str, Any]) -> None:
        all_facts = self.gather(facts)
        for name, right in all_facts[0].items():
            others = [rank for rank, theirs in enumerate(all_facts) if theirs[name] != right]
            if others:
                which = f"process {others[0]} on {self._hosts[others[0]]}"
                more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
                raise CommandError(
                    f"{which}{more} has {name} {all_facts[others[0]][name]}, the first has {right}: "
                    f"all must have the same"
                )

    def if_lost(self, line: str) -> None:
        if self._witness:
            self._witness.remember(line)

    @contextmanager
    def as_one(self) -> Iterator[None]:
        error: CommandError | None = None
        with together(), ExitStack() as silence:
            if not self.first:
                silence.enter_context(redirect_stdout(silence.enter_context(Path(os.devnull).open("w"))))
            try:
                yield
            except CommandError as found:
                error = found
        if self._witness:
            self._witness.dismiss()
        if error:
            # all raise the same: the first says it
            raise error if self.first else SystemExit(error.code)
