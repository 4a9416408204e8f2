"""What stands in the machine code that no register count shows: instructions are counted by their opcodes.

Since Volta an instruction is 16 bytes, whose lowest 12 bits are its opcode; the 9 lowest leave the operands' kinds out.
The numbers are what nvdisasm prints with -hex.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest

from kernels.cuda import offline
from kernels.cuda.programs import PROGRAMS
from kernels.cuda.tiles import Tensor
from kernels.measure import gpu_ceilings
from rnn import persistent_cuda, persistent_sizes

pytestmark = pytest.mark.skipif(
    offline.why_no_compiler() is not None, reason=str(offline.why_no_compiler() or "there is one")
)

BAR, FFMA, LDG, LDS, STG, SHFL, MEMBAR, HGMMA = 0x11D, 0x023, 0x181, 0x184, 0x186, 0x189, 0x192, 0x1F0
R2UR, HMMA = 0x0CA, 0x03C


def instructions(cubin: bytes) -> Iterator[tuple[int, int]]:
    """The two halves of each instruction of an ELF file's kernels."""
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + size * i) for i in range(count)]
    for name, _, _, _, offset, length in sections:
        if cubin[sections[names][4] + name :].startswith(b".text."):
            yield from struct.iter_unpack("<QQ", cubin[offset : offset + length])


@pytest.mark.parametrize("architecture", [75, 80, 90])
def test_the_measured_peak_is_hardly_lowered_by_counting(architecture: int) -> None:
    code = offline.compile_source(gpu_ceilings._SOURCE, f"sm_{architecture}").cubin
    found = [low & 0x1FF == FFMA for low, _ in instructions(code)]
    # the rest is what stands before and after the loop, once
    assert sum(found) >= 64 * 8
    assert sum(found) / len(found) > 0.85


@pytest.mark.parametrize("architecture", [80, 90])
def test_the_persistent_kernel_reads_nothing_through_the_cache_that_knows_no_barrier(architecture: int) -> None:
    """What other blocks wrote before a barrier of the grid must not come from the read-only cache (ld.global.nc)."""
    sizes = persistent_sizes.choose(128, 128, 132, 166_912)
    source = persistent_cuda.SOURCE
    code = offline.compile_source(source, f"sm_{architecture}", sizes.options()).cubin
    assert True not in _read_only(code)
    # and such a load would be seen
    assert True in _read_only(offline.compile_kernel("cuda-cupy-naive", architecture).cubin)


@pytest.mark.parametrize("architecture", [80, 90])
def test_no_time_step_of_the_persistent_kernel_waits_for_the_next_x(architecture: int) -> None:
    """A thread that stores what it has just asked for waits until it is there, and all others wait at the barrier."""
    sizes = persistent_sizes.choose(128, 128, 132, 232_448)
    source = persistent_cuda.SOURCE
    code = offline.compile_source(source, f"sm_{architecture}", sizes.options()).cubin
    opcodes = [low & 0x1FF for low, _ in instructions(code)]
    barriers = [i for i, opcode in enumerate(opcodes) if opcode == BAR]
    products = [
        between[: between.index(SHFL)]
        for between in (opcodes[begin:end] for begin, end in pairwise(barriers))
        if SHFL in between and between.count(FFMA) > 64
    ]
    assert len(products) >= 2  # there and back
    assert LDG in products[0]
    assert STG not in products[0]


def _read_only(cubin: bytes) -> list[bool]:
    """Of each load from global memory, whether it is LDG.CONSTANT."""
    found = [high >> 15 & 1 == 1 for low, high in instructions(cubin) if low & 0x1FF == LDG]
    assert found
    return found


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("tile", PROGRAMS["cuda-cupy-tensor"].tiles, ids=str)
def test_fragments_are_loaded_from_a_few_addresses(tile: Tensor, architecture: int) -> None:
    """A load adds a constant to its address for nothing. Where it cannot, each takes two instructions for its address,
    and the tensor cores wait for those."""
    code = offline.compile_kernel("cuda-cupy-tensor", architecture, tile=tile).cubin
    with_constant = [low >> 40 != 0 for low, _ in instructions(code) if low & 0x1FF == LDS]
    assert with_constant.count(True) > 12 > with_constant.count(False)


@pytest.mark.parametrize(("b", "loads"), [("C", 64), ("F", 64)])
def test_tensor_cores_get_two_numbers_to_a_load(b: str, loads: int) -> None:
    """Of the 128 products of a tile's 32 steps of k; single loads would be twice as many, or half as many more."""
    code = instructions(offline.compile_kernel("cuda-cupy-tensor", 90, b=b).cubin)
    opcodes = [low & 0x1FF for low, _ in code]
    assert opcodes.count(HMMA) == 128
    assert loads <= opcodes.count(LDS) < 1.4 * loads  # and those before the loop


@pytest.mark.parametrize("layout", [("C", "C"), ("F", "C"), ("C", "F")], ids="/".join)
@pytest.mark.parametrize("name", ["cuda-numba-naive", "cuda-numba-coalesced"])
def test_a_step_of_numbas_plain_loop_takes_few_instructions(name: str, layout: tuple[str, str]) -> None:
    """160 to 190 with two loops, one of them of four steps at a time; `for k in range(a.shape[1])` makes them 300."""
    a, b = layout
    opcodes = [low & 0x1FF for low, _ in instructions(offline.compile_kernel(name, 90, a=a, b=b).cubin)]
    assert opcodes.count(FFMA) == 4 + 1
    assert len(opcodes) < 240


def test_the_compiler_takes_more_steps_at_a_time_of_cuda_c() -> None:
    """Why cuda-numba-coalesced is slower: its loop of 64 bits takes 4 steps at a time, one of 32 bits takes 16."""
    loads = {
        name: [low & 0x1FF for low, _ in instructions(offline.compile_kernel(name, 90).cubin)].count(LDG)
        for name in ("cuda-numba-coalesced", "cuda-cupy-coalesced")
    }
    assert loads["cuda-numba-coalesced"] == 2 * (4 + 1)
    assert loads["cuda-cupy-coalesced"] >= 2 * (16 + 4 + 1)


@pytest.mark.parametrize("name", ["cuda-cupy-vector", "cuda-cupy-pipelined", "cuda-cupy-warptile"])
def test_a_multiplication_reads_from_both_banks_of_registers(name: str) -> None:
    """Of its three numbers, each in an even or an odd register, two at most come from one bank at a time."""
    code = instructions(offline.compile_kernel(name, 90).cubin)
    sources = [(low >> 24 & 0xFF, low >> 32 & 0xFF, high & 0xFF) for low, high in code if low & 0x1FF == FFMA]
    assert len(sources) >= 512
    one_bank = sum(len({number % 2 for number in numbers}) == 1 for numbers in sources)
    assert one_bank / len(sources) < 0.01


@pytest.mark.parametrize("name", ["cuda-cupy-hopper", "cuda-cupy-hopper-tf32"])
def test_no_product_waits_for_the_whole_gpu(name: str) -> None:
    """A fence of all a thread has stored belongs to the barriers of the cluster, at both ends, not between tiles."""
    code = list(instructions(offline.compile_kernel(name, 90).cubin))
    products = [i for i, (low, _) in enumerate(code) if low & 0x1FF == HGMMA]
    fences = [i for i, (low, high) in enumerate(code) if low & 0x1FF == MEMBAR and high >> 12 & 0xF == 0xA]
    assert len(products) == 4
    assert len(fences) == 2
    assert fences[0] < products[0]
    assert fences[1] > products[-1]


@pytest.mark.parametrize("name", ["cuda-cupy-hopper", "cuda-cupy-hopper-tf32"])
def test_what_is_one_for_a_warp_is_computed_once_for_it(name: str) -> None:
    """Addresses of tiles and barriers come from uniform registers, not over and over from lanes' own (R2UR), as they do
    where the compiler cannot see that a warp belongs to one group."""
    code = [low & 0x1FF for low, _ in instructions(offline.compile_kernel(name, 90).cubin)]
    assert 0 < code.count(R2UR) < 20
    products = [i for i, opcode in enumerate(code) if opcode == HGMMA]
    assert R2UR not in code[products[0] : products[-1]]
