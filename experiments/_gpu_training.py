"""What training_race sets against each other on a GPU: each engine, and the same with one optimisation switched off."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kernels import cli

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernels import Kernel
    from rnn.settings import Settings

__all__ = ["CALLS", "contestants"]

CALLS = 20  # steps between two waits for the GPU: to wait after each would time the waiting

Start = Callable[[], tuple["NDArray", "NDArray"]]


def contestants(kernel: Kernel, settings: Settings, batch: Start) -> dict[str, Callable[[], Callable[[], Any]]]:
    """By name, what makes a training step; batch makes x and labels, on the host. The step's loss stays on the GPU."""
    from rnn import engines

    made: dict[str, Callable[[], Callable[[], Any]]] = {}
    for engine in ("persistent", "graph", "stepwise"):
        try:
            engines.choose(engine, kernel, settings)
        except engines.UnsupportedEngine:
            continue
        variants: dict[str, dict[str, bool]] = {"": {}}
        if not made:
            variants[", data on the host"] = {"resident": False}
        if engine != "persistent":
            variants[", CuPy's gates"] = {"fused_gates": False}
        for suffix, switched in variants.items():
            made[f"{engine}, {kernel.name}{suffix}"] = partial(_step, engine, kernel.name, settings, batch, **switched)
    return made


def _step(
    engine: str, kernel: str, settings: Settings, batch: Start, resident: bool = True, fused_gates: bool = True
) -> Callable[[], Any]:
    from rnn import engines

    toggles = {} if fused_gates else {"fused_gates": False}
    running = engines.create(engine, cli.get_kernel(kernel), settings, **toggles)
    x, labels = batch()
    if resident:
        x, labels = running.place(x), running.place(labels)
    return lambda: running.train(x, labels)
