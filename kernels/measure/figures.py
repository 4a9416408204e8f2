"""Figures as tables, texts and pictures show them."""

from __future__ import annotations

__all__ = ["figure", "gigaflops", "times"]


def figure(value: float) -> str:
    """To three digits, or whole."""
    return f"{value:,.0f}" if round(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def gigaflops(rate: float) -> str:
    """GFLOP/s as a figure; rate: in FLOP/s."""
    return figure(rate / 1e9)


def times(ratio: float) -> str:
    """How many times as fast: to hundredths, or where these tell too little, to two digits."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"
