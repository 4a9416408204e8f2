"""The recurrent cells, forward and backward written out by hand: LSTM and Elman.

Both run on any matrix product ``matmul(a, b, out)``, which must be the only place where matrices are multiplied, and in
float32 or float64 alike, so that a test can check every gradient in float64.

Shapes: T steps, N images, I numbers an image and step (x_t), H units in the hidden state (h_t).
Input and hidden state stand side by side, xh_t = [x_t, h_{t-1}] (N, I+H): one product gives all that a step needs.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["CELLS", "LSTM", "Cell", "Elman", "Matmul"]

Matmul = Callable[[NDArray, NDArray, NDArray], Any]


class Cell(Protocol):
    """What the network asks of a cell; `gates` is how many blocks of H columns its weight has."""

    gates: int

    def __init__(
        self, steps: int, batch: int, inputs: int, hidden: int, dtype: type[np.floating], library: ModuleType = np
    ) -> None:
        """Allocate the memory of one pass, which is used again for every batch: NumPy's, or CuPy's on a GPU."""

    def forward(self, x: NDArray, weight: NDArray, bias: NDArray, matmul: Matmul) -> NDArray:
        """The last hidden state (N,H) for x (T,N,I), weight (I+H, gates·H), bias (gates·H,)."""

    def backward(self, dh: NDArray, weight: NDArray, matmul: Matmul) -> tuple[NDArray, NDArray]:
        """Gradients of weight and bias, from dh (N,H), the loss's gradient by the last hidden state.

        Works on what the last `forward` left behind; the arrays returned are overwritten by the next call.
        """


class LSTM:
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000).

    The gates stand in the order i, j, f, o (input, candidate, forget, output); 1 is added to the forget gate:

        i, f, o = σ(z_i), σ(z_f + 1), σ(z_o),  j = tanh(z_j),  z = xh·W + b
        c_t = f·c_{t-1} + i·j
        h_t = o·tanh(c_t)
    """

    gates = 4
    forget_bias = 1.0

    def __init__(
        self, steps: int, batch: int, inputs: int, hidden: int, dtype: type[np.floating], library: ModuleType = np
    ) -> None:
        empty, zeros = library.empty, library.zeros
        self._inputs, self._hidden = inputs, hidden
        self._xh = zeros((steps, batch, inputs + hidden), dtype)
        self._gates = empty((steps, batch, 4 * hidden), dtype)  # i, j, f, o after their nonlinearities
        self._c = zeros((steps + 1, batch, hidden), dtype)  # c[t + 1] is c_t
        self._tanh_c = empty((steps, batch, hidden), dtype)
        self._h = empty((batch, hidden), dtype)
        # σ(z) = (1 + tanh(z/2)) / 2: with the columns of i, f, o halved, one tanh serves all four gates.
        # These hold a row for every image, as NumPy is twice as fast on whole arrays as on a repeated row.
        scale, shift, forget = (
            np.repeat(np.array(gates, dtype), hidden)
            for gates in ([0.5, 1, 0.5, 0.5], [0.5, 0, 0.5, 0.5], [0, 0, self.forget_bias, 0])
        )
        self._scale = library.asarray(np.tile(scale, (batch, 1)))
        self._shift = library.asarray(np.tile(shift, (batch, 1)))
        self._forget = library.asarray(forget)
        self._bias = empty((batch, 4 * hidden), dtype)
        self._scaled_weight = empty((inputs + hidden, 4 * hidden), dtype)
        self._dc, self._dh, self._scratch = (empty((batch, hidden), dtype) for _ in range(3))
        self._wide = empty((batch, 4 * hidden), dtype)
        self._dz = empty((steps, batch, 4 * hidden), dtype)
        self._dweight = empty((inputs + hidden, 4 * hidden), dtype)

    def forward(self, x: NDArray, weight: NDArray, bias: NDArray, matmul: Matmul) -> NDArray:
        steps, inputs, hidden = len(self._xh), self._inputs, self._hidden
        self._xh[:, :, :inputs] = x
        np.multiply(weight, self._scale[0], out=self._scaled_weight)
        self._bias[:] = (bias + self._forget) * self._scale[0]
        for t in range(steps):
            z = self._gates[t]
            matmul(self._xh[t], self._scaled_weight, z)
            z += self._bias
            np.tanh(z, out=z)
            z *= self._scale
            z += self._shift
            i, j, f, o = (z[:, g * hidden : (g + 1) * hidden] for g in range(4))
            np.multiply(f, self._c[t], out=self._c[t + 1])
            np.multiply(i, j, out=self._scratch)
            self._c[t + 1] += self._scratch
            np.tanh(self._c[t + 1], out=self._tanh_c[t])
            h = self._xh[t + 1, :, inputs:] if t + 1 < steps else self._h
            np.multiply(o, self._tanh_c[t], out=h)
        return self._h

    def backward(self, dh: NDArray, weight: NDArray, matmul: Matmul) -> tuple[NDArray, NDArray]:
        steps, hidden = len(self._xh), self._hidden
        recurrent = weight[self._inputs :].T.copy()  # used T times, so turned round once
        self._dh[:] = dh
        dh, dc, scratch = self._dh, self._dc, self._scratch
        dc[:] = 0
        for t in reversed(range(steps)):
            gates, dz = self._gates[t], self._dz[t]
            i, j, f, o = (gates[:, g * hidden : (g + 1) * hidden] for g in range(4))
            di, dj, df, do = (dz[:, g * hidden : (g + 1) * hidden] for g in range(4))
            # through h = o·tanh(c)
            np.multiply(dh, self._tanh_c[t], out=do)
            np.multiply(self._tanh_c[t], self._tanh_c[t], out=scratch)
            np.subtract(1, scratch, out=scratch)
            scratch *= o
            scratch *= dh
            dc += scratch
            # through c = f·c_before + i·j
            np.multiply(dc, j, out=di)
            np.multiply(dc, i, out=dj)
            np.multiply(dc, self._c[t], out=df)
            dc *= f
            # through the nonlinearities: σ' = σ·(1 − σ), tanh' = 1 − tanh²
            self._times_slope(gates, dz)
            if t:
                matmul(dz, recurrent, dh)
        flat = (-1, weight.shape[1])
        matmul(self._xh.reshape(-1, weight.shape[0]).T, self._dz.reshape(flat), self._dweight)
        return self._dweight, self._dz.reshape(flat).sum(0)

    def _times_slope(self, gates: NDArray, dz: NDArray) -> None:
        hidden, wide = self._hidden, self._wide
        # σ − σ² for the three gates, and for the candidate the same with a 1 in place of the first σ
        np.multiply(gates, gates, out=wide)
        np.subtract(gates, wide, out=wide)
        candidate = wide[:, hidden : 2 * hidden]
        candidate -= gates[:, hidden : 2 * hidden]
        candidate += 1
        dz *= wide


class Elman:
    """The plain recurrent cell (Elman, *Finding Structure in Time*, 1990): h_t = tanh(xh·W + b)."""

    gates = 1

    def __init__(
        self, steps: int, batch: int, inputs: int, hidden: int, dtype: type[np.floating], library: ModuleType = np
    ) -> None:
        self._inputs = inputs
        self._xh = library.zeros((steps, batch, inputs + hidden), dtype)
        self._h = library.empty((steps, batch, hidden), dtype)
        self._dh, self._scratch = (library.empty((batch, hidden), dtype) for _ in range(2))
        self._dz = library.empty((steps, batch, hidden), dtype)
        self._dweight = library.empty((inputs + hidden, hidden), dtype)

    def forward(self, x: NDArray, weight: NDArray, bias: NDArray, matmul: Matmul) -> NDArray:
        steps, inputs = len(self._xh), self._inputs
        self._xh[:, :, :inputs] = x
        for t in range(steps):
            h = self._h[t]
            matmul(self._xh[t], weight, h)
            h += bias
            np.tanh(h, out=h)
            if t + 1 < steps:
                self._xh[t + 1, :, inputs:] = h
        return self._h[-1]

    def backward(self, dh: NDArray, weight: NDArray, matmul: Matmul) -> tuple[NDArray, NDArray]:
        recurrent = weight[self._inputs :].T.copy()
        self._dh[:] = dh
        for t in reversed(range(len(self._xh))):
            # tanh' = 1 − tanh²
            np.multiply(self._h[t], self._h[t], out=self._scratch)
            np.subtract(1, self._scratch, out=self._scratch)
            np.multiply(self._dh, self._scratch, out=self._dz[t])
            if t:
                matmul(self._dz[t], recurrent, self._dh)
        flat = (-1, weight.shape[1])
        matmul(self._xh.reshape(-1, weight.shape[0]).T, self._dz.reshape(flat), self._dweight)
        return self._dweight, self._dz.reshape(flat).sum(0)


CELLS: dict[str, type[Cell]] = {"lstm": LSTM, "elman": Elman}
