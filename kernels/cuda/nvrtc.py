"""NVRTC, NVIDIA's run-time compiler of CUDA C, straight from its shared library: no GPU, no driver, no CuPy."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from kernels.cuda.compile import CompileError

__all__ = ["compile_c"]


@functools.cache
def _load(library: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(library))


def compile_c(library: Path, text: str, name: str, options: tuple[str, ...]) -> tuple[bytes, str]:
    """Machine code (a cubin) of a CUDA C text, and what the compiler said.

    library: libnvrtc. options must hold --gpu-architecture=sm_XX; with compute_XX there is no machine code. Raises
    CompileError with the compiler's lines. May be called from several threads at a time.
    """
    nvrtc = _load(library)
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None))
    try:
        arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = nvrtc.nvrtcCompileProgram(program, len(options), arguments)
        log = _read(nvrtc, "ProgramLog", program).rstrip(b"\0").decode(errors="replace").strip()
        if status:
            raise CompileError(f"{name} does not compile:\n{log or _error(nvrtc, status)}")
        return _read(nvrtc, "CUBIN", program), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _read(nvrtc: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    content = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, content))
    return content.raw


def _check(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        raise CompileError(f"NVRTC: {_error(nvrtc, status)}")


def _error(nvrtc: ctypes.CDLL, status: int) -> str:
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    text: bytes = nvrtc.nvrtcGetErrorString(status)
    return text.decode()
