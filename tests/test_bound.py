"""The error bound accepts every right product and no wrong one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kernels.contract import UNIT_ROUNDOFF, Reference, VerificationError, gamma


def _operands(k: int = 50) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(k)
    return random.standard_normal((4, k), np.float32), random.standard_normal((k, 3), np.float32)


def test_gamma_is_highams() -> None:
    assert gamma(0) == 0
    assert gamma(1) == pytest.approx(UNIT_ROUNDOFF, rel=1e-7)
    assert gamma(1000) == pytest.approx(1000 * 2.0**-24 / (1 - 1000 * 2.0**-24), rel=1e-15)
    assert gamma(2**24 - 1) == 2**24 - 1
    for k in (2**24, 2**25):
        with pytest.raises(ValueError, match="no error bound"):
            gamma(k)


@pytest.mark.parametrize("k", [1, 2, 50, 3000])
def test_any_order_of_summation_is_within_the_bound(k: int) -> None:
    a, b = _operands(k)
    reference = Reference.of(a, b)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(k)
        c = np.zeros((4, 3), np.float32)
        for p in order:
            c += a[:, p, None] * b[p]
        assert reference.check(c, "shuffled") <= 1


def test_the_reference_is_exact_enough() -> None:
    a, b = _operands()
    exact = [[math.fsum(float(x) * float(y) for x, y in zip(row, column, strict=True)) for column in b.T] for row in a]
    np.testing.assert_allclose(Reference.of(a, b).exact, exact, rtol=1e-13)


@pytest.mark.parametrize("times", [1.1, -1.1])
def test_one_wrong_component_is_found_and_named(times: float) -> None:
    a, b = _operands()
    reference = Reference.of(a, b)
    c = reference.exact.astype(np.float32)
    c[2, 1] += np.float32(times * reference.gamma * reference.magnitude[2, 1])
    with pytest.raises(VerificationError, match=r"mine is wrong.*c\(2,1\)"):
        reference.check(c, "mine")


def test_no_more_rows_are_multiplied_at_a_time_than_a_watchdog_lets(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(np.ndarray):
        def __matmul__(self, other: Any) -> Any:
            heights.append(len(self))
            return self.view(np.ndarray) @ other

    heights: list[int] = []
    a, b = np.ones((2000, 3), np.float32).view(Watched), np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(Reference.of(a, b).exact, np.full((2000, 2), 3.0))
    assert max(heights) <= 256
    assert sum(heights) == 2 * 2000, "exact and magnitude"


def test_all_rows_of_a_tall_product_are_checked() -> None:
    """More than are computed at a time."""
    random = np.random.default_rng(0)
    a, b = random.standard_normal((700, 5), np.float32), random.standard_normal((3, 5), np.float32).T
    reference = Reference.of(a, b)
    np.testing.assert_allclose(reference.exact, a.astype(float) @ b.astype(float), rtol=1e-14)
    np.testing.assert_allclose(reference.magnitude, abs(a.astype(float)) @ abs(b.astype(float)), rtol=1e-14)
    for row in (0, 255, 256, 699):
        c = a @ b
        c[row, 2] += 1
        with pytest.raises(VerificationError, match=rf"c\({row},2\)"):
            reference.check(c, "mine")


@pytest.mark.parametrize("right", [np.nan, np.inf, 1e8])
@pytest.mark.parametrize("wrong", [np.nan, -1.0])
def test_a_right_component_is_not_blamed(right: float, wrong: float) -> None:
    """NaN and Inf in their places, and a large c(i,j) whose rounding is larger than the error sought."""
    a, b = _operands()
    a[0, 0] *= np.float32(right)
    reference = Reference.of(a, b)
    c = reference.exact.astype(np.float32)
    assert reference.error(c) <= 1
    c[2, 1] = wrong
    with pytest.raises(VerificationError, match=rf"c\(2,1\) = {wrong}, float64 gives {reference.exact[2, 1]}"):
        reference.check(c, "mine")


def test_size_of_the_error_in_units_of_the_bound() -> None:
    a, b = _operands()
    reference = Reference.of(a, b)
    c = reference.exact.copy()
    assert reference.error(c) == 0
    c[0, 0] += 0.5 * reference.gamma * reference.magnitude[0, 0]
    assert reference.error(c) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_where_numbers_belong(wrong: float) -> None:
    a, b = _operands()
    c = Reference.of(a, b).exact.astype(np.float32)
    c[1, 1] = wrong
    with pytest.raises(VerificationError):
        Reference.of(a, b).check(c, "mine")


def test_what_nobody_wrote_is_asked_for() -> None:
    a, b = _operands()
    c = a @ b
    c[2, 1] = np.nan
    with pytest.raises(
        VerificationError, match=r"^mine is wrong: c\(2,1\) = nan, .*; was this c\(i,j\) ever written\?"
    ):
        Reference.of(a, b).check(c, "mine")


def test_numbers_where_nan_and_inf_belong() -> None:
    a, b = _operands()
    a[0, 0], a[1, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        right = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)
    assert Reference.of(a, b).error(right) <= 1
    for i, value in ((0, 1.0), (0, np.inf), (1, 1.0), (1, -right[1, 0])):
        c = right.copy()
        c[i, 0] = value
        assert Reference.of(a, b).error(c) == np.inf


def test_overflow_of_float32_is_allowed_only_where_it_can_happen() -> None:
    a, b = np.array([[3e38, 3e38, -3e38]], np.float32), np.ones((3, 1), np.float32)
    assert Reference.of(a, b).error(np.array([[np.inf]], np.float32)) == 0
    assert Reference.of(a, b).error(np.array([[3e38]], np.float32)) <= 1
    assert Reference.of(a, b).error(np.array([[2e38]], np.float32)) > 1, "finite, and wrong"
    assert Reference.of(a / 100, b).error(np.array([[np.inf]], np.float32)) == np.inf


def test_an_operand_rounded_up_may_overflow() -> None:
    largest = np.finfo(np.float32).max
    a, b = np.array([[largest]], np.float32), np.array([[1 - 2.0**-10]], np.float32)
    infinite = np.array([[np.inf]], np.float32)
    assert Reference.of(a, b).error(infinite) == np.inf
    assert Reference.of(a, b).error(infinite, "bf16") == 0


def test_each_product_may_underflow_by_itself() -> None:
    """Eight of almost half the smallest number each: float32 has 0 for all of them, rightly."""
    a, b = np.full((1, 8), 2.0**-75, np.float32), np.full((8, 1), 0.99 * 2.0**-75, np.float32)
    assert not (a * b.T).any()
    assert Reference.of(a, b).error(np.zeros((1, 1), np.float32)) <= 1


def test_empty_sums_are_exactly_zero() -> None:
    reference = Reference.of(np.ones((2, 0), np.float32), np.ones((0, 2), np.float32))
    assert reference.error(np.zeros((2, 2), np.float32)) == 0
    assert reference.error(np.full((2, 2), 1e-30, np.float32)) > 1


def test_another_shape_is_refused() -> None:
    a, b = _operands()
    with pytest.raises(ValueError, match=r"\(4, 3\).*\(3, 4\)"):
        Reference.of(a, b).error(np.zeros((3, 4), np.float32))
