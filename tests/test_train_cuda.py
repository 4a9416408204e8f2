"""Training on a GPU, as far as a stand-in for CuPy can show it; the tests marked gpu show the rest."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import kernels
from experiments import _contestants
from kernels import cli
from kernels.cuda import offline
from kernels.ladder import find
from rnn import checkpoint, engines, gates_cuda, train
from rnn.arrays import to_host
from rnn.batches import Batches
from rnn.data import Split
from rnn.graph_cuda import GraphCUDA
from rnn.network import Network
from rnn.optimizers import OPTIMIZERS
from rnn.persistent_cuda import PersistentCUDA
from rnn.settings import Settings
from rnn.stepwise import Stepwise
from rnn.stepwise_cuda import StepwiseCUDA
from tests import emulated_gates, emulation, fake_cupy, idx
from tests.emulation import Order

emulated = pytest.mark.skipif(not emulation.available(), reason="the emulator needs g++ 12 on Linux")


def _batches(place: object = np.asarray) -> Batches:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (50, 28, 28)).astype(np.uint8)
    return Batches(Split(images, random.integers(0, 10, 50).astype(np.uint8)), 8, 3, place)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("cell", ["lstm", "elman"])
def test_the_same_numbers_as_on_the_cpu_and_never_an_array_of_the_host(
    cell: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cupy.install(monkeypatch)
    settings = Settings(cell=cell, optimizer=optimizer, hidden=6, batch_size=8)  # type: ignore[arg-type]
    here, there = Stepwise(settings, np.matmul), StepwiseCUDA(settings, fake_cupy.multiply, fused_gates=False)
    host, device = _batches(), _batches(there.place)
    for number in range(9):
        x, labels = device[number]
        assert isinstance(x, fake_cupy.ndarray)
        assert isinstance(labels, fake_cupy.ndarray)
        assert float(there.train(x, labels)) == here.train(*host[number])
        assert there.evaluate(x, labels) == here.evaluate(*host[number])
    x, _ = host[0]
    assert type(there.predict(x)) is np.ndarray
    np.testing.assert_array_equal(there.predict(x), here.predict(x))
    for name, array in there.arrays.items():
        assert type(array) is np.ndarray, name
        np.testing.assert_array_equal(array, here.arrays[name])


def test_a_checkpoint_of_one_continues_on_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch)
    settings = Settings(optimizer="adam", hidden=6, batch_size=8)
    batches = _batches()
    one, other = Stepwise(settings, np.matmul), StepwiseCUDA(settings, fake_cupy.multiply, fused_gates=False)
    for number in range(3):
        one.train(*batches[number])
    other.restore(one.arrays)
    assert float(other.train(*batches[3])) == one.train(*batches[3])
    one.restore(other.arrays)
    assert float(other.train(*batches[4])) == one.train(*batches[4])


@emulated
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("engine", "order"), [(StepwiseCUDA, "forward"), (StepwiseCUDA, "reverse"), (GraphCUDA, 1)])
def test_ten_steps_of_the_handwritten_kernels_equal_float64(
    engine: type[StepwiseCUDA], order: Order, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cupy.install(monkeypatch)
    emulated_gates.install(monkeypatch, order)
    settings = Settings(optimizer=optimizer, hidden=6, batch_size=8)
    there, batches = engine(settings, fake_cupy.multiply), _batches(engine.place)
    _equals_float64(there, settings, batches, 1e-5)


def _equals_float64(there: StepwiseCUDA, settings: Settings, batches: Batches, bound: float) -> None:
    """Losses and every gradient of ten steps, relative to the largest of each array; the shape changes on the way."""
    network = Network(settings.cell, np.matmul)
    weights = {name: weight.astype(np.float64) for name, weight in there.arrays.items() if name in there.weights}
    optimizer = OPTIMIZERS[settings.optimizer](settings.learning_rate, weights)
    for number in range(10):
        x, labels = batches[number]
        if number % 4 == 3:
            x, labels = x[:, :5], labels[:5]
        loss, gradients = network.loss_and_gradients(weights, to_host(x).astype(np.float64), to_host(labels))
        found, device_gradients = there.loss_and_gradients(x, labels)
        assert float(found) == pytest.approx(loss, rel=bound)
        for name, gradient in gradients.items():
            error = np.abs(to_host(device_gradients[name]) - gradient).max()
            assert error <= bound * np.abs(gradient).max(), (number, name)
        assert float(there.train(x, labels)) == pytest.approx(loss, rel=bound)
        optimizer.update(weights, gradients)
    for name, weight in weights.items():
        np.testing.assert_allclose(there.arrays[name], weight, rtol=0, atol=10 * bound * np.abs(weight).max())


@emulated
def test_a_graph_leaves_the_weights_alone_until_it_trains_and_follows_a_restored_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_cupy.install(monkeypatch)
    emulated_gates.install(monkeypatch)
    settings = Settings(hidden=4, batch_size=8)
    one, other = StepwiseCUDA(settings, fake_cupy.multiply), GraphCUDA(settings, fake_cupy.multiply)
    batches = _batches(other.place)
    other.prepare(*batches[0])
    for name, weight in one.arrays.items():
        np.testing.assert_array_equal(other.arrays[name], weight)
    assert float(one.train(*batches[0])) == float(other.train(*batches[0]))
    one.train(*batches[1])
    other.restore(one.arrays)
    assert float(other.train(*batches[2])) == float(one.train(*batches[2]))
    for name, weight in one.arrays.items():
        np.testing.assert_array_equal(other.arrays[name], weight)


@emulated
def test_labels_may_be_of_any_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch)
    emulated_gates.install(monkeypatch)
    there = StepwiseCUDA(Settings(hidden=4, batch_size=8), fake_cupy.multiply)
    x, labels = _batches(there.place)[0]
    expected, _ = there.loss_and_gradients(x, labels)
    found, _ = there.loss_and_gradients(x, labels.astype(np.int64))
    assert float(found) == float(expected)


def test_batches_on_the_gpu_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch)
    host, device = _batches(), _batches(StepwiseCUDA.place)
    for number in (0, 6, 7, 13):
        for here, there in zip(host[number], device[number], strict=True):
            assert isinstance(there, fake_cupy.ndarray)
            np.testing.assert_array_equal(there.get(), here)


def _cuda_kernel() -> kernels.Kernel:
    return kernels.Kernel(next(spec for spec in kernels.LADDER if spec.family == "cuda"), fake_cupy.multiply)


def _without_persistent(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/test_persistent.py has the engine whose launches these stand-ins do not know."""
    monkeypatch.setattr(PersistentCUDA, "why_not", staticmethod(lambda settings: "the chip is a stand-in"))


def test_auto_takes_the_fastest_engine_there_is_and_says_why_not_a_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, settings = _cuda_kernel(), Settings(hidden=4, batch_size=2)
    _without_persistent(monkeypatch)
    assert engines.choose("auto", kernel, settings) == "graph"
    assert engines.passed_over("graph", kernel, settings) == ["the chip is a stand-in"]
    assert engines.choose("stepwise", kernel, settings) == "stepwise"
    with pytest.raises(engines.UnsupportedEngine, match="the chip is a stand-in"):
        engines.choose("persistent", kernel, settings)
    monkeypatch.setattr(GraphCUDA, "why_not", staticmethod(lambda settings: "the chip is too old"))
    assert engines.choose("auto", kernel, settings) == "stepwise"
    with pytest.raises(engines.UnsupportedEngine, match="too old"):
        engines.choose("graph", kernel, settings)
    with pytest.raises(engines.UnsupportedEngine, match="no fused engine"):
        engines.choose("fused", kernel, settings)
    with pytest.raises(engines.UnsupportedEngine, match="runs on a GPU"):
        engines.choose("graph", kernels.get("cpu-blas"), settings)


@pytest.mark.parametrize(("engine", "rounds_to"), [("stepwise", "tf32"), ("graph", "tf32"), ("persistent", "float32")])
def test_an_engine_that_multiplies_by_itself_does_so_in_float32(engine: str, rounds_to: str) -> None:
    kernel = kernels.Kernel(find("cuda-cupy-tensor"), fake_cupy.multiply)
    assert engines.rounds_to(engine, kernel) == rounds_to


@pytest.mark.parametrize(("name", "made"), [("stepwise", StepwiseCUDA), ("graph", GraphCUDA)])
def test_an_engine_is_made_by_its_name(name: str, made: type, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch)
    assert type(engines.create(name, _cuda_kernel(), Settings(hidden=4, batch_size=2))) is made


@emulated
def test_the_race_switches_each_optimisation_off_and_all_lose_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch)
    emulated_gates.install(monkeypatch)
    kernel, settings = _cuda_kernel(), Settings(hidden=4, batch_size=8)
    monkeypatch.setattr(cli, "get_kernel", lambda name: kernel)
    _without_persistent(monkeypatch)
    monkeypatch.setattr(_contestants, "same_start", lambda settings: ({}, *_batches()[0]))
    entries = _contestants._engines(kernel, settings)
    assert all(entry.on_gpu for entry in entries.values())
    assert [name.replace(f", {kernel.name}", "") for name in entries] == [
        "graph", "graph, data on the host", "graph, CuPy's gates", "stepwise", "stepwise, CuPy's gates",
    ]  # fmt: skip
    # the stand-in cannot capture CuPy's functions, which allocate
    able = [entry.start() for name, entry in entries.items() if name != f"graph, {kernel.name}, CuPy's gates"]
    gradients = [to_host(runner.gradients()["cell_weight"]).copy() for runner in able]
    losses = [[float(runner.step()) for _ in range(2)] for runner in able]
    for found, gradient in zip(losses, gradients, strict=True):
        assert found == pytest.approx(losses[0], rel=1e-6)
        np.testing.assert_allclose(gradient, gradients[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("there", ["cpu", "gpu"])
def test_a_run_moves_between_cpu_and_gpu(
    there: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_cupy.install(monkeypatch)
    emulated_gates.install(monkeypatch)
    _without_persistent(monkeypatch)
    kernel = {"gpu": _cuda_kernel(), "cpu": kernels.get("numba")}
    monkeypatch.setattr(cli, "get_kernel", lambda name: kernel[name])
    here = "gpu" if there == "cpu" else "cpu"
    data = idx.write(tmp_path, idx.contents())
    small = ["--data", str(data), "--batch-size", "8", "--hidden", "4", "--display-step", "2"]
    saved = ["--checkpoint", str(tmp_path / "run.npz")]
    train.main(["--kernel", here, *small, *saved, "--steps", "3"])
    train.main(["--kernel", there, *small, *saved, "--steps", "6", "--resume"])
    assert "Resumed" in capsys.readouterr().out
    moved = checkpoint.load(tmp_path / "run.npz")
    assert moved.header.step == 6
    train.main(["--kernel", "cpu", *small, "--checkpoint", str(tmp_path / "whole.npz"), "--steps", "6"])
    for name, array in checkpoint.load(tmp_path / "whole.npz").arrays.items():
        np.testing.assert_allclose(moved.arrays[name], array, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(offline.why_no_compiler() is not None, reason=str(offline.why_no_compiler()))
@pytest.mark.parametrize("architecture", offline.ARCHITECTURES)
def test_gates_compile_for_every_chip_without_spills(architecture: int) -> None:
    compiled = offline.compile_source(gates_cuda.SOURCE, f"sm_{architecture}", ("-std=c++17",))
    assert (compiled.spill_bytes, compiled.local_bytes, compiled.warnings) == (0, 0, ())
    assert max(map(int, re.findall(r"Used (\d+) registers", compiled.log))) <= 64


@pytest.mark.gpu
@pytest.mark.parametrize("fused_gates", [True, False])
@pytest.mark.parametrize("engine", [StepwiseCUDA, GraphCUDA])
def test_ten_steps_on_the_gpu_equal_float64(engine: type[StepwiseCUDA], fused_gates: bool) -> None:
    settings = Settings(batch_size=8)
    there = engine(settings, kernels.get("cuda-cupy-register").matmul, fused_gates)
    _equals_float64(there, settings, _batches(there.place), 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("engine", [StepwiseCUDA, GraphCUDA])
def test_the_same_seed_gives_the_same_bits_100_times(engine: type[StepwiseCUDA]) -> None:
    matmul, losses = kernels.get("cuda").matmul, set()
    for _ in range(100):
        there = engine(Settings(batch_size=8), matmul)
        batches = _batches(there.place)
        losses.add(tuple(float(there.train(*batches[number])) for number in range(5)))
    assert len(losses) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("name", [spec.name for spec in kernels.LADDER if spec.family == "cuda"])
def test_losses_equal_the_cpus(name: str) -> None:
    if reason := kernels.unavailable(name):
        pytest.skip(reason)
    spec = next(spec for spec in kernels.LADDER if spec.name == name)
    settings = Settings(batch_size=8)
    here = Stepwise(settings, kernels.get("cpu-blas").matmul)
    there = engines.create("stepwise", kernels.get(name), settings)
    batches = _batches()
    tolerance = 1e-4 if spec.rounds_to == "float32" else 1e-2
    for number in range(10):
        assert float(there.train(*batches[number])) == pytest.approx(here.train(*batches[number]), rel=tolerance)
