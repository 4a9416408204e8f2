"""The contract, kept by every kernel of the ladder: the same tests for all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels.contract import Reference
from kernels.threads import cores, set_threads

# around the tiles of cpu-numba-tiled (6 rows, 4 steps) and cpu-numba-simd (12 or 6 rows; 32, 16 or 8 columns)
SMALL = [
    (1, 1, 1), (2, 1, 3), (1, 7, 1), (5, 3, 7), (6, 4, 8), (7, 5, 9), (11, 3, 31), (12, 4, 32), (13, 5, 33),
    (23, 17, 47), (24, 16, 64), (25, 15, 65), (1, 64, 40), (40, 64, 1),
]  # fmt: skip
# around blocks and parts of the caches (128, 192, 252, 256, 512), and enough work for more than one thread
LARGE = [
    (128, 156, 512),
    (156, 128, 512),
    (128, 512, 156),
    (64, 191, 511),
    (65, 193, 513),
    (253, 257, 100),
    (97, 1030, 63),
]
ORDERS = ["nn", "nt", "tn", "tt"]


@pytest.fixture(params=kernels.names())
def kernel(request: pytest.FixtureRequest) -> kernels.Kernel:
    if reason := kernels.unavailable(request.param):
        pytest.skip(f"{request.param}: {reason}")
    return kernels.get(request.param)


def _operand(rows: int, columns: int, order: str = "n", seed: int = 0) -> np.ndarray:
    random = np.random.default_rng([rows, columns, seed])
    if order == "t":
        return random.standard_normal((columns, rows), np.float32).T
    return random.standard_normal((rows, columns), np.float32)


def _operands(shape: tuple[int, int, int], order: str = "nn") -> tuple[np.ndarray, np.ndarray]:
    m, k, n = shape
    return _operand(m, k, order[0]), _operand(k, n, order[1], seed=1)


def _check(kernel: kernels.Kernel, a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> None:
    before = a.copy(), b.copy()
    c = kernel.matmul(a, b, out)
    assert c.dtype == np.float32
    assert c.shape == (a.shape[0], b.shape[1])
    assert out is None or c is out
    Reference.of(a, b).check(c, kernel.name)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_ragged_shapes_and_transposed_views(kernel: kernels.Kernel, shape: tuple[int, int, int], order: str) -> None:
    a, b = _operands(shape, order)
    _check(kernel, a, b)
    _check(kernel, a, b, np.full((shape[0], shape[2]), np.nan, np.float32))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_larger_than_one_block(kernel: kernels.Kernel, shape: tuple[int, int, int], order: str) -> None:
    if kernel.name == "cpu-python" and order != "nn":
        pytest.skip("cpu-python's lists have no order: the small shapes show it")
    a, b = _operands(shape, order)
    _check(kernel, a, b, np.full((shape[0], shape[2]), np.nan, np.float32))


def test_blocks_beyond_every_cache(kernel: kernels.Kernel) -> None:
    """More steps of k, rows and columns than one block of any level has (tests make the blocks small)."""
    if kernel.name != "cpu-numba-simd":
        pytest.skip("only cpu-numba-simd blocks for L3")
    from kernels.cpu import numba_simd

    small = numba_simd.Blocks(depth=8, rows=numba_simd.ROWS, columns=numba_simd.WIDTH)
    before = numba_simd.blocks
    numba_simd.blocks = lambda: small
    try:
        for order in ORDERS:
            a, b = _operands((2 * small.rows + 1, 2 * small.depth + 1, 2 * small.columns + 1), order)
            _check(kernel, a, b)
    finally:
        numba_simd.blocks = before


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_empty_products(kernel: kernels.Kernel, shape: tuple[int, int, int]) -> None:
    a, b = _operands(shape)
    out = np.full((shape[0], shape[2]), np.nan, np.float32)
    assert not kernel.matmul(a, b, out).any()
    assert kernel.matmul(a, b).shape == out.shape


@pytest.mark.parametrize("shape", [(5, 3, 7), (13, 5, 33), (24, 16, 64)], ids=str)
@pytest.mark.parametrize("view", ["rows", "columns", "transposed"])
def test_guard_cells_around_c_stay(kernel: kernels.Kernel, shape: tuple[int, int, int], view: str) -> None:
    m, _, n = shape
    a, b = _operands(shape)
    guard = np.float32(-12345)
    if view == "rows":  # C lies in one piece, with cells before and after it
        around = np.full(m * n + 128, guard, np.float32)
        c = around[64:-64].reshape(m, n)
    elif view == "columns":
        around = np.full((m + 2, n + 40), guard, np.float32)
        c = around[1:-1, 20:-20]
    else:
        around = np.full((n + 2, m), guard, np.float32)
        c = around[1:-1].T
    c[...] = np.nan
    _check(kernel, a, b, c)
    c[...] = guard
    assert (around == guard).all()


@pytest.mark.parametrize("step", [2, -1])
def test_views_with_other_strides(kernel: kernels.Kernel, step: int) -> None:
    a = _operand(26, 18)[::step, ::step]
    b = _operand(36, 34)[::2][: a.shape[1]]
    _check(kernel, a, b)
    _check(kernel, a, b, np.full((a.shape[0], 2 * b.shape[1]), np.nan, np.float32)[:, ::2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, 1e-42])
@pytest.mark.parametrize("shape", [(7, 5, 9), (13, 9, 40), (64, 150, 300)], ids=str)
@pytest.mark.parametrize("side", ["a", "b", "both"])
def test_nan_inf_overflow_and_denormals_go_through(
    kernel: kernels.Kernel, value: float, shape: tuple[int, int, int], side: str
) -> None:
    if kernel.name == "cpu-python" and shape[0] == 64:
        pytest.skip("cpu-python takes seconds; the smaller shapes show it")
    a, b = _operands(shape)
    a[:, 0] = 0  # 0·Inf is NaN: a kernel that leaves out zeros would lose it
    if side in ("a", "both"):
        a[shape[0] // 2, -1] = value
    if side in ("b", "both"):
        b[0, shape[2] // 2] = b[-1, shape[2] // 2] = value
    c = kernel.matmul(a, b)
    Reference.of(a, b).check(c, kernel.name)
    with np.errstate(all="ignore"):
        expected = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(c), np.isnan(expected))


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(0, 40)] * 3),
    order=st.sampled_from(ORDERS),
    scale=st.sampled_from([1e-30, 1.0, 1e15]),
)
def test_any_shape_order_and_scale(shape: tuple[int, int, int], order: str, scale: float) -> None:
    a, b = _operands(shape, order)
    for name, reason in kernels.available().items():
        if reason is None:
            _check(kernels.get(name), a * np.float32(scale), b)


@pytest.fixture
def all_threads() -> Iterator[None]:
    yield
    set_threads(cores())


@pytest.mark.usefixtures("all_threads")
def test_same_bits_for_any_number_of_threads(kernel: kernels.Kernel) -> None:
    if not kernel.spec.handwritten:
        pytest.skip("a vendor's library may sum in another order")
    size = (30, 40, 50) if kernel.name == "cpu-python" else (129, 157, 515)
    a, b = _operands(size)
    set_threads(1)
    one = kernel.matmul(a, b)
    set_threads(cores())
    np.testing.assert_array_equal(kernel.matmul(a, b), one)


def test_calls_from_several_python_threads(kernel: kernels.Kernel) -> None:
    """Workspaces are not shared between callers."""
    a, b = _operands((30, 40, 50))
    kernel.matmul(a, b)
    expected = [kernel.matmul(a + np.float32(i), b) for i in range(4)]
    found: list[np.ndarray | None] = [None] * 4

    def call(i: int) -> None:
        for _ in range(20):
            found[i] = kernel.matmul(a + np.float32(i), b)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for ours, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, right)


@pytest.mark.parametrize(
    ("a", "b", "out", "error", "says"),
    [
        (np.ones((2, 3)), np.ones((3, 4), np.float32), None, TypeError, "a must be float32, not float64"),
        (np.ones((2, 3), np.float32), np.ones((3, 4), np.int32), None, TypeError, "b must be float32, not int32"),
        ([[1.0]], np.ones((1, 1), np.float32), None, TypeError, "not list"),
        (np.ones((2, 3), np.float32), np.ones((4, 5), np.float32), None, ValueError, r"\(2, 3\).*\(4, 5\)"),
        (np.ones(3, np.float32), np.ones((3, 4), np.float32), None, ValueError, "2 dimensions, not 1"),
        (np.ones((1, 2, 3), np.float32), np.ones((3, 4), np.float32), None, ValueError, "2 dimensions, not 3"),
        (np.ones((2, 3), np.float32), np.ones((3, 4), np.float32), np.ones((2, 4)), TypeError, "out must be float32"),
        (
            np.ones((2, 3), np.float32), np.ones((3, 4), np.float32), np.ones((4, 2), np.float32), ValueError,
            r"\(4, 2\).*\(2, 4\)",
        ),
    ],
)  # fmt: skip
def test_wrong_types_and_shapes(
    kernel: kernels.Kernel, a: np.ndarray, b: np.ndarray, out: np.ndarray | None, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        kernel.matmul(a, b, out)


def test_out_must_not_overlap_nor_be_read_only(kernel: kernels.Kernel) -> None:
    memory = _operand(6, 4)
    for a, b, out in ((memory[:4], _operand(4, 4), memory[2:]), (_operand(4, 4), memory[:4], memory[1:5])):
        before = memory.copy()
        with pytest.raises(ValueError, match="overlaps"):
            kernel.matmul(a, b, out)
        np.testing.assert_array_equal(memory, before)
    # neighbours in one piece of memory do not overlap
    columns = _operand(4, 8)
    _check(kernel, columns[:, :4], _operand(4, 4, seed=2), columns[:, 4:])
    fixed = np.zeros((4, 4), np.float32)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        kernel.matmul(_operand(4, 4), _operand(4, 4), fixed)
