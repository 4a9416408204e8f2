"""The processes of one training run, started by mpiexec, on one machine or several."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from mpi4py import MPI

from kernels.cli import CHECK_FAILED, CommandError
from kernels.mpi import ranks
from kernels.mpi.ranks import COMM, abort, together
from rnn.patience import Patience
from rnn.team import Team
from rnn.witness import Witness

__all__ = ["MPITeam"]

_T = TypeVar("_T")
# seconds that one process may be later than another: at the end, because it saves, because it compiles
_A_MOMENT, _A_DISK, _A_COMPILER = 5.0, 60.0, 600.0


class MPITeam(Team):
    """All processes of MPI's world, or of another communicator.

    comm: theirs. host: this process's machine. waiting: stands around what needs all of them at once.
    """

    def __init__(self, comm: MPI.Intracomm = COMM) -> None:
        self.comm, self.host = comm, socket.gethostname()
        self.size, self.rank = comm.size, comm.rank
        self._hosts = comm.allgather(self.host)
        self._witness = Witness() if self.first else None
        self._kept, self._disbanded = "", False
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
        with self.waiting(_A_DISK):
            result, error = self.comm.bcast((result, error))
        if error:
            raise error
        found_result: _T = result
        return found_result

    def gather(self, value: _T, least: float = 0.0) -> list[_T]:
        with self.waiting(least):
            values: list[_T] = self.comm.allgather(value)
        return values

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        error: CommandError | None = None
        try:
            yield
        except CommandError as found:
            error = found
        errors = self.gather(error, _A_COMPILER)
        if worst := next((found for found in errors if found), None):
            if len({str(found) for found in errors}) == 1:
                raise worst
            raise CommandError(f"{self._name(errors.index(worst))}: {worst}", worst.code)

    def require_same(self, facts: Callable[[], dict[str, Any]]) -> None:
        all_facts = self.gather(facts())
        for name in dict.fromkeys(name for theirs in all_facts for name in theirs):
            found = [theirs.get(name, "none") for theirs in all_facts]
            others = [rank for rank, fact in enumerate(found) if fact != found[0]]
            if others:
                more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
                raise CommandError(
                    f"{self._name(others[0])}{more} has {name} {found[others[0]]}, the first has {found[0]}: "
                    f"all must have the same"
                )

    def if_lost(self, kept: str) -> None:
        self._kept = kept
        if self._witness:
            self._witness.remember(f"error: a process was lost, and the run ended with it; {kept}")

    def disband(self) -> None:
        self._disbanded = True

    @contextmanager
    def as_one(self) -> Iterator[None]:
        self.if_lost("nothing was trained yet")
        end: CommandError | SystemExit | None = None
        with together(lambda: self._kept), ExitStack() as silence:
            if not self.first:
                silence.enter_context(redirect_stdout(silence.enter_context(Path(os.devnull).open("w"))))
            try:
                yield
            except (CommandError, SystemExit) as found:
                end = found
        if end and not self._disbanded and not self._all_end():
            text = f"error: {self._name(self.rank)} ends alone: {end}; {self._kept}"
            abort(text, end.code if isinstance(end, CommandError) else CHECK_FAILED)
        if self._witness:
            self._witness.dismiss()
        if isinstance(end, CommandError) and not self.first:
            raise SystemExit(end.code)  # all have the same to say, and the first says it
        if end:
            raise end

    def _all_end(self) -> bool:
        """Whether the others come to their end as well, soon."""
        request, until = self.comm.Ibarrier(), time.monotonic() + _A_MOMENT
        while not request.Test():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def _name(self, rank: int) -> str:
        return f"process {rank} on {self._hosts[rank]}"
