"""The fused engine computes what the network's definition says: against float64, at any batch, size and threads."""

from __future__ import annotations

import numpy as np
import pytest

import kernels
from experiments import _numpy_lstm
from kernels.threads import cores, set_threads
from rnn import engines
from rnn.settings import Settings
from rnn.stepwise import Stepwise
from tests import steps

numba_simd = pytest.mark.skipif(kernels.unavailable("cpu-numba-simd") is not None, reason="numba is not installed")
pytestmark = numba_simd

# around the width of a slice (32, 24 or 8 images) and the height of a register tile (8 or 4 units)
SHAPES = [(1, 1), (7, 10), (8, 32), (9, 33), (16, 31), (33, 50), (128, 128), (5, 200)]


def _engine(name: str, hidden: int, batch: int, optimizer: str = "sgd") -> Stepwise:
    settings = Settings(hidden=hidden, batch_size=batch, optimizer=optimizer, learning_rate=0.05, seed=3)
    return engines.create(name, kernels.get("cpu-numba-simd"), settings)


def _exact(engine: Stepwise, x: np.ndarray, labels: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    weights = {name: weight.astype(np.float64) for name, weight in engine.weights.items()}
    return _numpy_lstm.loss_and_gradients(weights, x.astype(np.float64), labels)


@pytest.mark.parametrize(("hidden", "batch"), SHAPES)
def test_loss_and_every_gradient_equal_float64(hidden: int, batch: int) -> None:
    engine = _engine("fused", hidden, batch)
    x, labels = steps.batch(batch)
    loss, gradients = engine.loss_and_gradients(x, labels)
    exact_loss, exact = _exact(engine, x, labels)
    # 28 steps of sums of up to 157 products: a few hundred roundings of 6e-8, mostly averaged out
    assert loss == pytest.approx(exact_loss, rel=3e-6)
    assert gradients.keys() == exact.keys()
    for name, gradient in gradients.items():
        assert gradient.dtype == np.float32
        assert steps.distance(gradient, exact[name]) < 5e-6, name


def test_a_batch_need_not_be_one_piece_of_memory() -> None:
    engine = _engine("fused", 7, 5)
    x, labels = steps.batch(10)
    for part in (x[:, :5], x[:, ::2], x[:, ::-2]):
        loss, _ = engine.loss_and_gradients(part, labels[:5])
        assert loss == pytest.approx(_exact(engine, part, labels[:5])[0], rel=3e-6)


def test_no_further_from_float64_than_the_stepwise_engine() -> None:
    x, labels = steps.batch(128)
    fused, stepwise = _engine("fused", 128, 128), _engine("stepwise", 128, 128)
    _, exact = _exact(fused, x, labels)
    _, ours = fused.loss_and_gradients(x, labels)
    _, theirs = stepwise.loss_and_gradients(x, labels)
    for name in exact:
        assert steps.distance(ours[name], exact[name]) < 3 * steps.distance(theirs[name], exact[name]) + 1e-7, name


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_ten_steps_follow_the_stepwise_engine(optimizer: str) -> None:
    fused, stepwise = _engine("fused", 33, 50, optimizer), _engine("stepwise", 33, 50, optimizer)
    for step in range(10):
        x, labels = steps.batch(50, seed=step)
        assert fused.train(x, labels) == pytest.approx(stepwise.train(x, labels), rel=1e-4)
    assert fused.evaluate(*steps.batch(50, seed=99))[0] == pytest.approx(
        stepwise.evaluate(*steps.batch(50, seed=99))[0], rel=1e-4
    )


def test_same_bits_for_any_number_of_threads() -> None:
    x, labels = steps.batch(128)
    found = []
    try:
        for threads in {1, cores()}:
            set_threads(threads)
            loss, gradients = _engine("fused", 40, 128).loss_and_gradients(x, labels)
            found.append((loss, {name: gradient.copy() for name, gradient in gradients.items()}))
    finally:
        set_threads(cores())
    for loss, gradients in found[1:]:
        assert loss == found[0][0]
        for name, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, found[0][1][name])


def test_nothing_is_left_over_from_a_larger_batch() -> None:
    engine, fresh = _engine("fused", 16, 70), _engine("fused", 16, 70)
    engine.loss_and_gradients(*steps.batch(70))
    engine.loss_and_gradients(*steps.batch(3, seed=1))
    ours, theirs = (
        engine.loss_and_gradients(*steps.batch(35, seed=2)),
        fresh.loss_and_gradients(*steps.batch(35, seed=2)),
    )
    assert ours[0] == theirs[0]
    for name, gradient in ours[1].items():
        np.testing.assert_array_equal(gradient, theirs[1][name])


def test_large_logits_neither_overflow_nor_lose_the_loss() -> None:
    engine = _engine("fused", 8, 20)
    engine.weights["output_bias"][:] = np.linspace(-3e4, 3e4, 10)
    x, labels = steps.batch(20)
    loss, gradients = engine.loss_and_gradients(x, np.zeros_like(labels))
    assert loss == pytest.approx(6e4, rel=1e-3)
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


def test_vector_tanh_is_within_its_bound() -> None:
    from numba import njit

    from kernels.cpu.lanes import LANES, add_rows, store, zeros
    from rnn.fused_lstm import tanh

    @njit
    def apply(x: np.ndarray, y: np.ndarray) -> None:
        for start in range(0, len(x), LANES):
            store(tanh(add_rows(zeros(1, 1, LANES), x, start, 0)), y, start, 0)

    x = np.concatenate([np.linspace(-12, 12, 16 * 1000), np.array([np.inf, -np.inf, 1e30, -1e30, 0, 1e-30] + [0] * 10)])
    x = x.astype(np.float32)
    y = np.empty_like(x)
    apply(x, y)
    np.testing.assert_allclose(y, np.tanh(x.astype(np.float64)), rtol=0, atol=3e-7)
    nan = np.full(LANES, np.nan, np.float32)
    apply(nan, nan)
    assert np.isnan(nan).all()


def test_engines_are_chosen_and_refused_by_name() -> None:
    simd, blas = kernels.get("cpu-numba-simd"), kernels.get("cpu-blas")
    assert engines.choose("auto", simd, Settings()) == "fused"
    assert engines.choose("stepwise", simd, Settings()) == "stepwise"
    assert engines.choose("auto", simd, Settings(cell="elman")) == "stepwise"
    assert engines.choose("auto", blas, Settings()) == "stepwise"
    with pytest.raises(engines.UnsupportedEngine, match="cpu-numba-simd has"):
        engines.choose("fused", blas, Settings())
    with pytest.raises(engines.UnsupportedEngine, match="elman"):
        engines.choose("fused", simd, Settings(cell="elman"))
