"""Batches are the published program's: every image once an epoch, and any batch by its number."""

from __future__ import annotations

import numpy as np
import pytest

from rnn.batches import Batches, as_steps
from rnn.data import Split


def _train(count: int) -> Split:
    """Images and labels that tell their own number: the first pixel of image i is i mod 251, its label i mod 10."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(count) % 251
    return Split(images, (np.arange(count) % 10).astype(np.uint8))


@pytest.mark.parametrize("size", [1, 7, 100, 103, 250])
def test_batches_read_one_line_of_shuffled_epochs(size: int) -> None:
    count = 100
    batches = Batches(_train(count), size, seed=3)
    line = np.concatenate([batches.indices(number) for number in range(-(-5 * count // size))])
    epochs = line[: 5 * count].reshape(5, count)
    for epoch in epochs:
        assert sorted(epoch) == list(range(count))
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_the_first_5000_images_are_set_aside() -> None:
    batches = Batches(_train(6_000), 1000, seed=0)
    x, labels = batches[0]
    chosen = batches.indices(0)
    assert sorted(chosen) == list(range(1000))
    np.testing.assert_array_equal(x[0, :, 0], ((chosen + 5_000) % 251 / np.float32(255)).astype(np.float32))
    np.testing.assert_array_equal(labels, (chosen + 5_000) % 10)


@pytest.mark.parametrize(("count", "used"), [(60_000, 55_000), (5_001, 1), (5_000, 5_000), (1, 1)])
def test_an_epoch_has_all_images_but_those_set_aside(count: int, used: int) -> None:
    batches = Batches(_train(count), used, seed=0)
    for number in range(2):
        assert sorted(batches.indices(number)) == list(range(used))


def test_any_batch_can_be_drawn_by_its_number() -> None:
    in_order, directly = Batches(_train(90), 40, seed=1), Batches(_train(90), 40, seed=1)
    drawn = [in_order.indices(number) for number in range(12)]
    for number in (11, 2, 7, 7, 0):
        np.testing.assert_array_equal(directly.indices(number), drawn[number])


def test_a_checkpoint_of_any_version_goes_on_with_the_same_batches() -> None:
    """An epoch's order is NumPy's permutation for the seed, a 1 that stands for shuffling, and the epoch's number."""
    batches = Batches(_train(90), 90, seed=7)
    for epoch in (0, 5):
        np.testing.assert_array_equal(batches.indices(epoch), np.random.default_rng([7, 1, epoch]).permutation(90))


def test_seeds_differ() -> None:
    one, other = (Batches(_train(90), 90, seed).indices(0) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_step_t_is_row_t_of_every_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    steps = as_steps(images)
    assert steps.dtype == np.float32
    assert steps.shape == (28, 5, 28)
    for t in range(28):
        np.testing.assert_allclose(steps[t], images[:, t] / 255, rtol=1e-7)
