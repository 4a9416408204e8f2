"""The kernels of gates.cu for the stand-in of CuPy: each launch is a run of the emulator on the arrays given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnn import gates_cuda
from tests import fake_cupy
from tests.emulation import Order, emulate


def install(monkeypatch: pytest.MonkeyPatch, order: Order = "forward") -> None:
    """Make every launch of gates.cu an emulated one, until the test ends."""

    def function(name: str, device: int) -> Callable[..., None]:
        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            assert all(isinstance(x, fake_cupy.ndarray | np.generic) for x in arguments), "an array of the host"
            assert all(x.flags.c_contiguous for x in arguments if isinstance(x, np.ndarray))
            plain = [x.view(np.ndarray) if isinstance(x, np.ndarray) else x for x in arguments]
            options = ("-std=c++17",)
            fake_cupy.do(lambda: emulate(gates_cuda.SOURCE, options, grid, block, 0, *plain, order=order, kernel=name))

        return launch

    monkeypatch.setattr(gates_cuda, "_function", function)
