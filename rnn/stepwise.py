"""The stepwise engine: one operation after another, each matrix product a call of the chosen kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rnn.cells import Matmul
from rnn.network import Network, Weights, initial_weights, softmax_cross_entropy
from rnn.optimizers import OPTIMIZERS
from rnn.settings import Settings

__all__ = ["Stepwise"]


class Stepwise:
    """Weights, optimizer and network of one run."""

    # takes an array to where this engine computes
    place: Callable[[NDArray], NDArray] = staticmethod(np.asarray)

    def __init__(self, settings: Settings, matmul: Matmul) -> None:
        weights = initial_weights(settings.cell, settings.hidden, settings.seed)
        self.weights: Weights = {name: self.place(weight) for name, weight in weights.items()}
        self._optimizer = OPTIMIZERS[settings.optimizer](settings.learning_rate, self.weights)
        self._network = Network(settings.cell, matmul)

    @staticmethod
    def why_not(settings: Settings) -> str | None:
        """Why such a network cannot be trained here with this engine, or None."""
        return None

    @property
    def arrays(self) -> dict[str, NDArray]:
        """Everything a checkpoint must keep, by name, in the host's memory."""
        return self.weights | self._optimizer.state

    def restore(self, arrays: Mapping[str, NDArray]) -> None:
        """Take over `arrays` of the same names and shapes."""
        for name, array in (self.weights | self._optimizer.state).items():
            array[...] = arrays[name]

    def prepare(self, x: NDArray, labels: NDArray) -> None:
        """Call all that training will call, so that it is compiled, and change nothing."""
        self.evaluate(x, labels)
        self.loss_and_gradients(x, labels)

    def train(self, x: NDArray, labels: NDArray) -> float:
        """One step on a batch x (28,N,28), labels (N,); returns the loss before the update."""
        loss, gradients = self.loss_and_gradients(x, labels)
        self.update(gradients)
        return loss

    def update(self, gradients: Mapping[str, NDArray]) -> None:
        """Let the optimizer change the weights by these gradients."""
        self._optimizer.update(self.weights, gradients)

    def loss_and_gradients(self, x: NDArray, labels: NDArray) -> tuple[float, Weights]:
        """Mean loss of a batch and its gradient by every weight, valid until the next call."""
        loss, gradients = self._network.loss_and_gradients(self.weights, x, labels)
        return float(loss), gradients

    def evaluate(self, x: NDArray, labels: NDArray) -> tuple[float, float]:
        """Loss and accuracy on a batch, with the weights as they are."""
        logits = self._network.logits(self.weights, x)
        loss, _ = softmax_cross_entropy(logits, labels)
        return float(loss), float((logits.argmax(1) == labels).mean(dtype=np.float32))

    def logits(self, x: NDArray) -> NDArray:
        """Scores (N,10) of images x (28,N,28)."""
        return self._network.logits(self.weights, x)

    def predict(self, x: NDArray) -> NDArray[np.int64]:
        """The digit (N,) recognised in each image of x (28,N,28)."""
        return self.logits(x).argmax(1)
