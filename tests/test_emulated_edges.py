"""The emulated kernels at the edges of a warp, a block and of float32."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from kernels.contract import Reference
from rnn.settings import Settings
from rnn.stepwise_cuda import StepwiseCUDA
from tests import emulated_gates, emulation, fake_cupy, steps
from tests.test_persistent import _engine, _exact, _host, machine  # noqa: F401

pytestmark = pytest.mark.skipif(not emulation.available(), reason="the emulator needs g++ 12 on Linux")


def _close(found, gradients, weights, x, labels):
    loss, exact = _exact(weights, x, labels)
    assert float(found) == pytest.approx(loss, rel=1e-5)
    for name, gradient in exact.items():
        assert steps.distance(gradients[name].get(), gradient) < 1e-5, name


def test_a_batch_of_more_images_than_a_warp_has_lanes(machine):  # noqa: F811
    engine, (x, labels) = _engine(1, 70), steps.batch(70)
    _close(*engine.loss_and_gradients(x, labels), _host(engine.weights), x, labels)


def test_a_batch_of_more_images_than_a_block_has_threads(monkeypatch):
    fake_cupy.install(monkeypatch)
    emulated_gates.install(monkeypatch)
    engine, (x, labels) = StepwiseCUDA(Settings(hidden=2, batch_size=300), fake_cupy.multiply), steps.batch(300)
    loss, gradients = engine.loss_and_gradients(x, labels)
    _close(loss.reshape(-1)[0], gradients, _host(engine.weights), x, labels)


@pytest.mark.parametrize(("first", "last"), [(-3e4, -2.9999e4), (0, 200), (200, 0)])
def test_scores_far_below_0_and_far_from_one_another(first, last, machine, monkeypatch):  # noqa: F811
    emulated_gates.install(monkeypatch)
    x, labels = steps.batch(3)
    for engine in (_engine(4, 3), StepwiseCUDA(Settings(hidden=4, batch_size=3), fake_cupy.multiply)):
        engine.restore(engine.arrays | {"output_bias": np.linspace(first, last, 10, dtype=np.float32)})
        loss, gradients = engine.loss_and_gradients(x, labels)
        expected = -log_softmax(engine.logits(x).astype(float), axis=1)[np.arange(3), labels].mean()
        assert float(np.asarray(loss).reshape(-1)[0]) == pytest.approx(expected, rel=1e-3)
        assert all(np.isfinite(gradient.get()).all() for gradient in gradients.values())


def test_c_may_begin_between_two_pairs_of_numbers():
    """Arrays end before a forbidden page here: with one number more, c begins 4 bytes past a multiple of 8."""
    from tests.test_cuda_c_hopper import BF16, Boxes, emulate, laid_out, operands

    (m, k, n), tile = (5, 8, 12), BF16.tile
    a, b = operands(m, k, n)
    c = np.full(m * n + 1, np.nan, np.float32)
    boxes = [
        Boxes(laid_out(x, BF16, tile, "forward", BF16.source), rows, tile.block_k)
        for x, rows in ((a, tile.block_m), (b.T, tile.block_n // tile.cluster))
    ]
    emulate(
        BF16.source,
        BF16.options(tile),
        tile.resident_grid(m, n, 2),
        tile.block,
        tile.shared_bytes,
        *boxes,
        c,
        m,
        n,
        k,
        cluster=tile.cluster,
    )
    Reference.of(a, b).check(c[:-1].reshape(m, n), BF16.name, "bf16")
    assert np.isnan(c[-1])
