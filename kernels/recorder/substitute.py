"""A kernel's Python function, unchanged, with `cuda` and its device functions replaced in a copy of its globals."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from kernels.recorder.intrinsics import Intrinsics
from kernels.recorder.memory import Memory

__all__ = ["python_function", "substituted"]


def substituted(kernel: FunctionType, cuda: Intrinsics, memory: Memory) -> FunctionType:
    """The same code bound to the stand-in; neither the kernel nor any module is changed."""
    return _Substitution(cuda, memory).function(kernel)


def python_function(kernel: Any) -> FunctionType:
    """The function behind a dispatcher of @cuda.jit, or a plain function; TypeError for anything else."""
    function = getattr(kernel, "py_func", kernel)
    if not isinstance(function, FunctionType):
        raise TypeError(f"a kernel is a function, or what @cuda.jit makes of one, not {type(kernel).__name__}")
    return function


class _Substitution:
    def __init__(self, cuda: Intrinsics, memory: Memory) -> None:
        self._cuda, self._memory = cuda, memory
        self._done: dict[int, FunctionType] = {}
        # for `from numba.cuda import grid`; a kernel that says so has imported numba.cuda already
        real = sys.modules.get("numba.cuda")
        # laneid is a number of its moment: it has to be read as cuda.laneid
        names = [name for name in (*vars(cuda), *vars(Intrinsics)) if not name.startswith("_") and name != "laneid"]
        self._named = {id(getattr(real, name)): name for name in names if hasattr(real, name)}

    def function(self, function: FunctionType) -> FunctionType:
        if id(function) in self._done:
            return self._done[id(function)]
        scope = dict(function.__globals__)
        closure = tuple(CellType() for _ in function.__closure__ or ())
        copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, closure)
        copy.__kwdefaults__ = function.__kwdefaults__
        # noted before its names are looked up: a device function may call itself
        self._done[id(function)] = copy
        for name in _names(function.__code__):
            if name in scope:
                scope[name] = self._value(name, scope[name])
        for name, cell, old in zip(function.__code__.co_freevars, closure, function.__closure__ or (), strict=True):
            cell.cell_contents = self._value(name, old.cell_contents)
        return copy

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, ModuleType):
            return self._cuda if value.__name__ == "numba.cuda" else _Module(value, self._value)
        if id(value) in self._named:
            return getattr(self._cuda, self._named[id(value)])
        if isinstance(getattr(value, "py_func", None), FunctionType):
            return self.function(value.py_func)
        return self._memory.constant(name, value) if isinstance(value, np.ndarray) else value


class _Module:
    """A module, such as numba with its cuda, or one of the user's with device functions: each name once replaced."""

    def __init__(self, module: ModuleType, replaced: Callable[[str, Any], Any]) -> None:
        self._module, self._replaced = module, replaced

    def __getattr__(self, name: str) -> Any:
        value = self._replaced(name, getattr(self._module, name))
        setattr(self, name, value)
        return value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
