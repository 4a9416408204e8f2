"""What this project can do without, and how to install it: the extras of setup.cfg."""

from __future__ import annotations

__all__ = ["CUDA", "install"]


def install(extra: str) -> str:
    """The command that installs an extra, to be given in the project's folder."""
    return f'python -m pip install --editable ".[{extra}]"'


CUDA = f"{install('cuda13')} (or cuda12, for a chip or a driver of before CUDA 13)"
