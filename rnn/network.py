"""The published network: a recurrent layer over 28 steps, a linear layer on its last state, softmax cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnn.arrays import library
from rnn.cells import CELLS, Cell, Matmul
from rnn.data import CLASSES, PIXELS

__all__ = ["Network", "Weights", "initial_weights", "softmax_cross_entropy"]

Weights = dict[str, NDArray]
_WEIGHTS = 0  # keeps the random numbers of the weights apart from those of shuffling


def initial_weights(cell: str, hidden: int, seed: int) -> Weights:
    """The weights before training, float32, as the published program draws them.

    cell_weight (28+H, gates·H): Glorot uniform, ±√(6 / (rows + columns)) (Glorot & Bengio 2010, eq. 16); cell_bias: 0.
    output_weight (H,10) and output_bias (10,): N(0,1).
    """
    random = np.random.default_rng([seed, _WEIGHTS])
    rows, columns = PIXELS + hidden, CELLS[cell].gates * hidden
    limit = np.sqrt(6 / (rows + columns))
    return {
        "cell_weight": random.uniform(-limit, limit, (rows, columns)).astype(np.float32),
        "cell_bias": np.zeros(columns, np.float32),
        "output_weight": random.standard_normal((hidden, CLASSES), np.float32),
        "output_bias": random.standard_normal(CLASSES, np.float32),
    }


@dataclass
class Network:
    """The network's mathematics around a cell; every matrix product goes through `matmul`.

    The weights belong to the caller. Runs in the dtype of the weights it is given, and where they lie: CuPy arrays stay
    on the GPU, and so does everything computed from them.
    """

    cells: ClassVar[Mapping[str, type[Cell]]] = CELLS
    cell: str
    matmul: Matmul
    _cells: dict[tuple[object, ...], Cell] = field(default_factory=dict)

    def logits(self, weights: Mapping[str, NDArray], x: NDArray) -> NDArray:
        """Scores (N,10) of images x (T,N,28)."""
        h = self._cell(weights, x).forward(x, weights["cell_weight"], weights["cell_bias"], self.matmul)
        return self._output(weights, h)

    def loss_and_gradients(self, weights: Mapping[str, NDArray], x: NDArray, labels: NDArray) -> tuple[Any, Weights]:
        """Mean cross-entropy of images x (T,N,28) with labels (N,), and its gradient by every weight.

        The loss is a NumPy float64, or on a GPU an array of one number: to read it is to wait for the GPU.
        The gradients are valid until the next call.
        """
        cell = self._cell(weights, x)
        h = cell.forward(x, weights["cell_weight"], weights["cell_bias"], self.matmul)
        loss, dlogits = self._loss(self._output(weights, h), labels)
        doutput, dh = np.empty_like(weights["output_weight"]), np.empty_like(h)
        self.matmul(h.T, dlogits, doutput)
        self.matmul(dlogits, weights["output_weight"].T, dh)
        dweight, dbias = cell.backward(dh, weights["cell_weight"], self.matmul)
        return loss, {
            "cell_weight": dweight,
            "cell_bias": dbias,
            "output_weight": doutput,
            "output_bias": self._sum_rows(dlogits),
        }

    def _output(self, weights: Mapping[str, NDArray], h: NDArray) -> NDArray:
        logits = library(h).empty((len(h), len(weights["output_bias"])), h.dtype)
        self.matmul(h, weights["output_weight"], logits)
        logits += weights["output_bias"]
        return logits

    def _loss(self, logits: NDArray, labels: NDArray) -> tuple[Any, NDArray]:
        return softmax_cross_entropy(logits, labels)

    def _sum_rows(self, x: NDArray) -> NDArray:
        return x.sum(0)

    def _cell(self, weights: Mapping[str, NDArray], x: NDArray) -> Cell:
        steps, batch, inputs = x.shape
        dtype = weights["cell_weight"].dtype.type
        hidden = len(weights["output_weight"])
        key = (steps, batch, inputs, hidden, dtype)
        if key not in self._cells:
            self._cells[key] = self.cells[self.cell](steps, batch, inputs, hidden, dtype, library(x))
        return self._cells[key]


def softmax_cross_entropy(logits: NDArray, labels: NDArray) -> tuple[Any, NDArray]:
    """Mean of −log softmax(logits)[label] and its gradient (N,10): (softmax − one-hot) / N."""
    shifted = logits - logits.max(1, keepdims=True)  # the largest exponent is 0: nothing overflows
    exponentials = np.exp(shifted)
    sums = exponentials.sum(1, keepdims=True)
    rows = library(logits).arange(len(labels))
    loss = (np.log(sums[:, 0]) - shifted[rows, labels]).mean(dtype=np.float64)
    gradient = exponentials / sums
    gradient[rows, labels] -= 1
    gradient /= gradient.dtype.type(len(labels))
    return loss, gradient
