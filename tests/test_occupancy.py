"""How many thread blocks fit on an SM: by hand, by NVIDIA's own calculator, and one more never does."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.cuda.architectures import ARCHITECTURES, GPUS
from kernels.cuda.occupancy import Occupancy, occupancy

KIB = 1024

# NVIDIA's calculator in C, from the package nvidia-cuda-runtime-cu12, asked line by line.
CALCULATOR = r"""
#include <stdio.h>
#include "cuda_occupancy.h"
int main(void) {
    int architecture, registers, threads, shared, per_sm, per_block, reserved, resident;
    while (scanf("%d %d %d %d %d %d %d %d", &architecture, &registers, &threads, &shared, &resident, &per_sm,
                 &per_block, &reserved) == 8) {
        cudaOccDeviceProp chip = {0};
        cudaOccFuncAttributes kernel = {0};
        cudaOccDeviceState state = {0};
        cudaOccResult result;
        chip.computeMajor = architecture / 10, chip.computeMinor = architecture % 10;
        chip.maxThreadsPerBlock = 1024, chip.maxThreadsPerMultiprocessor = resident;
        chip.regsPerBlock = chip.regsPerMultiprocessor = 65536, chip.warpSize = 32, chip.numSms = 1;
        chip.sharedMemPerBlock = 48 * 1024, chip.sharedMemPerBlockOptin = per_block;
        chip.sharedMemPerMultiprocessor = per_sm, chip.reservedSharedMemPerBlock = reserved;
        kernel.maxThreadsPerBlock = 1024, kernel.numRegs = registers, kernel.numBlockBarriers = 1;
        kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN, kernel.maxDynamicSharedSizeBytes = shared;
        state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
        if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &chip, &kernel, &state, threads, shared)) return 1;
        printf("%d\n", result.activeBlocksPerMultiprocessor);
    }
    return 0;
}
"""


@pytest.mark.parametrize(
    ("registers", "threads", "shared", "architecture", "expected"),
    [
        # 32 registers: 1,024 a warp, 64 warps on 65,536; 8 warps a block
        (32, 256, 0, 61, Occupancy(8, 64, 1.0, "threads")),
        # 33 registers: 1,056 a warp become 1,280 (multiples of 256); 12 warps of a quarter's 16,384, so 48 in all
        (33, 256, 0, 61, Occupancy(6, 48, 0.75, "registers")),
        # two warps a block: 24 blocks of those 48 warps, though 51 warps' registers are there in all
        (33, 64, 0, 61, Occupancy(24, 48, 0.75, "registers")),
        (128, 256, 0, 90, Occupancy(2, 16, 0.25, "registers")),
        (129, 256, 0, 90, Occupancy(1, 8, 0.125, "registers")),
        # one warp a block: blocks run out at 32 of 64 warps, on Turing at 16 of 32
        (32, 32, 0, 80, Occupancy(32, 32, 0.5, "blocks")),
        (32, 32, 0, 75, Occupancy(16, 16, 0.5, "blocks")),
        # 33 KiB a block: 2 of 96 KiB on Pascal; with the system's 1 KiB, 4 of 164 on sm_80 and 6 of 228 on sm_90
        (32, 256, 33 * KIB, 61, Occupancy(2, 16, 0.25, "shared memory")),
        (32, 256, 33 * KIB, 80, Occupancy(4, 32, 0.5, "shared memory")),
        (32, 256, 33 * KIB, 90, Occupancy(6, 48, 0.75, "shared memory")),
        # 56 KiB and 1 for the system: 4 of 228; one byte more and there are 3
        (32, 256, 56 * KIB, 90, Occupancy(4, 32, 0.5, "shared memory")),
        (32, 256, 56 * KIB + 1, 90, Occupancy(3, 24, 0.375, "shared memory")),
        # as much as there may be: 2 warps of 8,192 registers to a quarter; 2 blocks of 48 KiB in 96
        (255, 32, 0, 61, Occupancy(8, 8, 0.125, "registers")),
        (32, 256, 48 * KIB, 61, Occupancy(2, 16, 0.25, "shared memory")),
        # what does not fit at all
        (32, 256, 49 * KIB, 61, Occupancy(0, 0, 0.0, "shared memory")),
        (32, 1056, 0, 61, Occupancy(0, 0, 0.0, "threads")),
        (65, 1024, 0, 61, Occupancy(0, 0, 0.0, "registers")),
        (256, 32, 0, 61, Occupancy(0, 0, 0.0, "registers")),
    ],
)
def test_by_hand(registers: int, threads: int, shared: int, architecture: int, expected: Occupancy) -> None:
    assert occupancy(registers, threads, shared, architecture) == expected


def fit(blocks: int, registers: int, threads: int, shared: int, architecture: int) -> bool:
    """Whether so many blocks fit, by handing out the SM's resources one block after another."""
    chip = ARCHITECTURES[architecture]
    free_warps, free_shared, free_registers = chip.threads // 32, chip.shared, [65_536 // 4] * 4
    if blocks > chip.blocks or threads > 1024 or shared > chip.shared_per_block or registers > 255:
        return False
    for _ in range(blocks):
        free_shared -= math.ceil((shared + chip.shared_reserved) / chip.shared_unit) * chip.shared_unit
        for _ in range(math.ceil(threads / 32)):
            free_warps -= 1
            emptiest = max(range(4), key=free_registers.__getitem__)
            free_registers[emptiest] -= math.ceil(registers * 32 / 256) * 256
    return min(free_warps, free_shared, *free_registers) >= 0


@given(st.integers(1, 255), st.integers(1, 1024), st.integers(0, 230 * KIB), st.sampled_from(sorted(ARCHITECTURES)))
def test_all_blocks_fit_and_one_more_does_not(registers: int, threads: int, shared: int, architecture: int) -> None:
    found = occupancy(registers, threads, shared, architecture)
    assert found.warps == found.blocks_per_sm * math.ceil(threads / 32)
    assert found.share == found.warps * 32 / ARCHITECTURES[architecture].threads
    assert fit(found.blocks_per_sm, registers, threads, shared, architecture) or found.blocks_per_sm == 0
    assert not fit(found.blocks_per_sm + 1, registers, threads, shared, architecture)


@pytest.fixture(scope="module")
def calculator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NVIDIA's calculator, compiled."""
    nvidia = pytest.importorskip("nvidia", reason="nvidia-cuda-runtime-cu12 is not installed")
    headers = [path for folder in nvidia.__path__ if (path := Path(folder, "cuda_runtime", "include")).exists()]
    if not headers:
        pytest.skip("nvidia-cuda-runtime-cu12 is not installed")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is installed")
    folder = tmp_path_factory.mktemp("calculator")
    (folder / "calculator.c").write_text(CALCULATOR)
    command = [compiler, f"-I{headers[0]}", folder / "calculator.c", "-o", folder / "calculator"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "calculator"


def test_nvidias_calculator_agrees(calculator: Path) -> None:
    cases = [
        (architecture, registers, threads, shared)
        for architecture in ARCHITECTURES
        for registers in (1, 24, 32, 33, 40, 41, 64, 72, 96, 100, 128, 136, 168, 255)
        for threads in (1, 32, 33, 64, 96, 128, 160, 256, 288, 512, 768, 1024)
        for shared in (0, 1, 1024, 8192, 8448, 16_000, 33_792, 48 * KIB, 50_688, 99 * KIB, 163 * KIB, 227 * KIB)
        if shared <= ARCHITECTURES[architecture].shared_per_block
    ]
    chips = ARCHITECTURES
    lines = (
        f"{number} {registers} {threads} {shared} {chips[number].threads} {chips[number].shared} "
        f"{chips[number].shared_per_block} {chips[number].shared_reserved}"
        for number, registers, threads, shared in cases
    )
    done = subprocess.run([calculator], input="\n".join(lines), capture_output=True, text=True, check=True)
    answers = list(map(int, done.stdout.split()))
    assert len(answers) == len(cases)
    for (architecture, registers, threads, shared), answer in zip(cases, answers, strict=True):
        found = occupancy(registers, threads, shared, architecture).blocks_per_sm
        assert found == answer, (architecture, registers, threads, shared)


@pytest.mark.parametrize("block", [(32, 0, 0, 61), (-1, 32, 0, 61), (32, 32, -1, 61)])
def test_impossible_blocks_are_refused(block: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no such block"):
        occupancy(*block)


def test_unknown_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="no limits are known for sm_42, only for sm_61, "):
        occupancy(32, 256, 0, 42)


def test_gpus_are_made_of_known_multiprocessors() -> None:
    for gpu in GPUS:
        cores = {61: 128, 80: 64, 90: 128}[gpu.architecture]  # of an SM, from the architectures' white papers
        assert gpu.cores == cores * gpu.multiprocessors
        assert gpu.source
    assert {gpu.name: round(gpu.flops / 1e12, 1) for gpu in GPUS} == {
        "GeForce GTX 1070 Ti": 8.2,
        "A100 SXM 80 GB": 19.5,
        "H100 SXM": 66.9,
        "H200 SXM": 66.9,
    }
