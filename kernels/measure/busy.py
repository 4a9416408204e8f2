"""How many cores other programs keep busy: a time measured meanwhile is theirs too, and looks like any other."""

from __future__ import annotations

import time

from kernels.threads import cores, own_cores

__all__ = ["QUIET", "busy_cores"]

QUIET = 0.25  # cores: what a system does beside

_INTERVAL = 0.25  # seconds: the system counts in hundredths


def busy_cores() -> float:
    """Cores that other programs keep busy right now, of those this process may use; takes a quarter of a second.

    0 where the system does not tell, as in some containers. A container sees its whole machine, so its neighbours
    count too. Other threads and children of this process should rest meanwhile.
    """
    import psutil

    own = time.process_time()
    try:
        shares = psutil.cpu_percent(_INTERVAL, percpu=True)
    except Exception:  # of many kinds; whatever keeps the system from telling, it is no reason not to measure
        return 0.0
    ours = own_cores()
    taken = sum(share for core, share in enumerate(shares) if core in ours) / 100
    return min(max(0.0, taken - (time.process_time() - own) / _INTERVAL), cores())
