"""The stepwise engine on a GPU: weights, images and everything between stay there, one launch for each operation.

The same code as on the CPU: NumPy's functions hand CuPy's arrays to CuPy. The host only says what to do next, and waits
for the GPU when a loss is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from rnn.arrays import library, to_device, to_host
from rnn.stepwise import Stepwise

__all__ = ["StepwiseCUDA"]


class StepwiseCUDA(Stepwise):
    """`Stepwise` with its weights on CuPy's current GPU. A batch may lie there (`place`) or on the host."""

    place = staticmethod(to_device)

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
