"""What the tests of MPI run on every rank: ``mpiexec -n 4 python -m tests.mpi_products``."""

from __future__ import annotations

import json
import os
import signal
import sys

import numpy as np

import kernels
from kernels.contract import Reference

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


def killed() -> None:
    """The last rank is gone in the midst of a product."""
    from kernels.mpi import ranks, summa

    def share(shape: tuple[int, int, int]) -> None:
        if ranks.COMM.rank == ranks.COMM.size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        summa.multiply(shape)

    ranks.serve_unless_first(share)
    products()


if __name__ == "__main__":
    {"products": products, "killed": killed}[sys.argv[1] if len(sys.argv) > 1 else "products"]()
