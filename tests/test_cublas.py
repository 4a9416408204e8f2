"""What cuBLAS is told, on a stand-in for it that multiplies column after column as cuBLAS does."""

from __future__ import annotations

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import kernels
from kernels.contract import Reference
from kernels.cuda import gemm, hopper, launch
from kernels.ladder import find
from tests import emulation, fake_cupy, test_cuda_path

NAMES = ("cuda-cublas", "cuda-cublas-tf32", "cuda-cublas-bf16")


class Cublas:
    """told: (type of A, type of B, type of C, compute type) of each product."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, int, int]] = []
        self.workspace = 0
        self.handles: list[int] = []  # made, and of these
        self.given_back: list[int] = []

    def cublasCreate_v2(self, handle: Any) -> int:  # noqa: N802 - cuBLAS's names
        handle._obj.value = 1000 + len(self.handles)
        self.handles.append(handle._obj.value)
        return 0

    def cublasDestroy_v2(self, handle: Any) -> int:  # noqa: N802
        self.given_back.append(handle.value)
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: Any) -> int:  # noqa: N802
        self.workspace = 0  # as the real one: a workspace does not outlive a change of stream
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, pointer: Any, size: Any) -> int:  # noqa: N802
        self.workspace = size.value
        return 0

    def cublasGemmEx(  # noqa: N802
        self, handle: Any, op_a: int, op_b: int, m: int, n: int, k: int, alpha: Any, a: Any, type_a: int, pitch_a: int,
        b: Any, type_b: int, pitch_b: int, beta: Any, c: Any, type_c: int, pitch_c: int, compute: int, algorithm: int,
    ) -> int:  # fmt: skip
        assert self.workspace, "its own workspace cannot be captured"
        assert (alpha._obj.value, beta._obj.value, algorithm) == (1, 0, -1)
        self.told.append((type_a, type_b, type_c, compute))
        left = _columns(a, type_a, pitch_a, *((m, k) if op_a == 0 else (k, m)))
        right = _columns(b, type_b, pitch_b, *((k, n) if op_b == 0 else (n, k)))
        product = (left if op_a == 0 else left.T) @ (right if op_b == 0 else right.T)
        _columns(c, type_c, pitch_c, m, n)[...] = product
        return 0


def _columns(pointer: Any, kind: int, pitch: int, rows: int, columns: int) -> np.ndarray:
    """A matrix that lies column after column; bf16 as a float32 copy."""
    assert pitch >= rows
    number = {0: ctypes.c_float, 14: ctypes.c_uint16}[kind]
    memory = np.ctypeslib.as_array((number * (pitch * (columns - 1) + rows)).from_address(pointer.value))
    size = memory.itemsize
    x = np.lib.stride_tricks.as_strided(memory, (rows, columns), (size, pitch * size))
    return x if kind == 0 else (x.astype(np.uint32) << 16).view(np.float32)


@pytest.fixture
def cublas(monkeypatch: pytest.MonkeyPatch) -> Cublas:
    made = Cublas()
    fake_cupy.install(monkeypatch)
    monkeypatch.setattr(kernels, "unavailable", lambda name: None)
    monkeypatch.setattr(launch, "gpu", lambda device: launch.GPU("stand-in", 90, 2, 232_448))
    monkeypatch.setattr(gemm, "_library", lambda: made)
    monkeypatch.setattr(gemm, "_mine", gemm._Mine())
    monkeypatch.setattr(
        hopper,
        "_functions",
        lambda program, tile, device: (None, test_cuda_path.emulated(program, tile, kernel="lay_out")),
    )
    return made


@pytest.mark.parametrize("order", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("name", NAMES)
def test_every_order_of_ragged_operands(cublas: Cublas, name: str, order: str) -> None:
    if name.endswith("bf16") and not emulation.available():
        pytest.skip("the emulator needs g++")
    random = np.random.default_rng(0)
    for m, k, n in ((1, 1, 1), (5, 1, 3), (1, 7, 2), (36, 20, 40), (33, 9, 35)):
        a = random.standard_normal((m, k) if order[0] == "n" else (k, m), np.float32)
        b = random.standard_normal((k, n) if order[1] == "n" else (n, k), np.float32)
        a, b = a if order[0] == "n" else a.T, b if order[1] == "n" else b.T
        c = np.full((m, n), np.nan, np.float32)
        kernels.get(name).matmul(a, b, c)
        Reference.of(a, b).check(c, name, find(name).rounds_to)


@pytest.mark.parametrize(
    ("name", "told"),
    [("cuda-cublas", (0, 0, 0, 68)), ("cuda-cublas-tf32", (0, 0, 0, 77)), ("cuda-cublas-bf16", (14, 14, 0, 68))],
)
def test_formats_are_in_the_call_whatever_the_environment_says(
    cublas: Cublas, monkeypatch: pytest.MonkeyPatch, name: str, told: tuple[int, ...]
) -> None:
    """Numbers of cudaDataType (library_types.h) and cublasComputeType_t (cublas_api.h)."""
    if name.endswith("bf16") and not emulation.available():
        pytest.skip("the emulator needs g++")
    monkeypatch.setenv("CUPY_TF32", "1")
    x = np.ones((8, 8), np.float32)
    kernels.get(name).matmul(x, x)
    assert cublas.told == [told]


@pytest.mark.parametrize("value", ["0", "1"])
def test_an_environment_that_overrules_the_call_is_refused(
    cublas: Cublas, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", value)
    x = np.ones((8, 8), np.float32)
    with pytest.raises(RuntimeError, match="NVIDIA_TF32_OVERRIDE"):
        kernels.get("cuda-cublas").matmul(x, x)


def test_what_cublas_refuses_is_told(cublas: Cublas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublas, "cublasGemmEx", lambda *arguments: 15)
    x = np.ones((8, 8), np.float32)
    with pytest.raises(RuntimeError, match=r"cublasStatus_t 15"):
        kernels.get("cuda-cublas").matmul(x, x)


def test_bf16_is_multiplied_with_the_zeros_behind_k(cublas: Cublas) -> None:
    """K is then a multiple of 8, without which cuBLAS is slow."""
    if not emulation.available():
        pytest.skip("the emulator needs g++")
    depths = []
    multiply = cublas.cublasGemmEx
    cublas.cublasGemmEx = lambda *given: depths.append(given[5]) or multiply(*given)  # type: ignore[method-assign]
    kernels.get("cuda-cublas-bf16").matmul(np.ones((3, 13), np.float32), np.ones((13, 5), np.float32))
    assert depths == [16]


def test_each_gpu_has_a_handle_of_its_own(cublas: Cublas) -> None:
    first, second = gemm._handle(0), gemm._handle(1)
    assert first.value != second.value
    assert gemm._handle(0) is first


def test_each_thread_has_a_handle_of_its_own_and_gives_it_back(cublas: Cublas) -> None:
    """cuBLAS's manual, Thread Safety: what one thread tells a handle, as stream and workspace, holds for all."""
    x = np.ones((4, 4), np.float32)
    together = threading.Barrier(3)

    def twice(_: int) -> None:
        together.wait()
        for _ in range(2):
            kernels.get("cuda-cublas").matmul(x, x)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(twice, range(3)))
    assert len(set(cublas.handles)) == len(cublas.handles) == 3
    assert sorted(cublas.given_back) == sorted(cublas.handles)
