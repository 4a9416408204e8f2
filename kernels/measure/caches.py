"""Cache sizes of the processor, as the operating system tells them."""

from __future__ import annotations

import functools
from pathlib import Path

__all__ = ["cache_sizes"]

_TYPICAL = {"L1": 32 * 2**10, "L2": 512 * 2**10, "L3": 8 * 2**20}
_LINUX = Path("/sys/devices/system/cpu/cpu0/cache")


@functools.cache
def cache_sizes() -> dict[str, int]:
    """Bytes of L1 (data), L2 and L3 as one core sees them; typical values where the system does not say."""
    sizes = dict(_TYPICAL)
    for index in sorted(_LINUX.glob("index*")) if _LINUX.is_dir() else ():
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                sizes[f"L{level}"] = int(size[:-1]) * {"K": 2**10, "M": 2**20}[size[-1]]
        except (OSError, ValueError, KeyError):
            continue
    return sizes
