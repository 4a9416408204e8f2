"""Shapes of products: how a command is given them, how it shows them, and operands that fit."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, NamedTuple

from kernels.ladder import KernelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NETWORK_SHAPES", "Shape"]


class Shape(NamedTuple):
    """(M,K)·(K,N); layout says which operand is a transposed view, a's first: nn, nt, tn, tt."""

    m: int
    k: int
    n: int
    layout: str = "nn"

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Argument type: 128x156x512, or 128x512x156:nt."""
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)(?::([nt]{2}))?", text)
        if match is None:
            raise argparse.ArgumentTypeError(f"must look like 128x156x512 or 128x512x156:nt, not '{text}'")
        return cls(int(match[1]), int(match[2]), int(match[3]), match[4] or "nn")

    def __str__(self) -> str:
        """As `parse` takes it."""
        return f"{self.m}x{self.k}x{self.n}" + ("" if self.layout == "nn" else f":{self.layout}")

    @property
    def flops(self) -> int:
        return KernelSpec.flops(self.m, self.n, self.k)

    def operands(self) -> tuple[NDArray, NDArray]:
        """a (M,K) and b (K,N), float32 from N(0,1), always the same."""
        import numpy as np

        random = np.random.default_rng(self.m * self.k * self.n)
        sides = ((self.m, self.k), (self.k, self.n))
        a, b = (
            random.standard_normal(side, np.float32)
            if order == "n"
            else random.standard_normal(side[::-1], np.float32).T
            for side, order in zip(sides, self.layout, strict=True)
        )
        return a, b


# the network's products: z = xh·W, dxh = dz·Wᵀ, dW = xhᵀ·dz
NETWORK_SHAPES = (Shape(128, 156, 512), Shape(128, 512, 156, "nt"), Shape(156, 128, 512, "tn"))
