"""What is measured, counted and kept of a machine is what was there, in the unit it says."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pynvml
import pytest

from kernels.contract import Reference
from kernels.measure import bandwidth, caches, ceilings, files, machine, results
from tests.clock import Clock


def test_cores_are_not_hardware_threads_and_only_those_allowed(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 8 if logical else 4)
    for allowed, expected in ((8, (4, 8)), (2, (2, 2))):
        monkeypatch.setattr(machine, "cores", lambda allowed=allowed: allowed)
        here = machine.describe()
        assert (here.cores, here.threads) == expected


def test_the_digest_is_of_every_source_file(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "kernels" / "measure" / "machine.py"))
    seen = {machine.source_digest()}
    for place in ("kernels/cuda/a.cu", "kernels/b.cuh", "kernels/c.py", "rnn/cuda/d.cu", "rnn/e.py"):
        for text in ("one", "two"):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_text(text)
            seen.add(machine.source_digest())
    assert len(seen) == 11
    (tmp_path / "kernels" / "README.md").write_text("words")
    assert machine.source_digest() in seen


def test_what_nvml_is_asked(monkeypatch):
    answers = {
        "SystemGetDriverVersion": "580",
        "DeviceGetCount": 1,
        "DeviceGetHandleByIndex": "h",
        "DeviceGetCudaComputeCapability": (7, 5),
        "DeviceGetName": "T4",
        "DeviceGetMemoryInfo": SimpleNamespace(total=2**34),
        "DeviceGetNumGpuCores": 2560,
        "Init": None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, f"nvml{name}", lambda *_, answer=answer: answer)
    clocks = {pynvml.NVML_CLOCK_SM: 1590, pynvml.NVML_CLOCK_MEM: 5001}
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMaxClockInfo", lambda handle, kind: clocks[kind])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", lambda handle, kind: clocks[kind] - 1)
    monkeypatch.setattr(machine, "why_no_gpu", machine.why_no_gpu.__wrapped__)
    (gpu,) = machine.describe().gpus
    assert (gpu.compute_capability, gpu.max_sm_clock, gpu.cores) == ("7.5", 1590, 2560)
    assert machine.sm_clock() == 1589
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 0)
    assert machine.why_no_gpu() == "the NVIDIA driver finds no GPU"


def test_dirty_is_a_changed_source_and_no_measurement(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    for name in ("kernels/measure/results.py", "experiments/results/a.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1")
    git("init"), git("add", "."), git("commit", "-m", "x")
    monkeypatch.setattr(results, "__file__", str(tmp_path / "kernels/measure/results.py"))
    measured, source = "experiments/results/a.json", "kernels/measure/results.py"
    for name, dirty in ((None, False), ("notes that git does not follow", False), (measured, False), (source, True)):
        if name:
            (tmp_path / name).write_text("2")
        found = results.new("x", [], [], None).git
        assert found is not None
        assert found.dirty is dirty


def test_all_of_a_file_is_flushed_to_the_disk(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_size))
    files.write_atomically(tmp_path / "file", lambda file: file.write(b"12345"))
    assert flushed == [5]


@pytest.mark.parametrize("threads", [1, 3])
def test_bandwidth_counts_the_bytes_of_all_threads_in_the_best_attempt(threads, monkeypatch):
    """Each level is read six times: once to compile, and five times in 2, 4, 1, 3 and 5 seconds."""
    clock, sizes, read = Clock(), {"L1": 1 << 12, "L2": 1 << 14, "L3": 1 << 18}, []

    def fake(data, sums, repeats):
        clock.now += (9.0, 2.0, 4.0, 1.0, 3.0, 5.0)[len(read) % 6]
        read.append((data.nbytes, data.nbytes * repeats))

    monkeypatch.setattr(bandwidth, "time", clock)
    monkeypatch.setattr(bandwidth, "_read", fake)
    monkeypatch.setattr(bandwidth, "cache_sizes", lambda: sizes)
    monkeypatch.setattr(bandwidth, "sharers_of_l3", lambda: 64)
    for n, level in enumerate(bandwidth.measure(threads)):
        assert level.bandwidth == pytest.approx(read[6 * n + 1][1] / 1.0)
        assert level.flops == pytest.approx(2 * level.bandwidth / 4)
    held = [nbytes for nbytes, _ in read[::6]]
    assert held[0] <= threads * sizes["L1"] / 2
    assert held[1] <= threads * sizes["L2"] / 2
    assert held[2] <= sizes["L3"] / 2, "all threads share L3"
    assert held[3] >= 3.9 * sizes["L3"]


def test_many_caches_are_filled_and_passed_by_all_their_threads(monkeypatch):
    """An EPYC 7763: 64 threads, 8 with each of eight L3s."""
    sizes, held = {"L1": 1 << 15, "L2": 1 << 19, "L3": 1 << 25}, []
    monkeypatch.setattr(bandwidth, "_bandwidth", lambda threads, size: held.append(threads * size) or 1.0)
    monkeypatch.setattr(bandwidth, "cache_sizes", lambda: sizes)
    monkeypatch.setattr(bandwidth, "sharers_of_l3", lambda: 8)
    bandwidth.measure(64)
    assert held[2] == 8 * sizes["L3"] / 2
    assert held[3] >= 4 * 8 * sizes["L3"]


@pytest.mark.parametrize(("threads", "mebibytes"), [(8, 64), (9, 128)])
def test_an_array_is_twice_as_large_as_the_caches_of_all_threads(threads, mebibytes, monkeypatch):
    """The ninth thread brings another L3 of 32 MiB."""
    taken = []
    monkeypatch.setattr(ceilings, "cache_sizes", lambda: {"L3": 32 << 20})
    monkeypatch.setattr(ceilings, "sharers_of_l3", lambda: 8)
    monkeypatch.setattr(ceilings, "_best", lambda call: (call(), 1.0)[1])
    monkeypatch.setattr(ceilings, "_fma_chains", lambda *_: None)
    monkeypatch.setattr(ceilings, "_triad", lambda x, *_: taken.append(x.nbytes))
    ceilings.measure(threads)
    assert taken == [mebibytes << 20]


def test_a_ceiling_is_the_best_of_many(monkeypatch):
    clock, times = Clock(), iter([9.0, 3.0, 1.0, *[2.0] * 40])

    def call():
        clock.now += next(times)

    monkeypatch.setattr(ceilings, "time", clock)
    assert ceilings._best(call) == 1.0


@pytest.mark.parametrize(("name", "bits"), [("float32", 24), ("tf32", 10), ("bf16", 8)])
def test_the_bound_of_a_format_is_reached_and_not_passed(name, bits):
    """Both operands half a unit off, in TF32 a whole one: (1 + 2^-bits)^2; a sum of one product is rounded too."""
    a = np.ones((1, 1), np.float32)
    u = 0.0 if bits == 24 else 2.0**-bits
    most = (1 + u) ** 2 * (1 + 2.0**-24) - 1
    reference = Reference.of(a, a)
    assert reference.error(np.array([[1 + 0.99 * most]]), name) <= 1
    assert reference.error(np.array([[1 + 1.01 * most]]), name) > 1


def test_cache_sizes_are_the_systems(tmp_path, monkeypatch):
    for n, (level, kind, size) in enumerate(
        ((1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "2048K"), (3, "Unified", "36M"))
    ):
        (tmp_path / f"index{n}").mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (tmp_path / f"index{n}" / name).write_text(f"{text}\n")
    monkeypatch.setattr(caches, "_LINUX", tmp_path)
    assert caches.cache_sizes.__wrapped__() == {"L1": 49_152, "L2": 2_097_152, "L3": 37_748_736}
    assert caches.sharers_of_l3.__wrapped__() == sys.maxsize
    for said, sharers in (("0-7,64-71", 16), ("0-1", 2), ("3", 1)):
        (tmp_path / "index3" / "shared_cpu_list").write_text(f"{said}\n")
        assert caches.sharers_of_l3.__wrapped__() == sharers
