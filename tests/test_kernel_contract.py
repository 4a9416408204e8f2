"""The contract, kept by every kernel of the ladder: the same tests for all of them."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels.contract import Reference
from kernels.cpu.memory import Workspace
from kernels.ladder import find
from kernels.threads import cores, set_threads

# around the tiles of cpu-numba-tiled (6 rows, 4 steps) and cpu-numba-simd (8 or 6 rows; 32, 16 or 8 columns)
SMALL = [
    (1, 1, 1), (2, 1, 3), (1, 7, 1), (5, 3, 7), (6, 4, 8), (7, 5, 9), (7, 3, 31), (8, 4, 32), (9, 5, 33),
    (23, 17, 47), (24, 16, 64), (25, 15, 65), (1, 64, 40), (40, 64, 1),
]  # fmt: skip
# around blocks and parts of the caches (128, 192, 256, 512), and enough work for more than one thread
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


# those of a GPU are marked, so that -m gpu proves them too
NAMES = [pytest.param(spec.name, marks=pytest.mark.gpu if spec.family == "cuda" else ()) for spec in kernels.LADDER]


def _cut_off(x: np.ndarray, bits: int) -> np.ndarray:
    """float32 without its last bits; np.nan, whose first one is set, stays one."""
    return (np.ascontiguousarray(x).view(np.uint32) >> bits << bits).view(np.float32)


def _shortening(rounds_to: str, bits: int) -> kernels.Kernel:
    """NumPy's product of operands without their last bits: what has such a bound else runs on a GPU only."""

    def product(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            np.matmul(_cut_off(a, bits), _cut_off(b, bits), out=c)

    return kernels.Kernel(dataclasses.replace(find("cpu-blas"), name=rounds_to, rounds_to=rounds_to), product)


# bf16 has 16 bits less than float32, but its bound is that of rounded numbers: no more than 15 may be cut off
SHORTENING = {kernel.name: kernel for kernel in (_shortening("tf32", 13), _shortening("bf16", 15))}


@pytest.fixture(params=[*NAMES, *SHORTENING])
def kernel(request: pytest.FixtureRequest) -> kernels.Kernel:
    if request.param in SHORTENING:
        return SHORTENING[request.param]
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
    Reference.of(a, b).check(c, kernel.name, kernel.spec.rounds_to)
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


def test_what_a_product_is_given() -> None:
    """Kernels count on it: operands in C order or transposed, C in C order, nothing empty, nothing shared."""
    given = 0

    def product(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
        nonlocal given
        given += 1
        assert all(x.flags.c_contiguous or x.flags.f_contiguous for x in (a, b))
        assert c.flags.c_contiguous
        assert min(a.shape + b.shape) > 0
        assert not any(np.shares_memory(c, x) for x in (a, b))
        np.matmul(a, b, out=c)

    spied = kernels.Kernel(kernels.get("cpu-blas").spec, product)
    a, b = _operand(12, 20), _operand(20, 16)
    for x in (a, a[::2], a[:, ::-1], np.broadcast_to(a[0], (5, 20)), a[:0], a[:, :0]):
        for y in (b, b[:, ::2], _operand(16, 20).T, b[:, :0]):
            y = y[: x.shape[1]]
            m, n = x.shape[0], y.shape[1]
            for out in (None, np.empty((m, n), np.float32), np.empty((n, m), np.float32).T):
                _check(spied, x, y, out)
            _check(spied, x, y, np.empty((m, 2 * n), np.float32)[:, ::2])
    assert given == 4 * 3 * 4


def test_blocks_beyond_every_cache(kernel: kernels.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """More steps of k, rows and columns than one block of any level has (tests make the blocks small)."""
    if kernel.name != "cpu-numba-simd":
        pytest.skip("only cpu-numba-simd blocks for L3")
    from kernels.cpu import numba_simd

    small = numba_simd.Blocks(depth=8, rows=numba_simd.ROWS, columns=numba_simd.WIDTH)
    monkeypatch.setattr(numba_simd, "blocks", lambda: small)
    # memory for small blocks must not be found by calls with large ones
    monkeypatch.setattr(numba_simd, "_workspace", Workspace(numba_simd._shapes))
    for order in ORDERS:
        a, b = _operands((2 * small.rows + 1, 2 * small.depth + 1, 2 * small.columns + 1), order)
        _check(kernel, a, b)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_empty_products(kernel: kernels.Kernel, shape: tuple[int, int, int]) -> None:
    a, b = _operands(shape)
    m, _, n = shape
    around = np.full((m + 2, 2 * n + 2), np.nan, np.float32)
    for out in (np.full((m, n), np.nan, np.float32), np.full((n, m), np.nan, np.float32).T, around[1:-1, 1:-1:2]):
        assert kernel.matmul(a, b, out) is out
        assert not out.any()
    assert np.isnan(around).sum() == around.size - m * n
    c = kernel.matmul(a, b)
    assert c.shape == (m, n)
    assert not c.any()


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


def test_views_numpy_treats_specially(kernel: kernels.Kernel) -> None:
    """Read-only, repeated by broadcasting (strides of 0), and off the 4-byte grid: as a file mapped to memory is."""
    a, b = _operands((13, 17, 33))
    for x in (a, b):
        x.flags.writeable = False
    _check(kernel, a, b)
    _check(kernel, np.broadcast_to(a[:1], a.shape), np.broadcast_to(b[:, :1], b.shape))
    off = np.empty(a.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(a.shape)
    assert not off.flags.aligned
    off[...] = a
    _check(kernel, off, b)
    off[...] = np.nan
    _check(kernel, _operand(13, 5), _operand(5, 17, seed=1), off)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize("shape", [(7, 5, 9), (13, 9, 40), (64, 150, 300)], ids=str)
@pytest.mark.parametrize("side", ["a", "b", "both"])
def test_nan_inf_and_overflow_go_through(
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
    Reference.of(a, b).check(c, kernel.name, kernel.spec.rounds_to)
    with np.errstate(all="ignore"):
        expected = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(c), np.isnan(expected))


@pytest.mark.parametrize("exponents", [(-149, 0), (-80, -69)])
def test_denormals_are_not_flushed_to_zero(kernel: kernels.Kernel, exponents: tuple[int, int]) -> None:
    """Small whole numbers times powers of 2: first a and C are denormal, then C alone."""
    if kernel.spec.rounds_to != "float32" and exponents[0] < -126:
        pytest.skip(f"a denormal loses more bits to {kernel.spec.rounds_to} than the bound speaks of")
    random = np.random.default_rng(0)
    a, b = random.integers(1, 9, (13, 5)), random.integers(1, 9, (5, 33))
    _check(kernel, *(np.ldexp(x.astype(np.float32), power) for x, power in zip((a, b), exponents, strict=True)))


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 7), (13, 9, 33)], ids=str)
def test_nothing_stays_from_the_call_before(kernel: kernels.Kernel, shape: tuple[int, int, int]) -> None:
    """NaN that is left in a kernel's own memory shows in its padding: 0·NaN is NaN."""
    kernel.matmul(np.full((30, 40), np.nan, np.float32), np.full((40, 70), np.nan, np.float32))
    for order in ORDERS:
        _check(kernel, *_operands(shape, order))


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
    found = []
    for threads in (1, cores()):
        set_threads(threads)
        found.append(kernel.matmul(a, b))
    Reference.of(a, b).check(found[0], kernel.name, kernel.spec.rounds_to)
    np.testing.assert_array_equal(*found)


def _one_caller_at_a_time() -> bool:
    try:
        return numba.threading_layer() == "workqueue"
    except ValueError:  # there was no parallel loop so far
        return False


def test_calls_from_several_python_threads(kernel: kernels.Kernel) -> None:
    """Workspaces are not shared between callers."""
    kernel.matmul(*_operands((1, 1, 1)))
    if _one_caller_at_a_time():
        pytest.skip("Numba has neither OpenMP nor TBB here, and its own layer takes one caller at a time")
    operands = [_operands((30 + caller, 40, 50 - caller)) for caller in range(4)]
    start = threading.Barrier(len(operands))

    def call(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        start.wait()
        return [kernel.matmul(a, b) for _ in range(20)]

    with ThreadPoolExecutor(len(operands)) as callers:
        found = list(callers.map(call, *zip(*operands, strict=True)))
    for (a, b), products in zip(operands, found, strict=True):
        reference = Reference.of(a, b)
        for c in products:
            reference.check(c, kernel.name, kernel.spec.rounds_to)


class OnDevice:
    """Another library's array: NumPy would take a copy of it without a word, and C would never reach it."""

    dtype, ndim, shape = np.dtype(np.float32), 2, (1, 1)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return np.ones((1, 1), np.float32)


@pytest.mark.parametrize(
    ("a", "b", "out", "error", "says"),
    [
        (np.ones((2, 3)), np.ones((3, 4), np.float32), None, TypeError, "a must be float32, not float64"),
        (np.ones((2, 3), np.float32), np.ones((3, 4), np.int32), None, TypeError, "b must be float32, not int32"),
        (np.ones((2, 3), np.float16), np.ones((3, 4), np.float32), None, TypeError, "a must be float32, not float16"),
        (np.ones((2, 3), ">f4"), np.ones((3, 4), "<f4"), None, TypeError, "a must be float32, not >f4"),
        ([[1.0]], np.ones((1, 1), np.float32), None, TypeError, "a must be a NumPy array of float32, not list"),
        (np.ones((1, 1), np.float32), OnDevice(), None, TypeError, "b must be a NumPy array .*, not OnDevice"),
        (np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), OnDevice(), TypeError, "out must be .*OnDevice"),
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


@pytest.mark.parametrize("kind", [np.ma.MaskedArray, np.matrix])
def test_arrays_with_another_meaning_are_refused(kernel: kernels.Kernel, kind: type[np.ndarray]) -> None:
    """A mask would be left out of the product, and a matrix keeps 2 dimensions whatever a kernel does with it."""
    plain = np.ones((2, 2), np.float32)
    for arguments in ((plain.view(kind), plain), (plain, plain.view(kind)), (plain, plain, plain.copy().view(kind))):
        with pytest.raises(TypeError, match=f"not {kind.__name__}"):
            kernel.matmul(*arguments)


def test_out_must_not_overlap_nor_be_read_only(kernel: kernels.Kernel) -> None:
    memory = _operand(6, 4)
    before = memory.copy()
    for a, b, out in (
        (memory[:4], _operand(4, 4), memory[2:]),
        (_operand(4, 4), memory[:4], memory[1:5]),
        (memory[:4], _operand(4, 4), memory[:4]),
        (_operand(4, 4), memory[:4], memory[:4].T),
    ):
        with pytest.raises(ValueError, match="overlaps"):
            kernel.matmul(a, b, out)
        np.testing.assert_array_equal(memory, before)
    # neighbours in one piece of memory do not overlap
    columns = _operand(4, 8)
    _check(kernel, columns[:, :4], _operand(4, 4, seed=2), columns[:, 4:])
    fixed = np.zeros((4, 4), np.float32)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        kernel.matmul(_operand(4, 4), _operand(4, 4), fixed)
