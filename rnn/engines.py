"""The engines a run can use, and which one a kernel has. An engine is a `Stepwise` or does the same faster."""

from __future__ import annotations

import importlib
from typing import Protocol

from numpy.typing import NDArray

from kernels import Kernel
from rnn.network import Weights
from rnn.settings import Settings
from rnn.stepwise import Stepwise

__all__ = ["ENGINES", "Engine", "UnsupportedEngine", "choose", "create"]

ENGINES = ("stepwise", "fused")
_FUSED = {"cpu-numba-simd": ("rnn.fused_cpu", "FusedCPU")}


class Engine(Protocol):
    """What a run asks of an engine; `Stepwise` says what each does."""

    @property
    def arrays(self) -> dict[str, NDArray]: ...

    def place(self, x: NDArray, /) -> NDArray: ...

    def prepare(self, x: NDArray, labels: NDArray) -> None: ...

    def train(self, x: NDArray, labels: NDArray) -> float: ...

    def loss_and_gradients(self, x: NDArray, labels: NDArray) -> tuple[float, Weights]: ...

    def evaluate(self, x: NDArray, labels: NDArray) -> tuple[float, float]: ...

    def logits(self, x: NDArray) -> NDArray: ...

    def predict(self, x: NDArray) -> NDArray: ...


class UnsupportedEngine(ValueError):  # noqa: N818 - reads as what happened
    """This kernel or cell has no such engine; the message says which one has."""


def choose(asked: str, kernel: Kernel, settings: Settings) -> str:
    """The engine's name: auto is fused where the kernel and the cell have it. Raises UnsupportedEngine."""
    why_not = None
    if kernel.name not in _FUSED:
        why_not = f"{kernel.name} has no fused engine; {', '.join(_FUSED)} has"
    elif settings.cell != "lstm":
        why_not = f"the fused engine is written for the LSTM; the {settings.cell} cell has the stepwise engine"
    if asked == "fused" and why_not:
        raise UnsupportedEngine(f"{why_not}; leave out --engine, or name --engine stepwise")
    return asked if asked != "auto" else "stepwise" if why_not else "fused"


def create(name: str, kernel: Kernel, settings: Settings) -> Stepwise:
    """The engine, with the settings' initial weights."""
    if name == "stepwise" and kernel.spec.family == "cuda":
        from rnn.stepwise_cuda import StepwiseCUDA

        return StepwiseCUDA(settings, kernel.matmul)
    if name == "stepwise":
        return Stepwise(settings, kernel.matmul)
    module, engine = _FUSED[kernel.name]
    fused: type[Stepwise] = getattr(importlib.import_module(module), engine)
    return fused(settings, kernel.matmul)
