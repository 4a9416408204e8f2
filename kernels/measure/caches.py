"""Cache sizes of the processor, as the operating system tells them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cache_sizes", "sharers_of_l3"]

_TYPICAL = {"L1": 32 * 2**10, "L2": 512 * 2**10, "L3": 8 * 2**20}
_LINUX = Path("/sys/devices/system/cpu/cpu0/cache")


@functools.cache
def cache_sizes() -> dict[str, int]:
    """Bytes of L1 (data), L2 and L3 as one core sees them; typical values where the system does not say."""
    sizes = dict(_TYPICAL)
    for level, index in _data_caches():
        try:
            size = (index / "size").read_text().strip()
            sizes[level] = int(size[:-1]) * {"K": 2**10, "M": 2**20}[size[-1]]
        except (OSError, ValueError, KeyError):
            continue
    return sizes


@functools.cache
def sharers_of_l3() -> int:
    """Hardware threads with one L3 between them, of which there may be several; all where the system does not say."""
    for level, index in _data_caches():
        try:
            if level == "L3":
                parts = (part.split("-") for part in (index / "shared_cpu_list").read_text().strip().split(","))
                return sum(int(part[-1]) - int(part[0]) + 1 for part in parts)
        except (OSError, ValueError):
            continue
    return sys.maxsize


def _data_caches() -> Iterator[tuple[str, Path]]:
    """Level and folder of each cache of the first core that holds data."""
    for index in sorted(_LINUX.glob("index*")) if _LINUX.is_dir() else ():
        try:
            level, kind = ((index / name).read_text().strip() for name in ("level", "type"))
        except OSError:
            continue
        if kind != "Instruction":
            yield f"L{level}", index
