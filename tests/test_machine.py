"""What the machine is and can do: its cores, caches, limits and clock."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from kernels import threads
from kernels.measure import bandwidth, caches, ceilings, machine
from tests import fake_cupy


def test_a_whole_hosts_cache_is_not_this_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual machine may tell the L3 of its host, here 480 MB: what is measured with stays below a gigabyte."""
    taken: list[int] = []

    def chains(*_: object) -> None: ...

    def triad(x: np.ndarray, y: np.ndarray, z: np.ndarray, scale: np.float32) -> None:
        taken.append(x.nbytes + y.nbytes + z.nbytes)

    def read(data: np.ndarray, sums: np.ndarray, repeats: int) -> None:
        taken.append(data.nbytes)

    sizes = {"L1": 2**15, "L2": 2**21, "L3": 480 * 2**20}
    for module in (ceilings, bandwidth):
        monkeypatch.setattr(module, "cache_sizes", lambda: sizes)
    monkeypatch.setattr(ceilings, "_ATTEMPTS", 1)
    monkeypatch.setattr(ceilings, "_fma_chains", chains)
    monkeypatch.setattr(ceilings, "_triad", triad)
    monkeypatch.setattr(bandwidth, "_read", read)
    ceilings.measure(2)
    bandwidth.measure(2)
    assert max(taken) <= 2**30
    assert max(taken) > sizes["L3"], "or it would be the cache that is measured"


def test_the_machine_has_limits() -> None:
    here = machine.describe()
    assert 1 <= here.cores <= here.threads == threads.cores()
    assert here.memory > 2**28
    assert here.cpu in here.sentence()
    assert machine.software()["numpy"] == np.__version__
    sizes = caches.cache_sizes()
    assert sizes["L1"] < sizes["L2"] < sizes["L3"]


@pytest.mark.slow
def test_ceilings_are_measured() -> None:
    levels = bandwidth.measure(1)
    assert [level.name for level in levels] == ["L1", "L2", "L3", "memory"]
    assert [level.capacity for level in levels] == sorted(level.capacity for level in levels)
    assert all(0 < level.bandwidth < math.inf for level in levels)
    found = ceilings.measure(1)
    assert found.threads == 1
    assert 0 < found.peak_flops < math.inf
    assert 0 < found.memory_bandwidth < math.inf


def test_peak_counts_every_multiplication_and_addition(monkeypatch: pytest.MonkeyPatch) -> None:
    """With loops that take one second each: two operations per lane, register and step; 12 bytes per number of x."""
    numbers: list[int] = []

    def chains(a: np.ndarray, b: np.ndarray, c: np.ndarray, steps: int) -> None:
        numbers.append(steps * a.size * b.size * len(c))

    def triad(x: np.ndarray, *_: object) -> None:
        numbers.append(x.size)

    monkeypatch.setattr(ceilings, "_best", lambda call: (call(), 1.0)[1])
    monkeypatch.setattr(ceilings, "_fma_chains", chains)
    monkeypatch.setattr(ceilings, "_triad", triad)
    found = ceilings.measure(3)
    assert (found.peak_flops, found.memory_bandwidth) == (2 * numbers[0], 12 * numbers[1])


def test_threads_are_set_for_all_libraries() -> None:
    import numba
    from threadpoolctl import threadpool_info

    try:
        threads.set_threads(1)
        assert numba.get_num_threads() == 1
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} <= {1}
    finally:
        threads.set_threads(threads.cores())
    assert numba.get_num_threads() == threads.cores()
    for wrong, says in ((0, "at least 1, not 0"), (-1, "at least 1, not -1"), (100_000, "new process")):
        with pytest.raises(ValueError, match=says):
            threads.set_threads(wrong)
    assert numba.get_num_threads() == threads.cores()


@pytest.mark.parametrize("with_cupy", [False, True])
def test_the_clock_is_that_of_the_gpu_in_use_and_none_where_it_is_not_told(
    with_cupy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pynvml

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    if with_cupy:
        fake_cupy.install(monkeypatch)
    clocks = {"first": 1410, "0000:05:00.0": 1980}

    def clock(handle: str, kind: int) -> int:
        if handle not in clocks:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return clocks[handle]

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: "first" if index == 0 else "other")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByPciBusId", lambda bus: bus)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", clock)
    assert machine.sm_clock() == (1980 if with_cupy else 1410)
    clocks.clear()
    assert machine.sm_clock() is None


@pytest.mark.parametrize("current", [None, "0000:05:00.0", "lost"])
def test_the_gpu_in_use_comes_first(current: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, of which CUDA counts first the one that the driver counts last."""
    import pynvml

    names = {"0000:01:00.0": "T400", "0000:05:00.0": "RTX 3090"}
    buses = list(names)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    if current:
        cupy = fake_cupy.install(monkeypatch)

        def device() -> SimpleNamespace:
            if current == "lost":
                raise RuntimeError("cudaErrorNoDevice")
            return SimpleNamespace(pci_bus_id=current)

        cupy.cuda.Device = device
    monkeypatch.setattr(machine, "why_no_gpu", lambda: None)
    for name, answer in {
        "SystemGetDriverVersion": lambda: "580", "DeviceGetCount": lambda: 2,
        "DeviceGetHandleByIndex": buses.__getitem__, "DeviceGetHandleByPciBusId": lambda bus: bus,
        "DeviceGetIndex": buses.index, "DeviceGetName": names.__getitem__,
        "DeviceGetCudaComputeCapability": lambda bus: (8, 6), "DeviceGetMaxClockInfo": lambda bus, kind: 1,
        "DeviceGetMemoryInfo": lambda bus: SimpleNamespace(total=1), "DeviceGetNumGpuCores": lambda bus: 1,
    }.items():  # fmt: skip
        monkeypatch.setattr(pynvml, f"nvml{name}", answer)
    first, second = ("RTX 3090", "T400") if current == "0000:05:00.0" else ("T400", "RTX 3090")
    assert [gpu.name for gpu in machine.describe().gpus] == [first, second]
    assert machine.describe().processor(gpu=True).startswith(first)


def test_a_share_of_a_gpu_that_tells_little_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def untold(*_: object) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(machine, "why_no_gpu", lambda: None)
    for name, answer in {
        "SystemGetDriverVersion": "580", "DeviceGetCount": 1, "DeviceGetHandleByIndex": "handle",
        "DeviceGetCudaComputeCapability": (9, 0), "DeviceGetName": "NVIDIA H200 MIG 1g.18gb",
        "DeviceGetMemoryInfo": SimpleNamespace(total=2**34),
    }.items():  # fmt: skip
        monkeypatch.setattr(pynvml, f"nvml{name}", lambda *_, answer=answer: answer)
    for name in ("GetMaxClockInfo", "GetNumGpuCores"):
        monkeypatch.setattr(pynvml, f"nvmlDevice{name}", untold)
    (gpu,) = machine.describe().gpus
    assert (gpu.name, gpu.max_sm_clock, gpu.cores) == ("NVIDIA H200 MIG 1g.18gb", None, None)
    assert "MIG 1g.18gb (16 GiB)" in machine.describe().sentence()
    # one that shares the processor's memory, such as a GB10's
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", untold)
    (gpu,) = machine.describe().gpus
    assert gpu.memory == machine.describe().memory
    # one that has fallen off the bus
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", untold)
    assert machine.describe().gpus == []
