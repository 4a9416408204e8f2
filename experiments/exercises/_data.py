"""Operands of the exercises, from N(0,1), and what float64 NumPy makes of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.exercises._task import Operands, Shape
from kernels.contract import Reference, gamma

__all__ = ["elementwise", "histogram", "product", "summed", "transposed"]


def _normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def _unwritten(*shape: int) -> NDArray[np.float32]:
    """What nobody writes stays NaN."""
    return np.full(shape, np.nan, np.float32)


def elementwise(size: Shape) -> Operands:
    """y = x² of n numbers."""
    x = _normal(*size)
    exact = x.astype(np.float64) ** 2
    return Operands((x, _unwritten(*size)), exact, gamma(1) * exact)


def product(size: Shape) -> Operands:
    """c (m,n) = a (m,k) · b (k,n), within the bound of kernels.contract."""
    m, n, k = size
    a, b = _normal(m, k), _normal(k, n)
    found = Reference.of(a, b)
    return Operands((a, b, _unwritten(m, n)), found.exact, found.gamma * found.magnitude)


def transposed(size: Shape) -> Operands:
    """y (n,m) = x (m,n) transposed: a copy, so exact."""
    x = _normal(*size)
    return Operands((x, _unwritten(*size[::-1])), x.T.astype(np.float64), np.zeros(size[::-1]))


def summed(size: Shape) -> Operands:
    """total (1,) = the sum of n numbers."""
    x = _normal(*size)
    wide = x.astype(np.float64)
    return Operands(
        (x, np.zeros(1, np.float32)), wide.sum(keepdims=True), gamma(size[0]) * abs(wide).sum(keepdims=True)
    )


def histogram(size: Shape) -> Operands:
    """counts (10,) of the digits among n."""
    digits = np.random.default_rng(size[0]).integers(0, 10, size).astype(np.int32)
    counts = np.bincount(digits, minlength=10).astype(np.float64)
    return Operands((digits, np.zeros(10, np.int32)), counts, np.zeros(10))
