"""From `Kernel.matmul` to the last thread without a GPU: the launcher's arguments meet the real kernels' code.

The stand-in for CuPy hands launches of CUDA C to the emulation, and launches of Numba kernels to the recorder.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import kernels
from kernels.contract import Reference
from kernels.cuda import hopper, launch
from kernels.cuda.programs import PROGRAMS, Program
from kernels.cuda.tiles import Tile
from kernels.ladder import LADDER, find
from kernels.recorder import record
from tests import emulation, fake_cupy

NAMES = [spec.name for spec in LADDER if spec.family == "cuda" and spec.handwritten]
ORDERS = ["nn", "nt", "tn", "tt"]
TENSOR_MAP = hopper.tensor_map  # all but one test have a stand-in for it


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba import cuda

    fake_cupy.install(monkeypatch)
    monkeypatch.setattr(kernels, "unavailable", lambda name: None)
    monkeypatch.setattr(launch, "gpu", lambda device: launch.GPU("stand-in", 90, 2, 232_448))
    monkeypatch.setattr(launch, "_function", lambda program, tile, layout, device: emulated(program, tile, layout))
    monkeypatch.setattr(
        hopper,
        "_functions",
        lambda program, tile, device: tuple(emulated(program, tile, kernel=name) for name in ("matmul", "lay_out")),
    )
    monkeypatch.setattr(hopper, "tensor_map", _boxes)
    monkeypatch.setattr(cuda, "external_stream", lambda pointer: "the current stream")
    monkeypatch.setattr(cuda, "as_cuda_array", lambda x, sync: x)


def emulated(program: Program, tile: Tile, layout: tuple[bool, ...] = (), kernel: str = "matmul") -> Any:
    """A kernel as CuPy would give it, run by the emulation."""
    if not emulation.available():
        pytest.skip("the emulator needs g++")

    def run(grid: Any, block: Any, arguments: Any, shared_mem: int = 0) -> None:
        _check_grid(grid)
        plain = [_memory(x) if isinstance(x, np.ndarray) else x for x in arguments]
        emulation.emulate(
            program.source, program.options(tile, *layout), grid, block, shared_mem, *plain,
            kernel=kernel, cluster=getattr(tile, "cluster", 1) if kernel == "matmul" else 1,
        )  # fmt: skip

    return run


def _check_grid(grid: tuple[int, ...]) -> None:
    across, *others = grid
    assert across < 2**31
    assert all(blocks <= 65_535 for blocks in others), f"a chip refuses a grid of {grid}"


def _memory(x: np.ndarray) -> np.ndarray:
    """What a kernel is given of an array: memory from its first number to its last."""
    span = 1 + sum((extent - 1) * stride // x.itemsize for extent, stride in zip(x.shape, x.strides, strict=True))
    return np.lib.stride_tricks.as_strided(x.view(np.ndarray), (span,), (x.itemsize,))


def _boxes(pointer: int, bytes_: int, rows: int, columns: int, box_rows: int, box_columns: int) -> emulation.Boxes:
    assert pointer % 16 == 0 == columns * bytes_ % 16, "the copy engine wants rows of whole 16 bytes"
    number = {2: ctypes.c_uint16, 4: ctypes.c_float}[bytes_]
    memory = (number * (rows * columns)).from_address(pointer)
    return emulation.Boxes(np.ctypeslib.as_array(memory).reshape(rows, columns), box_rows, box_columns)


class Recorded:
    """A Numba kernel whose launches the recorder runs."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, where: Any) -> Callable[..., None]:
        grid, block, stream = where
        assert stream == "the current stream"
        return lambda *arrays: record(
            self.kernel, grid, block, *(x.view(np.ndarray) for x in arrays), trace=False
        ).check()


def _kernel(name: str) -> kernels.Kernel:
    kernel = kernels.get(name)
    if isinstance(kernel.product, launch.NumbaCuda):
        module = kernel.product.module
        return kernels.Kernel(
            kernel.spec, launch.NumbaCuda(SimpleNamespace(kernel=Recorded(module.kernel), launch=module.launch))
        )
    return kernel


def _operand(rows: int, columns: int, order: str) -> np.ndarray:
    random = np.random.default_rng([rows, columns])
    if order == "t":
        return random.standard_normal((columns, rows), np.float32).T
    return random.standard_normal((rows, columns), np.float32)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", NAMES)
def test_a_product(name: str, order: str) -> None:
    kernel = _kernel(name)
    # C in C order, transposed, every other column
    for m, k, n, out in (
        (1, 1, 1, np.empty((1, 1))),
        (36, 20, 40, np.empty((36, 40))),
        (33, 9, 35, np.empty((35, 33)).T),
        (33, 9, 35, np.empty((33, 70))[:, ::2]),
    ):
        a, b = _operand(m, k, order[0]), _operand(k, n, order[1])
        c = np.full_like(out, np.nan, np.float32, subok=False)
        assert kernel.matmul(a, b, c) is c
        Reference.of(a, b).check(c, name, kernel.spec.rounds_to)


@pytest.mark.parametrize(
    "name", ["cuda-numba-naive", "cuda-numba-coalesced", "cuda-cupy-coalesced", "cuda-cupy-vector"]
)
def test_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a grid would have too many blocks in y."""
    monkeypatch.setattr(launch, "_MOST_BLOCKS_DOWN", 1)
    a, b = _operand(260, 3, "n"), _operand(3, 33, "n")
    for x, y in ((a, b), (a.T.copy().T, b)):
        Reference.of(x, y).check(_kernel(name).matmul(x, y), name)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=lambda program: program.name)
def test_a_chip_takes_the_grids_of_long_operands(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of their products is computed: millions of threads would be too many for the emulation."""
    launched: list[tuple[int, ...]] = []

    def function(*_: object) -> Callable[..., None]:
        return lambda grid, block, arguments, shared_mem=0: launched.append(grid)

    monkeypatch.setattr(launch, "_function", function)
    monkeypatch.setattr(hopper, "_functions", lambda *_: (function(), function()))
    monkeypatch.setattr(hopper, "tensor_map", lambda *_: None)
    long, short = np.empty((2_200_003, 2), np.float32), np.empty((2, 3), np.float32)
    for a, b in ((long, short), (short.T.copy(), long.T), (long.T, np.empty((2_200_003, 3), np.float32))):
        launch.for_program(program)(*(x.view(fake_cupy.ndarray) for x in (a, b)), _c(a, b))
    assert launched
    for grid in launched:
        _check_grid(grid)


def _c(a: np.ndarray, b: np.ndarray) -> Any:
    return np.empty((len(a), b.shape[1]), np.float32).view(fake_cupy.ndarray)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=lambda program: program.name)
def test_every_size_there_is_to_choose(program: Program) -> None:
    a, b = _operand(65, 17, "n"), _operand(17, 130, "n")
    spec = find(program.name)
    for tile in program.tiles:
        c = kernels.Kernel(spec, launch.for_program(program, tile)).matmul(a, b)
        Reference.of(a, b).check(c, program.name, spec.rounds_to)


@pytest.mark.parametrize(
    ("name", "order", "k", "turned"),
    [
        ("cuda-cupy-hopper-tf32", "nt", 8, 0),
        ("cuda-cupy-hopper-tf32", "nn", 8, 1),
        ("cuda-cupy-hopper-tf32", "tn", 8, 2),
        ("cuda-cupy-hopper-tf32", "nt", 7, 2),
        ("cuda-cupy-hopper", "nt", 8, 2),
    ],
)
def test_an_operand_that_lies_right_is_taken_as_it_is(
    name: str, order: str, k: int, turned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operands of 4-byte numbers are laid out anew only where k is not along their rows of whole 16 bytes."""
    launched: list[str] = []

    def counted(program: Program, tile: Tile, device: int) -> tuple[Callable[..., None], ...]:
        def function(kernel: str) -> Callable[..., None]:
            run = emulated(program, tile, kernel=kernel)
            return lambda *arguments, **sizes: (launched.append(kernel), run(*arguments, **sizes))[1]

        return function("matmul"), function("lay_out")

    monkeypatch.setattr(hopper, "_functions", counted)
    a, b = _operand(9, k, order[0]), _operand(k, 12, order[1])
    Reference.of(a, b).check(_kernel(name).matmul(a, b), name, find(name).rounds_to)
    assert launched == ["lay_out"] * turned + ["matmul"]


@pytest.mark.parametrize("first", [0, 1])
def test_an_operand_that_begins_between_16_bytes_is_laid_out(first: int) -> None:
    memory = np.empty(64, np.float32)
    memory = memory[-memory.ctypes.data % 16 // 4 :]  # begins at 16 bytes
    x = memory[first : first + 40].reshape(5, 8).view(fake_cupy.ndarray)
    product = hopper.HopperC(PROGRAMS["cuda-cupy-hopper-tf32"])
    assert (product.laid_out(x, x.T)[0] is x) == (first == 0)


@pytest.mark.parametrize(
    ("bytes_", "kind"), [(2, "CU_TENSOR_MAP_DATA_TYPE_BFLOAT16"), (4, "CU_TENSOR_MAP_DATA_TYPE_TFLOAT32")]
)
def test_what_the_driver_is_told_of_a_matrix(bytes_: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside cuTensorMapEncodeTiled's parameters in NVIDIA's own bindings."""
    driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    told: list[Any] = []

    def encode(*arguments: Any) -> int:
        told.extend(arguments)
        ctypes.memset(arguments[0], 7, 128)
        return int(arguments[3].value == 4096)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(cuTensorMapEncodeTiled=encode))
    found = TENSOR_MAP(1 << 40, bytes_, 3000, 64, 128, 128 // bytes_)
    assert found.nbytes == 128
    assert found.tobytes() == b"\7" * 128
    place, number, dimensions, pointer, sizes, strides, box, steps, interleave, swizzle, promotion, outside = told
    assert place.value % 64 == 0
    assert (dimensions.value, pointer.value) == (2, 1 << 40)
    assert (list(sizes), list(strides), list(box), list(steps)) == (
        [64, 3000],
        [64 * bytes_],
        [128 // bytes_, 128],
        [1, 1],
    )
    assert number.value == getattr(driver.CUtensorMapDataType, kind)
    assert interleave.value == driver.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE
    assert swizzle.value == driver.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B
    assert promotion.value == driver.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B
    assert outside.value == driver.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE
    with pytest.raises(RuntimeError, match=rf"refuses a map of 3000 x 64 numbers of {bytes_} bytes \(CUDA error 1\)"):
        TENSOR_MAP(4096, bytes_, 3000, 64, 128, 128 // bytes_)
