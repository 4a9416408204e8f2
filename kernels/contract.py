"""What every kernel promises: its arguments, and how far its result may be from the exact product.

Correct means |C − C₆₄| ≤ γ_K·(|A|·|B|) in every component, γ_K = K·u/(1 − K·u), u = 2⁻²⁴, where C₆₄ is the product in
float64 (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., §3.5). The bound holds for every order of
summation, with or without fused multiply-add, so no tolerance is tuned to a kernel. A kernel that rounds its operands
to a shorter format adds twice what a number may lose to that format, `OPERAND_ERROR`; where the format has no such
number, as bf16 and TF32 have none below 2⁻¹²⁶ without losing digits and none above their largest, nothing is promised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

__all__ = ["OPERAND_ERROR", "UNIT_ROUNDOFF", "Reference", "VerificationError", "gamma", "run"]

UNIT_ROUNDOFF = 2.0**-24
# what a number loses at most to the format that a kernel shortens its operands to: a unit roundoff where it is rounded,
# two in TF32, as tensor cores cut off
OPERAND_ERROR = {"float32": 0.0, "tf32": 2.0**-10, "bf16": 2.0**-8}
_SMALLEST = 2.0**-149  # Higham's bound leaves underflow aside; each product and sum may lose this much to it
_LARGEST = float(np.finfo(np.float32).max)
_STRIP = 256  # rows; of 8192 columns and steps of k they take a GTX 1070 Ti 0.13 s


class VerificationError(AssertionError):
    """A kernel's result is outside the error bound."""


def gamma(k: int) -> float:
    """γ_k, the relative error bound of a sum of k products in float32 (Higham, lemma 3.1).

    Raises ValueError when k·u ≥ 1, where the bound says nothing.
    """
    if k * UNIT_ROUNDOFF >= 1:
        raise ValueError(f"no error bound exists for sums of {k} float32 products")
    return k * UNIT_ROUNDOFF / (1 - k * UNIT_ROUNDOFF)


@dataclass(frozen=True)
class Reference:
    """The product in float64, (M,N), with |A|·|B| and γ_K: computed once, checked against many kernels."""

    exact: NDArray[np.float64]
    magnitude: NDArray[np.float64]
    gamma: float
    k: int

    @classmethod
    def of(cls, a: NDArray, b: NDArray) -> Reference:
        """Reference for a (M,K) · b (K,N); uses 16 bytes per c(i,j), and meanwhile 8 for each number of b.

        A strip of rows at a time: where a GPU drives a screen, its driver ends a kernel that runs for seconds, as a
        large product in float64 would on most of them.
        """
        (m, k), n = a.shape, b.shape[1]
        b64 = b.astype(np.float64)
        exact, magnitude = (np.empty_like(b64, shape=(m, n), order="C") for _ in range(2))
        with np.errstate(invalid="ignore", over="ignore"):
            for rows in _strips(m):
                exact[rows] = a[rows].astype(np.float64) @ b64
            np.abs(b64, out=b64)
            for rows in _strips(m):
                magnitude[rows] = np.abs(a[rows].astype(np.float64)) @ b64
        return cls(exact, magnitude, gamma(k), k)

    def errors(self, c: NDArray, rounds_to: str = "float32") -> NDArray[np.float64]:
        """The error of every component in units of its bound: 1 is the bound, inf is a NaN or Inf out of place.

        rounds_to: the format that a and b were rounded to first, which adds twice its `OPERAND_ERROR` to the bound.
        Where the float64 product is NaN or infinite, c must be the same. Where float64 is finite but a partial sum
        could overflow float32, an infinite or NaN c is right too. Raises ValueError for a c of another shape.
        """
        if c.shape != self.exact.shape:
            raise ValueError(f"expected a product of shape {self.exact.shape}, got {c.shape}")
        ratios = np.empty_like(self.exact)
        for rows in _strips(len(c)):
            ratios[rows] = self._ratios(c[rows], self.exact[rows], self.magnitude[rows], rounds_to)
        return ratios

    def _ratios(self, c: NDArray, exact: NDArray, magnitude: NDArray, rounds_to: str) -> NDArray[np.float64]:
        operands = (1 + OPERAND_ERROR[rounds_to]) ** 2
        bound = ((1 + self.gamma) * operands - 1) * magnitude + self.k * _SMALLEST
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            ratio = np.abs(c - exact) / np.where(bound == 0, _SMALLEST, bound)
            same = (c == exact) | (np.isnan(c) & np.isnan(exact))
            may_overflow = np.isfinite(exact) & (magnitude * (1 + self.gamma) * operands > _LARGEST)
        ratio[same | (may_overflow & ~np.isfinite(c))] = 0.0
        ratio[np.isnan(ratio)] = np.inf
        return ratio

    def error(self, c: NDArray, rounds_to: str = "float32") -> float:
        """The largest of `errors`; 0 for an empty product."""
        return _largest(self.errors(c, rounds_to))

    def check(self, c: NDArray, name: str, rounds_to: str = "float32") -> float:
        """`error`, or VerificationError that names the kernel and the worst c(i,j)."""
        errors = self.errors(c, rounds_to)
        error = _largest(errors)
        if error > 1:
            i, j = np.unravel_index(int(errors.argmax()), errors.shape)
            found = f"c({i},{j}) = {c[i, j]}, float64 gives {self.exact[i, j]}"
            if np.isnan(c[i, j]):
                raise VerificationError(f"{name} is wrong: {found}; was this c(i,j) ever written?")
            raise VerificationError(f"{name} is wrong: error {error:.3g} times the bound; {found}")
        return error


def _strips(rows: int) -> Iterator[slice]:
    return (slice(first, first + _STRIP) for first in range(0, rows, _STRIP))


def _largest(errors: NDArray[np.float64]) -> float:
    return float(errors.max()) if errors.size else 0.0


def run(
    product: Callable[[NDArray, NDArray, NDArray], None],
    a: NDArray,
    b: NDArray,
    out: NDArray | None,
    library: ModuleType = np,
) -> NDArray:
    """Check the arguments, then let ``product(a, b, c)`` fill c. library: whose arrays these are, numpy or cupy.

    A product is only ever given a and b in C order or transposed C order, a C-ordered c that overlaps neither, and
    M, N, K ≥ 1. A transposed out is computed as Cᵀ = Bᵀ·Aᵀ; an out with other strides is computed beside and copied.
    """
    _check_operand("a", a, library)
    _check_operand("b", b, library)
    (m, k), (k_b, n) = a.shape, b.shape
    if k != k_b:
        raise ValueError(f"shapes do not fit: a {a.shape} has {k} columns, b {b.shape} has {k_b} rows")
    if out is None:
        out = library.empty((m, n), np.float32)
    else:
        _check_out(out, a, b, library)
    if m == 0 or n == 0:
        return out
    if k == 0:
        out[...] = 0
        return out
    a, b = _ordered(a, library), _ordered(b, library)
    if out.flags.c_contiguous:
        product(a, b, out)
    elif out.flags.f_contiguous:
        product(b.T, a.T, out.T)
    else:
        beside = library.empty((m, n), np.float32)
        product(a, b, beside)
        out[...] = beside
    return out


def _check_operand(name: str, x: NDArray, library: ModuleType) -> None:
    # a masked array's holes and a matrix's own * would be lost without a word
    if not isinstance(x, library.ndarray) or isinstance(x, (np.ma.MaskedArray, np.matrix)):
        array = "a NumPy array" if library is np else f"a {library.__name__} array like the others"
        raise TypeError(f"{name} must be {array} of float32, not {type(x).__name__}")
    if x.dtype != np.float32:
        raise TypeError(f"{name} must be float32, not {x.dtype}; convert it with {name}.astype(numpy.float32)")
    if x.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions, not {x.ndim} (shape {x.shape})")


def _check_out(out: NDArray, a: NDArray, b: NDArray, library: ModuleType) -> None:
    _check_operand("out", out, library)
    expected = (a.shape[0], b.shape[1])
    if out.shape != expected:
        raise ValueError(f"out has shape {out.shape}, but a {a.shape} · b {b.shape} needs {expected}")
    if library is np and not out.flags.writeable:
        raise ValueError("out is read-only")
    # bounds are compared first: the exact answer costs more than a small product
    for name, x in (("a", a), ("b", b)):
        if library.may_share_memory(out, x) and library.shares_memory(out, x):
            raise ValueError(f"out overlaps {name}: C would overwrite numbers still to be read")


def _ordered(x: NDArray, library: ModuleType) -> NDArray:
    return x if x.flags.c_contiguous or x.flags.f_contiguous else library.ascontiguousarray(x)
