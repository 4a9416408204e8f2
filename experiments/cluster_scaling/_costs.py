"""The parts of the work that processes share, each by itself: what experiments.cluster_scaling._model is fitted to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

from experiments.cluster_scaling._work import network, timed
from kernels.measure import timing
from kernels.measure.cluster import CostPoint
from kernels.mpi import summa
from kernels.mpi.blocks import PANEL
from rnn import fused_lstm

if TYPE_CHECKING:
    from rnn.mpi_team import MPITeam

__all__ = ["of_one", "of_two"]

_IMAGES = (8, 16, 32, 64, 128)
_BLOCKS = (16, 32, 64, 128, 256, 512, 1024, 1536)  # rows and columns of C
_PANELS = 2  # to a product: one is added to the other
_ADDED = tuple(4**power for power in range(6, 11))  # bytes
_MESSAGES = tuple(4**power for power in range(2, 12))  # bytes
_MIN_TIME = 0.05  # seconds of samples
_THERE_AND_BACK = 20  # to a sample: one alone is too short to time


def of_one() -> Iterator[CostPoint]:
    """What one process computes, on one thread."""
    for images in _IMAGES:
        engine, x, labels = network(images)
        step = partial(engine.train, x, labels)
        yield CostPoint("step", images, timing.repeat(step, _MIN_TIME), grain=fused_lstm.IMAGES)
    for side in _BLOCKS:
        random = np.random.default_rng(side)
        a, b = (
            random.standard_normal(shape, np.float32) for shape in ((side, _PANELS * PANEL), (_PANELS * PANEL, side))
        )
        product = partial(summa.multiply_blocks, (side, side, _PANELS * PANEL), a, b)
        seconds = timing.repeat(product, _MIN_TIME)
        yield CostPoint("panel", side * side * PANEL, [each / _PANELS for each in seconds])
    for size in _ADDED:
        add = partial(MPI.SUM.Reduce_local, *np.ones((2, size // 4), np.float32))
        yield CostPoint("add", size, timing.repeat(add, _MIN_TIME))


def of_two(team: MPITeam, samples: int) -> Iterator[CostPoint]:
    """Messages of many sizes: half the time there and back (ping-pong)."""
    for size in _MESSAGES:
        numbers = np.zeros(size, np.uint8)

        def there_and_back(numbers=numbers) -> None:  # type: ignore[no-untyped-def]
            for turn in range(2 * _THERE_AND_BACK):
                if turn % 2 == team.rank:
                    team.comm.Send(numbers, 1 - team.rank)
                else:
                    team.comm.Recv(numbers, 1 - team.rank)

        seconds = timed(team, there_and_back, samples)
        yield CostPoint("message", size, [each / (2 * _THERE_AND_BACK) for each in seconds])
