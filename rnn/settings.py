"""What defines a training run: two runs with equal settings draw the same weights and batches."""

from __future__ import annotations

import msgspec

__all__ = ["Settings"]


class Settings(msgspec.Struct, frozen=True):
    """The published program's settings are the defaults."""

    cell: str = "lstm"
    hidden: int = 128
    batch_size: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.001
    seed: int = 0
