"""The contract on a GPU: CuPy arrays are used where they lie, NumPy arrays are copied there and back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import contract

__all__ = ["copy_seconds", "run", "to_device"]

Product = Callable[[Any, Any, Any], None]


def run(product: Product, a: Any, b: Any, out: Any | None) -> Any:
    """`contract.run` for arrays of either library; the result is of the library of a and b.

    Works on the current device and in the current stream of CuPy. Raises TypeError for arrays of both libraries,
    ValueError for arrays on another device, MemoryError that names the sizes where the GPU's memory does not suffice.
    """
    import cupy

    arrays = [x for x in (a, b, out) if x is not None]
    try:
        if any(isinstance(x, cupy.ndarray) for x in arrays):
            _check_device(cupy, a=a, b=b, out=out)
            return contract.run(product, a, b, out, cupy)
        # checks the arguments before anything is copied
        return contract.run(_copying(product), a, b, out)
    except cupy.cuda.memory.OutOfMemoryError as error:
        free, total = cupy.cuda.runtime.memGetInfo()
        needed = a.nbytes + b.nbytes + 4 * a.shape[0] * b.shape[1]
        raise MemoryError(
            f"the GPU has {free / 2**30:.1f} of {total / 2**30:.1f} GiB free; a {a.shape} · b {b.shape} and C need "
            f"about {needed / 2**30:.1f} GiB"
        ) from error


def _copying(product: Product) -> Product:
    def copied(a: NDArray, b: NDArray, c: NDArray) -> None:
        import cupy

        on_device = cupy.empty(c.shape, np.float32)
        product(to_device(a), to_device(b), on_device)
        on_device.get(out=c)

    return copied


def to_device(x: NDArray) -> Any:
    """A copy of x on the current GPU, in C order or transposed as x is."""
    import cupy

    return cupy.asarray(x) if x.flags.c_contiguous else cupy.asarray(x.T).T


def copy_seconds(a: NDArray, b: NDArray, samples: int = 7) -> list[float]:
    """Seconds to copy a (M,K) and b (K,N) to the GPU and their product (M,N) back, measured `samples` times."""
    import cupy

    c = cupy.empty((a.shape[0], b.shape[1]), np.float32)
    seconds = []
    for _ in range(samples + 1):
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        to_device(a), to_device(b)
        c.get()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]  # the first fetches memory from the driver


def _check_device(cupy: Any, **arrays: Any) -> None:
    here = cupy.cuda.Device().id
    for name, x in arrays.items():
        if isinstance(x, cupy.ndarray) and x.device.id != here:
            raise ValueError(
                f"{name} lies on GPU {x.device.id}, but GPU {here} is in use: copy it with cupy.asarray({name}), "
                f"or work inside `with cupy.cuda.Device({x.device.id}):`"
            )
