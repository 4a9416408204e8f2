"""The experiments measure only what is right, say what they skip, and refuse bad input in one line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text

import kernels
from experiments import (
    _browser,
    _contestants,
    _scaling_table,
    _screenshots,
    gallery,
    matmul_scaling,
    readme,
    roofline,
    thread_scaling,
    training_race,
)
from experiments._broken import broke
from experiments._contestants import CHECKED_STEPS, RATE, Contestant, Expected, Runner
from experiments._peak import has_peak
from experiments._scaling import Scaling
from kernels import cli, contract
from kernels.ladder import KernelSpec, find
from kernels.measure import results
from kernels.measure.limits import Ceilings, Level
from kernels.shapes import Shape
from plots.style import THEMES
from rnn import reference_network
from rnn.settings import Settings

OTHER = Path(__file__).parents[1] / "experiments/results/training_race.json"
TWO_SIZES = ["--sizes", "8", "33", "--min-time", "0.001"]


@pytest.fixture(autouse=True)
def peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here is of how fast this machine is, and each command would measure that anew, for seconds."""
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e15, 1e10))


def _fails(call, *arguments: str) -> tuple[int, str]:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit) as stop:
        call(list(arguments))
    assert isinstance(stop.value.code, int)
    return stop.value.code, str(stop.value)


def _point(kernel: str, size: int, seconds: float) -> results.MatmulPoint:
    return results.MatmulPoint(
        kernel=kernel, m=size, k=size, n=size, threads=1, status="ok", samples=[seconds] * 7, error=0.1
    )


def _results(points: list[results.Point], peak: float = 1e15, levels: tuple[Level, ...] = ()) -> results.Results:
    return results.new("experiments.test", [], points, Ceilings(1, peak, 1e10), levels)


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
    code, _ = _fails(matmul_scaling.main, "--kernel", "cpu-blas", *TWO_SIZES, "--results", str(file), *extra)
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
    code, _ = _fails(matmul_scaling.main, "--kernel", "cpu-blas", *TWO_SIZES)
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
        (["--from", str(OTHER)], cli.USAGE, "holds no rates of kernels; it is of another experiment"),
        (["--from", str(OTHER), "--sizes", "64"], cli.USAGE, "--from shows all of a result file"),
        (["--threads", "0"], cli.USAGE, "at least 1"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert _fails(matmul_scaling.main, *arguments)[0] == code
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
    points = [_point("cpu-python", 8, 1.0), _point("cpu-python", 16, 8.0), _point("cpu-blas", 16, 1e-5)]
    points += [_point("cpu-numba-simd", 8, 0.5), _point("cpu-numba-simd", 16, 0.004), _point("cpu-numba-simd", 32, 1.0)]
    assert _scaling_table.summary(points) == "cpu-numba-simd is 2,000 ± 0 times as fast as cpu-python at 16"


def test_a_point_above_a_roof_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 8x8x8: 1024 FLOP on 768 bytes, so 1e9 bytes/s allow 1.33 GFLOP/s: 1.024 µs is 1 GFLOP/s, half of it is 2
    levels = (Level("L1", 32768, 1e9), Level("memory", 2**62, 1e8))
    for seconds, code in ((1.024e-6, None), (0.512e-6, cli.CHECK_FAILED)):
        file = tmp_path / "roofline.json"
        results.write(file, _results([_point("cpu-blas", 8, seconds)], 1e12, levels))
        if code is None:
            roofline.main(["--from", str(file), "--plot", str(tmp_path / "roofline.png")])
            assert "L1" in capsys.readouterr().out
        else:
            assert _fails(roofline.main, "--from", str(file))[0] == code
            said = capsys.readouterr().err
            assert "above the roof of L1, which may have been measured while other programs ran: run again" in said


def test_intensity_is_flop_per_byte_that_must_move() -> None:
    point = results.MatmulPoint("cpu-blas", m=2, k=3, n=5, threads=1, status="ok", samples=[1.0])
    assert point.intensity == 2 * 2 * 3 * 5 / (4 * (2 * 3 + 3 * 5 + 2 * 5))
    assert KernelSpec.min_bytes(2, 5, 3) == 4 * (6 + 15 + 10)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_serial_share_is_amdahls(share: float) -> None:
    counts = [1, 2, 3, 4, 8]
    times = [share + (1 - share) / min(count, 4) for count in counts]
    assert thread_scaling.serial_share(counts, times, cores=4) == pytest.approx(share, abs=1e-12)
    assert thread_scaling.serial_share([1], [1.0], cores=4) is None


def test_no_serial_share_explains_threads_that_are_slower_than_one() -> None:
    assert thread_scaling.serial_share([1, 2], [1.0, 1.02], cores=2) == 1.0, "noise"
    assert thread_scaling.serial_share([1, 2], [1.0, 2.4], cores=2) is None


def test_thread_scaling_shows_and_draws_a_result_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _results([results.ThreadPoint("work", count, [1.0 / min(count, 2)] * 7) for count in (1, 2, 4)])
    found = msgspec.structs.replace(found, machine=msgspec.structs.replace(found.machine, threads=2))
    file, picture = tmp_path / "threads.json", tmp_path / "threads.png"
    results.write(file, found)
    thread_scaling.main(["--from", str(file), "--plot", str(picture)])
    shown = capsys.readouterr().out
    assert "Threads beyond the 2 cores wait: 4 threads are 1.00 to 1.00 times as fast as 2" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_race_refuses_a_contestant_with_another_loss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e18, 1e9))
    entries = {"right": Contestant(_two), "wrong": Contestant(_a_little_more), "bent": Contestant(_another_gradient)}
    _race_of(monkeypatch, entries)
    code, _ = _fails(training_race.main, "--rounds", "1")
    shown = capsys.readouterr()
    assert code == cli.CHECK_FAILED
    assert "wrong: loss 2.001000 at step 1, float64 has 2.000000" in shown.err
    assert "bent: gradient of w is 1.0e-02 of its norm away from float64's" in shown.err
    assert "right" in shown.out


def _breaks_down() -> Runner:
    raise RuntimeError("CUDNN_STATUS_NOT_SUPPORTED")


def test_race_goes_on_without_a_contestant_that_breaks_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e18, 1e9))
    _race_of(monkeypatch, {"broken": Contestant(_breaks_down), "right": Contestant(_two)})
    file = tmp_path / "race.json"
    assert _fails(training_race.main, "--rounds", "1", "--results", str(file))[0] == cli.CHECK_FAILED
    assert "broken: broken stopped; what it said stands above" in capsys.readouterr().err
    statuses = {point.contestant: point.status for point in results.read(file).of(results.StepPoint)}
    assert statuses == {"broken": "failed", "right": "ok"}


class _TiresOut:
    """Takes its first steps, and no more."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self) -> float:
        self.steps += 1
        if self.steps > CHECKED_STEPS:
            raise RuntimeError("an illegal address")
        return 2.0


def _tires_out() -> Runner:
    return Runner(_TiresOut().step, lambda: {"w": np.array([3.0, 4.0])})


def test_race_goes_on_without_a_contestant_that_breaks_down_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e18, 1e9))
    _race_of(monkeypatch, {"tired": Contestant(_tires_out), "right": Contestant(_two)})
    file = tmp_path / "race.json"
    assert _fails(training_race.main, "--rounds", "2", "--results", str(file))[0] == cli.CHECK_FAILED
    points = {point.contestant: point for point in results.read(file).of(results.StepPoint)}
    assert (points["tired"].status, points["right"].status) == ("failed", "ok")
    assert len(points["right"].samples) >= 2


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
    matmul_scaling.main(["--from", committed, "--verify-only"])
    assert "cpu-numba-simd" in capsys.readouterr().out
    missing = str(tmp_path / "missing" / "x.json")
    assert _fails(matmul_scaling.main, "--verify-only", "--results", missing)[0] == cli.USAGE


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
    code, _ = _fails(matmul_scaling.main, *arguments)
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
    assert _fails(matmul_scaling.main, *arguments)[0] == cli.CHECK_FAILED
    points = results.read(file).of(results.MatmulPoint)
    assert [point.status for point in points if point.kernel == "cpu-blas"] == ["failed"] * 2


def test_a_product_of_many_processes_that_breaks_down_ends_all() -> None:
    broken = kernels.Kernel(find("mpi-summa"), _nothing)
    with pytest.raises(RuntimeError, match="lost"):
        broke(broken, RuntimeError("lost"))


def _nothing(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    pass


def test_race_refuses_a_step_faster_than_the_arithmetic(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _race_of(monkeypatch, {"magic": Contestant(_two)})
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e12, 1e10))
    assert _fails(training_race.main, "--rounds", "1")[0] == cli.CHECK_FAILED
    assert "magic is above the machine's peak, which may have been measured" in capsys.readouterr().err


def test_race_says_who_is_faster() -> None:
    def step(contestant: str, seconds: float) -> results.StepPoint:
        return results.StepPoint(contestant, 128, 128, 2, "ok", samples=[seconds] * 7)

    points = [step("TensorFlow, xla", 0.06), step("TensorFlow, keras", 0.05), step("PyTorch", 0.01)]
    points += [step("stepwise, cpu-blas", 0.04), step("fused, mine", 0.02)]
    assert training_race.sentences(points) == [
        "PyTorch is 2.00 ± 0.00 times as fast as fused, mine",
        "fused, mine is 2.50 ± 0.00 times as fast as TensorFlow's best mode, keras",
    ]
    assert training_race.sentences(points[:1]) == []


def test_race_expects_what_float64_says_and_more_of_float32_than_of_tf32() -> None:
    settings = Settings(batch_size=6, hidden=5, learning_rate=RATE)
    expected = Expected.of(settings)
    runner = _contestants._engine("stepwise", "cpu-blas", settings)
    gradients = {name: np.array(gradient) for name, gradient in runner.gradients().items()}
    losses = [float(runner.step()) for _ in range(CHECKED_STEPS)]
    assert expected.disagreement(losses, gradients, "float32") is None
    for away, formats in ((3e-3, ("tf32", "bf16")), (4e-2, ("bf16",)), (0.2, ())):
        bent = gradients | {"cell_bias": gradients["cell_bias"] * (1 + away)}
        far = [loss * (1 - away) for loss in losses]
        for name in ("float32", "tf32", "bf16"):
            assert (expected.disagreement(losses, bent, name) is None) == (name in formats)
            assert (expected.disagreement(far, gradients, name) is None) == (name in formats)
    assert expected.disagreement([*losses[:4], float("nan")], gradients, "bf16") is not None
    broken = gradients | {"output_bias": np.full(10, np.nan)}
    assert expected.disagreement(losses, broken, "bf16") is not None


def test_pytorch_has_the_same_gradients_and_losses() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    settings = Settings(batch_size=6, hidden=5, learning_rate=RATE)
    runner = _contestants._torch(settings, 1)
    gradients = runner.gradients()
    losses = [float(runner.step()) for _ in range(CHECKED_STEPS)]
    assert Expected.of(settings).disagreement(losses, gradients, "float32") is None


def test_race_compares_the_engines_of_a_gpu_and_their_floor() -> None:
    def step(contestant: str, seconds: float) -> results.StepPoint:
        return results.StepPoint(contestant, 128, 128, 2, "ok", samples=[seconds] * 7)

    points = [step("persistent, k", 1e-4), step("PyTorch, cuDNN, CUDA graph", 3e-4), step("graph, k", 5e-4)]
    points += [step("PyTorch, cuDNN, CUDA graph, TF32", 2e-4), step("stepwise, k", 2e-3)]
    points += [step("persistent, k, data on the host", 9e-5), step("stepwise, k, CuPy's gates", 1e-3)]
    assert training_race.sentences(points)[-2:] == [
        "persistent, k is 3.00 ± 0.00 times as fast as PyTorch, cuDNN, CUDA graph",
        "graph, k is 4.00 ± 0.00 times as fast as stepwise, k",
    ]
    flops = training_race._flops(128, 128)
    chip = Ceilings(1, flops / 20e-6, 1e12, grid_barrier=2.5e-6)
    assert training_race.floor(points, chip) == [
        "persistent, k takes 100.0 µs, 4.00 times its floor of 25.0 µs: 20.0 µs of arithmetic at the measured peak, "
        "and 2 barriers of all blocks of 2.50 µs"
    ]
    assert training_race.floor(points[1:], chip) == []
    assert training_race.floor(points, None) == []


def _race_of(monkeypatch: pytest.MonkeyPatch, entries: dict[str, Contestant]) -> None:
    monkeypatch.setattr(training_race, "contestants", lambda *_: (entries, {}))
    expected = Expected([2.0] * 5, {"w": np.array([3.0, 4.0])})
    monkeypatch.setattr(training_race, "Expected", SimpleNamespace(of=lambda settings: expected))


def _runner(loss: float, bent: float = 0.0) -> Runner:
    return Runner(lambda: loss, lambda: {"w": np.array([3.0 + bent, 4.0])})


def _two() -> Runner:
    return _runner(2.0)


def _a_little_more() -> Runner:
    return _runner(2.001)


def _another_gradient() -> Runner:
    return _runner(2.0, 0.05)


def test_race_contestants_agree_on_losses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(reference_network, "MODES", ("graph",))  # the others' tests are test_reference's
    training_race.main(["--batch-size", "8", "--hidden", "8", "--rounds", "1", "--kernel", "numba", "cpu-blas"])
    shown = capsys.readouterr().out
    for name in ("NumPy, as one writes it", "stepwise, cpu-numba-simd", "fused, cpu-numba-simd", "stepwise, cpu-blas"):
        assert name in shown


def test_the_readme_is_what_the_ladder_and_the_results_say() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.render(text) == text, "stale: run python -m experiments.readme"
    for spec in kernels.ladder.LADDER:
        assert f"`{spec.name}`" in text


@pytest.mark.parametrize("name", ["README.md", "kernels/README.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = readme.README.parent / name
    links = re.findall(r'\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"', page.read_text(encoding="utf-8"))
    local = [link for link in map("".join, links) if "://" not in link]
    assert local
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_a_stale_readme_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stale = tmp_path / "README.md"
    stale.write_text(readme.README.read_text(encoding="utf-8").replace("`cpu-python`", "`cpu-snake`"), encoding="utf-8")
    monkeypatch.setattr(readme, "README", stale)
    assert _fails(readme.main, "--check")[0] == cli.CHECK_FAILED


def test_committed_results_are_clean_and_of_this_schema() -> None:
    committed = sorted(gallery.RESULTS.rglob("*.json"))
    assert committed
    for path in committed:
        found = results.read(path)
        if found.git is None:  # measured from a copy without the repository, whose revision is kept beside
            assert re.fullmatch(r"[0-9a-f]{40}\n", path.with_suffix(".revision").read_text()), path
        else:
            assert not found.git.dirty, path


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", gallery.pictures())
def test_every_picture_of_the_gallery_can_be_drawn(name: str, theme: str) -> None:
    """On the theme's paper, with no text beyond the edge and no letters too small for a README's column."""
    figure = gallery.pictures()[name](theme)
    assert figure.get_facecolor() == to_rgba(THEMES[theme].paper)
    figure.draw_without_rendering()
    page = figure.bbox.padded(2)
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    hidden = [
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    ]
    shown = [text for text in texts if text not in hidden]
    assert len(shown) > 8
    scale = 830 / (figure.get_size_inches()[0] * 72)  # a README is about 830 pixels wide
    for text in shown:
        box = text.get_window_extent()
        assert page.xmin <= box.xmin < box.xmax <= page.xmax, text
        assert page.ymin <= box.ymin < box.ymax <= page.ymax, text
        assert text.get_fontsize() * scale >= 10, text


def test_the_gallery_holds_its_pictures_and_no_others() -> None:
    expected = {f"{name}_{theme}.png" for name in (*gallery.pictures(), *_screenshots.VIEWS) for theme in THEMES}
    assert {path.name for path in gallery.GALLERY.iterdir()} == expected
    text = readme.README.read_text(encoding="utf-8")
    shown = set(re.findall(r"plots/gallery/([\w-]+\.png)", text))
    assert shown <= expected
    assert len(shown) >= 8
    for light in (name for name in shown if name.endswith("_light.png")):
        assert light.replace("_light", "_dark") in shown


def test_redraw_writes_every_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gallery, "GALLERY", tmp_path)
    drawn = {"machines": gallery.pictures()["machines"]}
    monkeypatch.setattr(gallery, "pictures", lambda: drawn)
    monkeypatch.setattr(_browser, "why_absent", lambda: "no browser")
    gallery.main([])
    assert "the explorer's pictures stay as they are: no browser" in capsys.readouterr().out
    light, dark = ((tmp_path / f"machines_{theme}.png").read_bytes() for theme in ("light", "dark"))
    assert light.startswith(b"\x89PNG")
    assert dark.startswith(b"\x89PNG")
    assert light != dark
