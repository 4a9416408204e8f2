"""Whether a CUDA kernel can run here, and if not, why and what to do."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import sys
from typing import TYPE_CHECKING

from kernels.extras import CUDA, install
from kernels.ladder import ALIASES
from kernels.measure import machine

if TYPE_CHECKING:
    from kernels.ladder import KernelSpec

__all__ = ["extra", "wants_gpu", "why_not"]

_CUPY = ("cupy-cuda12x", "cupy-cuda13x")


def why_not(spec: KernelSpec) -> str | None:
    """Why a kernel cannot run on CuPy's current GPU, or None when it can."""
    if reason := machine.why_no_gpu() or _why_no_cupy():
        return reason
    if "numba_cuda" in spec.requires and (reason := _why_another_numba_cuda() or _why_no_numba_cuda()):
        return reason
    import cupy

    from kernels.cuda.launch import gpu

    chip = gpu(cupy.cuda.Device().id)
    if reason := _why_no_compiler(chip.name, chip.architecture):
        return reason
    if spec.runs_on(chip.architecture):
        return None
    enough, has = "exactly" if spec.only_architecture else "or newer", _dotted(chip.architecture)
    return f"it needs compute capability {_dotted(spec.architecture)} {enough}, {chip.name} has {has}"


def wants_gpu(name: str) -> bool:
    """Whether a kernel of this name or alias may be for a GPU, and one answers: then the GPU is chosen first."""
    kernels = ALIASES.get(name, (name,))
    return any(kernel.startswith("cuda-") for kernel in kernels) and not (machine.why_no_gpu() or _why_no_cupy())


def _dotted(architecture: int) -> str:
    return f"{architecture // 10}.{architecture % 10}"


@functools.cache
def _why_no_cupy() -> str | None:
    installed = [package for package in _CUPY if _is_installed(package)]
    if len(installed) > 1:
        return (
            f"{' and '.join(installed)} are both installed and overwrite each other: "
            f"pip uninstall {' '.join(installed)}, then install one of the extras cuda12 and cuda13"
        )
    try:
        import cupy

        cupy.cuda.Device().compute_capability  # noqa: B018 - the first question that reaches the driver
    except ImportError as error:
        return f"CuPy cannot be imported ({error}): {CUDA}"
    except OSError as error:
        advice = CUDA if error.filename is None else "name a folder that it may write with CUPY_CACHE_DIR"
        return f"CuPy cannot be imported ({error}): {advice}"
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        if "InsufficientDriver" in line:
            return f"the NVIDIA driver is older than the installed CUDA ({line}): update it, or use the extra cuda12"
        return f"CUDA does not start ({line})"
    return None


@functools.cache
def _why_no_compiler(name: str, architecture: int) -> str | None:
    import cupy

    nvrtc = cupy.cuda.nvrtc
    try:
        major, minor = nvrtc.getVersion()
        known = nvrtc.getSupportedArchs()
    except (ImportError, OSError, RuntimeError) as error:
        return f"CUDA's compiler cannot be loaded ({' '.join(str(error).split())}): {CUDA}"
    if architecture in known:
        return None
    other = install("cuda12" if architecture < min(known) else "cuda13")
    return (
        f"the compiler of CUDA {major}.{minor} makes no code for compute capability {_dotted(architecture)}, "
        f"which {name} has: {other}"
    )


def _why_another_numba_cuda() -> str | None:
    # what numba-cuda's .pth file runs at Python's start, so that `numba.cuda` is numba-cuda and not Numba's own
    redirector = "_numba_cuda_redirector"
    if redirector in sys.modules or importlib.util.find_spec(redirector) is None:
        return None
    return (
        "numba-cuda lies where Python reads no .pth file, as in a folder of PYTHONPATH, and so Numba's own, older "
        "numba.cuda would run: install it with pip, or add the folder with site.addsitedir"
    )


@functools.cache
def _why_no_numba_cuda() -> str | None:
    try:
        importlib.import_module("numba.cuda")
    except Exception as error:  # of many kinds: a NumPy that is too new for it raises AttributeError
        return f"numba-cuda cannot be imported ({type(error).__name__}: {error}): {CUDA}"
    return None


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def extra() -> str | None:
    """The extra that fits this machine's driver, cuda12 or cuda13; None without a GPU.

    CUDA 13 serves Turing (7.5) and newer; older chips, and older drivers, need CUDA 12.
    """
    import pynvml

    if machine.why_no_gpu():
        return None
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(pynvml.nvmlDeviceGetHandleByIndex(0))
    new = pynvml.nvmlSystemGetCudaDriverVersion_v2() >= 13_000 and (major, minor) >= (7, 5)
    return "cuda13" if new else "cuda12"


if __name__ == "__main__":
    # what `make gpu` asks
    print(extra() or "")
