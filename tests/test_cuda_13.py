"""The CUDA C kernels by CUDA 13's compiler, which newer chips get: it hands out registers in its own way.

Installed beside CUDA 12's it would be taken for Numba's kernels, too, and it knows no Pascal. So it comes from a folder
of its own, `pip install --no-deps --target FOLDER "nvidia-cuda-nvrtc>=13,<14"`, that PYTHONPATH names.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from kernels.cuda import offline
from kernels.cuda.architectures import ARCHITECTURES
from kernels.cuda.programs import PROGRAMS
from rnn.persistent_cuda import SOURCE
from rnn.persistent_sizes import choose
from tests.test_offline import problems_of_all

LIBRARY = "cu13/lib/libnvrtc.so.13"
HOPPER = 90
# CUDA 13 knows none of their elders; with the multiprocessors of a T4, an A100, an RTX 3090, an RTX 4090, a B200 and an
# RTX 5090
OTHERS = {75: 40, 80: 108, 86: 82, 89: 128, 100: 148, 120: 170}


def _use_cuda_13() -> bool:
    """In a process that compiles with nothing else, as what is loaded once stays; whether it is installed."""
    offline._FILES["nvrtc"] = LIBRARY
    offline._find.cache_clear()
    library = offline._find("nvrtc")
    if library:
        # it finds the other half of itself only where that is loaded already
        for half in library.parent.glob("libnvrtc-builtins.so.13*"):
            ctypes.CDLL(str(half))
    return library is not None


def _version() -> tuple[int, int]:
    major, minor = ctypes.c_int(), ctypes.c_int()
    ctypes.CDLL(str(offline._find("nvrtc"))).nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def _spilled(hidden: int, batch: int, architecture: int = HOPPER, multiprocessors: int = 132) -> int:
    sizes = choose(hidden, batch, multiprocessors, ARCHITECTURES[architecture].shared_per_block)
    return offline.compile_source(SOURCE, f"sm_{architecture}", sizes.options()).spill_bytes


@pytest.fixture(scope="module")
def cuda_13() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        if not process.submit(_use_cuda_13).result():
            pytest.skip("nvidia-cuda-nvrtc 13 is not on PYTHONPATH")
        yield process


def test_the_compiler_is_cuda_13s(cuda_13: ProcessPoolExecutor) -> None:
    assert cuda_13.submit(_version).result()[0] == 13


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_kernel_stays_within_its_budget_in_all_sizes_and_layouts(name: str, cuda_13: ProcessPoolExecutor) -> None:
    problems = cuda_13.submit(problems_of_all, name, (HOPPER,)).result()
    assert not problems, "\n".join(problems)


def _problems_elsewhere() -> list[str]:
    return [problem for row in offline.gate(PROGRAMS, tuple(OTHERS)) for problem in row.problems]


@pytest.mark.slow
def test_kernels_stay_within_their_budgets_on_all_other_chips(cuda_13: ProcessPoolExecutor) -> None:
    problems = cuda_13.submit(_problems_elsewhere).result()
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("hidden", [16, 32, 64, 128])
@pytest.mark.parametrize("batch", [128, 256, 512])
def test_the_persistent_kernel_keeps_its_numbers_in_registers(
    hidden: int, batch: int, cuda_13: ProcessPoolExecutor
) -> None:
    """Where a thread has the most weights in registers, two numbers may be set aside once, in bytes there and back."""
    most = 16 if (hidden, batch) == (128, 128) else 0
    assert cuda_13.submit(_spilled, hidden, batch).result() <= most


@pytest.mark.parametrize("architecture", OTHERS)
def test_the_published_network_on_other_chips(architecture: int, cuda_13: ProcessPoolExecutor) -> None:
    most = 40 if architecture == 80 else 0  # one image to a block, and older than Hopper
    assert cuda_13.submit(_spilled, 128, 128, architecture, OTHERS[architecture]).result() <= most
