"""How much of the processors' time a container may take: Linux's control groups."""

from __future__ import annotations

import math
from pathlib import Path

__all__ = ["cores_of_quota", "within_quota"]

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores_of_quota() -> int | None:
    """Cores' worth of time for this process, rounded up; None where nothing limits it.

    Of version 2 (cpu.max: "quota period" or "max period") every group above this process's own counts, of version 1
    (cpu.cfs_quota_us, -1 for none) the container's.
    """
    limits = [_version_2(group / "cpu.max") for group in _groups()]
    limits.append(_version_1(_GROUPS / "cpu"))
    return min((limit for limit in limits if limit), default=None)


def within_quota(cores: int) -> int:
    """Of so many cores, those that this process's quota lets it use."""
    return min(cores, cores_of_quota() or cores)


def _groups() -> list[Path]:
    try:
        own = next(line for line in _OWN.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return [_GROUPS]
    inner = Path(own.removeprefix("0::").lstrip("/"))
    return [_GROUPS / part for part in (inner, *inner.parents)]


def _version_2(file: Path) -> int | None:
    try:
        quota, period = file.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else math.ceil(int(quota) / int(period))


def _version_1(folder: Path) -> int | None:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return math.ceil(quota / period) if quota > 0 else None
