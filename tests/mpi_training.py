"""What the tests of data-parallel training run on six ranks: ``mpiexec -n 6 python -m tests.mpi_training fused sgd``.

The first P of them train together, for every P up to six. Besides the CPU's engines: staged, aware and nccl are the
stepwise engine on a stand-in for CuPy, with the three ways to add up what lies on GPUs.
"""

from __future__ import annotations

import ctypes
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from mpi4py import MPI

import kernels
from kernels.mpi import cuda_aware
from kernels.mpi.ranks import COMM, together
from rnn import engines
from rnn.batches import Batches
from rnn.data import Split
from rnn.data_parallel import DataParallel
from rnn.mpi_team import MPITeam
from rnn.settings import Settings
from rnn.stepwise import Stepwise
from rnn.stepwise_cuda import StepwiseCUDA
from tests import fake_cupy

STEPS, BATCH, HIDDEN, SEED, RATE = 20, 12, 9, 3, 0.02  # with 5 processes some have three of the images and some two
ADDERS = {"staged": "MPI, through the host's memory", "aware": "MPI, from GPU to GPU", "nccl": "NCCL"}


def batches(share: slice = slice(None)) -> Batches:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (60, 28, 28)), random.integers(0, 10, 60)
    return Batches(Split(images.astype(np.uint8), labels.astype(np.uint8)), BATCH, SEED, share=share)


class NCCL:
    """Takes what NCCL's communicator takes, and adds up by MPI."""

    comm = COMM  # of those who train

    def __init__(self, size: int, number: int, rank: int) -> None:
        assert (size, number, rank) == (self.comm.size, 1, self.comm.rank)

    def allReduce(self, *arguments: int) -> None:  # noqa: N802 - CuPy's name
        source, target, count, *rest = arguments
        assert (source, rest) == (target, [3, 4, 7])
        self.comm.Allreduce(MPI.IN_PLACE, np.ctypeslib.as_array((ctypes.c_float * count).from_address(source)))


def use_gpus(add_by: str) -> None:
    """Let each process find a GPU of its own, until it ends."""
    patch = pytest.MonkeyPatch()
    cupy = fake_cupy.install(patch)
    cupy.cuda.Device = lambda: SimpleNamespace(id=0, pci_bus_id=f"0000:0{COMM.rank}:00.0")
    cupy.cuda.get_current_stream = lambda: SimpleNamespace(ptr=7, synchronize=lambda: None)
    numbers = {"NCCL_FLOAT32": 3, "NCCL_SUM": 4}
    cupy.cuda.nccl = SimpleNamespace(
        available=add_by == "nccl", get_unique_id=lambda: COMM.rank + 1, NcclCommunicator=NCCL, **numbers
    )
    patch.setitem(sys.modules, "cupy.cuda", cupy.cuda)
    patch.setattr(cuda_aware, "is_cuda_aware", lambda: add_by == "aware")


def create(engine: str, settings: Settings) -> Stepwise:
    if engine not in ADDERS:
        return engines.create(engine, kernels.get("numba"), settings)
    return StepwiseCUDA(settings, fake_cupy.multiply, fused_gates=False)


def main(engine: str, optimizer: str) -> None:
    settings = Settings(hidden=HIDDEN, batch_size=BATCH, optimizer=optimizer, learning_rate=RATE, seed=SEED)
    if engine in ADDERS:
        use_gpus(engine)
    found = []
    with together():
        for processes in range(1, COMM.size + 1):
            NCCL.comm = COMM.Split(COMM.rank < processes, COMM.rank)
            if COMM.rank >= processes:
                continue
            team = MPITeam(NCCL.comm)
            running = create(engine, settings)
            parallel = DataParallel(running, team, BATCH)
            assert parallel.how == ADDERS.get(engine, "MPI")
            own = batches(team.share(BATCH))
            losses = [float(parallel.train(*map(running.place, own[step]))) for step in range(STEPS)]
            weights = {name: weight.tolist() for name, weight in parallel.arrays.items() if "adam" not in name}
            found.append({"processes": processes, "losses": losses, "weights": weights})
            for asked in (True, False):
                parallel.train(*map(running.place, own[0]), stop=asked and team.rank == team.size - 1)
                parallel.settle()
                assert parallel.stopping is asked
    if COMM.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
