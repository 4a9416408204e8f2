"""The Numba CUDA kernels, run by the recorder: no faults, the right product, and the traffic their texts promise."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kernels.contract import Reference
from kernels.recorder import Recording, record
from tests.mutants import barriers, replacing, with_constants, with_statement, without_barrier, without_guard

NAMES = ["naive", "coalesced", "shared", "register"]
MODULES = {name: importlib.import_module(f"kernels.cuda.numba_{name}") for name in NAMES}
# a tile of C of 32 x 32, 2 x 2 numbers for each thread: the same code, in a tenth of the time
SMALL = {"BLOCK": 32, "PITCH": 34, "EACH": 2, "FETCHED": 2}
TILES = {"naive": (32, 1, 8), "coalesced": (8, 1, 32), "shared": (32, 32, 32), "register": (32, 16, 32)}


class Case:
    """A kernel and how it is launched; the register kernel with small tiles unless asked otherwise."""

    def __init__(self, name: str, full: bool = False) -> None:
        module: ModuleType = MODULES[name]
        small = name == "register" and not full
        self.original = module.kernel
        self.constants = SMALL if small else {}
        self._launch, self._small = module.launch, small

    def launch(self, m: int, n: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return ((-(-n // 32), -(-m // 32)), (16, 16)) if self._small else self._launch(m, n)

    def run(self, a: np.ndarray, b: np.ndarray, c: np.ndarray, kernel: Any = None, **options: Any) -> Recording:
        kernel = with_constants(kernel or self.original, **self.constants)
        return record(kernel, *self.launch(*c.shape), a, b, c, **options)

    def line(self, text: str) -> int:
        lines, first = inspect.getsourcelines(self.original.py_func)
        (found,) = (number for number, line in enumerate(lines, first) if text in line)
        return found


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def _operands(m: int, k: int, n: int, order: str = "nn") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng([m, k, n])
    a = random.standard_normal((m, k) if order[0] == "n" else (k, m), np.float32)
    b = random.standard_normal((k, n) if order[1] == "n" else (n, k), np.float32)
    return a if order[0] == "n" else a.T, b if order[1] == "n" else b.T, np.full((m, n), np.nan, np.float32)


def _check(case: Case, a: np.ndarray, b: np.ndarray, c: np.ndarray, **options: Any) -> Recording:
    recording = case.run(a, b, c, **options)
    recording.check()
    Reference.of(a, b).check(c, case.original.py_func.__module__)
    return recording


def _around(tile: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    return [(1, 1, 1), tile, *(tuple(extent + off for extent in tile) for off in (-1, 1)), (17, 33, 5)]


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name in NAMES for shape in _around(TILES[name]) if min(shape)], ids=str
)
def test_ragged_shapes(name: str, shape: tuple[int, int, int]) -> None:
    recording = _check(Case(name), *_operands(*shape))
    assert recording.counts.results == shape[0] * shape[2]
    assert recording.counts.threads["global", "write"].sum() == shape[0] * shape[2]  # and each of them once


@pytest.mark.parametrize("order", ["nt", "tn", "tt"])
def test_transposed_views(case: Case, order: str) -> None:
    _check(case, *_operands(17, 33, 5, order))
    _check(case, *_operands(40, 9, 35, order), trace=False)


@pytest.mark.parametrize("order", ["reverse", 1])
def test_no_order_of_threads_matters(case: Case, order: str | int) -> None:
    _check(case, *_operands(33, 34, 35), order=order, trace=False)


def test_cells_around_c_are_left_alone(case: Case) -> None:
    a, b, _ = _operands(33, 9, 35)
    guarded = np.full((35, 37), np.float32(-7))
    inside = guarded[1:-1, 1:-1]
    inside[...] = np.nan
    _check(case, a, b, inside)
    inside[...] = -7
    assert (guarded == -7).all()


def test_nan_and_infinity(case: Case) -> None:
    a, b, c = _operands(34, 33, 35)
    a[1, 2], a[33, 32], b[3, 4], b[32, 34] = np.nan, np.inf, -np.inf, np.nan
    a[7, 3] = 0  # times -inf
    _check(case, a, b, c, trace=False)
    assert np.isnan(c[1]).all()
    assert np.isnan(c[7, 4])


def test_register_kernel_as_it_is() -> None:
    case = Case("register", full=True)
    _check(case, *_operands(17, 9, 5))
    for shape in ((127, 7, 127), (128, 8, 128), (129, 9, 129)):
        _check(case, *_operands(*shape), trace=False)


# ---- what the texts of the kernels say about their traffic


def _sectors(recording: Recording) -> dict[tuple[str, str], float]:
    return {(c.array.name, c.kind): c.sectors for c in recording.counts.instructions if c.array.space == "global"}


def test_naive_is_uncoalesced_and_coalesced_is_not() -> None:
    operands = _operands(64, 64, 64)
    naive, coalesced = (_check(Case(name), *operands) for name in ("naive", "coalesced"))
    assert _sectors(naive) == {("a", "read"): 32, ("b", "read"): 1, ("c", "write"): 32}
    assert _sectors(coalesced) == {("a", "read"): 1, ("b", "read"): 4, ("c", "write"): 4}
    for recording in (naive, coalesced):
        assert recording.counts.per_result("global", "read") == 2 * 64
        assert recording.counts.per_thread("global", "read") == 2 * 64


def test_exchanging_x_and_y_in_coalesced_makes_it_naive() -> None:
    case = Case("coalesced")
    exchanged = replacing(case.original, "j, i = cuda.grid(2)", "i, j = cuda.grid(2)")
    a, b, c = _operands(64, 64, 64)
    recording = case.run(a, b, c, exchanged)
    recording.check()
    Reference.of(a, b).check(c, "exchanged")
    # 32 rows of A and of C, 256 bytes apart, and one number of B
    assert _sectors(recording) == {("a", "read"): 32, ("b", "read"): 1, ("c", "write"): 32}


def test_shared_reads_global_memory_once_per_tile() -> None:
    m, k, n = 64, 96, 64
    recording = _check(Case("shared"), *_operands(m, k, n))
    assert recording.counts.per_result("global", "read") == 2 * k / MODULES["shared"].TILE
    assert recording.counts.per_result("shared", "read") == 2 * k
    assert _sectors(recording) == {("a", "read"): 4, ("b", "read"): 4, ("c", "write"): 4}
    assert all(count.conflicts == 1 for count in recording.counts.instructions if count.array.space == "shared")


def test_register_reads_sixteen_numbers_for_64_multiplications() -> None:
    m, k, n = 128, 16, 128
    case = Case("register", full=True)
    recording = _check(case, *_operands(m, k, n))
    multiplications = m * n * k
    assert recording.counts.threads["shared", "read"].sum() == multiplications * 16 / 64
    assert recording.counts.per_result("global", "read") == 2 * k / MODULES["register"].BLOCK
    assert recording.shared_bytes == 4 * 16 * (130 + 128)
    assert all(count.most_units == 1 for count in recording.counts.instructions if count.array.space == "shared")
    assert _sectors(recording) == {("a", "read"): 4, ("b", "read"): 4, ("c", "write"): 4}


def test_padding_of_register_avoids_two_banks_of_sixteen_words() -> None:
    unpadded = with_constants(MODULES["register"].kernel, PITCH=128)
    recording = record(unpadded, (1, 1), (16, 16), *_operands(1, 1, 1))
    assert [count.conflicts for count in recording.counts.of(array="a_tile", kind="write")] == [16]
    assert [count.conflicts for count in recording.counts.of(array="a_tile", kind="read")] == [1]


# ---- broken on purpose


@pytest.mark.parametrize(("name", "number"), [(name, number) for name in ("shared", "register") for number in (0, 1)])
def test_every_barrier_is_needed(name: str, number: int) -> None:
    case = Case(name)
    lines = barriers(case.original)
    assert len(lines) == 2
    a, b, c = _operands(32, 64, 32)
    recording = case.run(a, b, c, without_barrier(case.original, lines[number]))
    if name == "shared":
        stores = {"a_tile": case.line("a_tile[y, x] ="), "b_tile": case.line("b_tile[y, x] =")}
        loads = dict.fromkeys(stores, case.line("total +="))
    else:
        stores = {"a_tile": case.line("a_tile[k, i] ="), "b_tile": case.line("b_tile[k, j] =")}
        loads = {"a_tile": case.line("a_column[r] ="), "b_tile": case.line("b_row[r] =")}
    assert {(fault.kind, fault.array, fault.line, fault.other_line) for fault in recording.faults} == {
        ("race", array, stores[array], loads[array]) for array in stores
    }
    assert all(fault.file == case.original.py_func.__code__.co_filename for fault in recording.faults)
    assert Reference.of(a, b).error(c) > 1


@pytest.mark.parametrize("name", ["shared", "register"])
def test_early_return_before_a_barrier(name: str) -> None:
    case = Case(name)
    guard, before = {
        "shared": ("if i >= m or j >= n: return", "total = float32(0)"),
        "register": (
            "if top + y >= m: return",
            "for r in range(EACH):\n    for s in range(EACH):\n        total[r, s] = float32(0)",
        ),
    }[name]
    a, b, c = _operands(13, 5, 32)
    recording = case.run(a, b, c, with_statement(case.original, guard, before))
    missed = [fault for fault in recording.faults if fault.kind == "missed barrier"]
    assert [fault.line for fault in missed] == barriers(case.original)
    first = case.line("total = float32(0)") if name == "shared" else case.line("(m, depth), n =") + 1
    height, width = case.launch(13, 32)[1][::-1]
    for fault in missed:
        assert fault.other_line == first
        assert {who.thread for who in fault.other_threads} == {(x, y) for x in range(width) for y in range(13, height)}


@pytest.mark.parametrize("name", ["naive", "coalesced"])
def test_without_its_guard_a_kernel_leaves_its_arrays(name: str) -> None:
    case = Case(name)
    recording = case.run(*_operands(31, 4, 33), without_guard(case.original))
    assert {fault.kind for fault in recording.faults} == {"out of bounds"}
    assert {fault.line for fault in recording.faults} == {case.line("total +=")}
