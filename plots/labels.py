"""Labels one above another on a logarithmic axis, each as near to its own height as the others leave room for."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["apart"]


def apart(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Where each label goes, so that no two are nearer than the factor gap: pushed downwards from the highest."""
    placed: dict[str, float] = {}
    above = float("inf")
    for name, height in sorted(heights.items(), key=lambda item: -item[1]):
        above = placed[name] = min(height, above / gap)
    return placed
