"""What the machine is: processor, cores, memory, GPUs, and the versions of the software that counts."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from pathlib import Path

import msgspec

from kernels.threads import cores

__all__ = ["GPU", "Machine", "describe", "sm_clock", "software", "source_digest", "why_no_gpu"]

_SOFTWARE = (
    "numpy",
    "numba",
    "llvmlite",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "cupti-python",
    "numba-cuda",
    "nvidia-cublas-cu12",
    "nvidia-cublas",
    "tensorflow",
    "tensorflow-cpu",
    "torch",
    "mpi4py",
    "mpich",
)


class GPU(msgspec.Struct, frozen=True):
    """One NVIDIA GPU; memory in bytes, clock in MHz, cores (of CUDA) where the driver tells."""

    name: str
    memory: int
    compute_capability: str
    max_sm_clock: int
    driver: str
    cores: int | None = None


class Machine(msgspec.Struct, frozen=True):
    """A machine, without anything that names its owner; memory in bytes."""

    system: str
    cpu: str
    cores: int
    threads: int
    memory: int
    gpus: list[GPU]

    def sentence(self) -> str:
        """One line for a screen."""
        gpus = ", ".join(f"{gpu.name} ({gpu.memory / 2**30:.0f} GiB)" for gpu in self.gpus) or "no GPU"
        return f"{self.cpu}, {self.cores} cores, {self.memory / 2**30:.0f} GiB, {gpus}"


def describe() -> Machine:
    """This machine; `threads` counts the hardware threads this process may use."""
    import psutil

    physical = psutil.cpu_count(logical=False) or cores()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cpu=_cpu_name(),
        cores=min(physical, cores()),
        threads=cores(),
        memory=psutil.virtual_memory().total,
        gpus=_gpus(),
    )


def software() -> dict[str, str]:
    """Installed versions by package name; Python's own under "python"."""
    versions = {"python": platform.python_version()}
    for package in _SOFTWARE:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def source_digest() -> str:
    """Of all source files of kernels and rnn, a few letters: equal where two machines run the same program."""
    root, digest = Path(__file__).resolve().parents[2], hashlib.sha256()
    for path in sorted(path for part in ("kernels", "rnn") for path in (root / part).rglob("*")):
        if path.suffix in (".py", ".cu", ".cuh"):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@functools.cache
def why_no_gpu() -> str | None:
    """Why no CUDA kernel can run here, or None when an NVIDIA GPU answers."""
    import pynvml

    try:
        pynvml.nvmlInit()
        if pynvml.nvmlDeviceGetCount() == 0:
            return "the NVIDIA driver finds no GPU"
    except pynvml.NVMLError_LibraryNotFound:
        return "no NVIDIA driver is installed, so this machine has no usable NVIDIA GPU"
    except pynvml.NVMLError as error:
        return f"the NVIDIA driver does not answer ({error})"
    return None


def sm_clock() -> int | None:
    """The clock of the first GPU's multiprocessors at this moment, in MHz; None where the driver does not tell."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetClockInfo(pynvml.nvmlDeviceGetHandleByIndex(0), pynvml.NVML_CLOCK_SM))
    except pynvml.NVMLError:
        return None


def _gpus() -> list[GPU]:
    if why_no_gpu():
        return []
    import pynvml

    driver = pynvml.nvmlSystemGetDriverVersion()
    gpus = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        gpus.append(
            GPU(
                name=pynvml.nvmlDeviceGetName(handle),
                memory=pynvml.nvmlDeviceGetMemoryInfo(handle).total,
                compute_capability=f"{major}.{minor}",
                max_sm_clock=pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
                driver=driver,
                cores=_gpu_cores(handle),
            )
        )
    return gpus


def _gpu_cores(handle: object) -> int | None:
    import pynvml

    try:
        return int(pynvml.nvmlDeviceGetNumGpuCores(handle))
    except pynvml.NVMLError:
        return None


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
