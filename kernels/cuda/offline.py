"""Every CUDA kernel compiled to machine code without a GPU, and measured: registers, spills, shared memory, occupancy.

A kernel that keeps a tile of C in registers is fast only while it fits: one number too many, and the compiler spills to
local memory, which is global memory. Nothing else shows that without a GPU. `gate` compiles all of them and says which
has left its budget.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.cuda.architectures import ARCHITECTURES as CHIPS
from kernels.cuda.compile import CompileError, with_includes
from kernels.cuda.compiled import Compiled
from kernels.cuda.nvrtc import compile_c
from kernels.cuda.occupancy import Occupancy, occupancy
from kernels.cuda.programs import PROGRAMS
from kernels.extras import install
from kernels.ladder import LADDER, find

if TYPE_CHECKING:
    from kernels.cuda.programs import Program
    from kernels.cuda.tiles import Tile

__all__ = [
    "ARCHITECTURES",
    "Row",
    "compile_kernel",
    "compile_numba",
    "compile_source",
    "gate",
    "jobs",
    "names",
    "problems",
    "why_no_compiler",
]

ARCHITECTURES = (61, 75, 80, 90)

# Of NVIDIA's packages for CUDA 12, the last that compile for Pascal.
_FILES = {
    "nvrtc": "cuda_nvrtc/lib/libnvrtc.so.12",
    "ptxas": "cuda_nvcc/bin/ptxas",
    "nvvm": "cuda_nvcc/nvvm/lib64/libnvvm.so",
}
_INSTALL = f"{install('test')}, on Linux"
_ASKED = threading.Lock()


def why_no_compiler() -> str | None:
    """Why nothing can be compiled here, with what to install, or None."""
    if any(_find(tool) is None for tool in _FILES):
        return f"no CUDA 12 compiler is installed: {_INSTALL}"
    if importlib.util.find_spec("numba_cuda") is None:
        return f"the Python package numba_cuda is not installed: {_INSTALL}"
    return None


@functools.cache
def _find(tool: str) -> Path | None:
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations or () if spec else ()
    return next((path for folder in folders if (path := Path(folder) / _FILES[tool]).exists()), None)


def _require(tool: str) -> Path:
    path = _find(tool)
    if path is None:
        raise CompileError(f"no CUDA 12 compiler is installed: {_INSTALL}")
    return path


def names() -> list[str]:
    """The hand-written CUDA kernels of the ladder."""
    return [spec.name for spec in LADDER if spec.family == "cuda" and spec.handwritten]


@functools.cache
def compile_kernel(
    name: str, architecture: int, *, tile: Tile | None = None, a: str = "C", b: str = "C", aligned: bool = True
) -> Compiled:
    """A kernel of the ladder as machine code for an architecture such as 61, without a GPU.

    tile: sizes of a CUDA C kernel, the chip's default ones where it is None. a, b: layout of the operands, "C" or
    transposed "F". aligned: as in `Program.options`. Kept for the life of the process. Raises CompileError.
    """
    if name not in PROGRAMS:
        matrix = np.empty((2, 2), np.float32)
        operands = [matrix.T if layout == "F" else matrix for layout in (a, b, "C")]
        return compile_numba(_module(name).kernel, architecture, operands)
    program = PROGRAMS[name]
    tile = tile or _tile(program, architecture)
    options = program.options(tile, a_k_contiguous=a == "C", b_k_contiguous=b == "F", aligned=aligned)
    return compile_source(program.source, f"sm_{architecture}{program.variant}", options)


def _tile(program: Program, architecture: int) -> Tile:
    """The default sizes of a program on an architecture, or what it has where none fits."""
    return (*program.fitting(CHIPS[architecture].shared_per_block), program.tile)[0]


def compile_source(source: Path, target: str, options: tuple[str, ...] = ()) -> Compiled:
    """A .cu file with one kernel as machine code for a target such as "sm_90a". Raises CompileError."""
    # sm_XX, not compute_XX: only that tells whether the chip has all instructions
    options = (*options, f"--gpu-architecture={target}", "--ptxas-options=-v")
    cubin, log = compile_c(_require("nvrtc"), with_includes(source), source.name, options)
    return Compiled.read(target, log, cubin)


def compile_numba(kernel: Any, architecture: int, arguments: Sequence[Any]) -> Compiled:
    """Any Numba CUDA kernel as machine code for a call with arguments such as these. Raises CompileError."""
    # numba-cuda takes libraries that are loaded already; its own may be CUDA 13's, which know no Pascal
    for tool in ("nvrtc", "nvvm"):
        ctypes.CDLL(str(_require(tool)))
    from numba import cuda, typeof

    types = tuple(typeof(argument) for argument in arguments)
    asked, capability = kernel.targetoptions, divmod(architecture, 10)
    try:
        with _called_functions_for(capability):
            ptx, _ = cuda.compile_ptx(kernel.py_func, types, cc=capability, fastmath=bool(asked.get("fastmath")))
    except Exception as error:  # of what it does not know, Numba may say AttributeError
        raise CompileError(f"{kernel.py_func.__module__} does not compile:\n{error}") from error
    limit = asked.get("max_registers")
    return _assemble(ptx, f"sm_{architecture}", (f"--maxrregcount={limit}",) if limit else ())


@contextmanager
def _called_functions_for(capability: tuple[int, int]) -> Iterator[None]:
    """Device functions are compiled for this capability, where numba-cuda would ask the GPU at hand for its own."""
    from numba.cuda import dispatcher

    with _ASKED:
        ask = dispatcher.get_current_device
        dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
        try:
            yield
        finally:
            dispatcher.get_current_device = ask


def _assemble(ptx: str, target: str, options: tuple[str, ...]) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        source, code = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        done = subprocess.run(
            [_require("ptxas"), "-v", f"--gpu-name={target}", *options, source, "--output-file", code],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CompileError(f"ptxas refuses the kernel:\n{done.stderr.strip()}")
        return Compiled.read(target, done.stderr, code.read_bytes())


@dataclass(frozen=True)
class Row:
    """A kernel compiled for one architecture. problems: a line for each way in which it has left its budget."""

    name: str
    architecture: int
    compiled: Compiled
    shared_bytes: int  # static and dynamic, of a block
    occupancy: Occupancy
    problems: tuple[str, ...]


def jobs(kernels: Iterable[str] | None = None, architectures: Sequence[int] = ARCHITECTURES) -> list[tuple[str, int]]:
    """What `gate` compiles: kernels (all of `names` by default) with the architectures that can run them."""
    specs = [find(name) for name in (names() if kernels is None else kernels)]
    return [(spec.name, number) for spec in specs for number in architectures if spec.runs_on(number)]


def gate(
    kernels: Iterable[str] | None = None,
    architectures: Sequence[int] = ARCHITECTURES,
    announce: Callable[[str], None] = lambda name: None,
    **variant: Any,
) -> list[Row]:
    """Compile all `jobs` and hold each against its budget.

    announce is called with the name of each as it begins. variant: as for `compile_kernel`. Raises CompileError.
    """

    def row(job: tuple[str, int]) -> Row:
        announce("{} sm_{}".format(*job))
        return _row(*job, variant)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(row, jobs(kernels, architectures)))


def _row(name: str, architecture: int, variant: dict[str, Any]) -> Row:
    compiled = compile_kernel(name, architecture, **variant)
    if name in PROGRAMS:
        tile = variant.get("tile") or _tile(PROGRAMS[name], architecture)
        budget, (x, y), dynamic = PROGRAMS[name].registers, tile.block, tile.shared_bytes
    else:
        module = _module(name)
        budget, (_, (x, y)), dynamic = module.REGISTERS, module.launch(1, 1), 0
    shared = compiled.static_shared + dynamic
    resident = occupancy(compiled.registers, x * y, shared, architecture)
    return Row(name, architecture, compiled, shared, resident, problems(name, compiled, budget, resident))


def problems(name: str, compiled: Compiled, budget: int, resident: Occupancy) -> tuple[str, ...]:
    """What is wrong with a compiled kernel that may use `budget` registers, a line each."""
    found = {
        f"{compiled.registers} registers a thread, budget {budget}": compiled.registers > budget,
        f"spills {compiled.spill_bytes} bytes of registers, budget 0": compiled.spill_bytes > 0,
        f"{compiled.local_bytes} bytes of local memory a thread, budget 0": compiled.local_bytes > 0,
        f"a block does not fit: {resident.limited_by}": resident.blocks_per_sm == 0,
    }
    lines = [text for text, holds in found.items() if holds]
    return tuple(f"{name} on {compiled.target}: {line}" for line in (*lines, *compiled.warnings))


def _module(name: str) -> Any:
    return importlib.import_module(find(name).module)
