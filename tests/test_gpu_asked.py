"""What CuPy and the driver are asked for, on a stand-in: the right chip, layout, memory and clock."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pynvml
import pytest

from kernels.cuda import compile as compiler
from kernels.cuda import launch, requirements, sizes, timing
from kernels.cuda.captured import Captured
from kernels.cuda.programs import PROGRAMS
from kernels.ladder import find
from kernels.measure import gpu_ceilings, machine
from tests import fake_cupy


@pytest.fixture
def cupy(monkeypatch):
    cached = launch.gpu, launch._function
    for each in cached:
        each.cache_clear()
    yield fake_cupy.install(monkeypatch)
    for each in cached:
        each.cache_clear()


@pytest.mark.parametrize(
    ("told", "shared", "cooperative"),
    [
        ({"MaxSharedMemoryPerBlockOptin": 232_448, "CooperativeLaunch": 1}, 232_448, True),
        ({"MaxSharedMemoryPerBlockOptin": 0, "CooperativeLaunch": 0}, 49_152, False),
        ({}, 49_152, False),
    ],
)
def test_what_is_asked_of_the_chip(told, shared, cooperative, cupy):
    attributes = {"MaxSharedMemoryPerBlock": 49_152, "MultiProcessorCount": 132, **told}
    cupy.cuda.Device = lambda n: SimpleNamespace(id=n, compute_capability="90", attributes=attributes)
    cupy.cuda.runtime.getDeviceProperties = lambda n: {"name": b"H200"}
    assert launch.gpu(0) == launch.GPU("H200", 90, 132, shared, cooperative)


@pytest.mark.parametrize(
    "program", [PROGRAMS[n] for n in ("cuda-cupy-vector", "cuda-cupy-warptile")], ids=lambda p: p.name
)
def test_a_kernel_is_compiled_for_its_layout_and_asks_for_its_shared_memory(program, cupy, monkeypatch):
    compiled, function = [], SimpleNamespace(max_dynamic_shared_size_bytes=None, preferred_shared_memory_carveout=None)
    monkeypatch.setattr(launch, "gpu", lambda device: launch.GPU("x", 86, 1, 1))
    monkeypatch.setattr(compiler, "cubin", lambda *of: compiled.append(of) or Path("k.cubin"))
    cupy.RawModule = lambda path: SimpleNamespace(get_function={"matmul": function}.__getitem__)
    tile, layout = program.tiles[0], launch.Layout(a_k_contiguous=True, b_k_contiguous=False, aligned=False)
    assert launch._function(program, tile, layout, 0) is function
    ((source, options, architecture),) = compiled
    assert (source, architecture) == (program.source, "86")
    assert {"-DA_K_CONTIGUOUS=1", "-DB_K_CONTIGUOUS=0", "-DVECTOR=1"} <= {
        o.replace("true", "1").replace("false", "0") for o in options
    }
    assert function.max_dynamic_shared_size_bytes == (tile.shared_bytes or None)
    assert function.preferred_shared_memory_carveout == (100 if tile.shared_bytes else None)


def test_a_cold_sample_is_one_call_after_l2_was_overwritten(cupy, monkeypatch):
    happened = []

    class Event:
        def record(self):
            happened.append("event")

        def synchronize(self): ...

    cupy.cuda.Event, cupy.cuda.get_elapsed_time, cupy.uint8 = Event, lambda *_: 1e-4, np.uint8
    cupy.cuda.Device = lambda: SimpleNamespace(attributes={"L2CacheSize": 100})
    cupy.zeros = lambda size, dtype: happened.append(size)
    timing.sample(lambda: None, 1)
    assert happened == ["event", "event"]
    del happened[:]
    timing.repeat(lambda: happened.append("call"), 1e-9, cold=True)
    warm_up, cold = happened[: 3 * 3], happened[3 * 3 :]
    assert warm_up == ["event", "call", "event"] * 3
    assert cold[1:4] * 7 == [x for x in cold if not isinstance(x, int)] == ["event", "call", "event"] * 7
    assert len([x for x in cold if isinstance(x, int) and x >= 100]) == 7


def test_a_graph_keeps_memory_of_its_own(cupy):
    inside = []

    @contextmanager
    def using(allocator):
        inside.append(allocator)
        yield
        inside.append(None)

    pool = SimpleNamespace(malloc=object())
    cupy.cuda.MemoryPool, cupy.cuda.using_allocator = lambda: pool, using
    seen = []
    Captured(lambda: seen.append(inside[-1:]), 2)
    assert seen == [[pool.malloc]] * 3


@pytest.mark.parametrize(
    ("chip", "driver", "extra"),
    [
        ((6, 1), 13_000, "cuda12"),
        ((7, 0), 13_020, "cuda12"),
        ((7, 5), 12_080, "cuda12"),
        ((7, 5), 13_000, "cuda13"),
        ((9, 0), 13_010, "cuda13"),
    ],
)
def test_the_extra_that_fits(chip, driver, extra, monkeypatch):
    monkeypatch.setattr(machine, "why_no_gpu", lambda: None)
    for name, answer in {
        "DeviceGetHandleByIndex": 0,
        "DeviceGetCudaComputeCapability": chip,
        "SystemGetCudaDriverVersion_v2": driver,
    }.items():
        monkeypatch.setattr(pynvml, f"nvml{name}", lambda *_, answer=answer: answer)
    assert requirements.extra() == extra
    monkeypatch.setattr(machine, "why_no_gpu", lambda: "none")
    assert requirements.extra() is None


def test_a_gpus_ceilings_are_the_best_of_its_attempts(cupy, monkeypatch):
    from kernels.cuda import timing

    rest = gpu_ceilings._ATTEMPTS - 2
    times = iter([3.0, 1.0, *[2.0] * rest, 30.0, 10.0, *[20.0] * rest])
    monkeypatch.setattr(timing, "sample", lambda call, calls: next(times))
    monkeypatch.setattr(launch, "gpu", lambda device: launch.GPU("x", 86, 1, 1))
    monkeypatch.setattr(compiler, "cubin", lambda *_: Path("x"))
    cupy.RawModule = lambda path: SimpleNamespace(get_function=lambda name: None)
    cupy.empty_like, cupy.uint8 = np.empty_like, np.uint8
    cupy.cuda.runtime.memGetInfo = lambda: (800, 1000)
    cupy.cuda.Device = lambda: SimpleNamespace(id=0, attributes={"L2CacheSize": 7})
    limits, _ = gpu_ceilings.measure()
    assert limits.memory_bandwidth == 2 * 100 / 10.0
    assert limits.peak_flops == 2 * 8 * gpu_ceilings._STEPS * limits.threads / 1.0
    assert limits.cache == 7
    assert gpu_ceilings._ATTEMPTS * 6e-3 > 0.3, "the clock of an idle GPU has risen by then"


@pytest.mark.parametrize(("name", "architecture"), [("cuda-cupy-tensor", 80), ("cuda-cupy-hopper", 90)])
def test_a_chip_of_exactly_the_capability_that_is_needed_can(name, architecture, monkeypatch):
    monkeypatch.setattr(machine, "why_no_gpu", lambda: None)
    monkeypatch.setattr(requirements, "_why_no_cupy", lambda: None)
    fake_cupy.install(monkeypatch)
    for own, can in ((architecture - 5, False), (architecture, True)):
        monkeypatch.setattr(launch, "gpu", lambda device, own=own: launch.GPU("chip", own, 1, 49_152))
        assert (requirements.why_not(find(name)) is None) == can


def test_the_largest_tile_with_exactly_a_block_for_each_multiprocessor(monkeypatch):
    monkeypatch.setattr(sizes, "read_tuned", tuple)
    program = PROGRAMS["cuda-cupy-warptile"]
    tile = program.tile
    assert sizes.choose(program, 11 * tile.block_m, 12 * tile.block_n, "x", 132, 232_448) == tile
