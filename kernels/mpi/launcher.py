"""MPI's launcher: where it is, and what it says in the environment of those it started. MPI is imported when asked."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

from kernels.extras import install

__all__ = ["Started", "by_open_mpi", "library_name", "mpiexec", "started", "why_no_mpi"]

# processes in all, this one's number, processes on this machine: Hydra (MPICH, Intel MPI), Open MPI, srun
_NAMES = (
    ("PMI_SIZE", "PMI_RANK", "MPI_LOCALNRANKS"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_TASKS_PER_NODE"),
)


class Started(NamedTuple):
    """processes: in all. rank: which of them this is. here: how many are on this machine."""

    processes: int = 1
    rank: int = 0
    here: int = 1


def started() -> Started:
    """As the launcher says; one process where there was none."""
    # each from the first that tells it: srun itself may set the first two of Hydra's
    processes, rank, here = (_number(names) for names in zip(*_NAMES, strict=True))
    return Started(processes or 1, rank or 0, here or 1)


def by_open_mpi() -> bool:
    """Whether the launcher is Open MPI's."""
    return _NAMES[1][0] in os.environ


def _number(names: tuple[str, ...]) -> int | None:
    # Slurm writes 2(x3),1 for two tasks on each of three machines and one on a fourth
    numbers = (re.match(r"\d+", os.environ.get(name, "")) for name in names)
    return next((int(number[0]) for number in numbers if number), None)


def mpiexec() -> str | None:
    """The launcher beside this Python, where the package mpich puts it, or else the one that the shell would find."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def why_no_mpi() -> str | None:
    """Why MPI cannot be used here, with what to do about it, or None; starts it."""
    if importlib.util.find_spec("mpi4py") is None:
        return f"the Python package mpi4py is not installed: {install('mpi')}"
    try:
        with warnings.catch_warnings():
            # it has its suspicions of another MPI's launcher, which are told below
            warnings.simplefilter("ignore", RuntimeWarning)
            mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # mpi4py is there, and no MPI library
        return f"{str(error).splitlines()[0]}; {install('mpi')}"
    if mpi.COMM_WORLD.size < started().processes:
        return (
            f"the launcher started {started().processes} processes, but each finds itself alone: mpi4py uses "
            f"{library_name(mpi.Get_library_version())}, and the launcher is another MPI's; use the mpiexec that came "
            f"with it"
        )
    return None


def library_name(version: str) -> str:
    """MPICH 5.0.2 or Open MPI v5.0.8, from what MPI.Get_library_version says."""
    return " ".join(re.split(r"[\n,]", version)[0].replace("Version:", "").split())
