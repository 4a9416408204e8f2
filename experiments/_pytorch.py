"""The published network's training step in PyTorch, from given weights: a contestant of training_race.

On the CPU its LSTM is oneDNN's or its own, on a GPU cuDNN's. In a CUDA graph the whole step, update included, is
captured once and replayed, after a few steps on a stream of its own, as PyTorch's notes on CUDA graphs ask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Network"]

_WARM_UP = 3  # steps before a capture


class Network:
    """torch.nn.LSTM and a linear layer, trained by plain gradient descent; its gates' order is i, f, j, o.

    device: "cpu" or "cuda". graph: a CUDA graph of the step. tf32: products of operands rounded to TF32.
    """

    def __init__(
        self,
        weights: dict[str, NDArray],
        x: NDArray,
        labels: NDArray,
        rate: float,
        threads: int,
        device: str = "cpu",
        graph: bool = False,
        tf32: bool = False,
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        self._torch, self._inputs = torch, x.shape[2]
        hidden = len(weights["output_weight"])
        self._lstm = torch.nn.LSTM(self._inputs, hidden).to(device)
        self._linear = torch.nn.Linear(hidden, 10).to(device)
        self._take(weights)
        # a second bias would take the step of the first once more
        self._lstm.bias_hh_l0.requires_grad_(False)
        parameters = (*self._lstm.parameters(), *self._linear.parameters())
        self._optimizer = torch.optim.SGD([p for p in parameters if p.requires_grad], lr=rate)
        self._images = torch.from_numpy(x).to(device)
        self._digits = torch.from_numpy(labels.astype(np.int64)).to(device)
        self._graph = self._loss = None
        if graph:
            self._capture()

    def step(self) -> Any:
        """One training step; the loss before the update, a tensor where it was computed."""
        if self._graph is None:
            return self._train()
        self._graph.replay()
        return self._loss

    def gradients(self) -> dict[str, NDArray]:
        """Of the loss at the weights as they are, in this project's layout."""
        lstm = self._lstm
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
        tensors = [getattr(lstm, name) for name in names] + [self._linear.weight, self._linear.bias]
        found = [g.cpu().numpy() for g in self._torch.autograd.grad(self._forward(), tensors)]
        cell = np.hstack([found[0], found[1], found[2][:, None]]).T
        i, f, j, o = np.split(cell, 4, axis=1)
        cell = np.hstack([i, j, f, o])
        return {
            "cell_weight": cell[:-1],
            "cell_bias": cell[-1],
            "output_weight": found[3].T,
            "output_bias": found[4],
        }

    def _take(self, weights: dict[str, NDArray]) -> None:
        i, j, f, o = np.split(np.vstack([weights["cell_weight"], weights["cell_bias"]]), 4, axis=1)
        f = f.copy()
        f[-1] += 1
        torch, lstm, linear = self._torch, self._lstm, self._linear
        ordered = torch.from_numpy(np.hstack([i, f, j, o]).T.copy())
        with torch.no_grad():
            lstm.weight_ih_l0.copy_(ordered[:, : self._inputs])
            lstm.weight_hh_l0.copy_(ordered[:, self._inputs : -1])
            lstm.bias_ih_l0.copy_(ordered[:, -1])
            lstm.bias_hh_l0.zero_()
            linear.weight.copy_(torch.from_numpy(weights["output_weight"].T.copy()))
            linear.bias.copy_(torch.from_numpy(weights["output_bias"]))

    def _forward(self) -> Any:
        _, (h, _) = self._lstm(self._images)
        return self._torch.nn.functional.cross_entropy(self._linear(h[0]), self._digits)

    def _train(self) -> Any:
        self._optimizer.zero_grad()
        loss = self._forward()
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def _capture(self) -> None:
        cuda = self._torch.cuda
        kept = [p.detach().clone() for group in self._optimizer.param_groups for p in group["params"]]
        aside = cuda.Stream()
        aside.wait_stream(cuda.current_stream())
        with cuda.stream(aside):
            for _ in range(_WARM_UP):
                self._train()
        cuda.current_stream().wait_stream(aside)
        # the gradients' memory must be the graph's own
        self._optimizer.zero_grad()
        self._graph = cuda.CUDAGraph()
        with cuda.graph(self._graph):
            self._loss = self._train()
        with self._torch.no_grad():
            for p, before in zip((p for g in self._optimizer.param_groups for p in g["params"]), kept, strict=True):
                p.copy_(before)
