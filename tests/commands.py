"""Commands as their tests call them."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def fails(command: Callable[[list[str]], object], *arguments: str) -> int:
    """The exit code of a command that must not succeed."""
    with pytest.raises(SystemExit) as stop:
        command(list(arguments))
    assert isinstance(stop.value.code, int)
    return stop.value.code
