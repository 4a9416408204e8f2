"""The hand-written kernels of gates.cu in the place of CuPy's elementwise functions: cell, network and optimizer.

All arrays are CuPy's. Nothing here waits for the GPU, so that a training step can be captured as a CUDA graph.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn.arrays import device, library
from rnn.cells import CELLS, LSTM, Matmul
from rnn.network import Network
from rnn.optimizers import SGD

__all__ = ["SOURCE", "FusedLSTM", "FusedNetwork", "FusedSGD"]

SOURCE = Path(__file__).parent / "cuda" / "gates.cu"
_THREADS, _SIDE = 256, 32  # as in the source


class FusedLSTM(LSTM):
    """`LSTM` with one launch for all that a time step does besides its product, forward and backward."""

    def forward(self, x: NDArray, weight: NDArray, bias: NDArray, matmul: Matmul) -> NDArray:
        steps, inputs, hidden = len(self._xh), self._inputs, self._hidden
        self._xh[:, :, :inputs] = x
        for t in range(steps):
            gates = self._gates[t]
            matmul(self._xh[t], weight, gates)
            h, pitch, offset = (self._xh[t + 1], inputs + hidden, inputs) if t + 1 < steps else (self._h, hidden, 0)
            _each(
                "lstm_forward", self._h.size, gates, bias, self._c[t], self._c[t + 1], self._tanh_c[t], h,
                *map(np.int32, (pitch, offset, len(gates), hidden)), np.float32(self.forget_bias),
            )  # fmt: skip
        return self._h

    def backward(self, dh: NDArray, weight: NDArray, matmul: Matmul) -> tuple[NDArray, NDArray]:
        recurrent = weight[self._inputs :].T
        self._dc[...] = 0
        for t in reversed(range(len(self._xh))):
            dz = self._dz[t]
            _each(
                "lstm_backward", dh.size, self._gates[t], self._c[t], self._tanh_c[t], dh, self._dc, dz,
                *map(np.int32, dh.shape),
            )  # fmt: skip
            if t:
                matmul(dz, recurrent, self._dh)
                dh = self._dh
        dz = self._dz.reshape(-1, weight.shape[1])
        matmul(self._xh.reshape(-1, weight.shape[0]).T, dz, self._dweight)
        return self._dweight, _column_sums(dz)


class FusedNetwork(Network):
    """`Network` with the hand-written LSTM, loss and sums; float32 only."""

    cells = CELLS | {"lstm": FusedLSTM}

    def _loss(self, logits: NDArray, labels: NDArray) -> tuple[Any, NDArray]:
        here = library(logits)
        gradient, loss = here.empty(logits.shape, np.float32), here.empty((), np.float64)
        sizes = map(np.int32, logits.shape)
        labels = labels.astype(np.uint8, copy=False)  # as the kernel reads them
        _function("softmax_cross_entropy", device())((1,), (_THREADS,), (logits, labels, gradient, loss, *sizes))
        return loss, gradient

    def _sum_rows(self, x: NDArray) -> NDArray:
        return _column_sums(x)


class FusedSGD(SGD):
    """`SGD` with one launch for each weight."""

    def update(self, weights: Mapping[str, NDArray], gradients: Mapping[str, NDArray]) -> None:
        for name, weight in weights.items():
            _each("descend", weight.size, weight, gradients[name], np.float32(self._rate), np.int32(weight.size))


def _column_sums(x: NDArray) -> NDArray:
    rows, columns = x.shape
    sums = library(x).empty(columns, np.float32)
    arguments = (x, sums, np.int32(rows), np.int32(columns))
    _function("column_sums", device())((-(-columns // _SIDE),), (_SIDE, _SIDE), arguments)
    return sums


def _each(name: str, count: int, *arguments: Any) -> None:
    """Launch a kernel with a thread for each of `count` numbers."""
    _function(name, device())((-(-count // _THREADS),), (_THREADS,), arguments)


@functools.cache
def _function(name: str, device: int) -> Any:
    return _module(device).get_function(name)


@functools.cache
def _module(device: int) -> Any:
    import cupy

    from kernels.cuda import compile as compiler
    from kernels.cuda.launch import gpu

    return cupy.RawModule(path=str(compiler.cubin(SOURCE, ("-std=c++17",), str(gpu(device).architecture))))
