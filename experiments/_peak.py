"""Rates and the measured peak: what is held against it, and what is said of a rate above it."""

from __future__ import annotations

__all__ = ["above", "has_peak"]


def above(limit: str) -> str:
    """What a rate is that exceeds it, and what to do."""
    return f"above {limit}, which may have been measured while other programs ran: run again"


def has_peak(contestant: str, system: str) -> bool:
    """Whether the CPU's peak, which vector lanes were measured with, bounds this contestant on a system.

    Apple's libraries multiply on a matrix unit, which only they may use. system: as `Machine` names it.
    """
    return system != "Darwin arm64" or "cpu-numba" in contestant or "cpu-python" in contestant
