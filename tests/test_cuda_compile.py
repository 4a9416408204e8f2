"""Machine code is compiled once, anew when any text or option changes, and never with flags that break the bound."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pooch
import pytest

from kernels.cuda import compile as compiler
from kernels.cuda.programs import PROGRAMS


class Nvrtc(ModuleType):
    """Stands in for cupy.cuda.nvrtc; compiles to the text and a zero, of which CuPy 14 leaves out the last byte."""

    NVRTCError = type("NVRTCError", (RuntimeError,), {})

    def __init__(self) -> None:
        super().__init__("cupy.cuda.nvrtc")
        self.compiled: list[tuple[str, tuple[str, ...]]] = []
        self.destroyed = 0

    def getVersion(self) -> tuple[int, int]:  # noqa: N802 - CuPy's name
        return 12, 9

    def createProgram(self, text: str, name: str, headers: Any, names: Any) -> Any:  # noqa: N802
        return SimpleNamespace(text=text, name=name)

    def compileProgram(self, program: Any, options: tuple[str, ...]) -> None:  # noqa: N802
        if "oops" in program.text:
            raise self.NVRTCError("NVRTC_ERROR_COMPILATION (6)")
        self.compiled.append((program.text, options))

    def getCUBIN(self, program: Any) -> bytes:  # noqa: N802
        return program.text.encode()

    def getProgramLog(self, program: Any) -> str:  # noqa: N802
        return f"{program.name}(1): error: identifier oops is undefined"

    def destroyProgram(self, program: Any) -> None:  # noqa: N802
        self.destroyed += 1


@pytest.fixture
def nvrtc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Nvrtc:
    fake = Nvrtc()
    cuda = SimpleNamespace(nvrtc=fake)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    monkeypatch.setitem(sys.modules, "cupy.cuda", cuda)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    return fake


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "part.cuh").write_text("#pragma once\nint part;\n")
    (tmp_path / "whole.cu").write_text('#include "part.cuh"\nint whole;\n')
    return tmp_path / "whole.cu"


def test_compiled_once(nvrtc: Nvrtc, source: Path) -> None:
    text = '#line 1 "part.cuh"\n#pragma once\nint part;\n#line 2 "whole.cu"\nint whole;\n'
    first = compiler.cubin(source, ("-DX=1",), "90a")
    assert first.read_text() == text + "\0", "as long as the compiler made it"
    assert compiler.cubin(source, ("-DX=1",), "90a") == first
    assert nvrtc.compiled == [(text, ("-DX=1", "--gpu-architecture=sm_90a"))]
    assert nvrtc.destroyed == 1


def test_anew_when_anything_changes(nvrtc: Nvrtc, source: Path) -> None:
    files = {compiler.cubin(source, ("-DX=1",), "80"), compiler.cubin(source, ("-DX=2",), "80")}
    files.add(compiler.cubin(source, ("-DX=1",), "90"))
    (source.parent / "part.cuh").write_text("int other;\n")
    files.add(compiler.cubin(source, ("-DX=1",), "80"))
    assert len(files) == len(nvrtc.compiled) == 4


def test_a_header_of_two_files_is_there_once(source: Path) -> None:
    (source.parent / "other.cuh").write_text('#include "part.cuh"\nint other;\n')
    source.write_text('#include "part.cuh"  // first\n#include "other.cuh"\n#include "missing.cuh"\nint whole;\n')
    assert compiler.with_includes(source).splitlines() == [
        '#line 1 "part.cuh"', "#pragma once", "int part;", '#line 2 "whole.cu"',
        '#line 1 "other.cuh"', "", "int other;", '#line 3 "whole.cu"',
        '#include "missing.cuh"', "int whole;",
    ]  # fmt: skip


def test_an_error_holds_what_the_compiler_said_and_leaves_nothing(nvrtc: Nvrtc, source: Path) -> None:
    source.write_text("oops\n")
    with pytest.raises(compiler.CompileError, match=r"whole.cu does not compile.*\n.*oops is undefined"):
        compiler.cubin(source, (), "80")
    assert nvrtc.destroyed == 1
    assert not list((source.parent / "cache").rglob("*.cubin"))


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=lambda program: program.name)
def test_no_program_is_compiled_with_shortcuts(program: Any, nvrtc: Nvrtc) -> None:
    """The bound allows a fused multiply-add, but neither numbers flushed to zero nor inexact divisions."""
    compiler.cubin(program.source, program.options(), "90")
    ((text, options),) = nvrtc.compiled
    assert not any("fast" in option or "ftz" in option for option in options)
    assert '#include "' not in text


def test_another_compiler_compiles_anew(nvrtc, source):
    first = compiler.cubin(source, (), "80")
    nvrtc.getVersion = lambda: (13, 0)
    assert compiler.cubin(source, (), "80") != first
