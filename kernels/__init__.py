"""Hand-written matrix products, one file per kernel, all behind one contract.

>>> import kernels
>>> c = kernels.get("cpu-numba-tiled").matmul(a, b)

`get` imports only the kernel asked for; this file imports no backend, so names and help texts cost nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels import extras
from kernels.ladder import ALIASES, LADDER, KernelSpec, find
from kernels.mpi import launcher
from kernels.nearest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "Kernel",
    "KernelUnavailable",
    "UnknownKernel",
    "available",
    "get",
    "names",
    "resolve",
    "unavailable",
]


class UnknownKernel(ValueError):  # noqa: N818 - reads as what happened
    """No kernel and no alias has this name."""


class KernelUnavailable(RuntimeError):  # noqa: N818
    """The kernel exists but cannot run on this machine; the message says why, and what to use instead.

    why: without the advice, for a command that nothing else will do for.
    """

    def __init__(self, why: str, advice: str = "") -> None:
        super().__init__(f"{why}; {advice}" if advice else why)
        self.why = why


@dataclass(frozen=True)
class Kernel:
    """A kernel of the ladder, ready to run."""

    spec: KernelSpec
    product: Callable[[NDArray, NDArray, NDArray], None]

    @property
    def name(self) -> str:
        return self.spec.name

    def matmul(self, a: NDArray, b: NDArray, out: NDArray | None = None) -> NDArray:
        """C = A·B in float32.

        a: (M,K), b: (K,N), any M, N, K >= 0, C order or a transposed view of it (other strides are copied first).
        out: (M,N), written and returned; must not overlap a or b. Without it C is allocated.
        CUDA kernels take CuPy arrays, and NumPy arrays too, which they copy to the GPU and back.
        Raises TypeError for anything but float32 arrays, ValueError for shapes that do not fit (both are shown).
        """
        if self.spec.family == "cuda":
            from kernels.cuda.arrays import run
        else:
            from kernels.contract import run
        return run(self.product, a, b, out)


def names(family: str | None = None) -> list[str]:
    """Names of all kernels, or of those of one family (cpu, cuda, mpi), in the ladder's order."""
    return [spec.name for spec in LADDER if family in (None, spec.family)]


def unavailable(name: str) -> str | None:
    """Why the kernel cannot run here, or None when it can."""
    spec = find(name)
    for need in spec.requires:
        if need == "nvidia-gpu":
            from kernels.cuda.requirements import why_not

            if reason := why_not(spec):
                return reason
        elif importlib.util.find_spec(need) is None:
            return _install_hint(need)
    return None


def available() -> dict[str, str | None]:
    """Every kernel's name, with None where it can run here and the reason where it cannot."""
    return {name: unavailable(name) for name in names()}


def resolve(name: str) -> str:
    """The kernel that a name or an alias stands for on this machine.

    Raises UnknownKernel (with the nearest names) or KernelUnavailable (with the reason and what to use instead).
    """
    if name in ALIASES:
        return _first_available(name)
    if name not in names():
        hint = did_you_mean(name, [*names(), *ALIASES], cutoff=0.4) or f"the kernels are {', '.join(names())}"
        raise UnknownKernel(f"no kernel is called '{name}': {hint}")
    if reason := unavailable(name):
        nearest = next((below for below in _below(name) if unavailable(below) is None), resolve("auto"))
        raise KernelUnavailable(f"{name} cannot run here: {reason}", f"use --kernel {nearest} instead")
    return name


def _below(name: str) -> list[str]:
    """The hand-written kernels of the same family on lower rungs, the nearest first."""
    family = name.partition("-")[0]
    lower = [spec for spec in LADDER[: names().index(name)] if spec.family == family and spec.handwritten]
    return [spec.name for spec in reversed(lower)] if family == "cuda" else []


def _first_available(alias: str) -> str:
    reasons = []
    for candidate in ALIASES[alias]:
        reason = unavailable(candidate)
        if reason is None:
            return candidate
        reasons.append(f"{candidate}: {reason}")
    if alias == "cuda":
        from kernels.measure.machine import why_no_gpu

        why = why_no_gpu() or "; ".join(reasons)
        raise KernelUnavailable(f"no CUDA kernel can run here: {why}", "use --kernel numba instead")
    raise KernelUnavailable(f"nothing behind '{alias}' can run here: {'; '.join(reasons)}", "use --kernel cpu-blas")


def get(name: str) -> Kernel:
    """The kernel of this name or alias, imported and ready. Raises as `resolve` does."""
    name = resolve(name)
    spec = find(name)
    if spec.family == "cuda":
        from kernels.cuda import launch

        return Kernel(spec, launch.product(spec))
    if spec.family == "mpi":
        return _mpi(spec)
    return Kernel(spec, _product(spec))


def _product(spec: KernelSpec) -> Callable[[NDArray, NDArray, NDArray], None]:
    try:
        module = importlib.import_module(spec.module)
    except ModuleNotFoundError as error:
        if error.name != spec.module:
            raise
        raise KernelUnavailable(f"{spec.name} cannot run here: {spec.source} is not there") from error
    if not hasattr(module, "product"):
        raise KernelUnavailable(f"{spec.name} cannot run here: {spec.source} has no function product(a, b, c)")
    product: Callable[[NDArray, NDArray, NDArray], None] = module.product
    return product


def _mpi(spec: KernelSpec) -> Kernel:
    """Under mpiexec only rank 0 gets it: the others do their share of its products, and end with it."""
    if reason := launcher.why_no_mpi():
        raise KernelUnavailable(f"{spec.name} cannot run here: {reason}")
    from kernels.mpi import local, ranks, summa

    local.local()  # before anyone waits for a product
    ranks.serve_unless_first(summa.multiply)
    return Kernel(spec, summa.product)


_INSTALL = {
    "cupy": extras.CUDA,
    "numba_cuda": extras.CUDA,
    "mpi4py": extras.install("mpi"),
}


def _install_hint(package: str) -> str:
    hint = f"the Python package {package} is not installed"
    return f"{hint}: {_INSTALL[package]}" if package in _INSTALL else hint
