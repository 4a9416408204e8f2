"""Timing, result files and the machine: samples are enough, files are whole, vectors add up."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path
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


def test_spread_is_the_quartiles() -> None:
    found = timing.spread([4.0, 1.0, 3.0, 2.0, 5.0])
    assert found == (2.0, 3.0, 4.0)
    assert (found.median, found.half_range) == (3.0, 1.0)


def test_ratio_is_of_medians() -> None:
    found = timing.ratio([2.0, 4.0, 9.0], [1.0, 1.0, 1.0])
    assert found.median == 4.0
    assert found[0] < 4.0 < found[2]


def test_repeat_takes_enough_samples_and_time() -> None:
    calls = []
    samples = timing.repeat(lambda: calls.append(None), min_time=0.05)
    assert len(samples) >= timing.MIN_SAMPLES
    assert len(calls) > len(samples), "warm-up is not counted, and short calls are timed in groups"
    assert all(sample > 0 for sample in samples)


def test_contestants_take_turns() -> None:
    order: list[str] = []
    samples = timing.alternate({name: partial(timing.turn, partial(order.append, name)) for name in "ab"}, rounds=3)
    turns = [name for name, before in zip(order, [None, *order], strict=False) if name != before]
    assert turns == ["a", "b"] * 3
    assert len(order) > 6 * timing.MIN_SAMPLES, "each turn begins with uncounted calls"
    assert {name: len(taken) for name, taken in samples.items()} == dict.fromkeys("ab", 3 * timing.MIN_SAMPLES)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file: IO[bytes]) -> None:
        file.write(b"half of the n")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    files.write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_atomically(tmp_path / "file", lambda file: file.write(b""))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_unwritable_places_are_found_beforehand(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match=r"cannot write .*missing.*No such file"):
        files.check_writable(tmp_path / "missing" / "new")
    with pytest.raises(OSError, match="is a directory"):
        files.check_writable(tmp_path)


POINTS: list[results.Point] = [
    results.MatmulPoint(
        "cpu-blas", 2, 3, 4, 1, "ok", samples=[1e-6, 2e-6, 3e-6], first_call=0.1, error=0.2, layout="nt"
    ),
    results.MatmulPoint("cpu-python", 9, 9, 9, 1, "skipped", reason="would take 41 min"),
    results.StepPoint("fused", 128, 128, 2, "ok", loss=2.5, samples=[0.1]),
    results.ThreadPoint("work", 2, [1.0]),
]


def test_results_round_trip(tmp_path: Path) -> None:
    found = results.new("experiments.x", ["--kernel", "a b"], POINTS, ceilings.Ceilings(2, 1e11, 1e10))
    results.write(tmp_path / "run.json", found)
    assert results.read(tmp_path / "run.json") == found
    assert found.command == "python -m experiments.x --kernel 'a b'"
    assert found.schema == results.SCHEMA


def test_rates_are_computed_when_read() -> None:
    point = POINTS[0]
    assert isinstance(point, results.MatmulPoint)
    assert point.seconds.median == 2e-6
    assert point.rate.median == pytest.approx(2 * 2 * 3 * 4 / 2e-6)
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
        (msgspec.json.encode(other | {"schema": 99}), "schema version 99"),
        (msgspec.json.encode(other | {"points": [{"type": "nonsense"}]}), "not a whole result file"),
    ):
        path.write_bytes(content)
        with pytest.raises(results.ResultsError, match=says) as error:
            results.read(path)
        assert "run.json" in str(error.value)
    with pytest.raises(results.ResultsError, match="No such file"):
        results.read(tmp_path / "missing.json")


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


def test_the_machine_has_limits() -> None:
    here = machine.describe()
    assert 1 <= here.cores <= here.threads or here.threads < here.cores
    assert here.memory > 2**28
    assert here.cpu in here.sentence()
    assert machine.software()["numpy"] == np.__version__
    sizes = caches.cache_sizes()
    assert sizes["L1"] < sizes["L2"] < sizes["L3"]


@pytest.mark.slow
def test_nearer_memory_is_not_slower_and_arithmetic_is_fastest() -> None:
    levels = {level.name: level for level in bandwidth.measure(1)}
    assert list(levels) == ["L1", "L2", "L3", "memory"]
    assert levels["L1"].bandwidth > levels["memory"].bandwidth
    assert ceilings.measure(1).peak_flops > levels["memory"].flops


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
    with pytest.raises(ValueError, match="at least 1"):
        threads.set_threads(0)
    with pytest.raises(ValueError, match="new process"):
        threads.set_threads(100_000)


def test_argument_types() -> None:
    assert cli.at_least(2)("3") == 3
    assert cli.share("0.5") == 0.5
    for check, text in (
        (cli.at_least(2), "1"), (cli.at_least(0), "1.5"), (cli.positive, "-1"), (cli.positive, "nan"),
        (cli.positive, "much"), (cli.share, "1.5"), (cli.share, "0"),
    ):  # fmt: skip
        with pytest.raises(Exception, match="must"):
            check(text)


def test_usage_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.Parser("python -m x", "text", "examples")
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--unknown"])
    assert stop.value.code == cli.USAGE
    assert capsys.readouterr().err == "error: unrecognized arguments: --unknown (see python -m x --help)\n"
