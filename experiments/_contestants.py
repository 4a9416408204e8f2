"""Who runs in training_race, and what must agree before anyone is timed: losses and gradients of the same weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kernels import cli

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernels import Kernel
    from rnn.settings import Settings

__all__ = ["CALLS", "CHECKED_STEPS", "RATE", "Contestant", "Expected", "Runner", "contestants", "same_start"]

RATE = 0.001
CALLS = 20  # steps on a GPU between two waits for it: to wait after each would time the waiting
CHECKED_STEPS = 5
AGREEMENT = 1e-4  # relative, of losses and gradients: float32 sums in different orders
_ROUNDINGS = 20  # times what a number may lose to a shorter format, by which a loss or a gradient may be away on top


class Runner(NamedTuple):
    """A network in training, on one batch.

    step: trains once and returns the loss before; on a GPU to read it is to wait. gradients: by weight, in the
    project's layout, at the weights as they are.
    """

    step: Callable[[], Any]
    gradients: Callable[[], dict[str, Any]]


class Contestant(NamedTuple):
    """What makes a runner, in a process of its own. rounds_to: the format of its products' operands."""

    start: Callable[[], Runner]
    on_gpu: bool = False
    rounds_to: str = "float32"


class Expected(NamedTuple):
    """Losses of the first steps and gradients of the first, in float64."""

    losses: list[float]
    gradients: dict[str, NDArray]

    @staticmethod
    def of(settings: Settings) -> Expected:
        """By plain NumPy."""
        from experiments import _numpy_lstm

        start, x, labels = same_start(settings)
        weights = {name: weight.astype(np.float64) for name, weight in start.items()}
        first: dict[str, NDArray] = {}
        losses = []
        for _ in range(CHECKED_STEPS):
            loss, gradients = _numpy_lstm.loss_and_gradients(weights, x.astype(np.float64), labels)
            first = first or gradients
            losses.append(loss)
            weights = {name: weight - RATE * gradients[name] for name, weight in weights.items()}
        return Expected(losses, first)

    def disagreement(self, losses: list[float], gradients: dict[str, NDArray], rounds_to: str) -> str | None:
        """What is wrong with a contestant's, or None."""
        from kernels.contract import OPERAND_ERROR

        bound = AGREEMENT + _ROUNDINGS * OPERAND_ERROR[rounds_to]
        for step, (loss, right) in enumerate(zip(losses, self.losses, strict=True), 1):
            if not abs(loss - right) <= bound * abs(right):
                return f"loss {loss:.6f} at step {step}, float64 has {right:.6f}"
        for name, exact in self.gradients.items():
            away = float(np.linalg.norm(gradients[name] - exact) / np.linalg.norm(exact))
            if not away <= bound:
                return f"gradient of {name} is {away:.1e} of its norm away from float64's"
        return None


def contestants(settings: Settings, names: Iterable[str], threads: int) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Who can start here, by name, and why the rest cannot. names: of the kernels."""
    from rnn import reference_network

    found = {"NumPy, as one writes it": Contestant(partial(_numpy, settings))}
    for kernel in {kernel.name: kernel for kernel in map(cli.get_kernel, names)}.values():
        found |= _engines(kernel, settings)
    absent = {}
    if reason := reference_network.why_absent():
        absent["TensorFlow"] = reason
    else:
        for mode in reference_network.MODES:
            found[f"TensorFlow, {mode}"] = Contestant(partial(_tensorflow, mode, settings, threads))
    if importlib.util.find_spec("torch") is None:
        wheels = "--index-url https://download.pytorch.org/whl/cpu"  # without it, CUDA's come, of gigabytes
        absent["PyTorch"] = f"not installed; python -m pip install torch, with {wheels} where there is no GPU"
    elif any(contestant.on_gpu for contestant in found.values()):
        import torch

        if torch.cuda.is_available():
            found |= _cudnn(settings, threads)
        else:
            absent["PyTorch, cuDNN"] = "this PyTorch is not built for CUDA; pip install torch from its CUDA index"
    else:
        found["PyTorch"] = Contestant(partial(_torch, settings, threads))
    return found, absent


def _engines(kernel: Kernel, settings: Settings) -> dict[str, Contestant]:
    """Every engine of a kernel; on a GPU also each with one of its optimisations switched off."""
    from rnn import engines

    on_gpu = kernel.spec.family == "cuda"
    found: dict[str, Contestant] = {}
    for engine in engines.names(kernel):
        try:
            engines.choose(engine, kernel, settings)
        except engines.UnsupportedEngine:
            continue
        variants: dict[str, dict[str, bool]] = {"": {}}
        if on_gpu and not found:
            variants[", data on the host"] = {"resident": False}
        if engine == "persistent":
            variants[", weights in L2"] = {"weights_on_chip": False}
        elif on_gpu:
            variants[", CuPy's gates"] = {"fused_gates": False}
        for suffix, switched in variants.items():
            start = partial(_engine, engine, kernel.name, settings, **switched)
            found[f"{engine}, {kernel.name}{suffix}"] = Contestant(start, on_gpu, engines.rounds_to(engine, kernel))
    return found


def _cudnn(settings: Settings, threads: int) -> dict[str, Contestant]:
    found = {}
    for graph in (True, False):
        for tf32 in (False, True):
            name = f"PyTorch, cuDNN, {'CUDA graph' if graph else 'eager'}{', TF32' if tf32 else ''}"
            start = partial(_torch, settings, threads, device="cuda", graph=graph, tf32=tf32)
            found[name] = Contestant(start, True, "tf32" if tf32 else "float32")
    return found


def same_start(settings: Settings) -> tuple[dict[str, NDArray], NDArray, NDArray]:
    """Weights, images and labels: the same for everyone."""
    from rnn.batches import Batches
    from rnn.data import load
    from rnn.network import initial_weights

    x, labels = Batches(load().train, settings.batch_size, settings.seed)[0]
    return initial_weights(settings.cell, settings.hidden, settings.seed), x, labels


def _engine(name: str, kernel: str, settings: Settings, resident: bool = True, **toggles: bool) -> Runner:
    from rnn import engines

    running = engines.create(name, cli.get_kernel(kernel), settings, **toggles)
    _, x, labels = same_start(settings)
    if resident:
        x, labels = running.place(x), running.place(labels)
    return Runner(lambda: running.train(x, labels), lambda: running.loss_and_gradients(x, labels)[1])


def _numpy(settings: Settings) -> Runner:
    from experiments import _numpy_lstm

    weights, x, labels = same_start(settings)

    def step() -> float:
        loss, gradients = _numpy_lstm.loss_and_gradients(weights, x, labels)
        for name, weight in weights.items():
            weight -= np.float32(RATE) * gradients[name]
        return loss

    return Runner(step, lambda: _numpy_lstm.loss_and_gradients(weights, x, labels)[1])


def _tensorflow(mode: str, settings: Settings, threads: int) -> Runner:
    from rnn.reference_network import Reference

    _, x, labels = same_start(settings)
    reference = Reference(settings, mode, threads)
    return Runner(lambda: reference.train(x, labels), lambda: reference.loss_and_gradients(x, labels)[1])


def _torch(settings: Settings, threads: int, device: str = "cpu", graph: bool = False, tf32: bool = False) -> Runner:
    from experiments._pytorch import Network

    network = Network(*same_start(settings), RATE, threads, device, graph, tf32)
    return Runner(network.step, network.gradients)
