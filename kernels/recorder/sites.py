"""Sites: the places in a kernel's source that touch memory or wait.

A site is one bytecode instruction, not one line: as on a GPU, `a[i, p] * b[p, j]` are two accesses, and two
`cuda.shared.array` calls on one line are two arrays.
"""

from __future__ import annotations

import dis
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from types import CodeType, FrameType
from typing import Literal

__all__ = ["LIMIT", "VERBS", "Kind", "Site", "Sites", "assigned_name"]

Kind = Literal["read", "write", "atomic", "wait", "array"]
VERBS = {"read": "reads", "write": "writes", "atomic": "updates"}
LIMIT = 1 << 16  # a site's number shares an integer with an address


@dataclass(frozen=True)
class Site:
    """One instruction of a kernel or device function; line and column as an editor counts them, from 1."""

    file: str
    line: int
    column: int
    function: str
    kind: Kind


class Sites(dict[tuple[int, int], int]):
    """(id of the code, offset of the instruction) → number of the site, an index into `all`."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Site] = []
        self._codes: list[CodeType] = []  # kept alive, so that no other code takes over an id

    def number(self, frame: FrameType, kind: Kind) -> int:
        """The number of the instruction that the frame is at; a new one where it is seen for the first time."""
        try:
            return self[id(frame.f_code), frame.f_lasti]
        except KeyError:
            return self._add(frame, kind)

    def _add(self, frame: FrameType, kind: Kind) -> int:
        code = frame.f_code
        instructions = list(dis.get_instructions(code))
        # the interpreter's specialised instructions leave f_lasti inside the instruction's cache
        here = max((i for i in instructions if i.offset <= frame.f_lasti), key=lambda i: i.offset)
        start = min(i.offset for i in instructions if _same_place(i, here))
        number = self.get((id(code), start))
        if number is None:
            number = len(self.all)
            if number == LIMIT:
                raise ValueError(f"the kernel has more than {LIMIT} sites")
            line, _, column, _ = next(islice(code.co_positions(), start // 2, None))
            site = Site(code.co_filename, line or code.co_firstlineno, (column or 0) + 1, code.co_name, kind)
            self.all.append(site)
            self._codes.append(code)
            self[id(code), start] = number
        self[id(code), frame.f_lasti] = number
        return number


def _same_place(one: dis.Instruction, other: dis.Instruction) -> bool:
    """Python copies the condition of a loop, and short ends of a function: the copies are one place of the source."""
    if one.positions is None or one.positions.col_offset is None:
        return one.offset == other.offset
    return (one.opcode, one.positions) == (other.opcode, other.positions)


def assigned_name(frame: FrameType) -> str | None:
    """The variable that receives the result of the call the frame is at, None where there is no single one."""
    for call, after in pairwise(dis.get_instructions(frame.f_code)):
        if call.offset <= frame.f_lasti < after.offset and after.opname.startswith("STORE_"):
            names: str | Sequence[str] = after.argval
            return names if isinstance(names, str) else names[0]
    return None
