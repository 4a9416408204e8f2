"""The published network's training step in PyTorch, from given weights: a contestant of training_race."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["step_of"]

Step = Callable[[], float]


def step_of(weights: dict[str, NDArray], x: NDArray, labels: NDArray, rate: float, threads: int) -> Step:
    """One step per call of torch.nn.LSTM, returning the loss before the update; its gates' order is i, f, j, o too."""
    import torch

    torch.set_num_threads(threads)
    inputs, hidden = x.shape[2], len(weights["output_weight"])
    i, j, f, o = np.split(np.vstack([weights["cell_weight"], weights["cell_bias"]]), 4, axis=1)
    f = f.copy()
    f[-1] += 1
    ordered = torch.from_numpy(np.hstack([i, f, j, o]).T.copy())
    lstm, linear = torch.nn.LSTM(inputs, hidden), torch.nn.Linear(hidden, 10)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(ordered[:, :inputs])
        lstm.weight_hh_l0.copy_(ordered[:, inputs:-1])
        lstm.bias_ih_l0.copy_(ordered[:, -1])
        lstm.bias_hh_l0.zero_()
        linear.weight.copy_(torch.from_numpy(weights["output_weight"].T.copy()))
        linear.bias.copy_(torch.from_numpy(weights["output_bias"]))
    lstm.bias_hh_l0.requires_grad_(False)  # a second bias would take the step of the first once more
    trained = [p for p in (*lstm.parameters(), *linear.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=rate)
    images, digits = torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))

    def step() -> float:
        optimizer.zero_grad()
        _, (h, _) = lstm(images)
        loss = torch.nn.functional.cross_entropy(linear(h[0]), digits)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step
