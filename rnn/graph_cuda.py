"""The graph engine: the launches of the stepwise engine, captured once as a CUDA graph and replayed.

A step of the published network is about 125 launches. Each costs the host some tens of microseconds, in which the GPU,
done with the one before, has nothing to do. A graph holds them all, with their arguments; one call starts it, and the
GPU finds the next launch by itself. The arguments are fixed, so a batch is copied to where the graph looks for it, and
each shape of batch has a graph of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernels.cuda.captured import Captured
from rnn.cells import Matmul
from rnn.optimizers import SGD
from rnn.settings import Settings
from rnn.stepwise_cuda import StepwiseCUDA

__all__ = ["GraphCUDA"]


class GraphCUDA(StepwiseCUDA):
    """`StepwiseCUDA` whose training step is one launch. What a step returns is valid until the next."""

    def __init__(self, settings: Settings, matmul: Matmul, fused_gates: bool = True) -> None:
        super().__init__(settings, matmul, fused_gates)
        self._graphs: dict[tuple[str, tuple[int, ...]], _Graph] = {}

    def train(self, x: Any, labels: Any) -> Any:
        # Adam's rate changes with every step, and a graph's numbers cannot
        if not isinstance(self._optimizer, SGD):
            return super().train(x, labels)
        return self._replay("train", self._step, x, labels)

    def prepare(self, x: Any, labels: Any) -> None:
        """As on the CPU, and captures the step."""
        super().prepare(x, labels)
        if isinstance(self._optimizer, SGD):
            self._captured("train", self._step, x, labels)

    def loss_and_gradients(self, x: Any, labels: Any) -> tuple[Any, dict[str, Any]]:
        return self._replay("gradients", super().loss_and_gradients, x, labels)

    def _step(self, x: Any, labels: Any) -> Any:
        loss, gradients = super().loss_and_gradients(x, labels)
        self.update(gradients)
        return loss

    def _replay(self, name: str, call: Callable[[Any, Any], Any], x: Any, labels: Any) -> Any:
        graph = self._captured(name, call, x, labels)
        graph.x[...], graph.labels[...] = self.place(x), self.place(labels)
        graph.launch()
        return graph.result

    def _captured(self, name: str, call: Callable[[Any, Any], Any], x: Any, labels: Any) -> _Graph:
        key = (name, x.shape)
        if key not in self._graphs:
            # the warm-up that compiles everything must not train
            kept = self.arrays
            self._graphs[key] = _Graph(
                call, self.place(x).copy(), self.place(labels).copy(), lambda: self.restore(kept)
            )
        return self._graphs[key]


class _Graph(Captured):
    """`call(x, labels)` captured, with the x and the labels that it looks at."""

    def __init__(self, call: Callable[[Any, Any], Any], x: Any, labels: Any, undo: Callable[[], None]) -> None:
        self.x, self.labels = x, labels
        super().__init__(lambda: call(x, labels), undo=undo)
