"""rnn.train with a fault in one of its processes: ``mpiexec -n 2 python -m tests.mpi_faults memory ...``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import psutil

from kernels.cli import CommandError
from kernels.measure import machine
from kernels.mpi.ranks import COMM
from rnn import mpi_team, patience, train
from rnn.data_parallel import DataParallel

STEP = 12  # at which it happens


def memory() -> None:
    raise MemoryError("none is left")


def alone() -> None:
    raise CommandError("only this one has it", 1)


def leaves() -> None:
    raise SystemExit(7)


def witness() -> None:
    (found,) = [child for child in psutil.Process().children() if "rnn.witness" in child.cmdline()]
    found.kill()
    found.wait()


def at_step(rank: int, happens: Callable[[], None]) -> None:
    """Let it happen on one rank, before it trains for the STEP-th time."""
    train_once, done = DataParallel.train, 0

    def training(self: DataParallel, *arguments: Any, **options: Any) -> Any:
        nonlocal done
        done += 1
        if done == STEP and COMM.rank == rank:
            happens()
        return train_once(self, *arguments, **options)

    DataParallel.train = training  # type: ignore[method-assign]


def without(package: str) -> None:
    """Let the last rank lack a package."""
    installed = machine.software
    if COMM.rank == COMM.size - 1:
        machine.software = lambda: {name: version for name, version in installed().items() if name != package}


FAULTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "memory": lambda: at_step(1, memory),
    "alone": lambda: at_step(1, alone),
    "leaves": lambda: at_step(1, leaves),
    "witness": lambda: at_step(0, witness),
    "without": lambda: without("mpich"),
}

if __name__ == "__main__":
    # how long a process is waited for changes nothing of what comes after
    patience.SECONDS, mpi_team._A_DISK, mpi_team._A_MOMENT = 4.0, 4.0, 2.0
    FAULTS[sys.argv[1]]()
    train.main(sys.argv[2:])
