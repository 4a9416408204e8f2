"""Optimizers follow their published formulas, and continue from their saved state."""

from __future__ import annotations

import numpy as np
import pytest

from rnn.optimizers import OPTIMIZERS


def _weights() -> dict[str, np.ndarray]:
    return {"w": np.linspace(-1, 1, 6).reshape(2, 3), "b": np.array([0.5, -0.25])}


def _gradients(step: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(step)
    return {"w": random.standard_normal((2, 3)), "b": random.standard_normal(2) * 1e-4}


def test_sgd_steps_against_the_gradient() -> None:
    weights, gradients = _weights(), _gradients(0)
    OPTIMIZERS["sgd"](0.1, weights).update(weights, gradients)
    for name, weight in weights.items():
        np.testing.assert_allclose(weight, _weights()[name] - 0.1 * gradients[name], rtol=1e-15)


def test_adam_equals_kingma_and_ba() -> None:
    """Algorithm 1, with ε̂ = ε·√(1 − β₂ᵗ) as the reordering at the end of §2 has it."""
    weights = _weights()
    adam = OPTIMIZERS["adam"](0.01, weights)
    expected, m, v = _weights(), dict.fromkeys(weights, 0.0), dict.fromkeys(weights, 0.0)
    for step in range(1, 8):
        gradients = _gradients(step)
        adam.update(weights, gradients)
        for name, g in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            mean, square = m[name] / (1 - 0.9**step), v[name] / (1 - 0.999**step)
            expected[name] = expected[name] - 0.01 * mean / (np.sqrt(square) + 1e-8 / np.sqrt(1 - 0.999**step))
            np.testing.assert_allclose(weights[name], expected[name], rtol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_saved_state_continues_to_the_same_bits(name: str) -> None:
    whole, halves = _weights(), _weights()
    optimizer = OPTIMIZERS[name](0.01, whole)
    first = OPTIMIZERS[name](0.01, halves)
    for step in range(6):
        optimizer.update(whole, _gradients(step))
    for step in range(3):
        first.update(halves, _gradients(step))
    second = OPTIMIZERS[name](0.01, halves)
    for key, array in second.state.items():
        array[...] = first.state[key]
    for step in range(3, 6):
        second.update(halves, _gradients(step))
    for key, weight in whole.items():
        np.testing.assert_array_equal(weight, halves[key])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_stays_float32(name: str) -> None:
    weights = {key: weight.astype(np.float32) for key, weight in _weights().items()}
    before = {key: weight.ctypes.data for key, weight in weights.items()}
    optimizer = OPTIMIZERS[name](0.01, weights)
    optimizer.update(weights, {key: gradient.astype(np.float32) for key, gradient in _gradients(0).items()})
    for key, weight in weights.items():
        assert weight.dtype == np.float32
        assert weight.ctypes.data == before[key], "updated in place"
    assert all(array.dtype in (np.float32, np.int64) for array in optimizer.state.values())
