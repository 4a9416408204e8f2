"""What the machine is: processor, cores, memory, GPUs, and the versions of the software that counts."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from kernels.threads import cores

__all__ = ["GPU", "Machine", "describe", "sm_clock", "software", "source_digest", "system", "why_no_gpu"]

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
    "nvidia-cuda-nvrtc-cu12",
    "nvidia-cuda-nvrtc",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
    "tensorflow",
    "tensorflow-cpu",
    "torch",
    "mpi4py",
    "mpich",
)


class GPU(msgspec.Struct, frozen=True):
    """One NVIDIA GPU; memory in bytes; clock in MHz and cores (of CUDA) where the driver tells."""

    name: str
    memory: int
    compute_capability: str
    max_sm_clock: int | None
    driver: str
    cores: int | None = None


class Machine(msgspec.Struct, frozen=True):
    """A machine, without anything that names its owner; memory in bytes. gpus: the one in use first."""

    system: str
    cpu: str
    cores: int
    threads: int
    memory: int
    gpus: list[GPU]

    def processor(self, *, gpu: bool) -> str:
        """The CPU's name, and before it the first GPU's, if that is what worked."""
        chips = [chip.name for chip in self.gpus[:1]] if gpu else []
        return ", ".join([*chips, self.cpu])

    def sentence(self) -> str:
        """One line for a screen."""
        gpus = ", ".join(f"{gpu.name} ({gpu.memory / 2**30:.0f} GiB)" for gpu in self.gpus) or "no GPU"
        return f"{self.cpu}, {self.cores} cores, {self.memory / 2**30:.0f} GiB, {gpus}"


def describe() -> Machine:
    """This machine; `threads` counts the hardware threads this process may use."""
    import psutil

    physical = psutil.cpu_count(logical=False) or cores()
    return Machine(
        system=system(),
        cpu=_cpu_name(),
        cores=min(physical, cores()),
        threads=cores(),
        memory=psutil.virtual_memory().total,
        gpus=_gpus(),
    )


def system() -> str:
    """Operating system and architecture, such as "Linux x86_64"."""
    return f"{platform.system()} {platform.machine()}"


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
    """The clock of a GPU's multiprocessors at this moment, in MHz; None where the driver does not tell.

    CuPy's current GPU, or the first where CuPy is not in use.
    """
    import pynvml

    def clock() -> int:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetClockInfo(_in_use(), pynvml.NVML_CLOCK_SM))

    return _told(clock)


def _in_use() -> Any:
    """The driver's handle of CuPy's current GPU, or of the first where CuPy is not in use. Raises NVMLError."""
    import pynvml

    cupy = sys.modules.get("cupy")
    if cupy is None:
        return pynvml.nvmlDeviceGetHandleByIndex(0)
    # CUDA may number the GPUs in another order, or be shown only some of them
    return pynvml.nvmlDeviceGetHandleByPciBusId(cupy.cuda.Device().pci_bus_id)


def _gpus() -> list[GPU]:
    if why_no_gpu():
        return []
    import psutil
    import pynvml

    driver = pynvml.nvmlSystemGetDriverVersion()
    used = _told(lambda: pynvml.nvmlDeviceGetIndex(_in_use()))
    gpus = []
    for index in sorted(range(pynvml.nvmlDeviceGetCount()), key=lambda index: index != used):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            name = pynvml.nvmlDeviceGetName(handle)
        except pynvml.NVMLError:
            continue  # one that has fallen off the bus
        gpus.append(
            GPU(
                name=name,
                # a GPU that shares the processor's memory has none of its own to tell of
                memory=_told(functools.partial(_memory_of, handle)) or psutil.virtual_memory().total,
                compute_capability=f"{major}.{minor}",
                max_sm_clock=_told(functools.partial(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM)),
                driver=driver,
                cores=_told(functools.partial(pynvml.nvmlDeviceGetNumGpuCores, handle)),
            )
        )
    return gpus


def _memory_of(handle: object) -> int:
    import pynvml

    return int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)


def _told(call: Callable[[], int]) -> int | None:
    """What the driver says, or None: not every GPU, nor a share of one, has everything to tell."""
    import pynvml

    try:
        return int(call())
    except (pynvml.NVMLError, RuntimeError):  # RuntimeError: of a CuPy that does not reach the driver
        return None


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        asked = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return asked.stdout.strip() or platform.machine()
    if sys.platform == "win32":
        import winreg

        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    return platform.processor() or platform.machine()
