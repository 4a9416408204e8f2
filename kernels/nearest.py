"""What a mistyped name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """A question that names the nearest, two at most; None where nothing is near. cutoff: of difflib's likeness."""
    close = difflib.get_close_matches(name, known, n=2, cutoff=cutoff)
    return f"did you mean {' or '.join(close)}?" if close else None
