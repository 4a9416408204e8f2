"""The network's mathematics: every gradient against central differences in float64, every product through matmul."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import log_softmax

import kernels
from experiments import _numpy_lstm
from kernels.contract import UNIT_ROUNDOFF
from rnn.network import Network, initial_weights, softmax_cross_entropy

AVAILABLE = [name for name, reason in kernels.available().items() if reason is None]
CELLS = ["lstm", "elman"]


def _numpy_matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    return np.matmul(a, b, out=out)


def _through(name: str) -> Callable:
    return kernels.get(name).matmul


def _batch(batch: int, dtype: type = np.float64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.random((28, batch, 28)).astype(dtype), random.integers(0, 10, batch).astype(np.uint8)


def _weights(cell: str, hidden: int, dtype: type = np.float64) -> dict[str, np.ndarray]:
    """Initial weights with biases that are not 0, so that a lost bias shows."""
    weights = {name: weight.astype(dtype) for name, weight in initial_weights(cell, hidden, seed=1).items()}
    weights["cell_bias"] += np.linspace(-0.5, 0.5, len(weights["cell_bias"]))
    return weights


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["cell_weight", "cell_bias", "output_weight", "output_bias"])
def test_gradient_equals_central_differences(cell: str, name: str) -> None:
    network, weights = Network(cell, _numpy_matmul), _weights(cell, hidden=5)
    x, labels = _batch(3)
    _, gradients = network.loss_and_gradients(weights, x, labels)
    gradient = gradients[name].copy()
    numeric = np.empty_like(gradient)
    step = 1e-4
    for index in np.ndindex(gradient.shape):
        # four points: the error of the slope falls with the fourth power of the step
        slopes = []
        for h in (step, 2 * step):
            losses = []
            for sign in (1, -1):
                moved = {key: weight.copy() for key, weight in weights.items()}
                moved[name][index] += sign * h
                losses.append(network.loss_and_gradients(moved, x, labels)[0])
            slopes.append((losses[0] - losses[1]) / (2 * h))
        numeric[index] = (4 * slopes[0] - slopes[1]) / 3
    assert np.linalg.norm(gradient - numeric) < 1e-7 * np.linalg.norm(numeric)
    assert np.abs(gradient - numeric).max() < 1e-7 * np.abs(numeric).max()


@pytest.mark.parametrize(("hidden", "batch"), [(1, 1), (5, 3), (16, 20)])
def test_lstm_equals_an_independent_implementation(hidden: int, batch: int) -> None:
    weights, (x, labels) = _weights("lstm", hidden), _batch(batch)
    loss, gradients = Network("lstm", _numpy_matmul).loss_and_gradients(weights, x, labels)
    exact_loss, exact = _numpy_lstm.loss_and_gradients(weights, x, labels)
    assert loss == pytest.approx(exact_loss, rel=1e-12)
    for name in exact:
        np.testing.assert_allclose(gradients[name], exact[name], rtol=1e-9, atol=1e-13)


def test_elman_equals_its_definition() -> None:
    weights, (x, labels) = _weights("elman", 6), _batch(4)
    h = np.zeros((4, 6))
    for x_t in x:
        h = np.tanh(np.hstack([x_t, h]) @ weights["cell_weight"] + weights["cell_bias"])
    logits = h @ weights["output_weight"] + weights["output_bias"]
    network = Network("elman", _numpy_matmul)
    np.testing.assert_allclose(network.logits(weights, x), logits, rtol=1e-12)
    loss, _ = network.loss_and_gradients(weights, x, labels)
    assert loss == pytest.approx(-log_softmax(logits, axis=1)[np.arange(4), labels].mean(), rel=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", AVAILABLE)
def test_every_kernel_carries_the_network(name: str, cell: str) -> None:
    """--batch-size 8 --hidden 16: the loss by any kernel is the float64 loss within float32's error."""
    weights, (x, labels) = _weights(cell, 16, np.float32), _batch(8, np.float32)
    loss, gradients = Network(cell, _through(name)).loss_and_gradients(weights, x, labels)
    wide = {key: weight.astype(np.float64) for key, weight in weights.items()}
    exact_loss, exact = Network(cell, _numpy_matmul).loss_and_gradients(wide, x.astype(np.float64), labels)
    # 28 steps one after another, each a sum of 44 products and a dozen roundings more
    bound = 28 * (44 + 12) * UNIT_ROUNDOFF
    assert loss == pytest.approx(exact_loss, rel=bound)
    for key, gradient in gradients.items():
        assert gradient.dtype == np.float32, key
        assert np.linalg.norm(gradient - exact[key]) < bound * np.linalg.norm(exact[key]), key


@pytest.mark.parametrize("cell", CELLS)
def test_every_product_goes_through_matmul(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a matmul that writes nothing but zeros, only biases are left; the FLOP of all calls are counted."""
    hidden, batch, gates = 6, 4, {"lstm": 4, "elman": 1}[cell]
    flops = 0

    def count(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        nonlocal flops
        assert out.shape == (a.shape[0], b.shape[1])
        assert a.shape[1] == b.shape[0]
        flops += 2 * out.size * a.shape[1]
        out[...] = 0

    for name in ("matmul", "dot", "einsum", "tensordot", "inner", "vdot"):
        monkeypatch.setattr(np, name, lambda *_, **__: pytest.fail("a product beside matmul"))
    weights, (x, labels) = _weights(cell, hidden), _batch(batch)
    logits = Network(cell, count).logits(weights, x)
    np.testing.assert_array_equal(logits, np.tile(weights["output_bias"], (batch, 1)))
    flops = 0
    Network(cell, count).loss_and_gradients(weights, x, labels)
    step = 2 * batch * gates * hidden
    cell_flops = 28 * step * (28 + hidden) * 2 + 27 * step * hidden  # z and dW at every step, dh at all but one
    assert flops == cell_flops + 3 * 2 * batch * hidden * 10


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_is_left_over_between_batches(cell: str) -> None:
    weights, used = _weights(cell, 7), Network(cell, _numpy_matmul)
    for batch in (5, 2, 5, 9):
        x, labels = _batch(batch, seed=batch)
        loss, gradients = used.loss_and_gradients(weights, x, labels)
        fresh_loss, fresh = Network(cell, _numpy_matmul).loss_and_gradients(weights, x, labels)
        assert loss == fresh_loss
        for name in fresh:
            np.testing.assert_array_equal(gradients[name], fresh[name])


def test_cross_entropy_equals_scipys_and_survives_large_logits() -> None:
    random = np.random.default_rng(5)
    labels = random.integers(0, 10, 50)
    for scale in (1, 1e4):
        logits = scale * random.standard_normal((50, 10))
        loss, gradient = softmax_cross_entropy(logits, labels)
        expected = log_softmax(logits, axis=1)
        assert loss == pytest.approx(-expected[np.arange(50), labels].mean(), rel=1e-12)
        np.testing.assert_allclose(gradient, (np.exp(expected) - np.eye(10)[labels]) / 50, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("elman", 1)])
@pytest.mark.parametrize("hidden", [16, 200])
def test_cell_weights_fill_glorots_interval(cell: str, gates: int, hidden: int) -> None:
    weight = initial_weights(cell, hidden, seed=2)["cell_weight"]
    assert weight.shape == (28 + hidden, gates * hidden)
    limit = np.sqrt(6 / sum(weight.shape))
    # the smallest and the largest of n uniform numbers miss the ends by more than 20/n in 2 of 10⁴ draws
    assert -limit <= weight.min() < -limit * (1 - 20 / weight.size)
    assert limit * (1 - 20 / weight.size) < weight.max() <= np.float32(limit)


def test_weights_are_drawn_as_published() -> None:
    weights = initial_weights("lstm", 128, seed=0)
    limit = np.sqrt(6 / (156 + 512))
    assert {name: weight.shape for name, weight in weights.items()} == {
        "cell_weight": (156, 512),
        "cell_bias": (512,),
        "output_weight": (128, 10),
        "output_bias": (10,),
    }
    assert all(weight.dtype == np.float32 for weight in weights.values())
    assert 0.999 * limit < np.abs(weights["cell_weight"]).max() <= np.float32(limit)
    # a uniform number's deviation is limit/√3, a normal one's 1; 5σ of the estimate
    assert weights["cell_weight"].std() == pytest.approx(limit / np.sqrt(3), rel=0.01)
    output = initial_weights("elman", 1000, seed=0)["output_weight"]
    assert output.std() == pytest.approx(1, abs=5 / np.sqrt(2 * output.size))
    assert output.mean() == pytest.approx(0, abs=5 / np.sqrt(output.size))
    assert not weights["cell_bias"].any()
    again, other = initial_weights("lstm", 128, seed=0), initial_weights("lstm", 128, seed=1)
    for name in ("cell_weight", "output_weight", "output_bias"):
        np.testing.assert_array_equal(weights[name], again[name])
        assert not np.array_equal(weights[name], other[name])
