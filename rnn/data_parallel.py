"""Data-parallel training: each process trains on its share of a batch, and the gradients are added up over all.

At the same time: all processes, each with an engine of its own. They meet once in a step, when their gradients, 81,674
numbers for the published network, become one sum that each of them has; then all make the same update.
Limit: that sum takes two trips of 327 KB through every process however many there are, and a few messages' latency for
every doubling, while the share of each gets smaller. experiments.cluster_scaling measures where that ends.

It is not overlapped with the backward pass: of the 81,674 numbers all but the output layer's 1,290 are sums over all 28
steps, ready only when the last product of the pass is. That product can be done gate by gate, the sum of one gate under
way (Iallreduce) while the next is computed. Tried with 2 processes of the stepwise engine, in turns with this: a step
takes 4 to 9% longer over shared memory, and 4 to 11% over TCP. Four narrow products take 0.9 ms longer than one, and
there is nothing to win but the sum's 0.1 to 0.3 ms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cli import CHECK_FAILED, CommandError
from rnn import sums
from rnn.arrays import library, to_host
from rnn.mpi_team import MPITeam
from rnn.network import Weights
from rnn.stepwise import Stepwise

__all__ = ["DataParallel"]

_READ_EVERY = 50  # steps of a GPU


class DataParallel:
    """`engine` on this process's share of every batch of `batch` images, as one of a team.

    All processes call the same methods in the same order. Raises CommandError for a batch with fewer images than there
    are processes.
    """

    def __init__(self, engine: Stepwise, team: MPITeam, batch: int) -> None:
        if batch < team.size:
            raise CommandError(
                f"{team.size} processes cannot share a batch of {batch}: each needs an image at least; start fewer, "
                f"or name a larger --batch-size"
            )
        share = team.share(batch)
        self._engine, self._team = engine, team
        self._part = (share.stop - share.start) / batch
        self.place, self.predict, self.logits = engine.place, engine.predict, engine.logits
        self.stopping, self._steps = False, 0

        count = sum(weight.size for weight in engine.weights.values())
        here = library(next(iter(engine.weights.values())))
        # with the loss, and how many processes ask to stop: one sum instead of three
        self._numbers = here.zeros(count + 2, np.float32)
        self._gradients: Weights = {}
        at = 0
        for name, weight in engine.weights.items():
            self._gradients[name] = self._numbers[at : at + weight.size].reshape(weight.shape)
            at += weight.size
        self._sum = sums.choose(team, self._numbers)

    @property
    def how(self) -> str:
        """By what the gradients are added up."""
        return self._sum.name

    @property
    def arrays(self) -> dict[str, NDArray]:
        self.settle()
        return self._engine.arrays

    def prepare(self, x: NDArray, labels: NDArray) -> None:
        self._engine.prepare(x, labels)

    def train(self, x: NDArray, labels: NDArray, stop: bool = False) -> Any:
        """One step on this process's share of a batch; the loss of the whole one before the update.

        stop: this process was told to. `stopping`: one of all was told; all see that after the same step.
        """
        loss, gradients = self.loss_and_gradients(x, labels, stop)
        self._engine.update(gradients)
        return loss

    def loss_and_gradients(self, x: NDArray, labels: NDArray, stop: bool = False) -> tuple[Any, Weights]:
        """Of the whole batch, the same numbers in every process; valid until the next call."""
        loss, gradients = self._engine.loss_and_gradients(x, labels)
        part = np.float32(self._part)
        for name, whole in self._gradients.items():
            np.multiply(gradients[name], part, out=whole)
        self._numbers[-2] = loss * part
        self._numbers[-1] = stop
        with self._team.waiting():
            self._sum(self._numbers)
        self._steps += 1
        # to read a number that is not there yet would be to wait for it in every step
        if self._sum.waits or self._steps % _READ_EVERY == 0:
            self.settle()
        return self._numbers[-2], self._gradients

    def settle(self) -> None:
        """Wait for the sums under way, and learn from the last whether to stop."""
        with self._team.waiting():
            self.stopping = bool(self._numbers[-1] > 0)

    def evaluate(self, x: NDArray, labels: NDArray) -> tuple[float, float]:
        """Loss and accuracy on the whole batch. Raises CommandError where the processes' weights are not the same."""
        self.settle()
        loss, accuracy = self._engine.evaluate(x, labels)
        found = self._team.gather((self._part * loss, self._part * accuracy, _digest(self._engine.weights)))
        digests = Counter(digest for _, _, digest in found)
        if len(digests) > 1:
            rarest = digests.most_common()[-1][0]
            rank = next(rank for rank, (_, _, digest) in enumerate(found) if digest == rarest)
            raise CommandError(
                f"the weights of process {rank} are no longer those of the others: processors of several kinds may "
                f"round differently; go on from the last checkpoint, on machines of one kind",
                CHECK_FAILED,
            )
        return sum(loss for loss, _, _ in found), sum(accuracy for _, accuracy, _ in found)


def _digest(weights: Mapping[str, NDArray]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for weight in weights.values():
        digest.update(to_host(weight).tobytes())
    return digest.hexdigest()
