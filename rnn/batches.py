"""The published program's batches: the last 55,000 training images, reshuffled each epoch, no image left out.

An epoch's last batch is filled up with the first images of the next epoch, so the batches read one endless line of
shuffled epochs. Each epoch's order follows from the seed and the epoch's number alone: batch 7,000 can be drawn
without the 6,999 before it, which is what lets a run resume bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rnn.arrays import library
from rnn.data import PIXELS, Split

__all__ = ["Batches", "as_steps"]

VALIDATION = 5_000  # the first images, which the published program sets aside
_SHUFFLE = 1  # keeps the random numbers of shuffling apart from those of the weights


class Batches:
    """Batches of the training images, drawn by number.

    size: images in a batch, at least 1. seed: of the shuffling. Data sets of 5,000 images or fewer are used whole.
    share: which of a batch's images are wanted here; all by default.
    place: takes an array to where batches are wanted. On a GPU they are gathered from images that lie there, by orders
    that lie there too: once in an epoch 8 bytes an image cross the bus, and between two orders nothing does.
    """

    def __init__(
        self,
        train: Split,
        size: int,
        seed: int,
        place: Callable[[NDArray], NDArray] = np.asarray,
        share: slice = slice(None),
    ) -> None:
        skip = VALIDATION if len(train.labels) > VALIDATION else 0
        self._images, self._labels = place(train.images[skip:]), place(train.labels[skip:])
        self._place, self._share = place, share
        self._size, self._seed = size, seed
        self._orders: dict[int, NDArray[np.int64]] = {}

    def __getitem__(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The share of batch `number` (from 0): x (28,N,28) float32 in 0..1, labels (N,) uint8."""
        chosen = self.indices(number)[self._share]
        return as_steps(self._images[chosen]), self._labels[chosen]

    def indices(self, number: int) -> NDArray[np.int64]:
        """Which of the training images are in batch `number`, where the images lie."""
        position, wanted = number * self._size, self._size
        parts = []
        while wanted:
            epoch, start = divmod(position, len(self._labels))
            parts.append(self._order(epoch)[start : start + wanted])
            position, wanted = position + len(parts[-1]), wanted - len(parts[-1])
        return parts[0] if len(parts) == 1 else library(parts[0]).concatenate(parts)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            # a batch touches the last epoch and the new one; older orders are not needed again
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            random = np.random.default_rng([self._seed, _SHUFFLE, epoch])
            self._orders[epoch] = self._place(random.permutation(len(self._labels)))
        return self._orders[epoch]


def as_steps(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images (N,28,28) uint8 as time steps (28,N,28) float32 in 0..1: step t is row t of every image."""
    steps = library(images).empty((PIXELS, len(images), PIXELS), np.float32)
    np.divide(images.transpose(1, 0, 2), np.float32(255), out=steps)
    return steps
