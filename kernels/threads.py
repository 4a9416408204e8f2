"""How many threads the kernels may use: one setting for Numba and for the BLAS below NumPy."""

from __future__ import annotations

import os
import sys

from kernels.mpi.launcher import by_open_mpi, started
from kernels.quota import within_quota

__all__ = ["cores", "cores_each", "own_cores", "set_threads", "withheld"]


def cores() -> int:
    """Cores this process may use: fewer than the machine has, in a container or under taskset."""
    return within_quota(len(own_cores()))


def own_cores(process: int = 0) -> set[int]:
    """The numbers of the cores that a process may run on, 0 for this one; of all where the system binds none."""
    return os.sched_getaffinity(process) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores_each() -> int:
    """This process's share of them, at least one, where an MPI launcher started several here."""
    # a launcher may have bound this process to some of its own cores, alone or with others
    return max(1, min(cores(), _share()))


def withheld() -> str | None:
    """What to do about Open MPI's launcher where it leaves this process fewer cores than its share, or None."""
    if len(own_cores()) >= _share() or not by_open_mpi():
        return None
    return (
        f"each bound to {len(own_cores())} of the {_share()} cores it could have, unless mpiexec is told --bind-to none"
    )


def _share() -> int:
    return within_quota(len(own_cores(os.getppid()))) // started().here


def set_threads(threads: int) -> None:
    """Let every kernel use this many threads from now on; more than there are cores is allowed, and they wait.

    Raises ValueError for less than 1, or for more than Numba's thread pool holds once it is started.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    if "numba" not in sys.modules:
        # Numba sizes its pool once, when it is imported
        os.environ["NUMBA_NUM_THREADS"] = str(max(threads, cores()))
    import numba
    from threadpoolctl import threadpool_limits

    most = numba.config.NUMBA_NUM_THREADS
    if threads > most:
        raise ValueError(f"this process has started a pool of {most} threads; {threads} need a new process")
    numba.set_num_threads(threads)
    threadpool_limits(limits=threads)
