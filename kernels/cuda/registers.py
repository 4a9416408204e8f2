"""``python -m kernels.cuda.registers``: keep the registers that the compiler gives each Numba kernel, for all to read.

How many blocks a GPU holds follows from them, and whoever has no compiler wants to know that too.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import msgspec

from kernels import cli
from kernels.cuda import offline
from kernels.cuda.architectures import ARCHITECTURES
from kernels.cuda.compile import CompileError
from kernels.cuda.programs import PROGRAMS
from kernels.measure.files import write_atomically

__all__ = ["FILE", "Registers", "compiled", "compilers", "kept"]

FILE = Path(__file__).with_suffix(".json")

EXAMPLES = """\
  python -m kernels.cuda.registers           after a change of a Numba CUDA kernel, or of the compilers
exit codes: 0 done, 1 a kernel does not compile, 3 no compiler is installed"""


class Registers(msgspec.Struct, frozen=True):
    """compilers: what compiled. of: a kernel's name, then an architecture such as 61; a thread's registers there."""

    compilers: str
    of: dict[str, dict[int, int]]


def kept() -> Registers:
    """What FILE holds."""
    return msgspec.json.decode(FILE.read_bytes(), type=Registers)


def compilers() -> str:
    """The versions here of all that has a say in how many registers a kernel gets."""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"Python {python}, numba-cuda {version('numba-cuda')}, CUDA {version('nvidia-cuda-nvcc-cu12')}"


def compiled() -> Registers:
    """What FILE would hold if it were written now. Raises CompileError."""
    of: dict[str, dict[int, int]] = {}
    for row in offline.gate([name for name in offline.names() if name not in PROGRAMS], tuple(ARCHITECTURES)):
        of.setdefault(row.name, {})[row.architecture] = row.compiled.registers
    return Registers(compilers(), of)


def main() -> None:
    about = "Compile the Numba CUDA kernels, and keep how many registers each takes."
    cli.Parser("python -m kernels.cuda.registers", about, EXAMPLES).parse_args()
    with cli.errors_as_lines():
        if missing := offline.why_no_compiler():
            raise cli.CommandError(missing, cli.ABSENT)
        try:
            text = msgspec.json.format(msgspec.json.encode(compiled()), indent=1)
        except CompileError as error:
            raise cli.CommandError(str(error), cli.CHECK_FAILED) from error
        write_atomically(FILE, lambda file: file.write(text + b"\n"))
        print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
