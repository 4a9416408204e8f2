"""How many joules the machine used, where it tells: processors through RAPL, NVIDIA GPUs through NVML."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from kernels.measure.machine import why_no_gpu

__all__ = ["Meters"]

_POWERCAP = Path("/sys/class/powercap")


class Meters:
    """Joules since it was made, by meter, in `joules`; empty where the machine tells nothing, or not to this user."""

    def __init__(self, powercap: Path = _POWERCAP) -> None:
        self._counters = {**_rapl(powercap), **_nvml()}
        self._last = {name: read() for name, (read, _) in self._counters.items()}
        self.joules = dict.fromkeys(self._counters, 0.0)

    def poll(self) -> None:
        """Add what was used since the last call; more often than the counters start over, which takes minutes."""
        for name, (read, wraps) in self._counters.items():
            now = read()
            used = now - self._last[name]
            self.joules[name] += used + wraps if used < 0 else used
            self._last[name] = now


# a counter: how it is read, in joules, and where it starts over
_Counter = tuple[Callable[[], float], float]


def _rapl(powercap: Path) -> dict[str, _Counter]:
    """Packages and their memory. Other zones (cores, the whole platform) count the same joules once more."""
    counters: dict[str, _Counter] = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = (zone / "name").read_text().strip()
            if name.startswith("package") or name == "dram":
                _microjoules(zone / "energy_uj")
                counters[f"{name} {zone.name}"] = (
                    partial(_microjoules, zone / "energy_uj"),
                    _microjoules(zone / "max_energy_range_uj"),
                )
        except (OSError, ValueError):  # most systems let only root read them
            continue
    return counters


def _microjoules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _nvml() -> dict[str, _Counter]:
    if why_no_gpu():
        return {}
    import pynvml

    counters: dict[str, _Counter] = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        try:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except pynvml.NVMLError:  # GPUs before Volta do not count
            continue
        counters[f"GPU {index}"] = (partial(_millijoules, handle), 0.0)
    return counters


def _millijoules(handle: object) -> float:
    import pynvml

    return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
