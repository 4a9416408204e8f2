"""What is said of a rate above a measured limit: it cannot be, unless the limit was measured badly."""

from __future__ import annotations

__all__ = ["above"]


def above(limit: str) -> str:
    """What a rate is that exceeds it, and what to do."""
    return f"above {limit}, which may have been measured while other programs ran: run again"
