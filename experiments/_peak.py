"""Rates and the measured peak: what is held against it, and what is said of a rate above it."""

from __future__ import annotations

__all__ = ["above", "has_peak"]


def above(limit: str) -> str:
    """What a rate is that exceeds it, and what to do."""
    return f"above {limit}, which may have been measured while other programs ran: run again"


def has_peak(contestant: str, rounds_to: str, system: str) -> bool:
    """Whether the measured peak, of float32 multiply-adds, bounds this contestant on a system.

    A shorter format has units of its own, whose peak is not measured; so have Apple's libraries, on a matrix unit that
    only they may use. rounds_to: the format of the operands. system: as `Machine` names it.
    """
    if rounds_to != "float32":
        return False
    return system != "Darwin arm64" or "cpu-numba" in contestant or "cpu-python" in contestant
