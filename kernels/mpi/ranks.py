"""Who does what under mpiexec: rank 0 runs the program, the others wait for it to call.

All ranks start the same command. If each of them ran it, each would decide from its own clock how often to call a
kernel, and one would wait for ever for a call that another does not make. So only rank 0 decides; what it calls, it
announces to the others.
"""

from __future__ import annotations

import atexit
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from mpi4py import MPI

from kernels.cli import CHECK_FAILED, INTERRUPTED
from kernels.mpi.launcher import library_name
from kernels.threads import withheld

__all__ = ["COMM", "HOSTS", "abort", "announce", "sentence", "serve_unless_first", "together", "use_own_gpu"]

COMM = MPI.COMM_WORLD
HOSTS: list[str] = COMM.allgather(socket.gethostname())  # of each rank
_STOP = None
_TO_BE_HEARD = 0.5  # seconds: with the ranks the launcher drops what it has not passed on yet
_begun = False


def announce(shape: tuple[int, int, int]) -> None:
    """On rank 0: let the others do their share of a product (m,n,k)."""
    if COMM.size > 1:
        COMM.bcast(shape)


def serve_unless_first(share: Callable[[tuple[int, int, int]], object]) -> None:
    """Return on rank 0. On the others call share(shape) for each product announced, then end the process."""
    global _begun
    if COMM.size == 1 or _begun:
        return
    _begun = True
    if COMM.rank == 0:
        atexit.register(COMM.bcast, _STOP)
        return
    # Ctrl-C reaches all, as does a batch system's SIGTERM; rank 0 decides what comes of it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while (shape := COMM.bcast(None)) is not _STOP:
        with together():
            share(shape)
    raise SystemExit(0)


@contextmanager
def together(last_words: Callable[[], str] = str) -> Iterator[None]:
    """What all ranks do at once: an exception on one ends all, as the others would wait for it for ever.

    last_words: what else there is to say then. SystemExit goes through: the caller knows whether all end.
    """
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        if COMM.size == 1:
            raise
        if isinstance(error, KeyboardInterrupt):
            # all were, and the first says it
            abort("" if COMM.rank else "; ".join(filter(None, ("interrupted", last_words()))), INTERRUPTED)
        said = f"error: rank {COMM.rank} failed, so all {COMM.size} ranks end"
        abort(traceback.format_exc() + "; ".join(filter(None, (said, last_words()))), CHECK_FAILED)


def abort(text: str, code: int) -> NoReturn:
    """Say this and end all ranks."""
    print(text, end="\n" if text else "", file=sys.stderr, flush=True)
    time.sleep(_TO_BE_HEARD if text else 0)
    COMM.Abort(code)
    raise SystemExit(code)


def sentence(hosts: Sequence[str] = HOSTS) -> str:
    """How many processes there are, on which hosts, over which MPI, and whether that keeps cores from them."""
    where = ", ".join(f"{count} on {host}" for host, count in Counter(hosts).items())
    said = (f"{len(hosts)} ({where}), over {library_name(MPI.Get_library_version())}", withheld())
    return ", ".join(filter(None, said))


def use_own_gpu() -> None:
    """Make one of the machine's GPUs CuPy's current one: another for each process, while there are enough."""
    import cupy

    before = HOSTS[: COMM.rank].count(HOSTS[COMM.rank])
    cupy.cuda.Device(before % cupy.cuda.runtime.getDeviceCount()).use()
