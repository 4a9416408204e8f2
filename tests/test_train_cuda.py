"""Training on a GPU, as far as a stand-in for CuPy can show it; the tests marked gpu show the rest."""

from __future__ import annotations

import numpy as np
import pytest

import kernels
from rnn import engines
from rnn.batches import Batches
from rnn.data import Split
from rnn.settings import Settings
from rnn.stepwise import Stepwise
from rnn.stepwise_cuda import StepwiseCUDA
from tests import fake_cupy


def _batches(place: object = np.asarray) -> Batches:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (50, 28, 28)).astype(np.uint8)
    return Batches(Split(images, random.integers(0, 10, 50).astype(np.uint8)), 8, 3, place)  # type: ignore[arg-type]


def _matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    assert type(a) is type(b) is type(out)
    np.matmul(a.view(np.ndarray), b.view(np.ndarray), out=out.view(np.ndarray))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("cell", ["lstm", "elman"])
def test_the_same_numbers_as_on_the_cpu_and_never_an_array_of_the_host(
    cell: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cupy.install(monkeypatch)
    settings = Settings(cell=cell, optimizer=optimizer, hidden=6, batch_size=8)  # type: ignore[arg-type]
    here, there = Stepwise(settings, _matmul), StepwiseCUDA(settings, _matmul)
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
    one, other = Stepwise(settings, _matmul), StepwiseCUDA(settings, _matmul)
    for number in range(3):
        one.train(*batches[number])
    other.restore(one.arrays)
    assert float(other.train(*batches[3])) == one.train(*batches[3])
    one.restore(other.arrays)
    assert float(other.train(*batches[4])) == one.train(*batches[4])


def test_a_cuda_kernel_trains_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch)
    spec = next(spec for spec in kernels.LADDER if spec.family == "cuda")
    settings = Settings(hidden=4, batch_size=2)
    assert engines.choose("auto", kernels.Kernel(spec, _matmul), settings) == "stepwise"
    engine = engines.create("stepwise", kernels.Kernel(spec, _matmul), settings)
    assert isinstance(engine, StepwiseCUDA)
    x, labels = _batches()[0]
    assert engine.train(x[:, :2], labels[:2]) > 0


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
