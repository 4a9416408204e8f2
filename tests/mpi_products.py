"""What the tests of MPI run on every rank: ``mpiexec -n 4 python -m tests.mpi_products``."""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import kernels
from kernels.contract import Reference
from tests import fake_cupy

# (m,k,n): less than there are ranks; k of several panels; a row, a column; more of one than of the other
SHAPES = [(1, 1, 1), (5, 3, 7), (64, 300, 50), (13, 2700, 1), (1, 40, 90), (130, 512, 257)]


def products() -> None:
    """Print each error in units of its bound; only rank 0 comes so far."""
    kernel = kernels.get("mpi-summa")
    random = np.random.default_rng(0)
    errors = []
    for m, k, n in SHAPES:
        a, b = random.standard_normal((m, k), np.float32), random.standard_normal((n, k), np.float32).T
        errors.append(Reference.of(a, b).error(kernel.matmul(a, b, np.full((m, n), np.nan, np.float32))))
    print(json.dumps(errors))


def on_gpus(aware: bool) -> None:
    """The same, the panels multiplied on a stand-in for CuPy; says what SUMMA must say of it."""
    from kernels.mpi import local, ranks

    patch = pytest.MonkeyPatch()  # until the process ends
    cupy = fake_cupy.install(patch)
    used: list[int] = []
    cupy.cuda.Device = lambda number=0: SimpleNamespace(id=0, use=lambda: used.append(number))
    cupy.cuda.runtime.getDeviceCount = lambda: 2
    cupy.cuda.get_current_stream = lambda: SimpleNamespace(synchronize=lambda: None)
    cuda = next(spec for spec in kernels.LADDER if spec.family == "cuda")
    patch.setattr(local, "is_cuda_aware", lambda: aware)
    with pytest.MonkeyPatch.context() as once:
        once.setattr(local, "wants_gpu", lambda name: True)
        # asked for on the GPU that will run it
        once.setattr(kernels, "get", lambda name: kernels.Kernel(cuda, fake_cupy.multiply) if used else None)
        by = "from GPU to GPU" if aware else "through the host's memory"
        assert local.local().name == f"{cuda.name}, panels {by}"
    assert used == [ranks.COMM.rank % 2]
    products()


def killed() -> None:
    """The last rank is gone in the midst of a product."""
    from kernels.mpi import ranks, summa

    def share(shape: tuple[int, int, int]) -> None:
        if ranks.COMM.rank == ranks.COMM.size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        summa.multiply(shape)

    ranks.serve_unless_first(share)
    products()


def failing() -> None:
    """The last rank cannot do its share."""
    from kernels.mpi import ranks, summa

    def share(shape: tuple[int, int, int]) -> None:
        if ranks.COMM.rank == ranks.COMM.size - 1:
            raise MemoryError("none is left")
        summa.multiply(shape)

    ranks.serve_unless_first(share)
    products()


if __name__ == "__main__":
    programs = {
        "products": products,
        "killed": killed,
        "failing": failing,
        "gpus": partial(on_gpus, False),
        "aware": partial(on_gpus, True),
    }
    programs[sys.argv[1] if len(sys.argv) > 1 else "products"]()
