"""What a work shared by many processes should take, computed from what one and two processes were measured to take.

A message of n bytes takes α + n·β (R. Hockney, *The communication challenge for MPP*, Parallel Computing 20(3), 1994).
From that and the time to add numbers follow the costs of what all processes do together:

    allreduce   2·⌈log₂P⌉·α + 2·(P−1)/P·n·β + (P−1)/P·n·δ: Rabenseifner's algorithm, as in R. Thakur, R. Rabenseifner &
                W. Gropp, *Optimization of Collective Communication Operations in MPICH*, IJHPCA 19(1), 2005, §4.5
    broadcast   the cheaper of a tree, ⌈log₂P⌉·(α + n·β), and of a scatter and a gather of the parts by all,
                (⌈log₂P⌉ + P − 1)·α + 2·(P−1)/P·n·β: E. Chan, M. Heimlich, A. Purkayastha & R. van de Geijn,
                *Collective communication: theory, practice, and experience*, CCPE 19(13), 2007

Nothing overlaps: MPI moves a panel mostly while it is waited for, so panels and products add up. Left out is what else
happens on a real cluster: messages that meet on a cable, and the wait for whoever is late.
All times are in seconds, all sizes in bytes, images or multiply-adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kernels.mpi.blocks import grid_of, panels

__all__ = ["SUMMED", "Costs", "Line", "allreduce", "broadcast", "fit", "product", "size_of", "training"]

# bytes that data-parallel training adds up in a step: weights and biases of cell and output, loss, a wish to stop
SUMMED = 4 * ((28 + 128 + 1) * 4 * 128 + (128 + 1) * 10 + 2)


class Line(NamedTuple):
    """Seconds of a size: fixed + each·size."""

    fixed: float
    each: float

    def __call__(self, size: float) -> float:
        return self.fixed + self.each * size


class Costs(NamedTuple):
    """What the model is made of.

    message: from one process to another, by bytes: α is its fixed part, β its other. add: δ, seconds to add a byte.
    step: a training step of one process, by images, of which `grain` at a time fill the processor's registers.
    panel: the product of two panels on one process, added to its block of C, by multiply-adds.
    """

    message: Line
    add: float
    step: Line
    grain: int
    panel: Line


def fit(sizes: Sequence[float], seconds: Sequence[float]) -> Line:
    """The line with the least sum of squares of relative errors; neither of its parts is below 0."""
    x, y = np.asarray(sizes, float), np.asarray(seconds, float)
    columns = np.stack([1 / y, x / y], 1)
    (fixed, each), *_ = np.linalg.lstsq(columns, np.ones(len(y)), rcond=None)
    if fixed < 0:
        return Line(0.0, float((x / y).sum() / ((x / y) ** 2).sum()))
    if each < 0:
        return Line(float((1 / y).sum() / ((1 / y) ** 2).sum()), 0.0)
    return Line(float(fixed), float(each))


def allreduce(message: Line, add: float, size: float, processes: int) -> float:
    """An array of `size` bytes becomes its sum over all processes, on each of them."""
    rest = (processes - 1) / processes
    return 2 * _doublings(processes) * message.fixed + rest * size * (2 * message.each + add)


def broadcast(message: Line, size: float, processes: int) -> float:
    """One process's `size` bytes come to all."""
    doublings, rest = _doublings(processes), (processes - 1) / processes
    tree = doublings * message(size)
    return min(tree, (doublings + processes - 1) * message.fixed + 2 * rest * size * message.each)


def training(costs: Costs, processes: int, images: int) -> float:
    """A step on `images` in all: the largest share of them, then the sum of the gradients."""
    share = -(-images // processes)
    work = costs.step(costs.grain * -(-share // costs.grain))
    return work + allreduce(costs.message, costs.add, SUMMED, processes)


def product(costs: Costs, processes: int, n: int) -> float:
    """SUMMA of two matrices of n rows and columns, on the process with the largest block."""
    rows, columns = grid_of(processes, n, n)
    height, width = -(-n // rows), -(-n // columns)
    return sum(
        broadcast(costs.message, 4 * height * (stop - start), columns)
        + broadcast(costs.message, 4 * width * (stop - start), rows)
        + costs.panel(height * width * (stop - start))
        for start, stop in panels(n, rows, columns)
    )


def size_of(work: str, scaling: str, processes: int, size: int) -> int:
    """Images, or n of a product, for so many processes, where one of them has `size`."""
    if scaling == "strong":
        return size
    return size * processes if work == "training" else round(size * processes ** (1 / 3))


def _doublings(processes: int) -> int:
    return math.ceil(math.log2(processes))
