"""From a .cu file to machine code for this GPU, kept between runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from kernels.cache import cache

__all__ = ["CompileError", "cubin", "with_includes"]


class CompileError(RuntimeError):
    """The CUDA compiler refused a file; the message holds what it said."""


def cubin(source: Path, options: tuple[str, ...], architecture: str) -> Path:
    """Machine code of a .cu file for an architecture such as "80" or "90a", compiled at most once.

    Not CuPy's own compilation: that flushes numbers below 1e-38 to zero, which the error bound does not allow, and it
    would not notice a change in an included file. Raises CompileError.
    """
    from cupy.cuda import nvrtc

    text = with_includes(source)
    key = repr((text, options, architecture, nvrtc.getVersion()))
    name = f"{source.stem}-{architecture}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.cubin"
    kept = cache() / "cubin" / name
    if not kept.exists():
        code = _compile(text, source.name, (*options, f"--gpu-architecture=sm_{architecture}"))
        from kernels.measure.files import write_atomically

        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, lambda file: file.write(code))
    return kept


def _compile(text: str, name: str, options: tuple[str, ...]) -> bytes:
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(text, name, [], [])
    try:
        nvrtc.compileProgram(program, options)
        # CuPy takes the last byte for a string's closing zero. It is one: of a number that the file ends with
        code: bytes = nvrtc.getCUBIN(program) + b"\0"
    except nvrtc.NVRTCError as error:
        raise CompileError(f"{name} does not compile ({error}):\n{nvrtc.getProgramLog(program)}") from error
    finally:
        nvrtc.destroyProgram(program)
    return code


def with_includes(source: Path) -> str:
    """The file's text with its own headers in place, each once: one text tells whether anything has changed.

    Lines keep their numbers for the compiler's messages. A header that is not there stays for it to complain of.
    """
    seen: set[Path] = set()

    def lines(file: Path) -> Iterator[str]:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            include = re.match(r'#include "(.+)"', line)
            header = file.parent / include[1] if include else None
            if header is None or not header.exists():
                yield line
            elif header in seen:
                yield ""
            else:
                seen.add(header)
                yield f'#line 1 "{header.name}"'
                yield from lines(header)
                yield f'#line {number + 1} "{file.name}"'

    return "\n".join([*lines(source), ""])
