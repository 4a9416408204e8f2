"""A stand-in for CuPy on machines without a GPU: arrays that, like CuPy's, refuse to mix with NumPy's.

It proves that code for the GPU never takes the host's arrays by mistake, and that what is computed is right. It proves
nothing about CuPy itself, nor about a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest


class ndarray(np.ndarray):  # noqa: N801 - CuPy's name
    """A NumPy array that calls itself CuPy's."""

    device_id = 0

    def __array_finalize__(self, parent: Any) -> None:
        self.device_id = getattr(parent, "device_id", 0)

    @property
    def data(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(ptr=self.ctypes.data)

    @property
    def device(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(id=self.device_id)

    def get(self, out: np.ndarray | None = None) -> np.ndarray:
        plain = self.view(np.ndarray)
        if out is None:
            return plain.copy()
        out[...] = plain
        return out

    def set(self, values: np.ndarray) -> None:
        assert not isinstance(values, ndarray)
        do(lambda: np.copyto(self.view(np.ndarray), values))

    def __getitem__(self, key: Any) -> Any:
        _refuse_host(key if isinstance(key, tuple) else (key,))
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _refuse_host((*(key if isinstance(key, tuple) else (key,)), value))
        do(lambda: np.ndarray.__setitem__(self, key, value))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        _refuse_host((*inputs, *(out or ())))
        plain = tuple(_plain(x) for x in inputs)
        if out is not None:
            do(lambda: getattr(ufunc, method)(*plain, **options, out=tuple(_plain(x) for x in out)))
            return out[0]
        assert capturing is None, "the stand-in captures only what has an out"
        result = getattr(ufunc, method)(*plain, **options)
        return np.asarray(result).view(ndarray)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        _refuse_host(arguments)
        result = function(*map(_plain, arguments), **{name: _plain(value) for name, value in options.items()})
        return result.view(ndarray) if isinstance(result, np.ndarray) else result


capturing: list[Callable[[], object]] | None = None


def do(work: Callable[[], object]) -> None:
    """What the GPU is told: done at once, or while a stream is captured noted and not done."""
    if capturing is None:
        work()
    else:
        capturing.append(work)


class Stream:
    """A stream whose captured work is done by `launch` of the graph, never before."""

    def __init__(self, non_blocking: bool = False) -> None:
        assert non_blocking

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None: ...

    def synchronize(self) -> None:
        assert capturing is None, "a captured stream cannot be waited for"

    def begin_capture(self) -> None:
        global capturing
        capturing = []

    def end_capture(self) -> Any:
        global capturing
        assert capturing is not None
        noted, capturing = capturing, None
        return SimpleNamespace(launch=lambda: [work() for work in noted])


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """What a kernel does: C = A·B, of this stand-in's arrays alone."""
    assert all(isinstance(x, ndarray) for x in (a, b, out))
    do(lambda: np.matmul(_plain(a), _plain(b), out=_plain(out)))


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, ndarray) else x


def _refuse_host(values: tuple[Any, ...]) -> None:
    for x in values:
        if isinstance(x, np.ndarray) and not isinstance(x, ndarray) and x.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")


ndarray.__module__ = "cupy"


def install(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Make `import cupy` find the stand-in until the test ends."""
    fake: Any = ModuleType("cupy")
    fake.ndarray = ndarray
    fake.asarray = lambda x: x if isinstance(x, ndarray) else np.array(x).view(ndarray)
    fake.ascontiguousarray = lambda x: np.array(x, order="C").view(ndarray)
    fake.empty = lambda *arguments: np.empty(*arguments).view(ndarray)
    fake.zeros = lambda *arguments: np.zeros(*arguments).view(ndarray)
    fake.concatenate = lambda arrays: np.concatenate([_plain(x) for x in arrays]).view(ndarray)
    fake.arange = lambda *arguments: np.arange(*arguments).view(ndarray)
    fake.may_share_memory, fake.shares_memory = np.may_share_memory, np.shares_memory
    memory = SimpleNamespace(OutOfMemoryError=type("OutOfMemoryError", (MemoryError,), {}))
    runtime = SimpleNamespace(memGetInfo=lambda: (2**30, 2**33))
    fake.cuda = SimpleNamespace(
        Device=lambda number=0: SimpleNamespace(id=number, pci_bus_id="0000:05:00.0", synchronize=lambda: None),
        memory=memory,
        runtime=runtime,
        get_current_stream=lambda: SimpleNamespace(ptr=0),
        Stream=Stream,
        nvrtc=SimpleNamespace(getVersion=lambda: (12, 9), getSupportedArchs=lambda: (*range(50, 122),)),
        MemoryPool=lambda: SimpleNamespace(malloc=None),
        using_allocator=lambda allocator: nullcontext(),
    )
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake
