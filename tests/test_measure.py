"""Timing, result files and the machine: samples are enough, files are whole, vectors add up."""

from __future__ import annotations

import argparse
import errno
import math
import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import msgspec
import numpy as np
import pytest
from numba import njit

from kernels import cli, threads
from kernels.cpu.lanes import LANES, add_outer, add_rows, clamp, rows, store, transposed, zeros
from kernels.cpu.memory import CACHE_LINE, aligned_empty
from kernels.cpu.packing import packer
from kernels.measure import bandwidth, caches, ceilings, files, machine, results, timing
from tests import fake_cupy
from tests.clock import Clock


def test_spread_is_the_quartiles() -> None:
    found = timing.spread([4.0, 1.0, 3.0, 2.0, 5.0])
    assert found == (2.0, 3.0, 4.0)
    assert (found.median, found.half_range) == (3.0, 1.0)


@pytest.mark.parametrize("count", [7, 8, 35])
def test_spread_is_what_statistics_says(count: int) -> None:
    samples = np.random.default_rng(count).random(count).tolist()
    assert timing.spread(samples) == pytest.approx(statistics.quantiles(samples, n=4, method="inclusive"), rel=1e-14)


def test_ratio_is_of_medians() -> None:
    # all pairs: 1 2 3, 2 4 6, 6 12 18
    assert timing.ratio([6.0, 12.0, 36.0], [6.0, 3.0, 2.0]) == (2.0, 4.0, 6.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(timing, "time", found)
    return found


@pytest.mark.parametrize("seconds", [1e-5, 1e-3, 0.03, 2.0])
def test_repeat_takes_enough_samples_and_time(clock: Clock, seconds: float) -> None:
    calls: list[float] = []

    def call() -> None:
        calls.append(seconds)
        clock.now += seconds

    samples = timing.repeat(call, min_time=1.0)
    assert samples == pytest.approx([seconds] * len(samples))
    assert len(samples) >= 7
    assert sum(calls) >= 1.0
    assert sum(calls) >= 1e-3 * len(samples), "what a clock cannot tell apart is timed in groups"
    assert sum(calls) < 10 * max(1.0, 7 * seconds)


def test_the_first_call_is_not_counted(clock: Clock) -> None:
    compiling = iter([5.0])

    def call() -> None:
        clock.now += next(compiling, 0.03)

    samples = timing.repeat(call, min_time=1.0)
    assert samples == pytest.approx([0.03] * len(samples))
    assert len(samples) == 34


def test_pools_of_threads_get_the_time_to_fall_asleep(clock: Clock) -> None:
    def call() -> None:
        clock.now += 0.02 if clock.now < 0.03 else 0.01

    assert timing.settle(call) == pytest.approx(0.01)
    assert clock.now > timing._SETTLE


def test_contestants_take_turns(clock: Clock) -> None:
    order: list[str] = []

    def contestant(name: str, seconds: float) -> None:
        # slower in its first call after the other's, as its thread pool wakes and the other's still spins
        clock.now += seconds if order[-1:] == [name] else 20 * seconds
        order.append(name)

    turns = {name: partial(timing.turn, partial(contestant, name, took)) for name, took in (("a", 0.004), ("b", 0.03))}
    samples = timing.alternate(turns, rounds=3)
    assert [name for name, _ in groupby(order)] == ["a", "b"] * 3
    assert samples == {"a": pytest.approx([0.004] * 21), "b": pytest.approx([0.03] * 21)}


@pytest.mark.parametrize("before", [b"old", None])
@pytest.mark.parametrize("where", ["kernels.measure.files.os.fsync", "pathlib.Path.replace", "writer"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None, where: str, error: BaseException
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)

    def fail(*_: object) -> None:
        raise error

    def write(file: IO[bytes]) -> None:
        file.write(b"half of the n")
        if where == "writer":
            fail()

    with monkeypatch.context() as broken:
        if where != "writer":
            broken.setattr(where, fail)
        with pytest.raises(type(error)):
            files.write_atomically(path, write)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == ({} if before is None else {"file": before})
    files.write_atomically(path, lambda file: file.write(b"new"))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": b"new"}


@pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o640), (0o002, 0o664)])
def test_written_files_follow_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        files.write_atomically(tmp_path / "file", lambda file: file.write(b""))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_unwritable_places_are_found_beforehand(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match=r"cannot write .*missing.*No such file"):
        files.check_writable(tmp_path / "missing" / "new")
    with pytest.raises(IsADirectoryError, match="is a directory"):
        files.check_writable(tmp_path)


def test_a_read_only_folder_is_found_beforehand(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("permissions do not stop root")
    with pytest.raises(PermissionError, match=r"cannot write .*new: Permission denied"):
        files.check_writable(tmp_path / "new")


POINTS: list[results.Point] = [
    results.MatmulPoint(
        "cpu-blas", 2, 3, 4, 1, "ok", samples=[1e-6, 2e-6, 3e-6], first_call=0.1, error=0.2, layout="nt"
    ),
    results.MatmulPoint("cpu-python", 9, 9, 9, 1, "skipped", reason="would take 41 min"),
    results.StepPoint("fused", 128, 128, 2, "ok", loss=2.5, samples=[0.1]),
    results.ThreadPoint("work", 2, [1.0]),
]


def test_results_round_trip(tmp_path: Path) -> None:
    limits, levels = ceilings.Ceilings(2, 1e11, 1e10), [bandwidth.Level("L1", 32768, 1e12)]
    found = results.new("experiments.x", ["--kernel", "a b"], POINTS, limits, levels)
    results.write(tmp_path / "run.json", found)
    assert results.read(tmp_path / "run.json") == found
    assert (found.points, found.ceilings, found.levels) == (POINTS, limits, levels)
    assert found.command == "python -m experiments.x --kernel 'a b'"
    assert found.schema == results.SCHEMA


def test_rates_are_computed_when_read() -> None:
    point = POINTS[0]
    assert isinstance(point, results.MatmulPoint)
    assert point.seconds.median == 2e-6
    # 48 FLOP in 1, 2 and 3 µs
    assert point.rate == pytest.approx((20e6, 24e6, 36e6))
    assert (point.shape, point.square) == ("2x3x4:nt", False)


def test_bad_result_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    results.write(path, results.new("x", [], POINTS, None))
    whole = path.read_bytes()
    other = msgspec.json.decode(whole)
    for content, says in (
        (whole[: len(whole) // 2], "cut short"),
        (b"", "cut short"),
        (b"hello", "not a result file"),
        (b"{}", "not a result file"),
        (b"\xff\xfe", "not a result file"),
        (whole.replace(b"cpu-blas", b"cpu-\xff\xff\xff\xff"), "not a whole result file"),
        (msgspec.json.encode(other | {"schema": 99}), "schema version 99"),
        (msgspec.json.encode(other | {"schema": 0}), "schema version 0"),
        (msgspec.json.encode(other | {"points": [{"type": "nonsense"}]}), "not a whole result file"),
    ):
        path.write_bytes(content)
        with pytest.raises(results.ResultsError, match=says) as error:
            results.read(path)
        assert "run.json" in str(error.value)
    with pytest.raises(results.ResultsError, match=r"cannot read .*missing\.json: No such file"):
        results.read(tmp_path / "missing.json")
    with pytest.raises(results.ResultsError, match="Is a directory"):
        results.read(tmp_path)


@pytest.mark.parametrize("lanes", sorted({4, LANES}))
@pytest.mark.parametrize(("height", "vectors"), [(1, 1), (3, 2), (8, 2)])
def test_a_tile_adds_outer_products(height: int, vectors: int, lanes: int) -> None:
    width = vectors * lanes

    @njit
    def multiply(a: np.ndarray, b: np.ndarray, c: np.ndarray, steps: int) -> None:
        tile = zeros(height, vectors, lanes)
        for k in range(steps):
            tile = add_outer(tile, a, k * height, b, k * width)
        tile = add_rows(tile, c, 1, width + 3)
        store(tile, c, 1, width + 3)

    random = np.random.default_rng(0)
    a, b = random.integers(-4, 5, (5, height)), random.integers(-4, 5, (5, width))
    c = np.full((height, width + 3), 7, np.float32)
    expected = c.copy()
    expected[:, 1 : 1 + width] += a.T @ b
    multiply(a.astype(np.float32).ravel(), b.astype(np.float32).ravel(), c.reshape(-1), 5)
    np.testing.assert_array_equal(c, expected)


def test_tiles_calculate_element_by_element() -> None:
    @njit
    def calculate(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
        a, b = add_rows(zeros(2, 1, 4), x, 0, 4), add_rows(zeros(2, 1, 4), y, 0, 4)
        store((a + b) * 2.0 - a / b, out, 0, 4)
        store(clamp(1.0 - a, -1.0, 0.5), out, 8, 4)
        store(rows(a, 1, 1), out, 16, 4)

    x, y = np.arange(8, dtype=np.float32), np.arange(1, 9, dtype=np.float32)
    x[3] = np.nan
    out = np.zeros(20, np.float32)
    calculate(x, y, out)
    np.testing.assert_allclose(out[:8], (x + y) * 2 - x / y, rtol=1e-6)
    np.testing.assert_array_equal(out[8:16], np.clip(1 - x, -1, 0.5))
    np.testing.assert_array_equal(out[16:], x[4:])


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_a_square_tile_transposes(lanes: int) -> None:
    @njit
    def turn(x: np.ndarray, y: np.ndarray) -> None:
        store(transposed(add_rows(zeros(lanes, 1, lanes), x, 0, lanes)), y, 0, lanes)

    x = np.arange(lanes * lanes, dtype=np.float32)
    y = np.empty_like(x)
    turn(x, y)
    np.testing.assert_array_equal(y.reshape(lanes, lanes), x.reshape(lanes, lanes).T)


@pytest.mark.parametrize("width", [6, 12, 2 * LANES])
@pytest.mark.parametrize("transpose", [False, True])
def test_panels_hold_what_the_loop_reads(width: int, transpose: bool) -> None:
    pack = packer(width)
    x = np.arange(70 * 37, dtype=np.float32).reshape(70, 37)
    for first, count, k, depth in ((0, 70, 0, 37), (3, 2 * width, 5, 17), (1, 1, 2, 1), (0, width + 1, 1, 33)):
        panels = -(-count // width)
        block = np.full(panels * width * depth, np.nan, np.float32)
        down, along = (1, 70) if transpose else (37, 1)
        memory = np.ascontiguousarray(x.T).ravel() if transpose else x.ravel()
        pack(memory, first * down + k * along, down, along, count, depth, block)
        expected = np.zeros((panels * width, depth), np.float32)
        expected[:count] = x[first : first + count, k : k + depth]
        expected = expected.reshape(panels, width, depth).transpose(0, 2, 1)
        np.testing.assert_array_equal(block.reshape(panels, depth, width), expected)


def test_memory_starts_on_a_cache_line() -> None:
    for shape in ((3,), (2, 5, 7), (1, 1)):
        array = aligned_empty(shape)
        assert array.shape == shape
        assert array.ctypes.data % CACHE_LINE == 0


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


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (cli.at_least(2), "2", 2), (cli.at_least(0), "0", 0), (cli.positive, "1e-9", 1e-9), (cli.positive, "3", 3.0),
        (cli.share, "0.5", 0.5), (cli.share, "1", 1.0),
    ],
)  # fmt: skip
def test_arguments_in_range(convert: Callable[[str], float], text: str, value: float) -> None:
    assert convert(text) == value
    assert type(convert(text)) is type(value)


@pytest.mark.parametrize(
    ("convert", "text", "says"),
    [
        (cli.at_least(2), "1", "must be at least 2, not 1"), (cli.at_least(0), "-1", "must be at least 0"),
        (cli.at_least(0), "1.5", "must be a whole number, not '1.5'"), (cli.at_least(0), "", "must be a whole number"),
        (cli.positive, "0", "must be above 0"), (cli.positive, "-1", "must be above 0"),
        (cli.positive, "nan", "must be above 0"), (cli.positive, "inf", "must be above 0"),
        (cli.positive, "much", "must be a number, not 'much'"), (cli.share, "1.01", "must be a share of 1"),
        (cli.share, "0", "must be above 0"), (cli.share, "85%", "must be a number"),
    ],
)  # fmt: skip
def test_arguments_out_of_range(convert: Callable[[str], float], text: str, says: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=says):
        convert(text)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--unknown"], "unrecognized arguments: --unknown"),
        (["--size", "0"], "argument --size: must be at least 1, not 0"),
        (["--si", "1"], "unrecognized arguments: --si 1"),  # an abbreviation means something else once there is --side
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.Parser("python -m x", "text", "examples")
    parser.add_argument("--size", type=cli.at_least(1))
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", f"error: {says} (see python -m x --help)\n")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (cli.CommandError("no such thing"), 2, "error: no such thing\n"),
        (cli.CommandError("no GPU", cli.ABSENT), 3, "error: no GPU\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_end_a_command_in_one_line(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop, cli.errors_as_lines():
        raise error
    assert stop.value.code == code
    assert capsys.readouterr() == ("", says)


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
