"""The LSTM's whole training step for one slice of the batch, by one thread, with the gates computed in registers.

Sixteen images (with AVX-512) lie side by side in one vector register, so whatever happens to one image happens to its
neighbours in the same instruction. A slice is IMAGES images, VECTORS registers wide, and goes through all 28 steps,
forward and backward, without waiting for any other slice.

    forward     a register tile holds the four gates of UNITS units for all images of the slice. When the last product
                is added, the nonlinearities are applied right there; z itself is never written to memory.
    backward    the gates' gradients dz are computed from what the forward pass kept, then dh = W_h·dz in such tiles.
    weights     dW = xh·dzᵀ sums over images, so the lanes must run along dz instead: BLOCK steps at a time are
                transposed in registers, and added to dW while they are in L2 cache.

The bias is the weight of one more input, which is always 1. σ(z) = (1 + tanh(z/2))/2: the halves are put into the
packed weights, and the forget gate's 1 into its bias, so one tanh serves all four gates.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.cpu.lanes import LANES, REGISTERS, add_outer, add_rows, clamp, rows, store, zeros
from kernels.cpu.packing import packer

UNITS = 2 if REGISTERS >= 32 else 1
ROWS = 4 * UNITS  # of the register tile: four gates of UNITS units
VECTORS = 2 if REGISTERS >= 32 else 3
IMAGES = VECTORS * LANES  # in a slice
BLOCK = 4  # time steps whose part of dW is added at once
I, J, F, O = range(4)  # noqa: E741 - the gates' names in every text about the LSTM

turn_images, _turn_dz = packer(IMAGES), packer(ROWS)

# Eigen's rational approximation of tanh (generic_fast_tanh_float in MathFunctionsImpl.h)
_LIMIT = 7.90531110763549805
_P1, _P3, _P5, _P7 = 4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08
_P9, _P11, _P13 = -8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16
_Q0, _Q2, _Q4, _Q6 = 4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06


@njit(cache=True)
def tanh(x):  # type: ignore[no-untyped-def]
    """tanh of every number of a tile, within 3e-7."""
    x = clamp(x, -_LIMIT, _LIMIT)
    s = x * x
    p = s * _P13 + _P11
    p = p * s + _P9
    p = p * s + _P7
    p = p * s + _P5
    p = p * s + _P3
    p = p * s + _P1
    q = s * _Q6 + _Q4
    q = q * s + _Q2
    q = q * s + _Q0
    return x * p / q


@njit(cache=True)
def pack_forward(weight: NDArray, bias: NDArray, inputs: int, padded: int, group: int, packed: NDArray) -> None:
    """Rows of the forward tiles for units group·UNITS…: packed[k, gate·UNITS + unit], k over x, h, 1."""
    hidden = weight.shape[0] - inputs
    packed[:] = 0
    for gate in range(4):
        scale = np.float32(1 if gate == J else 0.5)
        for u in range(UNITS):
            unit, row = group * UNITS + u, gate * UNITS + u
            if unit < hidden:
                for k in range(inputs + hidden):
                    packed[k, row] = scale * weight[k, gate * hidden + unit]
                packed[inputs + padded, row] = scale * (bias[gate * hidden + unit] + np.float32(gate == F))


@njit(cache=True)
def pack_backward(weight: NDArray, inputs: int, padded: int, group: int, packed: NDArray) -> None:
    """Rows of the dh tiles for units group·ROWS…: packed[gate·padded + unit, row], the weights of h turned round."""
    hidden = weight.shape[0] - inputs
    packed[:] = 0
    for row in range(ROWS):
        unit = group * ROWS + row
        if unit < hidden:
            for gate in range(4):
                for other in range(hidden):
                    packed[gate * padded + other, row] = weight[inputs + unit, gate * hidden + other]


@njit(cache=True)
def forward(forward_weights: NDArray, xh: NDArray, gates: NDArray, c: NDArray, inputs: int) -> None:
    """All steps of one slice.

    xh (T+1, K or more, IMAGES): x and 1 are filled in, h of step t goes to xh[t+1]. gates (T, 4, padded, IMAGES) and
    c (T+1, padded, IMAGES) are kept for the backward pass; c[0] is 0. forward_weights (padded/UNITS, K, ROWS).
    """
    depth, height, padded = forward_weights.shape[1], xh.shape[1], gates.shape[2]
    weights, xh_, gates_, c_ = forward_weights.reshape(-1), xh.reshape(-1), gates.reshape(-1), c.reshape(-1)
    state = padded * IMAGES
    for t in range(gates.shape[0]):
        for unit in range(0, padded, UNITS):
            tile = zeros(ROWS, VECTORS, LANES)
            w, x = unit * 4 * depth, t * height * IMAGES
            for k in range(depth):
                tile = add_outer(tile, weights, w + k * ROWS, xh_, x + k * IMAGES)
            i = tanh(rows(tile, I, UNITS)) * 0.5 + 0.5
            j = tanh(rows(tile, J, UNITS))
            f = tanh(rows(tile, F, UNITS)) * 0.5 + 0.5
            o = tanh(rows(tile, O, UNITS)) * 0.5 + 0.5
            here = unit * IMAGES
            new_c = f * add_rows(zeros(UNITS, VECTORS, LANES), c_, t * state + here, IMAGES) + i * j
            store(new_c, c_, (t + 1) * state + here, IMAGES)
            store(o * tanh(new_c), xh_, ((t + 1) * height + inputs) * IMAGES + here, IMAGES)
            store(i, gates_, (4 * t + I) * state + here, IMAGES)
            store(j, gates_, (4 * t + J) * state + here, IMAGES)
            store(f, gates_, (4 * t + F) * state + here, IMAGES)
            store(o, gates_, (4 * t + O) * state + here, IMAGES)


@njit(cache=True)
def output(
    h: NDArray, weight: NDArray, bias: NDArray, labels: NDArray, batch: int, logits: NDArray, dh: NDArray,
    dweight: NDArray, dbias: NDArray,
) -> float:  # fmt: skip
    """The linear layer and softmax cross-entropy of one slice; returns the sum of its losses.

    h (H, IMAGES), logits (10, IMAGES), dh (H, IMAGES), dweight (H, 10) and dbias (10,) are filled.
    labels: of the slice's images, fewer than IMAGES in the last slice; the gradient is of the mean over `batch`.
    """
    hidden, classes = weight.shape
    for q in range(classes):
        logits[q, :] = bias[q]
        for u in range(hidden):
            for s in range(IMAGES):
                logits[q, s] += weight[u, q] * h[u, s]
    loss = 0.0
    dlogits = np.zeros((classes, IMAGES), np.float32)
    for s in range(len(labels)):
        largest = logits[0, s]
        for q in range(1, classes):
            largest = max(largest, logits[q, s])
        total = 0.0
        for q in range(classes):
            dlogits[q, s] = math.exp(logits[q, s] - largest)
            total += dlogits[q, s]
        loss += math.log(total) + largest - logits[labels[s], s]
        for q in range(classes):
            dlogits[q, s] = (dlogits[q, s] / total - (q == labels[s])) / batch
    dh[:] = 0
    for u in range(hidden):
        for q in range(classes):
            gradient = np.float32(0)
            for s in range(IMAGES):
                gradient += dlogits[q, s] * h[u, s]
                dh[u, s] += weight[u, q] * dlogits[q, s]
            dweight[u, q] = gradient
    for q in range(classes):
        dbias[q] = dlogits[q].sum()
    return loss


@njit(cache=True)
def backward(
    backward_weights: NDArray, xh: NDArray, gates: NDArray, c: NDArray, dh: NDArray, dc: NDArray, dz: NDArray,
    xh_rows: NDArray, dz_rows: NDArray, dweight: NDArray,
) -> None:  # fmt: skip
    """All steps of one slice, last to first; fills dweight (4·padded, xh.shape[1]).

    dh (padded, IMAGES): gradient by the last h, used up. dc likewise, and dz (BLOCK, 4·padded, IMAGES), xh_rows (BLOCK,
    xh.shape[1]·IMAGES), dz_rows (BLOCK, 4·padded·IMAGES): scratch. backward_weights (padded/ROWS, 4·padded, ROWS).
    """
    steps, padded = gates.shape[0], gates.shape[2]
    weights, gates_, c_ = backward_weights.reshape(-1), gates.reshape(-1), c.reshape(-1)
    dh_, dc_, dz_ = dh.reshape(-1), dc.reshape(-1), dz.reshape(-1)
    state = padded * IMAGES
    dc[:] = 0
    dweight[:] = 0
    for t in range(steps - 1, -1, -1):
        slot = t % BLOCK
        for unit in range(0, padded, UNITS):
            here = unit * IMAGES
            i = add_rows(zeros(UNITS, VECTORS, LANES), gates_, (4 * t + I) * state + here, IMAGES)
            j = add_rows(zeros(UNITS, VECTORS, LANES), gates_, (4 * t + J) * state + here, IMAGES)
            f = add_rows(zeros(UNITS, VECTORS, LANES), gates_, (4 * t + F) * state + here, IMAGES)
            o = add_rows(zeros(UNITS, VECTORS, LANES), gates_, (4 * t + O) * state + here, IMAGES)
            before = add_rows(zeros(UNITS, VECTORS, LANES), c_, t * state + here, IMAGES)
            tanh_c = tanh(add_rows(zeros(UNITS, VECTORS, LANES), c_, (t + 1) * state + here, IMAGES))
            d_h = add_rows(zeros(UNITS, VECTORS, LANES), dh_, here, IMAGES)
            d_c = add_rows(zeros(UNITS, VECTORS, LANES), dc_, here, IMAGES) + d_h * o * (1.0 - tanh_c * tanh_c)
            store(d_c * f, dc_, here, IMAGES)
            # σ' = σ·(1 − σ), tanh' = 1 − tanh²
            store(d_c * j * (i - i * i), dz_, (4 * slot + I) * state + here, IMAGES)
            store(d_c * i * (1.0 - j * j), dz_, (4 * slot + J) * state + here, IMAGES)
            store(d_c * before * (f - f * f), dz_, (4 * slot + F) * state + here, IMAGES)
            store(d_h * tanh_c * (o - o * o), dz_, (4 * slot + O) * state + here, IMAGES)
        if t:
            for row in range(0, padded, ROWS):
                tile = zeros(ROWS, VECTORS, LANES)
                w, z = row * 4 * padded, slot * 4 * state
                for k in range(4 * padded):
                    tile = add_outer(tile, weights, w + k * ROWS, dz_, z + k * IMAGES)
                store(tile, dh_, row * IMAGES, IMAGES)
        if slot == 0:
            _add_weight_gradient(xh, t, min(BLOCK, steps - t), dz, xh_rows, dz_rows, dweight)


@njit(cache=True)
def _add_weight_gradient(
    xh: NDArray, first: int, count: int, dz: NDArray, xh_rows: NDArray, dz_rows: NDArray, dweight: NDArray
) -> None:
    """dweight += dz·xhᵀ over `count` steps from `first` on: both are turned, as the sum runs over images."""
    height, width = dweight.shape
    for t in range(count):
        turn_images(xh[first + t].reshape(-1), 0, IMAGES, 1, width, IMAGES, xh_rows[t])
        _turn_dz(dz[t].reshape(-1), 0, IMAGES, 1, height, IMAGES, dz_rows[t])
    xh_rows_, dz_rows_, dweight_ = xh_rows.reshape(-1), dz_rows.reshape(-1), dweight.reshape(-1)
    for column in range(0, width, IMAGES):
        for row in range(0, height, ROWS):
            tile = zeros(ROWS, VECTORS, LANES)
            for t in range(count):
                a, b = (t * height + row) * IMAGES, (t * width + column) * IMAGES
                for p in range(IMAGES):
                    tile = add_outer(tile, dz_rows_, a + p * ROWS, xh_rows_, b + p * IMAGES)
            tile = add_rows(tile, dweight_, row * width + column, width)
            store(tile, dweight_, row * width + column, width)
