"""The same network as anyone would write it in NumPy: its BLAS the only product, its functions the only arithmetic.

A yardstick for the engines, and an independent second implementation for the tests: it shares no line with `rnn.cells`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["loss_and_gradients"]


def _sigmoid(z: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-z))


def loss_and_gradients(weights: dict[str, NDArray], x: NDArray, labels: NDArray) -> tuple[float, dict[str, NDArray]]:
    """Mean loss of images x (T,N,I) with labels (N,), and its gradient by every weight, in the weights' dtype."""
    w, b = weights["cell_weight"], weights["cell_bias"]
    batch, inputs = x.shape[1:]
    h = c = np.zeros((batch, w.shape[0] - inputs), w.dtype)
    kept = []
    for x_t in x:
        xh = np.concatenate([x_t, h], axis=1)
        i, j, f, o = np.split(xh @ w + b, 4, axis=1)
        i, j, f, o = _sigmoid(i), np.tanh(j), _sigmoid(f + 1), _sigmoid(o)
        before, c = c, f * c + i * j
        tanh_c = np.tanh(c)
        h = o * tanh_c
        kept.append((xh, i, j, f, o, before, tanh_c))

    logits = h @ weights["output_weight"] + weights["output_bias"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    chosen = (np.arange(batch), labels)
    loss = float(-np.log(p[chosen]).mean())
    p[chosen] -= 1
    p /= batch

    gradients = {"output_weight": h.T @ p, "output_bias": p.sum(0)}
    dw, db = np.zeros_like(w), np.zeros_like(b)
    dh, dc = p @ weights["output_weight"].T, np.zeros_like(c)
    for xh, i, j, f, o, before, tanh_c in reversed(kept):
        dc = dc + dh * o * (1 - tanh_c**2)
        dz = np.concatenate(
            [dc * j * i * (1 - i), dc * i * (1 - j**2), dc * before * f * (1 - f), dh * tanh_c * o * (1 - o)], axis=1
        )
        dw += xh.T @ dz
        db += dz.sum(0)
        dh, dc = dz @ w[inputs:].T, dc * f
    return loss, gradients | {"cell_weight": dw, "cell_bias": db}
