"""The same training job on several machines: what each needed, what that costs, and whether they may be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kernels import cli
from kernels.measure.results import Results, TrainingPoint, TranscriptLine
from rnn.report import time_lines
from rnn.settings import Settings

__all__ = ["MNIST", "Job", "measured", "require_same", "table_rows"]

_YEAR = 365.25 * 24 * 3600
_UNKNOWN, MNIST = "–", "MNIST"


@dataclass(frozen=True)
class Job:
    """One run on one machine. Times in seconds, memory in bytes, energy in joules, price in dollars; None: not known.

    source: where the figures come from. data: which images. file: the result file's name. caveat: as of `Results`.
    """

    machine: str
    kernel: str
    source: str
    settings: Settings
    steps: int
    data: str
    real: float
    user: float
    sys: float
    accuracy_first_128: float
    published: bool
    engine: str | None = None
    cores: int | None = None
    memory: int | None = None
    gpu: str | None = None
    gpu_cores: int | None = None
    accuracy: tuple[float, float, float] | None = None
    price: float | None = None
    energy: float | None = None
    transcript: tuple[TranscriptLine, ...] = ()
    file: str = ""
    caveat: str = ""

    @property
    def images(self) -> int:
        """Trained on, repeated ones counted again."""
        return self.steps * self.settings.batch_size

    @property
    def steps_per_second(self) -> float:
        """Over the whole job, as the published runs tell no other time."""
        return self.steps / self.real

    @property
    def busy(self) -> float:
        """How many cores worked, on average."""
        return (self.user + self.sys) / self.real

    def cost(self, years: float) -> float | None:
        """Dollars per million images, where the machine lasts so many years and never rests."""
        return None if self.price is None else self.price / (years * _YEAR) * self.real / (self.images / 1e6)

    @property
    def per_dollar(self) -> float | None:
        """Images per second for each dollar of the machine's price."""
        return None if self.price is None else self.images / self.real / self.price


def measured(found: Results, path: Path | str, price: float | None) -> list[Job]:
    """The training runs of a result file, or the end of the command. price: overrides the file's own."""
    points = found.of(TrainingPoint)
    if not points:
        raise cli.CommandError(f"{path} holds no training run; python -m rnn.train --results FILE writes one")
    for point in points:
        if point.first_step != 1:
            raise cli.CommandError(f"{path} was resumed at step {point.first_step}: its times are not of the whole job")
    name = str(path.with_suffix("")) if isinstance(path, Path) else path
    known = found.git is not None or (isinstance(path, Path) and path.with_suffix(".revision").exists())
    return [_measured(found, point, found.price if price is None else price, name, known) for point in points]


def distinct(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, with the file's name, or if need be its path, behind the machine's where several are called alike."""
    alike = Counter(job.machine for job in jobs)
    names = Counter(Path(job.file).name for job in jobs)

    def told(job: Job) -> str:
        name = Path(job.file).name
        return f"{job.machine} ({name if names[name] == 1 else job.file})"

    return [replace(job, machine=told(job)) if alike[job.machine] > 1 else job for job in jobs]


def _measured(found: Results, point: TrainingPoint, price: float | None, name: str, known: bool) -> Job:
    """known: whether the program's revision is, from the file or from one beside it."""
    machine = found.machine
    unknown = "" if known else ", revision unknown"
    dirty = ", from a dirty tree" if found.git and found.git.dirty else ""
    counts = [gpu.cores for gpu in machine.gpus if gpu.cores is not None]
    return Job(
        machine=machine.processor(gpu=point.kernel.startswith("cuda-")),
        kernel=point.kernel,
        engine=point.engine,
        source=f"measured{unknown}{dirty}",
        settings=Settings(**{name: getattr(point, name) for name in Settings.__struct_fields__}),
        steps=point.steps,
        data=MNIST if point.verified_data else "other images",
        cores=machine.cores,
        memory=machine.memory,
        gpu=", ".join(f"{gpu.name}, {gpu.memory / 1e9:.0f} GB" for gpu in machine.gpus) or None,
        gpu_cores=sum(counts) or None,
        real=point.real,
        user=point.user,
        sys=point.sys,
        accuracy_first_128=point.accuracy_first_128,
        accuracy=(point.accuracy, *point.interval),
        price=price,
        energy=sum(point.energy.values()) if point.energy else None,
        transcript=tuple(point.transcript),
        published=False,
        file=name,
        caveat=found.caveat,
    )


def require_same(jobs: Sequence[Job], names: Sequence[str]) -> None:
    """End the command if two jobs trained different networks, naming what differs. names: of the jobs' files."""
    for job, name in zip(jobs[1:], names[1:], strict=True):
        own, first = _compared(job), _compared(jobs[0])
        if differing := [f"{key} {value}, not {first[key]}" for key, value in own.items() if value != first[key]]:
            without = "; --no-published leaves the published runs out" if jobs[0].published else ""
            raise cli.CommandError(f"{name} cannot be compared with {names[0]}: {', '.join(differing)}{without}")


def _compared(job: Job) -> dict[str, object]:
    """What must be equal for two times to be compared: everything but the seed."""
    named = {f: getattr(job.settings, f) for f in Settings.__struct_fields__ if f != "seed"}
    return {name.replace("_", " "): value for name, value in named.items()} | {"steps": job.steps, "data": job.data}


def table_rows(jobs: Sequence[Job], years: float) -> list[tuple[str, list[str]]]:
    """What the article compares, one quantity a row, and a figure for each job."""

    def times(job: Job) -> list[str]:
        return [line.partition("\t")[2] for line in time_lines(job.real, job.user, job.sys).splitlines()]

    return [
        ("source", [job.source for job in jobs]),
        ("kernel", [job.kernel for job in jobs]),
        ("engine", [job.engine or _UNKNOWN for job in jobs]),
        ("cores", [_said(job.cores) for job in jobs]),
        ("memory", [_said(job.memory and job.memory / 2**30, "{:.0f} GiB") for job in jobs]),
        ("GPU", [job.gpu or _UNKNOWN for job in jobs]),
        ("GPU cores", [_said(job.gpu_cores, "about {:,}" if job.published else "{:,}") for job in jobs]),
        ("real", [times(job)[0] for job in jobs]),
        ("user", [times(job)[1] for job in jobs]),
        ("sys", [times(job)[2] for job in jobs]),
        ("steps/s, all included", [f"{job.steps_per_second:.1f}" for job in jobs]),
        ("speed-up over the first", [f"{jobs[0].real / job.real:.2f}" for job in jobs]),
        ("cores kept busy", [f"{job.busy:.2f}" + (f" of {job.cores}" if job.cores else "") for job in jobs]),
        ("accuracy, first 128 images", [f"{job.accuracy_first_128:.3f}" for job in jobs]),
        ("accuracy, all test images", [_said(job.accuracy and job.accuracy[0], "{:.4f}") for job in jobs]),
        ("95% interval", [_said(job.accuracy, "{0[1]:.3f}–{0[2]:.3f}") for job in jobs]),
        ("price", [_said(job.price, "${:,.0f}") for job in jobs]),
        (f"cost of 10⁶ images, {years:g} years' use", [_said(job.cost(years), "${:.5f}") for job in jobs]),
        ("images/s for each dollar", [_said(job.per_dollar, "{:.1f}") for job in jobs]),
        ("energy", [_said(job.energy and job.energy / 1e3, "{:.2f} kJ") for job in jobs]),
    ]


def _said(value: object, form: str = "{}") -> str:
    return _UNKNOWN if value is None else form.format(value)
