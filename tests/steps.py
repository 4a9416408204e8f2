"""What tests of training steps share: a batch of noise, and how far two arrays are apart."""

from __future__ import annotations

import numpy as np


def batch(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x (28,N,28) float32 in 0..1, labels (N,) uint8."""
    random = np.random.default_rng(seed)
    return random.random((28, images, 28), np.float32), random.integers(0, 10, images).astype(np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Of a from b, in units of b's norm."""
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))
