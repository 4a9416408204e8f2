"""matmul_scaling times only what is right, says what it skips, and refuses bad input in one line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernels
from experiments import _scaling_table, gallery, matmul_scaling
from experiments._broken import broke
from experiments._peak import has_peak
from experiments._scaling import Scaling
from kernels import cli, contract
from kernels.ladder import find
from kernels.measure import results
from kernels.measure.limits import Ceilings
from kernels.shapes import Shape
from tests.commands import fails
from tests.points import matmul_point

OTHER = Path(__file__).parents[1] / "experiments/results/training_race.json"
TWO_SIZES = ["--sizes", "8", "33", "--min-time", "0.001"]
pytestmark = pytest.mark.usefixtures("peak")


def test_scaling_writes_what_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "run.json", tmp_path / "run.svg"
    arguments = ["--kernel", "cpu-numba-reordered", "cpu-python", *TWO_SIZES, "--shapes", "5x6x7:nt"]
    matmul_scaling.main([*arguments, "--results", str(file), "--plot", str(picture)])
    shown = capsys.readouterr().out
    assert "times as fast as cpu-python at 33" in shown
    found = results.read(file)
    assert {(point.kernel, point.shape) for point in found.points} == {
        (kernel, shape)
        for kernel in ("cpu-numba-reordered", "cpu-python")
        for shape in ("8x8x8", "33x33x33", "5x6x7:nt")
    }
    assert all(point.status == "ok" and len(point.samples) >= 7 for point in found.points)
    assert all(0 <= point.error <= 1 for point in found.points)
    assert "</svg>" in picture.read_text()
    again = tmp_path / "again.svg"
    matmul_scaling.main(["--from", str(file), "--plot", str(again)])
    assert again.read_bytes() == picture.read_bytes()
    assert "times as fast as cpu-python at 33" in capsys.readouterr().out


def test_an_interrupted_run_shows_what_it_has_measured_and_writes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point = Scaling._point

    def interrupted_at_33(self: Scaling, kernel: kernels.Kernel, shape: Shape, *operands: Any) -> None:
        if shape.m == 33:
            raise KeyboardInterrupt
        point(self, kernel, shape, *operands)

    monkeypatch.setattr(Scaling, "_point", interrupted_at_33)
    file = tmp_path / "run.json"
    with pytest.raises(SystemExit) as stop:
        matmul_scaling.main(["--kernel", "cpu-blas", "cpu-numba-serial", *TWO_SIZES, "--results", str(file)])
    assert stop.value.code == cli.INTERRUPTED
    shown = capsys.readouterr()
    assert re.search(r"^ ?cpu-numba-serial +[\d.~]+ *$", shown.out, re.M)
    assert "2 of 4 points were measured; no file is written of an unfinished run" in shown.out
    assert shown.err.endswith("interrupted\n")
    assert not file.exists()


def test_a_point_that_would_take_too_long_is_skipped_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    matmul_scaling.main(["--kernel", "cpu-python", "--sizes", "8", "2048", "--time-limit", "2"])
    shown = capsys.readouterr().out
    assert "cpu-python at 2048x2048x2048 skipped: would take" in shown


@pytest.mark.parametrize("extra", [[], ["--verify-only"]])
def test_what_cannot_be_checked_is_skipped_and_says_so(
    extra: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contract, "UNIT_ROUNDOFF", 1 / 16)  # as if sums of 16 products were too long for a bound
    matmul_scaling.main(["--kernel", "cpu-blas", "cpu-python", "--sizes", "8", "16", "1000000", *extra])
    shown = capsys.readouterr().out
    for kernel in ("cpu-blas", "cpu-python"):
        assert f"{kernel} at 16x16x16 skipped: no error bound exists for sums of 16 float32 products" in shown
        assert f"{kernel} at 1000000x1000000x1000000 skipped: would take" in shown
        assert f"{kernel} at 8x8x8 skipped" not in shown


def test_what_does_not_fit_in_memory_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--kernel", "cpu-blas", "--sizes", "10000000", "--verify-only", "--time-limit", "1e99"]
    matmul_scaling.main(arguments)
    assert "cpu-blas at 10000000x10000000x10000000 skipped: Unable to allocate" in capsys.readouterr().out


@pytest.fixture
def wrong_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """cpu-blas, but with one c(i,j) a little too large."""

    def product(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
        np.matmul(a, b, out=c)
        c[-1, -1] += np.float32(1e-3)

    monkeypatch.setattr("kernels.cpu.blas.product", product)


@pytest.mark.usefixtures("wrong_kernel")
@pytest.mark.parametrize("extra", [[], ["--verify-only"]])
def test_a_wrong_kernel_fails_the_run_and_is_not_timed(
    extra: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.json"
    code = fails(matmul_scaling.main, "--kernel", "cpu-blas", *TWO_SIZES, "--results", str(file), *extra)
    assert code == cli.CHECK_FAILED
    assert "cpu-blas is wrong" in capsys.readouterr().err
    if not extra:
        points = results.read(file).points
        assert [point.status for point in points] == ["failed", "failed"]
        assert not any(point.samples for point in points)


def test_a_rate_above_the_measured_peak_is_rejected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e3, 1e9))
    code = fails(matmul_scaling.main, "--kernel", "cpu-blas", *TWO_SIZES)
    assert code == cli.CHECK_FAILED
    said = capsys.readouterr().err
    assert (
        "GFLOP/s is above the machine's peak of 0, which may have been measured while other programs ran: run again"
        in said
    )


def test_apples_blas_has_units_that_the_peak_was_not_measured_with() -> None:
    assert has_peak("cpu-blas", "float32", "Linux x86_64")
    assert not has_peak("cpu-blas", "float32", "Darwin arm64")
    assert has_peak("fused, cpu-numba-simd", "float32", "Darwin arm64")
    assert has_peak("cpu-python", "float32", "Darwin arm64")


@pytest.mark.parametrize("rounds_to", ["tf32", "bf16"])
def test_a_shorter_format_has_units_that_the_peak_was_not_measured_with(rounds_to: str) -> None:
    assert not has_peak("cuda-cupy-tensor", rounds_to, "Linux x86_64")
    scaling = Scaling([kernels.get("cpu-blas")], [], threads=1)
    scaling.limits, scaling._system = {"cpu": Ceilings(1, 100.0, 1e9)}, "Darwin arm64"
    assert not scaling._impossible(scaling.kernels[0], 200.0)


@pytest.mark.parametrize(("again", "rejected"), [(50.0, True), (150.0, True), (250.0, False)])
def test_the_peak_is_measured_again_before_a_rate_is_rejected(
    again: float, rejected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, again, 1e9))
    scaling = Scaling([kernels.get("cpu-blas")], [], threads=1)
    scaling.limits = {"cpu": Ceilings(1, 100.0, 1e9)}
    assert not scaling._impossible(scaling.kernels[0], 100.0)
    assert scaling._impossible(scaling.kernels[0], 200.0) == rejected
    assert scaling.limits["cpu"].peak_flops == max(again, 100.0)


def test_a_peak_measured_again_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    peaks = iter([1e3, 1e15])
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, next(peaks), 1e9))
    matmul_scaling.main(["--kernel", "cpu-blas", "--sizes", "32"])
    limits = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Limits: ")]
    assert [re.search(r"[\d,]+ GFLOP/s", line)[0] for line in limits] == ["0 GFLOP/s", "1,000,000 GFLOP/s"]  # type: ignore[index]
    assert "again" in limits[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--kernel", "cpu-nunba-tiled"], cli.USAGE, "cpu-numba-tiled"),
        (["--sizes", "0"], cli.USAGE, "at least 1"),
        (["--sizes", "x"], cli.USAGE, "whole number"),
        (["--shapes", "3x4"], cli.USAGE, "128x156x512"),
        (["--shapes", "3x0x4"], cli.USAGE, "128x156x512"),
        (["--min-time", "0"], cli.USAGE, "above 0"),
        (["--plot", "picture.bmp"], cli.USAGE, ".png, .svg or .pdf"),
        (["--results", "/nowhere/run.json"], cli.USAGE, "/nowhere/run.json"),
        (["--from", "nothing.json"], cli.USAGE, "nothing.json"),
        (["--from", str(OTHER)], cli.USAGE, "holds no rates of kernels alone; it is of another experiment"),
        (["--from", str(OTHER.with_name("roofline.json"))], cli.USAGE, "it is of another experiment"),
        (["--from", str(OTHER), "--sizes", "64", "--quick"], cli.USAGE, "nothing: leave out --sizes, --quick"),
        (["--threads", "0"], cli.USAGE, "at least 1"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert fails(matmul_scaling.main, *arguments) == code
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert says in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_list_and_index_name_everything(capsys: pytest.CaptureFixture[str]) -> None:
    matmul_scaling.main(["--list"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in kernels.names())
    command = [sys.executable, "-m", "experiments"]
    index = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for name in (
        "matmul_scaling",
        "roofline",
        "thread_scaling",
        "training_race",
        "timeline",
        "readme",
        "gallery",
        "machines",
        "reference_check",
    ):
        assert f"python -m experiments.{name}" in index
    assert "_tables" not in index


def test_summary_compares_at_the_largest_common_size() -> None:
    points = [
        matmul_point("cpu-python", 8, 1.0),
        matmul_point("cpu-python", 16, 8.0),
        matmul_point("cpu-blas", 16, 1e-5),
    ]
    points += [
        matmul_point("cpu-numba-simd", 8, 0.5),
        matmul_point("cpu-numba-simd", 16, 0.004),
        matmul_point("cpu-numba-simd", 32, 1.0),
    ]
    assert _scaling_table.summary(points) == "cpu-numba-simd is 2,000 ± 0 times as fast as cpu-python at 16"


def test_a_reader_who_leaves_is_no_kernels_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(*_: object, **__: object) -> None:
        raise BrokenPipeError

    scaling = Scaling([kernels.get("cpu-blas")], [Shape(8, 8, 8)], 1, verify_only=True)
    monkeypatch.setattr("builtins.print", leave)
    with pytest.raises(BrokenPipeError):
        scaling.run()


def test_what_lacked_memory_is_skipped_but_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    def product(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
        if len(c) > 32:
            raise MemoryError
        np.matmul(a, b, out=c)

    kernel = kernels.Kernel(find("cpu-blas"), product)
    for verify_only, status in ((False, "skipped"), (True, "failed")):
        scaling = Scaling([kernel], [Shape(33, 8, 8)], 1, min_time=0.001, verify_only=verify_only)
        scaling.run()
        assert [(point.status, point.reason) for point in scaling.points] == [(status, "too little memory")]


def test_from_measures_nothing_whatever_stands_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Scaling, "run", lambda self: pytest.fail("it measures"))
    committed = str(gallery.RESULTS / "matmul_scaling.json")
    assert fails(matmul_scaling.main, "--from", committed, "--verify-only") == cli.USAGE
    matmul_scaling.main(["--from", committed])
    assert "cpu-numba-simd" in capsys.readouterr().out
    missing = str(tmp_path / "missing" / "x.json")
    assert fails(matmul_scaling.main, "--verify-only", "--results", missing) == cli.USAGE


def test_a_kernel_that_breaks_down_leaves_the_others_their_points(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kernels.cpu import blas, numba_serial

    def above(most: int) -> Callable[..., None]:
        def product(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
            if len(c) > most:
                raise RuntimeError("an illegal instruction")
            np.matmul(a, b, out=c)

        return product

    monkeypatch.setattr(numba_serial, "product", above(32))
    file = tmp_path / "run.json"
    arguments = ["--kernel", "cpu-numba-serial", "cpu-blas", *TWO_SIZES, "--results", str(file)]
    code = fails(matmul_scaling.main, *arguments)
    said = capsys.readouterr().err
    assert code == cli.CHECK_FAILED
    assert "error: cpu-numba-serial at 33x33x33: RuntimeError: an illegal instruction\n" in said
    assert "in product" in said, "the place"
    statuses = {(point.kernel, point.m): point.status for point in results.read(file).of(results.MatmulPoint)}
    assert statuses == {
        ("cpu-numba-serial", 8): "ok", ("cpu-blas", 8): "ok",
        ("cpu-numba-serial", 33): "failed", ("cpu-blas", 33): "ok",
    }  # fmt: skip
    monkeypatch.setattr(blas, "product", above(0))  # from the first call on
    assert fails(matmul_scaling.main, *arguments) == cli.CHECK_FAILED
    points = results.read(file).of(results.MatmulPoint)
    assert [point.status for point in points if point.kernel == "cpu-blas"] == ["failed"] * 2


def test_a_product_of_many_processes_that_breaks_down_ends_all() -> None:
    broken = kernels.Kernel(find("mpi-summa"), _nothing)
    with pytest.raises(RuntimeError, match="lost"):
        broke(broken, RuntimeError("lost"))


def _nothing(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    pass
