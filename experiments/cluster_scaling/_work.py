"""The work that processes share in experiments.cluster_scaling: checked against one process and float64, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels import cli
from kernels.contract import Reference, VerificationError
from kernels.mpi import summa
from kernels.mpi.blocks import grid_of, part
from rnn import engines
from rnn.batches import Batches
from rnn.data import load
from rnn.data_parallel import DataParallel
from rnn.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rnn.mpi_team import MPITeam
    from rnn.stepwise import Stepwise

__all__ = ["call", "check_losses", "check_product", "network", "product", "timed", "training"]

_CHECKED_STEPS = 5
_AGREEMENT = 1e-4  # relative, of losses: float32 sums in different orders
_WARM_UP = 3  # calls: a number and not a time, as all processes must make as many


def timed(team: MPITeam, call: Callable[[], object], samples: int) -> list[float]:
    """Seconds of a call that all processes make at once: each time those of the slowest."""
    for _ in range(_WARM_UP):
        call()
    own = []
    for _ in range(samples):
        team.comm.Barrier()
        start = time.perf_counter()
        call()
        own.append(time.perf_counter() - start)
    return [max(times) for times in zip(*team.gather(own), strict=True)]


def network(images: int, share: slice = slice(None)) -> tuple[Stepwise, NDArray, NDArray]:
    """The published network before its training, on the fastest engine for one process; a share of a batch, x and y."""
    settings, kernel = Settings(batch_size=images), cli.get_kernel("numba")
    engine = engines.create(engines.choose("auto", kernel, settings), kernel, settings)
    return engine, *Batches(load().train, images, settings.seed, share=share)[0]


def training(team: MPITeam, images: int, samples: int, check: bool) -> list[float]:
    """A step on so many images in all."""
    with team.agreeing():
        engine, x, labels = network(images, team.share(images))
    shared = DataParallel(engine, team, images) if team.size > 1 else engine
    if check:
        losses = [float(shared.train(x, labels)) for _ in range(_CHECKED_STEPS)]
        team.from_first(lambda: check_losses(losses, images, team.size))
    return timed(team, lambda: shared.train(x, labels), samples)


def check_losses(losses: list[float], images: int, processes: int) -> None:
    """Raise CommandError where the first steps' losses are not those of one process."""
    alone, x, labels = network(images)
    for step, loss in enumerate(losses, 1):
        right = float(alone.train(x, labels))
        if not abs(loss - right) <= _AGREEMENT * abs(right):
            line = f"loss {loss:.6f} of {processes} processes at step {step}, one alone has {right:.6f}"
            raise cli.CommandError(line, cli.CHECK_FAILED)


def product(team: MPITeam, n: int, samples: int) -> list[float]:
    """(n,n)·(n,n) whose blocks lie on the processes."""
    rows, columns = grid_of(team.size, n, n)
    i, j = divmod(team.rank, columns)
    (top, bottom), (left, right) = part(n, rows, i), part(n, columns, j)
    random = np.random.default_rng(team.rank)
    a, b = (random.standard_normal((bottom - top, right - left), np.float32) for _ in range(2))
    return timed(team, lambda: summa.multiply_blocks((n, n, n), a, b), samples)


def call(team: MPITeam, n: int, samples: int) -> list[float]:
    """The same of matrices that the first process holds; where it is alone, by the local kernel."""
    a, b, c = _whole(team, n)
    if team.size > 1:
        return timed(team, lambda: summa.multiply((n, n, n), a, b, c), samples)
    matmul = cli.get_kernel("numba").matmul
    return timed(team, lambda: matmul(a, b, c), samples)


def check_product(team: MPITeam, n: int) -> None:
    """Raise CommandError where a product is outside its error bound."""
    a, b, c = _whole(team, n)
    summa.multiply((n, n, n), a, b, c)

    def check() -> None:
        try:
            Reference.of(a, b).check(c, f"mpi-summa of {team.size} processes")
        except VerificationError as wrong:
            raise cli.CommandError(str(wrong), cli.CHECK_FAILED) from wrong

    team.from_first(check)


def _whole(team: MPITeam, n: int) -> tuple[Any, Any, Any]:
    """a and b from N(0,1), and a c without a number in it, on the first process; nothing on the others."""
    if not team.first:
        return None, None, None
    random = np.random.default_rng(n)
    a, b = (random.standard_normal((n, n), np.float32) for _ in range(2))
    return a, b, np.full((n, n), np.nan, np.float32)
