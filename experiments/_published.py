"""The two runs published in 2018, by TensorFlow 1: every figure that the article gives of them, and no other."""

from __future__ import annotations

from dataclasses import dataclass

from rnn.settings import Settings

__all__ = ["PUBLISHED", "SETTINGS", "STEPS", "Published"]

SETTINGS, STEPS = Settings(), 10_000


@dataclass(frozen=True)
class Published:
    """real, user and sys in seconds, price in dollars, memory in bytes; None where the article does not say."""

    machine: str
    cores: int | None
    gpu: str | None
    gpu_cores: int | None
    gpu_memory: int | None
    price: float | None
    real: float
    user: float
    sys: float
    accuracy_first_128: float


PUBLISHED = (
    Published(
        machine="48-core server, 2 Xeons",
        cores=48,
        gpu=None,
        gpu_cores=None,
        gpu_memory=None,
        price=None,
        real=5 * 60 + 24.519,
        user=27 * 60 + 32.158,
        sys=6 * 60 + 12.759,
        accuracy_first_128=0.8984375,
    ),
    Published(
        machine="home-built box",
        cores=None,
        gpu="GTX 1070 Ti",
        gpu_cores=2_400,  # "about"
        gpu_memory=8 * 10**9,
        price=850,  # with tax, of it $723 for the parts
        real=1 * 60 + 22.601,
        user=1 * 60 + 21.002,
        sys=7.588,
        accuracy_first_128=0.8828125,
    ),
)
