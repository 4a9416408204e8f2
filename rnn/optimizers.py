"""Optimizers: how weights follow their gradients. Each updates the weights in place and keeps its state in `state`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["OPTIMIZERS", "SGD", "Adam", "Optimizer"]


class Optimizer(Protocol):
    """state: named arrays that a checkpoint must keep besides the weights."""

    state: dict[str, NDArray]

    def __init__(self, learning_rate: float, weights: Mapping[str, NDArray]) -> None: ...

    def update(self, weights: Mapping[str, NDArray], gradients: Mapping[str, NDArray]) -> None:
        """Change the weights in place."""


class SGD:
    """Plain gradient descent: w ← w − rate·g."""

    def __init__(self, learning_rate: float, weights: Mapping[str, NDArray]) -> None:
        self._rate = learning_rate
        self.state: dict[str, NDArray] = {}

    def update(self, weights: Mapping[str, NDArray], gradients: Mapping[str, NDArray]) -> None:
        for name, weight in weights.items():
            weight -= weight.dtype.type(self._rate) * gradients[name]


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1, in the order of operations of the end of §2)."""

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, learning_rate: float, weights: Mapping[str, NDArray]) -> None:
        self._rate = learning_rate
        self.state = {"adam_steps": np.zeros((), np.int64)}
        for name, weight in weights.items():
            self.state[f"adam_mean_{name}"] = np.zeros_like(weight)
            self.state[f"adam_square_{name}"] = np.zeros_like(weight)

    def update(self, weights: Mapping[str, NDArray], gradients: Mapping[str, NDArray]) -> None:
        self.state["adam_steps"] += 1
        step = int(self.state["adam_steps"])
        rate = self._rate * np.sqrt(1 - self.beta2**step) / (1 - self.beta1**step)
        for name, weight in weights.items():
            number = weight.dtype.type
            mean, square = self.state[f"adam_mean_{name}"], self.state[f"adam_square_{name}"]
            gradient = gradients[name]
            mean += number(1 - self.beta1) * (gradient - mean)
            square += number(1 - self.beta2) * (gradient * gradient - square)
            weight -= number(rate) * mean / (np.sqrt(square) + number(self.epsilon))


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}
