"""What the assembler said of a kernel: the registers and the memory that each of its threads and blocks takes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Compiled"]

_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(.*)")
_STATIC_SHARED = re.compile(r"(\d+) bytes smem")
_WARNING = re.compile(r"\bwarning ?[#:]|Potential Performance Loss", re.IGNORECASE)
# said of Pascal by every CUDA 12.9, and it is why the gate stays with CUDA 12
_KNOWN_WARNING = "Architectures prior to"


@dataclass(frozen=True)
class Compiled:
    """A kernel as machine code for one architecture.

    target: "sm_90a". registers: of a thread. spill_bytes: stored and loaded because registers ran out. local_bytes:
    of a thread's stack frame, which lies in global memory. static_shared: bytes of a block. warnings: the compiler's.
    """

    target: str
    registers: int
    spill_bytes: int
    local_bytes: int
    static_shared: int
    warnings: tuple[str, ...]
    log: str = field(repr=False)
    cubin: bytes = field(repr=False)

    @classmethod
    def read(cls, target: str, log: str, cubin: bytes) -> Compiled:
        """From what ``ptxas -v`` printed for one kernel. Raises ValueError where that holds no figures."""
        used = _USED.findall(log)
        if len(used) != 1:
            raise ValueError(f"{len(used)} kernels instead of one in what the compiler said:\n{log}")
        ((registers, rest),) = used
        # a function that was not inlined has a line of its own
        frames = [tuple(map(int, found)) for found in _FRAME.findall(log)]
        shared = _STATIC_SHARED.search(rest)
        return cls(
            target=target,
            registers=int(registers),
            spill_bytes=sum(stores + loads for _, stores, loads in frames),
            local_bytes=sum(stack for stack, _, _ in frames),
            static_shared=int(shared[1]) if shared else 0,
            warnings=tuple(
                line.strip() for line in log.splitlines() if _WARNING.search(line) and _KNOWN_WARNING not in line
            ),
            log=log,
            cubin=cubin,
        )
