"""The stepwise engine on a GPU: weights, images and everything between stay there, one launch for each operation.

The network's code is the CPU's: NumPy's functions hand CuPy's arrays to CuPy. What lies between the products of an LSTM
is one hand-written kernel a time step (gates.cu), or with fused_gates=False CuPy's functions one by one, to see what
that buys. The host only says what to do next, and waits for the GPU when a loss is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from rnn.arrays import library, to_device, to_host
from rnn.cells import Matmul
from rnn.gates_cuda import FusedNetwork, FusedSGD
from rnn.settings import Settings
from rnn.stepwise import Stepwise

__all__ = ["StepwiseCUDA"]


class StepwiseCUDA(Stepwise):
    """`Stepwise` with its weights on CuPy's current GPU. A batch may lie there (`place`) or on the host."""

    place = staticmethod(to_device)

    def __init__(self, settings: Settings, matmul: Matmul, fused_gates: bool = True) -> None:
        super().__init__(settings, matmul)
        if fused_gates:
            self._network = FusedNetwork(settings.cell, matmul)
            if settings.optimizer == "sgd":
                self._optimizer = FusedSGD(settings.learning_rate, self.weights)

    @property
    def arrays(self) -> dict[str, NDArray]:
        return {name: to_host(array) for name, array in super().arrays.items()}

    def restore(self, arrays: Mapping[str, NDArray]) -> None:
        for name, array in super().arrays.items():
            array[...] = library(array).asarray(arrays[name])

    def loss_and_gradients(self, x: Any, labels: Any) -> tuple[Any, dict[str, Any]]:
        """As on the CPU; loss and gradients stay on the GPU, as to read the loss would be to wait for it."""
        return self._network.loss_and_gradients(self.weights, to_device(x), to_device(labels))

    def evaluate(self, x: Any, labels: Any) -> tuple[float, float]:
        return super().evaluate(to_device(x), to_device(labels))

    def logits(self, x: Any) -> NDArray:
        """As on the CPU, and brought to the host."""
        return to_host(super().logits(to_device(x)))
