"""Kernels given as text, for the emulator's own tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.emulation import emulate

Run = Callable[..., None]


def runner(folder: Path) -> Run:
    """run(parameters, body, grid, block, *arguments, shared=0, **how) for kernels whose text is written to folder."""

    def run(parameters: str, body: str, grid: Any, block: Any, *arguments: Any, shared: int = 0, **how: Any) -> None:
        source = folder / "kernel.cu"
        source.write_text(f'extern "C" __global__ void matmul({parameters}) {{\n{body}\n}}\n')
        grid, block = (size if isinstance(size, tuple) else (size,) for size in (grid, block))
        emulate(source, ["-std=c++17"], grid, block, shared, *arguments, **how)

    return run
