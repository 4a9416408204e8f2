"""Every CUDA kernel compiles without a GPU, for every chip it claims, within its registers and without spills."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.__main__ import main
from kernels.cuda import offline
from kernels.cuda.architectures import ARCHITECTURES
from kernels.cuda.compile import CompileError
from kernels.cuda.compiled import Compiled
from kernels.cuda.occupancy import occupancy
from kernels.cuda.programs import PROGRAMS
from kernels.extras import install
from kernels.ladder import LADDER

ROOT = Path(__file__).resolve().parents[1]
MISSING = offline.why_no_compiler()
needs_compiler = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SQUARES = [np.zeros((2, 2), np.float32)] * 3

LAYOUTS: list[dict[str, Any]] = [
    {"a": a, "b": b, "aligned": aligned} for aligned in (True, False) for a in "CF" for b in "CF"
]

SUM = """extern "C" __global__ void sum(const float* x, float* y, int n) {
    __shared__ float tile[256];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    float total = 0;
    for (int i = 0; i < n; ++i) total += tile[i];
    y[threadIdx.x] = total;
}
"""

# 64 sums in registers
MANY = """extern "C" __global__ void many(const float* x, float* y, int n) {
    float total[64] = {};
    for (int i = 0; i < n; ++i)
#pragma unroll
        for (int r = 0; r < 64; ++r) total[r] += x[i + r] * x[i * 2 + r];
#pragma unroll
    for (int r = 0; r < 64; ++r) y[r * 32 + threadIdx.x] = total[r];
}
"""

# which of the 64 is known only when it runs, and registers have no index
INDEXED = """extern "C" __global__ void indexed(const float* x, float* y, int n) {
    float total[64] = {};
    for (int i = 0; i < n; ++i) total[int(x[i]) & 63] += x[i];
    for (int r = 0; r < n; ++r) y[r] = total[r & 63];
}
"""


def compile_text(folder: Path, text: str, *options: str, target: str = "sm_80") -> Compiled:
    (folder / "sample.cu").write_text(text)
    return offline.compile_source(folder / "sample.cu", target, options)


def complaints(compiled: Compiled, budget: int = 255) -> tuple[str, ...]:
    return offline.problems("sample", compiled, budget, occupancy(compiled.registers, 256, 0, 80))


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, int], offline.Row]:
    """All kernels on all architectures, compiled side by side."""
    return {(row.name, row.architecture): row for row in offline.gate()}


@needs_compiler
@pytest.mark.parametrize(("name", "architecture"), offline.jobs())
def test_kernel_stays_within_its_budget(name: str, architecture: int, rows: dict[tuple[str, int], offline.Row]) -> None:
    row = rows[name, architecture]
    assert not row.problems, "\n".join(row.problems)
    assert row.compiled.target.removeprefix(f"sm_{architecture}") in ("", "a")
    assert row.compiled.cubin.startswith(b"\x7fELF")
    assert row.occupancy.warps >= 4, "one warp for each of the SM's four schedulers"


@needs_compiler
def test_where_the_default_sizes_do_not_fit_the_next_ones_are_compiled_and_counted() -> None:
    program = PROGRAMS["cuda-cupy-tensor"]
    tile = program.fitting(ARCHITECTURES[86].shared_per_block)[0]
    assert tile != program.tile
    (row,) = offline.gate([program.name], (86,))
    assert row.compiled.cubin == offline.compile_kernel(program.name, 86, tile=tile).cubin
    assert row.shared_bytes == tile.shared_bytes + row.compiled.static_shared


@needs_compiler
@pytest.mark.slow
def test_kernels_stay_within_their_budgets_on_all_other_chips() -> None:
    others = sorted(set(ARCHITECTURES) - set(offline.ARCHITECTURES))
    rows = offline.gate(architectures=others)
    assert {row.architecture for row in rows} == set(others)
    assert not [problem for row in rows for problem in row.problems]


def variants(name: str) -> Iterator[dict[str, Any]]:
    """All ways in which a kernel may be compiled, but for the default one."""
    if name not in PROGRAMS:
        yield from ({"a": a, "b": b} for a, b in ("FC", "CF", "FF"))
        return
    for tile in PROGRAMS[name].tiles:
        for layout in LAYOUTS if PROGRAMS[name].specialised else LAYOUTS[:1]:
            yield {"tile": tile, **layout}


def problems_of_all(name: str, architectures: Sequence[int] = offline.ARCHITECTURES) -> list[str]:
    """Of all variants of a kernel."""

    def check(variant: dict[str, Any]) -> list[str]:
        needed = variant["tile"].shared_bytes if "tile" in variant else 0  # of what does not fit, no chip is given any
        able = [number for number in architectures if needed <= ARCHITECTURES[number].shared_per_block]
        rows = offline.gate([name], able, **variant)
        return [f"{variant}: {problem}" for row in rows for problem in row.problems]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [line for lines in pool.map(check, variants(name)) for line in lines]


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", offline.names())
def test_kernel_stays_within_its_budget_in_all_sizes_and_layouts(name: str) -> None:
    problems = problems_of_all(name)
    assert not problems, "\n".join(problems)


def test_the_gate_leaves_no_kernel_out() -> None:
    handwritten = {spec.name for spec in LADDER if spec.name.startswith(("cuda-numba-", "cuda-cupy-"))}
    assert {name for name, _ in offline.jobs()} == handwritten
    jobs = offline.jobs(["cuda-cupy-vector", "cuda-cupy-pipelined"], (61, 80))
    assert jobs == [("cuda-cupy-vector", 61), ("cuda-cupy-vector", 80), ("cuda-cupy-pipelined", 80)]
    assert offline.jobs(["cuda-cupy-hopper"], (80, 90, 100, 120)) == [("cuda-cupy-hopper", 90)]


@needs_compiler
@pytest.mark.parametrize("target", ["sm_61", "sm_75", "sm_80", "sm_90", "sm_90a"])
def test_a_small_kernel_passes(target: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, SUM, target=target)
    assert compiled.target == target
    assert 8 <= compiled.registers <= 40
    assert (compiled.spill_bytes, compiled.local_bytes, compiled.static_shared) == (0, 0, 1024)
    assert compiled.cubin.startswith(b"\x7fELF")
    assert compiled.warnings == ()
    assert complaints(compiled, budget=40) == ()


@needs_compiler
def test_spills_fail(tmp_path: Path) -> None:
    roomy, tight = compile_text(tmp_path, MANY), compile_text(tmp_path, MANY, "--maxrregcount=32")
    assert roomy.registers >= 64
    assert complaints(roomy) == ()
    assert tight.registers <= 32
    assert f"sample on sm_80: spills {tight.spill_bytes} bytes of registers, budget 0" in complaints(tight)


@needs_compiler
def test_local_memory_fails(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, INDEXED)
    assert (compiled.spill_bytes, compiled.local_bytes) == (0, 256)
    assert complaints(compiled) == ("sample on sm_80: 256 bytes of local memory a thread, budget 0",)


@needs_compiler
def test_a_kernel_above_its_budget_fails(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, MANY)
    assert complaints(compiled, budget=compiled.registers) == ()
    (line,) = complaints(compiled, budget=compiled.registers - 1)
    assert line == f"sample on sm_80: {compiled.registers} registers a thread, budget {compiled.registers - 1}"


@needs_compiler
def test_warnings_fail(tmp_path: Path) -> None:
    (line,) = complaints(compile_text(tmp_path, SUM.replace("float total = 0;", "float total = 0, idle;")))
    assert '"idle" was declared but never referenced' in line


@needs_compiler
def test_syntax_errors_show_the_compilers_line(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r'sample\.cu does not compile:\nsample\.cu\(5\): error: .*"totl"'):
        compile_text(tmp_path, SUM.replace("float total = 0", "float total = totl"))


@needs_compiler
def test_instructions_that_a_chip_lacks_are_refused(tmp_path: Path) -> None:
    fence = SUM.replace("float total = 0;", 'float total = 0; asm volatile("cp.async.wait_all;");')
    assert compile_text(tmp_path, fence, target="sm_80").registers
    with pytest.raises(CompileError, match=r"requires .*sm_80"):
        compile_text(tmp_path, fence, target="sm_75")


@needs_compiler
def test_numba_kernels_are_measured_too() -> None:
    from numba import cuda, float32

    @cuda.jit
    def shared(a: Any, b: Any, c: Any) -> None:
        tile = cuda.shared.array(64, float32)
        x = cuda.threadIdx.x
        tile[x] = a[0, x]
        cuda.syncthreads()
        c[0, x] = tile[63 - x] * b[0, x]

    @cuda.jit
    def indexed(a: Any, b: Any, c: Any) -> None:
        local = cuda.local.array(32, float32)
        for i in range(a.shape[1]):
            local[i] = a[0, i]
        c[0, 0] = local[int(b[0, 0])]

    fine, slow = offline.compile_numba(shared, 61, SQUARES), offline.compile_numba(indexed, 61, SQUARES)
    assert (fine.target, fine.static_shared, fine.spill_bytes, fine.local_bytes) == ("sm_61", 256, 0, 0)
    assert slow.local_bytes == 128


@needs_compiler
def test_numba_kernels_keep_the_limit_that_they_ask_for() -> None:
    from numba import cuda

    from kernels.cuda import numba_register

    limited = offline.compile_numba(cuda.jit(max_registers=64)(numba_register.kernel.py_func), 80, SQUARES)
    assert limited.registers <= 64
    assert limited.spill_bytes > 0


@needs_compiler
def test_numba_errors_are_compile_errors() -> None:
    from numba import cuda

    @cuda.jit
    def wrong(a: Any, b: Any, c: Any) -> None:
        c[0, 0] = a.no_such_thing

    with pytest.raises(CompileError, match=r"test_offline does not compile:\n(.*\n)*.*no_such_thing"):
        offline.compile_numba(wrong, 80, SQUARES)


@needs_compiler
def test_what_numba_gives_up_on_is_a_compile_error_too() -> None:
    from numba import cuda

    @cuda.jit
    def wrong(a: Any, b: Any, c: Any) -> None:
        c[0, 0] = len({a[0, 0], b[0, 0]})

    with pytest.raises(CompileError, match="build_set"):
        offline.compile_numba(wrong, 80, SQUARES)


@needs_compiler
def test_device_functions_are_compiled_without_a_gpu() -> None:
    from numba import cuda

    @cuda.jit(device=True)
    def times(x: Any, y: Any) -> Any:
        return x * y

    @cuda.jit
    def kernel(digits: Any, y: Any) -> None:
        y[0] = times(y[0], digits[0])

    assert offline.compile_numba(kernel, 61, [np.zeros(1, np.int32), np.zeros(1, np.float32)]).target == "sm_61"


@needs_compiler
def test_results_are_kept() -> None:
    name = offline.names()[0]
    assert offline.compile_kernel(name, 80) is offline.compile_kernel(name, 80)


def test_a_block_that_does_not_fit_fails() -> None:
    compiled = Compiled.read("sm_61", "Used 72 registers, used 1 barriers, 8192 bytes smem", b"")
    found = offline.problems("sample", compiled, 80, occupancy(72, 1024, 8192, 61))
    assert found == ("sample on sm_61: a block does not fit: registers",)


def test_figures_of_functions_that_were_not_inlined_count() -> None:
    log = """ptxas info    : Function properties for helper
    40 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Function properties for matmul
    16 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 392 bytes cmem[0]"""
    compiled = Compiled.read("sm_61", log, b"")
    assert (compiled.spill_bytes, compiled.local_bytes, compiled.static_shared) == (24, 56, 0)


def test_of_several_kernels_matmul_is_measured_and_no_one_may_spill() -> None:
    log = """ptxas info    : Compiling entry function 'lay_out' for 'sm_90a'
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 20 registers, used 1 barriers, 512 bytes smem
ptxas info    : Compiling entry function 'matmul' for 'sm_90a'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 64 bytes smem
ptxas info    : Compiling entry function 'last' for 'sm_90a'
ptxas info    : Used 10 registers, used 0 barriers"""
    compiled = Compiled.read("sm_90a", log, b"")
    assert (compiled.registers, compiled.static_shared) == (168, 64)
    assert (compiled.spill_bytes, compiled.local_bytes) == (8, 8)


def test_serialised_tensor_instructions_fail() -> None:
    warning = "ptxas info : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized"
    compiled = Compiled.read("sm_90a", f"{warning}\nUsed 90 registers", b"")
    assert complaints(compiled) == (f"sample on sm_90a: {warning}",)


def test_a_log_without_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="no figures in what the compiler said"):
        Compiled.read("sm_80", "", b"")


def test_without_a_compiler_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "_find", lambda tool: None)
    assert offline.why_no_compiler() == f"no CUDA 12 compiler is installed: {install('test')}, on Linux"
    with pytest.raises(CompileError, match="no CUDA 12 compiler is installed"):
        offline.compile_source(PROGRAMS["cuda-cupy-naive"].source, "sm_80")


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "kernels", *arguments], cwd=ROOT, capture_output=True, text=True)


@needs_compiler
def test_command_prints_what_each_kernel_takes() -> None:
    done = run_command("--compile", "--architectures", "61", "90")
    assert done.returncode == 0, done.stderr
    assert "sm_61 Pascal" in done.stdout
    assert "sm_90 Hopper" in done.stdout
    assert "sm_80 Ampere" not in done.stdout
    for name in offline.names():
        assert name in done.stdout


def test_command_refuses_unknown_architectures() -> None:
    done = run_command("--compile", "--architectures", "62")
    assert done.returncode == 2
    assert "invalid choice: 62" in done.stderr


def test_plain_command_says_that_the_option_exists_or_what_to_install() -> None:
    done = run_command()
    assert done.returncode == 0
    words = " ".join(done.stdout.split())
    assert ("python -m kernels --compile" if MISSING is None else str(MISSING)) in words


def test_plain_command_names_the_extra_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = f"the Python package mpi4py is not installed: {install('mpi')}"
    reasons = dict.fromkeys((spec.name for spec in LADDER), None) | {"mpi-summa": reason}
    monkeypatch.setattr("kernels.__main__.available", lambda: reasons)
    monkeypatch.setattr(sys, "argv", ["kernels"])
    main()
    assert f"mpi-summa not here: {reason}" in " ".join(capsys.readouterr().out.split())


def test_command_without_a_compiler_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(offline, "why_no_compiler", lambda: "no compiler")
    monkeypatch.setattr(sys, "argv", ["kernels", "--compile"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    assert capsys.readouterr().err == "error: no compiler\n"
