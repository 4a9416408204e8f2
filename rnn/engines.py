"""The engines a run can use, and which one a kernel has. An engine is a `Stepwise` or does the same faster."""

from __future__ import annotations

import importlib
import itertools
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels import Kernel
from kernels.contract import Reference
from rnn.network import Weights
from rnn.settings import Settings
from rnn.stepwise import Stepwise

__all__ = [
    "Engine",
    "UnsupportedEngine",
    "choose",
    "create",
    "multiplies_with_kernel",
    "names",
    "passed_over",
    "rounds_to",
    "verify",
]

# the fastest first
_CPU = {"fused": ("rnn.fused_cpu", "FusedCPU"), "stepwise": ("rnn.stepwise", "Stepwise")}
_CUDA = {
    "persistent": ("rnn.persistent_cuda", "PersistentCUDA"),
    "graph": ("rnn.graph_cuda", "GraphCUDA"),
    "stepwise": ("rnn.stepwise_cuda", "StepwiseCUDA"),
}
_FUSED = "cpu-numba-simd"  # the kernel whose tiles the fused engine is made of
_OWN_PRODUCTS = ("fused", "persistent")  # those that make their products themselves, in float32


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
        return next(name for name in _engines(kernel) if _why_not(name, kernel, settings) is None)
    if why_not := _why_not(asked, kernel, settings):
        raise UnsupportedEngine(f"{why_not}; leave out --engine, or name --engine stepwise")
    return asked


def names(kernel: Kernel) -> tuple[str, ...]:
    """The engines there are for such a kernel, the fastest first."""
    return tuple(_engines(kernel))


def multiplies_with_kernel(name: str) -> bool:
    """Whether an engine's products are the kernel's, rather than its own."""
    return name not in _OWN_PRODUCTS


def rounds_to(name: str, kernel: Kernel) -> str:
    """The format of the operands of an engine's products."""
    return kernel.spec.rounds_to if multiplies_with_kernel(name) else "float32"


def passed_over(chosen: str, kernel: Kernel, settings: Settings) -> list[str]:
    """Why auto chose no faster engine than this one, a sentence each."""
    faster = itertools.takewhile(lambda name: name != chosen, _engines(kernel)) if _on_gpu(kernel) else ()
    return [reason for name in faster if (reason := _why_not(name, kernel, settings))]


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


def _engines(kernel: Kernel) -> dict[str, tuple[str, str]]:
    """The engines there are for such a kernel, the fastest first: module and class of each."""
    return _CUDA if _on_gpu(kernel) else _CPU


def _class(name: str, kernel: Kernel) -> type[Stepwise]:
    module, engine = _engines(kernel)[name]
    found: type[Stepwise] = getattr(importlib.import_module(module), engine)
    return found


def _on_gpu(kernel: Kernel) -> bool:
    return kernel.spec.family == "cuda"


def _why_not(name: str, kernel: Kernel, settings: Settings) -> str | None:
    if name == "fused" and kernel.name != _FUSED:
        return f"{kernel.name} has no fused engine; {_FUSED} has"
    if name not in _engines(kernel):
        return f"the {name} engine runs on a GPU, and {kernel.name} does not; name --kernel cuda"
    return _class(name, kernel).why_not(settings)
