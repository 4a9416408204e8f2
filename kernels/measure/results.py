"""Result files: what was run, on what, and every raw time, as JSON with a schema version.

Rates and ratios are computed when a file is read, so a file can never contradict itself.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from kernels.ladder import KernelSpec
from kernels.measure import machine
from kernels.measure.busy import QUIET
from kernels.measure.cluster import CostPoint, SharedPoint
from kernels.measure.files import write_atomically
from kernels.measure.limits import Ceilings, Level
from kernels.measure.timeline import TimelinePoint
from kernels.measure.timing import Spread, spread
from kernels.measure.training import AgreementPoint, StepPoint, TrainingPoint, TranscriptLine
from kernels.shapes import Shape

__all__ = [
    "SCHEMA",
    "AgreementPoint",
    "Git",
    "MatmulPoint",
    "Point",
    "Results",
    "ResultsError",
    "StepPoint",
    "ThreadPoint",
    "TimelinePoint",
    "TrainingPoint",
    "TranscriptLine",
    "command_line",
    "new",
    "read",
    "write",
]

SCHEMA = 1


class ResultsError(ValueError):
    """A result file cannot be used; the message names the file and says why."""


class Git(msgspec.Struct, frozen=True):
    """The source the figures come from; dirty when it had changes that no commit holds."""

    revision: str
    dirty: bool


class MatmulPoint(msgspec.Struct, frozen=True, tag="matmul"):
    """One kernel at one shape (M,K)·(K,N). Times are seconds per call.

    status skipped or failed: `reason` says why, and there are no samples. error: worst c(i,j) in units of the bound.
    first_call: seconds of this kernel's very first call in the process, which compiles or loads compiled code.
    layout: n for an operand in C order, t for a transposed view, a's first.
    transfer: seconds to copy a and b to the GPU and c back, which the samples of a CUDA kernel do not contain.
    sm_clock: of the GPU's multiprocessors in MHz, when the samples had been taken.
    inputs: what the numbers of a and b are drawn from. rounds_to: the format that the kernel rounds them to first.
    tile: the sizes that a CUDA C kernel was compiled with.
    """

    kernel: str
    m: int
    k: int
    n: int
    threads: int
    status: Literal["ok", "skipped", "failed"]
    reason: str | None = None
    samples: list[float] = []
    first_call: float | None = None
    error: float | None = None
    layout: Literal["nn", "nt", "tn", "tt"] = "nn"
    transfer: list[float] = []
    sm_clock: int | None = None
    inputs: str = "N(0,1)"
    rounds_to: str = "float32"
    tile: dict[str, int] | None = None

    def __str__(self) -> str:
        return f"{self.kernel} at {self.shape}"

    @property
    def shape(self) -> str:
        """As the option --shapes takes it."""
        return str(Shape(self.m, self.k, self.n, self.layout))

    @property
    def square(self) -> bool:
        return self.m == self.k == self.n and self.layout == "nn"

    @property
    def flops(self) -> int:
        return KernelSpec.flops(self.m, self.n, self.k)

    @property
    def min_bytes(self) -> int:
        return KernelSpec.min_bytes(self.m, self.n, self.k)

    @property
    def intensity(self) -> float:
        """FLOP per byte that must move at least."""
        return self.flops / self.min_bytes

    @property
    def seconds(self) -> Spread:
        """Quartiles of the time of a call."""
        return spread(self.samples)

    @property
    def rate(self) -> Spread:
        """Quartiles of FLOP/s."""
        return spread([self.flops / sample for sample in self.samples])


class ThreadPoint(msgspec.Struct, frozen=True, tag="threads"):
    """One kind of work with one number of threads. Samples are seconds."""

    work: str
    threads: int
    samples: list[float]


Point = MatmulPoint | TrainingPoint | StepPoint | ThreadPoint | AgreementPoint | TimelinePoint | CostPoint | SharedPoint

_P = TypeVar("_P")


class Results(msgspec.Struct, frozen=True):
    """One result file. price: of the machine in dollars, where its owner told it. dtype: of operands and results.

    busy_cores: what other programs kept busy when it was begun.
    """

    schema: int
    command: str
    created: str
    git: Git | None
    machine: machine.Machine
    software: dict[str, str]
    ceilings: Ceilings | None
    points: list[Point]
    levels: list[Level] = []
    gpu_ceilings: Ceilings | None = None
    price: float | None = None
    dtype: str = "float32"
    busy_cores: float = 0.0

    @property
    def caveat(self) -> str:
        """What a reader of the times must know, or nothing."""
        if self.busy_cores <= QUIET:
            return ""
        return f"other programs kept {self.busy_cores:.1f} of {self.machine.threads} cores busy"

    def of(self, kind: type[_P]) -> list[_P]:
        """The points of one kind."""
        return [point for point in self.points if isinstance(point, kind)]


def new(
    module: str,
    arguments: list[str],
    points: Sequence[Point],
    ceilings: Ceilings | None,
    levels: Sequence[Level] = (),
    gpu_ceilings: Ceilings | None = None,
    price: float | None = None,
    busy_cores: float = 0.0,
) -> Results:
    """Results of this process, on this machine, from this source."""
    return Results(
        schema=SCHEMA,
        command=command_line(module, arguments),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        git=_git(),
        machine=machine.describe(),
        software=machine.software(),
        ceilings=ceilings,
        points=list(points),
        levels=list(levels),
        gpu_ceilings=gpu_ceilings,
        price=price,
        busy_cores=round(busy_cores, 2),
    )


def command_line(module: str, arguments: list[str]) -> str:
    """The command as one types it."""
    return " ".join(["python", "-m", module, *(shlex.quote(argument) for argument in arguments)])


def write(path: Path, results: Results) -> None:
    """Write atomically. Raises OSError."""
    text = msgspec.json.format(msgspec.json.encode(results), indent=1)
    write_atomically(path, lambda file: file.write(text + b"\n"))


def read(path: Path) -> Results:
    """Read and check a result file. Raises ResultsError that says what is wrong with it."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}") from error
    try:
        version = msgspec.json.decode(raw, type=_Version).schema
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path} is not a result file, or is cut short: {error}") from error
    if version != SCHEMA:
        raise ResultsError(f"{path} has schema version {version}; this program reads version {SCHEMA}")
    try:
        return msgspec.json.decode(raw, type=Results)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path} is not a whole result file: {error}") from error


class _Version(msgspec.Struct):
    schema: int


# measuring writes results and pictures: they are no source of the figures measured next
_SOURCE = ("--", ".", ":!experiments/results", ":!plots/gallery", ":!README.md")


def _git() -> Git | None:
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        revision = _git_says(folder, "rev-parse", "HEAD")
        return Git(revision, dirty=bool(_git_says(folder, "status", "--porcelain", "--untracked-files=no", *_SOURCE)))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"note: the result file will not name a git revision ({error})", file=sys.stderr)
        return None


def _git_says(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
