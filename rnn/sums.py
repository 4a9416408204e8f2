"""Adding up an array over all processes of a team: by MPI, by MPI through the host's memory, or by NCCL."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from kernels.mpi import cuda_aware
from rnn.arrays import library
from rnn.mpi_team import MPITeam

__all__ = ["Sum", "choose"]


class Sum(Protocol):
    """Replaces `numbers` by their sum over all processes. waits: the result is there when the call returns."""

    name: str
    waits: bool

    def __call__(self, numbers: Any, /) -> None: ...


def choose(team: MPITeam, numbers: Any) -> Sum:
    """The best that the processes have for arrays like this one; all take the same."""
    if library(numbers) is np:
        return MPISum(team)
    gpus = team.gather((team.host, _bus(), _has_nccl()))
    # NCCL wants a GPU for each process
    if len({gpu[:2] for gpu in gpus}) == team.size and all(gpu[2] for gpu in gpus):
        return NCCLSum(team)
    return DeviceSum(team) if all(team.gather(cuda_aware.is_cuda_aware())) else StagedSum(team)


class MPISum:
    name, waits = "MPI", True

    def __init__(self, team: MPITeam) -> None:
        self._comm = team.comm

    def __call__(self, numbers: NDArray) -> None:
        self._comm.Allreduce(MPI.IN_PLACE, numbers)


class DeviceSum(MPISum):
    """The MPI library reads and writes the GPU's memory itself."""

    name = "MPI, from GPU to GPU"

    def __call__(self, numbers: Any) -> None:
        import cupy

        cupy.cuda.get_current_stream().synchronize()  # MPI knows nothing of streams
        super().__call__(numbers)


class StagedSum(MPISum):
    name = "MPI, through the host's memory"

    def __call__(self, numbers: Any) -> None:
        here = numbers.get()
        super().__call__(here)
        numbers.set(here)


class NCCLSum:
    """In CuPy's current stream, without waiting for it."""

    name, waits = "NCCL", False

    def __init__(self, team: MPITeam) -> None:
        from cupy.cuda import nccl

        number = team.from_first(nccl.get_unique_id)
        self._nccl, self._communicator = nccl, nccl.NcclCommunicator(team.size, number, team.rank)

    def __call__(self, numbers: Any) -> None:
        import cupy

        pointer, stream = numbers.data.ptr, cupy.cuda.get_current_stream().ptr
        kind, operation = self._nccl.NCCL_FLOAT32, self._nccl.NCCL_SUM
        self._communicator.allReduce(pointer, pointer, numbers.size, kind, operation, stream)


def _bus() -> str:
    """Where this process's GPU is: its number may be another's too, where each process is shown only its own."""
    import cupy

    return str(cupy.cuda.Device().pci_bus_id)


def _has_nccl() -> bool:
    from cupy.cuda import nccl

    return bool(nccl.available)
