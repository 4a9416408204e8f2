"""From a .cu file to a shared library, once per text and options; and the structures of runtime.h."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import subprocess
import tempfile
import threading
from pathlib import Path

from kernels.cuda.compile import with_includes

FOLDER = Path(__file__).parent
# -O1 compiles a kernel and runs it on small matrices soonest. Numbers that nobody set are huge rather than 0.
_KERNEL = (
    "-O1", "-g1", "-w", "-fno-strict-aliasing", "-fno-extern-tls-init", "-fvisibility=hidden",
    "-ftrivial-auto-var-init=pattern", "-fsanitize=bounds,alignment", "-fno-sanitize-recover",
)  # fmt: skip
_RUNTIME = ("-std=c++20", "-O1", "-U_FORTIFY_SOURCE")
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\s*\(\d+\)\s*)?([\w\s]+?)\s+(\w+)\s*\[\s*\]")


class Map(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("rows", ctypes.c_int),
        ("columns", ctypes.c_int),
        ("box_rows", ctypes.c_int),
        ("box_columns", ctypes.c_int),
        ("bytes", ctypes.c_int),
        ("unused", ctypes.c_char * 100),
    )


class Value(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_ulonglong),
        ("integer", ctypes.c_longlong),
        ("real", ctypes.c_double),
        ("map", ctypes.POINTER(Map)),
    )


class Module(ctypes.Structure):
    _fields_ = (
        ("run", ctypes.c_void_p),
        ("signature", ctypes.c_char_p),
        ("anchor", ctypes.c_void_p),
        ("dynamic", ctypes.c_void_p),
        ("capacity", ctypes.c_ulonglong),
    )


class Description(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("order", ctypes.c_int),
        ("at_start", ctypes.c_int),
        ("cooperative", ctypes.c_int),
        ("cluster", ctypes.c_int),
        ("seconds", ctypes.c_int),
    )


def triple(sizes: tuple[int, ...]) -> tuple[int, int, int]:
    """(x, y, z); what is not given is 1."""
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


def load(source: Path, options: tuple[str, ...], kernel: str) -> Module:
    """The compiled kernel; compiled in this session if its text, its headers and its options are new."""
    runtime()
    library = ctypes.CDLL(str(build(source, options, kernel)))
    module = Module()
    library.emulated_module(ctypes.byref(module))
    return module


def build(source: Path, options: tuple[str, ...], kernel: str = "matmul") -> Path:
    """The library of a kernel. Raises EmulationError with the compiler's words."""
    text = with_includes(source)
    digest = hashlib.sha256("\0".join([text, kernel, *options]).encode()).hexdigest()
    library = _folder() / f"{digest}.so"
    if not library.exists():
        defines = [f"-DKERNEL={kernel}"]
        if dynamic := _DYNAMIC.search(text):
            defines += [f"-DDYNAMIC_TYPE={dynamic[1]}", f"-DDYNAMIC_NAME={dynamic[2]}"]
        # without the sanitizer's own library: sanitizer.cpp stands in for it
        wrapper = _joined(FOLDER / "cuda_on_cpu.h", source, FOLDER / "module.h")
        inputs = (str(_guard()), "-x", "c++", "-", "-x", "none", str(_guard()), "-nodefaultlibs", "-lc", "-lm")
        _compile(library, "-shared", *_KERNEL, *options, *defines, *inputs, text=wrapper)
    return library


@functools.cache
def runtime() -> ctypes.CDLL:
    """The emulator itself, which the kernels call."""
    library = _folder() / "runtime.so"
    # as one text, so that the headers are read only once
    parts = sorted({*FOLDER.glob("*.cpp")} - {FOLDER / "guard.cpp"})
    _compile(library, "-shared", *_RUNTIME, "-x", "c++", "-", text=_joined(*parts))
    loaded = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    loaded.emulation_launch.restype = ctypes.c_char_p
    return loaded


@functools.cache
def _session() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="cuda-on-cpu-")


def _folder() -> Path:
    return Path(_session().name)


@functools.cache
def _guard() -> Path:
    """What a kernel's own memory stands between."""
    compiled = _folder() / "guard.o"
    _compile(compiled, "-c", str(FOLDER / "guard.cpp"))
    return compiled


def _joined(*files: Path) -> str:
    return "".join(f'#include "{file}"\n' for file in files)


def _compile(library: Path, *arguments: str, text: str | None = None) -> None:
    from tests.emulation import EmulationError

    # complete under its name or not there at all
    part = library.with_suffix(f".{threading.get_ident()}")
    command = ["g++", "-fPIC", "-o", str(part), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EmulationError(f"g++: {done.stderr}")
    part.rename(library)
