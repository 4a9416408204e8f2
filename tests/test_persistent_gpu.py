"""What only a GPU can show of the persistent engine: the launch itself, and the memory as the chip orders it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kernels
from experiments import _numpy_lstm
from rnn import engines
from rnn.optimizers import OPTIMIZERS
from rnn.settings import Settings
from rnn.stepwise import Stepwise
from tests import steps

pytestmark = pytest.mark.gpu

SHAPES = [(1, 1), (7, 10), (16, 31), (33, 50), (64, 700), (100, 128), (128, 128), (128, 133)]


def _engine(hidden: int, batch: int, optimizer: str = "sgd") -> Any:
    settings = Settings(hidden=hidden, batch_size=batch, optimizer=optimizer, learning_rate=0.05, seed=3)
    try:
        return engines.create("persistent", kernels.get("cuda"), settings)
    except engines.UnsupportedEngine as reason:
        pytest.skip(str(reason))


def _wide(engine: Any) -> dict[str, np.ndarray]:
    return {name: weight.get().astype(np.float64) for name, weight in engine.weights.items()}


@pytest.mark.parametrize(("hidden", "batch"), SHAPES)
def test_loss_and_gradients_equal_float64(hidden: int, batch: int) -> None:
    engine = _engine(hidden, batch)
    x, labels = steps.batch(batch)
    loss, gradients = engine.loss_and_gradients(x, labels)
    exact_loss, exact = _numpy_lstm.loss_and_gradients(_wide(engine), x.astype(np.float64), labels)
    assert float(loss) == pytest.approx(exact_loss, rel=3e-6)
    for name, gradient in exact.items():
        assert steps.distance(gradients[name].get(), gradient) < 5e-6, name


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_ten_steps_follow_float64(optimizer: str) -> None:
    engine = _engine(128, 128, optimizer)
    exact = _wide(engine)
    update = OPTIMIZERS[optimizer](0.05, exact)
    for step in range(10):
        x, labels = steps.batch(128, seed=step)
        expected, gradients = _numpy_lstm.loss_and_gradients(exact, x.astype(np.float64), labels)
        update.update(exact, gradients)
        assert float(engine.train(x, labels)) == pytest.approx(expected, rel=1e-4)


def test_a_hundred_runs_of_the_same_seed_give_the_same_losses() -> None:
    batches = [steps.batch(128, seed=step) for step in range(5)]

    def losses() -> list[float]:
        engine = _engine(128, 128)
        return [float(engine.train(*batch)) for batch in batches]

    first = losses()
    for _ in range(99):
        assert losses() == first


def test_a_checkpoint_goes_from_the_cpu_to_the_gpu_and_back() -> None:
    gpu = _engine(128, 128)
    settings = Settings(learning_rate=0.05, seed=3)
    cpu = Stepwise(settings, kernels.get("cpu-blas").matmul)
    for step in range(3):
        cpu.train(*steps.batch(128, seed=step))
    gpu.restore(cpu.arrays)
    assert float(gpu.train(*steps.batch(128, seed=3))) == pytest.approx(cpu.train(*steps.batch(128, seed=3)), rel=1e-4)
    cpu.restore(gpu.arrays)
    assert cpu.train(*steps.batch(128, seed=4)) == pytest.approx(float(gpu.train(*steps.batch(128, seed=4))), rel=1e-4)
