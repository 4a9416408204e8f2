"""What only a GPU can show of the CUDA kernels. tests/test_kernel_contract.py runs them there too, on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kernels
from kernels.contract import Reference
from kernels.ladder import LADDER

pytestmark = pytest.mark.gpu

# around the tiles of all of them: 8, 16, 32, 64, 128, 256
SHAPES = [
    (1, 1, 1), (7, 3, 9), (31, 8, 33), (32, 16, 32), (33, 17, 31), (64, 64, 64), (127, 15, 129), (128, 16, 128),
    (129, 33, 257), (255, 40, 128), (128, 156, 512), (300, 1, 300), (1, 500, 1), (1000, 7, 3),
]  # fmt: skip
ORDERS = ["nn", "nt", "tn", "tt"]


@pytest.fixture(params=[spec.name for spec in LADDER if spec.family == "cuda"])
def kernel(request: pytest.FixtureRequest) -> kernels.Kernel:
    if reason := kernels.unavailable(request.param):
        pytest.skip(f"{request.param}: {reason}")
    return kernels.get(request.param)


@pytest.fixture
def cupy() -> Any:
    return pytest.importorskip("cupy")


def _operand(cupy: Any, rows: int, columns: int, order: str, seed: int) -> Any:
    random = np.random.default_rng([rows, columns, seed])
    if order == "t":
        return cupy.asarray(random.standard_normal((columns, rows), np.float32)).T
    return cupy.asarray(random.standard_normal((rows, columns), np.float32))


def _check(kernel: kernels.Kernel, a: Any, b: Any, c: Any) -> None:
    Reference.of(a.get(), b.get()).check(c.get(), kernel.name, kernel.spec.rounds_to)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ragged_shapes_with_guard_cells(
    kernel: kernels.Kernel, cupy: Any, shape: tuple[int, int, int], order: str
) -> None:
    m, k, n = shape
    a, b = _operand(cupy, m, k, order[0], 0), _operand(cupy, k, n, order[1], 1)
    for offset in (4, 1):  # aligned to 16 bytes, and not
        memory = cupy.full(m * n + 2 * offset, 123.0, np.float32)
        out = memory[offset : offset + m * n].reshape(m, n)
        out.fill(np.nan)
        assert kernel.matmul(a, b, out) is out
        _check(kernel, a, b, out)
        assert (memory[:offset] == 123).all()
        assert (memory[offset + m * n :] == 123).all()


def test_operands_that_are_not_aligned(kernel: kernels.Kernel, cupy: Any) -> None:
    memory = _operand(cupy, 1, 64 * 64 + 1, "n", 0).ravel()
    a = memory[1:].reshape(64, 64)
    b = _operand(cupy, 64, 64, "n", 1)
    _check(kernel, a, b, kernel.matmul(a, b))
    _check(kernel, b, a, kernel.matmul(b, a))


def test_the_current_stream_is_used(kernel: kernels.Kernel, cupy: Any) -> None:
    a, b = _operand(cupy, 512, 512, "n", 0), _operand(cupy, 512, 512, "n", 1)
    kernel.matmul(a, b)
    expected = kernel.matmul(a, b)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        c = cupy.full((512, 512), np.nan, np.float32)
        for _ in range(20):
            c[...] = kernel.matmul(a, b)
            c += 1  # were the product still running elsewhere, this would be lost
        stream.synchronize()
    np.testing.assert_array_equal(c.get(), (expected + 1).get())


def test_more_rows_than_a_grid_has_blocks(kernel: kernels.Kernel, cupy: Any) -> None:
    a, b = _operand(cupy, 2_200_003, 2, "n", 0), _operand(cupy, 2, 3, "n", 1)
    _check(kernel, a, b, kernel.matmul(a, b))
    _check(kernel, b.T, a.T, kernel.matmul(b.T, a.T))


def test_arrays_of_both_libraries_are_refused(kernel: kernels.Kernel, cupy: Any) -> None:
    a = _operand(cupy, 4, 4, "n", 0)
    with pytest.raises(TypeError, match="cupy array"):
        kernel.matmul(a, a.get())


def test_too_large_for_the_memory(kernel: kernels.Kernel, cupy: Any) -> None:
    side = 2**20  # 4 TiB, as some systems lend a GPU the whole memory of the host
    with pytest.raises(MemoryError, match="GiB free"):
        kernel.matmul(cupy.zeros((side, 1), np.float32), cupy.zeros((1, side), np.float32))


def test_the_same_bits_every_time(kernel: kernels.Kernel, cupy: Any) -> None:
    a, b = _operand(cupy, 300, 200, "n", 0), _operand(cupy, 200, 300, "n", 1)
    first = kernel.matmul(a, b).get()
    for _ in range(10):
        np.testing.assert_array_equal(kernel.matmul(a, b).get(), first)
