"""What the assembler said of a kernel: the registers and the memory that each of its threads and blocks takes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Compiled"]

_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_KERNEL = re.compile(r"Compiling entry function '(\w+)'")
_USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")
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
        """From what ``ptxas -v`` printed; of several kernels, the registers and shared memory are those of `matmul`,
        or of the first where none has that name.

        Raises ValueError where there are no figures.
        """
        _, *parts = _KERNEL.split(log)
        kernels = dict(zip(parts[::2], parts[1::2], strict=True))
        used = _USED.search(kernels.get("matmul", log) if len(kernels) > 1 else log)
        if used is None:
            raise ValueError(f"no figures in what the compiler said:\n{log}")
        # a function that was not inlined has a line of its own
        frames = [tuple(map(int, found)) for found in _FRAME.findall(log)]
        return cls(
            target=target,
            registers=int(used[1]),
            spill_bytes=sum(stores + loads for _, stores, loads in frames),
            local_bytes=sum(stack for stack, _, _ in frames),
            static_shared=int(used[2] or 0),
            warnings=tuple(
                line.strip() for line in log.splitlines() if _WARNING.search(line) and _KNOWN_WARNING not in line
            ),
            log=log,
            cubin=cubin,
        )
