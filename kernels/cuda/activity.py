"""When each kernel began and ended, by the GPU's own clock: CUPTI's activity records, which profilers show.

CUPTI is NVIDIA's; `cupti-python` brings it into Python. It also records the launches inside a CUDA graph, one by one,
if it was switched on before the graph was made. Recording costs some time at each launch, so whoever shows its times
also says how long the same work takes without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from kernels.extras import install

__all__ = ["Activity", "CannotRecord", "Record", "recording"]

_BUFFER = 8 * 2**20  # bytes that CUPTI writes into at a time; a record takes some 200
_NOT_INSTALLED = (
    f"cupti-python is not installed: {install('cuda13')}; "
    "those for CUDA 12 need other cuda-bindings than numba-cuda does"
)
_REASONS = {
    "INSUFFICIENT_PRIVILEGES": "the NVIDIA driver lets only an administrator profile here",
    "MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED": "another profiler is attached to this process",
}


class CannotRecord(RuntimeError):  # noqa: N818 - reads as what happened
    """Nothing can be recorded here; the message says why."""


class Activity(NamedTuple):
    """A kernel that ran, or memory that was copied or set; times in ns."""

    name: str
    begin: int
    end: int


Record = Callable[[Callable[[], object]], list[Activity]]


@contextmanager
def recording() -> Iterator[Record]:
    """A function that runs some work and tells all that the GPU did for it, in order. Raises CannotRecord.

    CuPy's current GPU; one at a time in a process.
    """
    import cupy

    cupti = _cupti()
    kinds = [cupti.ActivityKind[name] for name in ("CONCURRENT_KERNEL", "MEMCPY", "MEMSET")]
    found: list[Activity] = []

    def completed(records: list[Any]) -> None:
        # copied, as what lies behind a record is CUPTI's; a copy of memory has no name
        found.extend(Activity(getattr(record, "name", "memory"), record.start, record.end) for record in records)

    def record(work: Callable[[], object]) -> list[Activity]:
        wait()
        found.clear()
        work()
        wait()
        return sorted(found, key=lambda activity: activity.begin)

    def wait() -> None:
        cupy.cuda.Device().synchronize()
        cupti.activity_flush_all(1)

    try:
        for kind in kinds:
            cupti.activity_enable(kind)
        cupti.activity_register_callbacks(lambda: (_BUFFER, 0), completed)
    except (cupti.cuptiError, RuntimeError) as error:
        raise CannotRecord(_reason(error)) from error
    try:
        yield record
    finally:
        for kind in kinds:
            cupti.activity_disable(kind)


def _cupti() -> Any:
    try:
        from cupti import cupti
    except ModuleNotFoundError as error:
        raise CannotRecord(_NOT_INSTALLED) from error
    except (ImportError, RuntimeError, ValueError) as error:  # ValueError: compiled for other cuda-bindings
        raise CannotRecord(_reason(error)) from error
    return cupti


def _reason(error: Exception) -> str:
    text = str(error)
    return next((reason for name, reason in _REASONS.items() if name in text), f"CUPTI does not start ({text})")
