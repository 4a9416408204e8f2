"""Points of a result file about processes that share a work, and about the parts that such a work is made of."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["CostPoint", "SharedPoint"]


class CostPoint(msgspec.Struct, frozen=True, tag="cost"):
    """One part of the work by itself. Samples are seconds.

    message: `size` bytes from one process to another. add: `size` bytes of float32 added to as many. step: a training
    step of `size` images by one process. panel: a product of `size` multiply-adds by one process, added to its block.
    grain: the processor handles a size as if it were the next multiple of this.
    """

    part: Literal["message", "add", "step", "panel"]
    size: int
    samples: list[float]
    grain: int = 1


class SharedPoint(msgspec.Struct, frozen=True, tag="shared"):
    """One work with one number of processes. Samples are seconds.

    training: a step on `size` images. product: of two matrices of `size` rows and columns whose blocks lie on the
    processes. call: the same of matrices that one process holds; where it is alone, by the local kernel.
    threads: of each process. shares_cores: there were fewer cores than threads of all processes on some machine.
    """

    work: Literal["training", "product", "call"]
    scaling: Literal["strong", "weak"]
    processes: int
    threads: int
    size: int
    shares_cores: bool
    samples: list[float]
