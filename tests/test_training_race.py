"""The race times only contestants that learn the same, and goes on without one that breaks down."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import _contestants, training_race
from experiments._contestants import CHECKED_STEPS, RATE, Contestant, Expected, Runner
from kernels import cli
from kernels.measure import results
from kernels.measure.limits import Ceilings
from rnn import reference_network
from rnn.settings import Settings
from tests.commands import fails
from tests.points import results_of

pytestmark = pytest.mark.usefixtures("peak")


def test_race_refuses_a_contestant_with_another_loss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e18, 1e9))
    entries = {"right": Contestant(_two), "wrong": Contestant(_a_little_more), "bent": Contestant(_another_gradient)}
    _race_of(monkeypatch, entries)
    code = fails(training_race.main, "--rounds", "1")
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
    assert fails(training_race.main, "--rounds", "1", "--results", str(file)) == cli.CHECK_FAILED
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
    assert fails(training_race.main, "--rounds", "2", "--results", str(file)) == cli.CHECK_FAILED
    points = {point.contestant: point for point in results.read(file).of(results.StepPoint)}
    assert (points["tired"].status, points["right"].status) == ("failed", "ok")
    assert len(points["right"].samples) >= 2


def test_race_refuses_a_step_faster_than_the_arithmetic(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _race_of(monkeypatch, {"magic": Contestant(_two)})
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e12, 1e10))
    assert fails(training_race.main, "--rounds", "1") == cli.CHECK_FAILED
    assert "magic is above the machine's peak, which may have been measured" in capsys.readouterr().err


@pytest.mark.parametrize(("share", "refused"), [(0.99, True), (1.01, False)])
def test_race_refuses_a_median_faster_than_the_arithmetic_and_no_other(share: float, refused: bool) -> None:
    # 28 steps of 128 images: z and dW from [x, h] (156), dh from h alone (128) in all but the first
    least = 2 * 128 * 512 * (2 * 28 * 156 + 27 * 128) / 1e12
    samples = [least * part for part in (0.5, 0.5, share, 2.0, 2.0)]
    found = results_of([results.StepPoint("fused, cpu-numba-simd", 128, 128, 2, "ok", samples=samples)], peak=1e12)
    says = "fused, cpu-numba-simd is above the machine's peak"
    with pytest.raises(cli.CommandError, match=says) if refused else nullcontext():
        training_race._judge(found)


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
