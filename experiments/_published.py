"""The two runs published in 2018, by TensorFlow 1: every figure that the article gives of them, and no other."""

from __future__ import annotations

from functools import partial

from experiments._jobs import MNIST, Job
from rnn.settings import Settings

__all__ = ["PUBLISHED"]

_run = partial(
    Job, kernel="TensorFlow 1", source="published 2018", settings=Settings(), steps=10_000, data=MNIST, published=True
)

PUBLISHED = (
    _run(
        machine="48-core server, 2 Xeons",
        cores=48,
        real=5 * 60 + 24.519,
        user=27 * 60 + 32.158,
        sys=6 * 60 + 12.759,
        accuracy_first_128=0.8984375,
    ),
    _run(
        machine="home-built box",
        gpu="GTX 1070 Ti, 8 GB",
        gpu_cores=2_400,  # "about"
        price=850,  # with tax, of it $723 for the parts
        real=1 * 60 + 22.601,
        user=1 * 60 + 21.002,
        sys=7.588,
        accuracy_first_128=0.8828125,
    ),
)
