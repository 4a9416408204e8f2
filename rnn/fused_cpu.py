"""The fused engine: forward and backward of a whole batch in one parallel region, by `rnn.fused_lstm`.

The stepwise engine calls some sixty products and seven hundred elementwise operations per training step, and after each
the cores wait for the slowest. Here every thread takes its own slices of the batch through all 28 steps there and back,
and waits for nobody. A short parallel region before it packs the weights, and one after it adds up the threads' weight
gradients. The update is the stepwise engine's own: 0.02 of 8.3 ms.

Where a step goes, batch 128, hidden 128, 2 threads of a Zen 4 whose arithmetic alone would need 6.9 ms:
    stepwise engine, same kernel                         16.6 ms
    this engine                                           8.3 ms, 82% of the measured peak of multiply-adds
      packing the weights, adding up the gradients        0.2 ms
      forward, each of a thread's two slices              1.39 ms, 104 of 117 GFLOP/s: the rest are the five tanh
      backward                                            2.53 ms, of it dW 1.33 ms at 110 GFLOP/s
    did not help: dh one gate at a time, so that its part of dz stays in L1 (2.53 -> 2.58 ms)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import get_num_threads, njit, prange
from numpy.typing import NDArray

from kernels.cpu.memory import aligned_empty
from rnn import fused_lstm as lstm
from rnn.cells import Matmul
from rnn.network import Weights
from rnn.settings import Settings
from rnn.stepwise import Stepwise

__all__ = ["FusedCPU"]

UntilNow = Callable[[str], object]


def _ignore(phase: str) -> None: ...


class FusedCPU(Stepwise):
    """The LSTM's training step on all cores; evaluation, weights and update are the stepwise engine's.

    until_now: told what the step was at since the last call, for the picture that experiments.timeline draws: weights,
    slices, sums, update. Inside a slice nobody looks at a clock.
    """

    def __init__(self, settings: Settings, matmul: Matmul) -> None:
        super().__init__(settings, matmul)
        self._memory: dict[tuple[int, ...], tuple[NDArray, ...]] = {}

    @staticmethod
    def why_not(settings: Settings) -> str | None:
        if settings.cell == "lstm":
            return None
        return f"the fused engine is written for the LSTM; the {settings.cell} cell has the stepwise engine"

    def train(self, x: NDArray, labels: NDArray, until_now: UntilNow = _ignore) -> float:
        loss, gradients = self.loss_and_gradients(x, labels, until_now)
        self.update(gradients)
        until_now("update")
        return loss

    def loss_and_gradients(self, x: NDArray, labels: NDArray, until_now: UntilNow = _ignore) -> tuple[float, Weights]:
        weight, bias = self.weights["cell_weight"], self.weights["cell_bias"]
        output_weight, output_bias = self.weights["output_weight"], self.weights["output_bias"]
        x = np.ascontiguousarray(x)
        steps, batch, inputs = x.shape
        hidden, classes = output_weight.shape
        slices = -(-batch // lstm.IMAGES)
        workers = min(get_num_threads(), slices)
        forward_weights, backward_weights, *rest = self._arrays(workers, slices, steps, inputs, hidden, classes)
        _pack(weight, bias, inputs, forward_weights, backward_weights)
        until_now("weights")
        _slices(x, labels, output_weight, output_bias, forward_weights, backward_weights, *rest)
        until_now("slices")
        *_, dweights, doutput, dbias, losses = rest
        dweight, dcell_bias = np.empty_like(weight), np.empty_like(bias)
        _sum(dweights, inputs, hidden, dweight, dcell_bias)
        gradients = {
            "cell_weight": dweight,
            "cell_bias": dcell_bias,
            "output_weight": doutput.sum(0),
            "output_bias": dbias.sum(0),
        }
        until_now("sums")
        return float(losses.sum()) / batch, gradients

    def _arrays(
        self, workers: int, slices: int, steps: int, inputs: int, hidden: int, classes: int
    ) -> tuple[NDArray, ...]:
        """Packed weights, each worker's arrays, each slice's gradients; zero where not all is written."""
        key = (workers, slices, steps, inputs, hidden, classes)
        if key not in self._memory:
            padded = lstm.ROWS * -(-hidden // lstm.ROWS)
            depth = inputs + padded + 1
            height = lstm.IMAGES * -(-depth // lstm.IMAGES)
            images, block = lstm.IMAGES, lstm.BLOCK
            shapes = (
                (padded // lstm.UNITS, depth, lstm.ROWS),
                (padded // lstm.ROWS, 4 * padded, lstm.ROWS),
                (workers, steps + 1, height, images),  # xh
                (workers, steps, 4, padded, images),  # gates
                (workers, steps + 1, padded, images),  # c
                (workers, classes, images),  # logits
                (workers, padded, images),  # dh
                (workers, padded, images),  # dc
                (workers, block, 4 * padded, images),  # dz
                (workers, block, height * images),  # xh, turned
                (workers, block, 4 * padded * images),  # dz, turned
                (slices, 4 * padded, height),  # gradients of the cell
                (slices, hidden, classes),  # of the output's weight
                (slices, classes),  # and bias
                (slices,),  # sum of the losses
            )
            self._memory[key] = tuple(map(aligned_empty, shapes))
            for array in self._memory[key]:
                array[...] = 0
            self._memory[key][2][:, :, inputs + padded] = 1  # the input whose weight is the bias
        return self._memory[key]


@njit(cache=True, parallel=True)
def _pack(weight: NDArray, bias: NDArray, inputs: int, forward_weights: NDArray, backward_weights: NDArray) -> None:
    """Once per training step: the weights in the order in which the register tiles read them."""
    ahead, back = forward_weights.shape[0], backward_weights.shape[0]
    padded = back * lstm.ROWS
    for group in prange(ahead + back):
        if group < ahead:
            lstm.pack_forward(weight, bias, inputs, padded, group, forward_weights[group])
        else:
            lstm.pack_backward(weight, inputs, padded, group - ahead, backward_weights[group - ahead])


@njit(cache=True, parallel=True)
def _slices(
    x: NDArray, labels: NDArray, output_weight: NDArray, output_bias: NDArray,
    forward_weights: NDArray, backward_weights: NDArray,
    xh: NDArray, gates: NDArray, c: NDArray, logits: NDArray, dh: NDArray, dc: NDArray, dz: NDArray,
    xh_rows: NDArray, dz_rows: NDArray, dweight: NDArray, doutput: NDArray, dbias: NDArray,
    losses: NDArray,
) -> None:  # fmt: skip
    """Every worker's slices, forward and backward.

    Gradients are kept by slice, not by worker: added up in the same order, they are the same for any number of threads.
    """
    steps, batch, inputs = x.shape
    pixels = x.reshape(-1)
    workers, slices, hidden = xh.shape[0], losses.shape[0], output_weight.shape[0]
    for w in prange(workers):
        for part in range(slices * w // workers, slices * (w + 1) // workers):
            first = part * lstm.IMAGES
            count = min(lstm.IMAGES, batch - first)
            for t in range(steps):
                lstm.turn_images(pixels, (t * batch + first) * inputs, inputs, 1, count, inputs, xh[w, t].reshape(-1))
            lstm.forward(forward_weights, xh[w], gates[w], c[w], inputs)
            h = xh[w, steps, inputs : inputs + hidden]
            chosen = labels[first : first + count]
            losses[part] = lstm.output(
                h, output_weight, output_bias, chosen, batch, logits[w], dh[w], doutput[part], dbias[part]
            )
            lstm.backward(
                backward_weights, xh[w], gates[w], c[w], dh[w], dc[w], dz[w], xh_rows[w], dz_rows[w], dweight[part]
            )


@njit(cache=True, parallel=True)
def _sum(dweights: NDArray, inputs: int, hidden: int, dweight: NDArray, dbias: NDArray) -> None:
    """Add up the slices' gradients, and put them into the order of the weights."""
    padded = dweights.shape[1] // 4
    for column in prange(4 * hidden):
        row = column // hidden * padded + column % hidden
        for k in range(inputs + hidden):
            total = np.float32(0)
            for part in range(dweights.shape[0]):
                total += dweights[part, row, k]
            dweight[k, column] = total
        total = np.float32(0)
        for part in range(dweights.shape[0]):
            total += dweights[part, row, inputs + padded]
        dbias[column] = total
