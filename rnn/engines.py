"""The engines a run can use, and which one a kernel has. An engine is a `Stepwise` or does the same faster."""

from __future__ import annotations

import importlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels import Kernel
from kernels.contract import Reference
from rnn.network import Weights
from rnn.settings import Settings
from rnn.stepwise import Stepwise

__all__ = ["ENGINES", "Engine", "UnsupportedEngine", "choose", "create", "passed_over", "verify"]

ENGINES = ("stepwise", "fused")  # of the fastest CPU kernel
_FUSED = {"cpu-numba-simd": {"fused": ("rnn.fused_cpu", "FusedCPU")}}
# those of every CUDA kernel, the fastest first
_CUDA = {
    "persistent": ("rnn.persistent_cuda", "PersistentCUDA"),
    "graph": ("rnn.graph_cuda", "GraphCUDA"),
    "stepwise": ("rnn.stepwise_cuda", "StepwiseCUDA"),
}


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
    """The engine's name: auto is the fastest that the kernel, the cell and the chip have. Raises UnsupportedEngine."""
    if asked == "auto":
        return next(name for name in _in_order(kernel) if _why_not(name, kernel, settings) is None)
    if why_not := _why_not(asked, kernel, settings):
        raise UnsupportedEngine(f"{why_not}; leave out --engine, or name --engine stepwise")
    return asked


def passed_over(chosen: str, kernel: Kernel, settings: Settings) -> list[str]:
    """Why auto chose no faster engine than this one, a sentence each."""
    faster = _in_order(kernel)[: _in_order(kernel).index(chosen)]
    return [reason for name in faster if (reason := _why_not(name, kernel, settings))] if _on_gpu(kernel) else []


def verify(kernel: Kernel, batch: int, rows: int, columns: int) -> None:
    """Hold the kernel's products with a cell weight (rows, columns) against float64. Raises VerificationError."""
    random = np.random.default_rng(0)
    x, weight, dz = (
        random.standard_normal(shape, np.float32) for shape in ((batch, rows), (rows, columns), (batch, columns))
    )
    for a, b in ((x, weight), (dz, weight.T), (x.T, dz)):
        Reference.of(a, b).check(kernel.matmul(a, b), kernel.name, kernel.spec.rounds_to)


def create(name: str, kernel: Kernel, settings: Settings, **toggles: bool) -> Stepwise:
    """The engine, with the settings' initial weights. toggles: of the engine's class."""
    return _class(name, kernel)(settings, kernel.matmul, **toggles)


def _class(name: str, kernel: Kernel) -> type[Stepwise]:
    if name == "stepwise" and not _on_gpu(kernel):
        return Stepwise
    module, engine = (_CUDA if _on_gpu(kernel) else _FUSED[kernel.name])[name]
    found: type[Stepwise] = getattr(importlib.import_module(module), engine)
    return found


def _in_order(kernel: Kernel) -> tuple[str, ...]:
    return tuple(_CUDA) if _on_gpu(kernel) else ("fused", "stepwise")


def _on_gpu(kernel: Kernel) -> bool:
    return kernel.spec.family == "cuda"


def _why_not(name: str, kernel: Kernel, settings: Settings) -> str | None:
    if _on_gpu(kernel):
        if name not in _CUDA:
            return f"{kernel.name} has no {name} engine; {', '.join(_FUSED)} has"
        reason: str | None = _class(name, kernel).why_not(settings)  # type: ignore[attr-defined]
        return reason
    if name == "stepwise":
        return None
    if name != "fused":
        return f"the {name} engine runs on a GPU, and {kernel.name} does not; name --kernel cuda"
    if kernel.name not in _FUSED:
        return f"{kernel.name} has no fused engine; {', '.join(_FUSED)} has"
    if settings.cell != "lstm":
        return f"the fused engine is written for the LSTM; the {settings.cell} cell has the stepwise engine"
    return None
