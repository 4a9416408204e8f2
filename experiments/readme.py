"""``python -m experiments.readme``: rewrite the README's figures and pictures from ladder.py and committed results."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence

from experiments import gallery
from experiments._published import PUBLISHED
from kernels import cli
from kernels.ladder import LADDER
from kernels.measure import results
from kernels.measure.figures import figure, gigaflops, times

README = gallery.ROOT / "README.md"
SIZE = 1024  # the square whose rate the table shows

EXAMPLES = """\
  python -m experiments.readme           after a change of ladder.py or of a committed result file
  python -m experiments.readme --check   exit 1 if the README is stale, write nothing"""


def ladder_table() -> str:
    """The ladder as Markdown, with each kernel's measured rate at SIZE or the largest size below it."""
    found = gallery.committed("matmul_scaling")
    # of several GPUs the one that was measured last
    files = gallery.of_gpus("matmul_scaling") or gallery.of_gpus("gpu_race")
    gpus = sorted(files.values(), key=lambda file: file.created)[-1:]
    lines = [
        f"| kernel | what happens at the same time | what holds it back | GFLOP/s at {SIZE} |",
        "|---|---|---|---:|",
    ]
    for spec in LADDER:
        lines.append(f"| `{spec.name}` | {spec.idea} | {spec.bottleneck} | {_rate([found, *gpus], spec.name)} |")
    assert found.ceilings is not None
    lines += [
        "",
        f"Measured by `{found.command}` on {_machine(found)}, {found.ceilings.threads} threads, "
        f"float32 from N(0,1), medians; the machine's measured peak is {found.ceilings.peak_flops / 1e9:.0f} GFLOP/s.",
    ]
    lines += [f"On a GPU by `{file.command}` on {_gpu(file)}, float32 from N(0,1), medians." for file in gpus]
    return "\n".join(lines)


def _rate(files: Sequence[results.Results], kernel: str) -> str:
    """From the first file that has it."""
    for found in files:
        timed = [
            point
            for point in found.of(results.MatmulPoint)
            if point.kernel == kernel and point.square and point.samples and point.n <= SIZE
        ]
        if timed:
            near = max(timed, key=lambda point: point.n)
            note = "" if near.n == SIZE else f" (at {near.n})"
            return gigaflops(near.rate.median) + note
    return "not measured"


def seeds_paragraph() -> str:
    """What the committed runs of the published settings reached, one result file per seed."""
    trained = gallery.seeds()
    accuracies = sorted(point.accuracy for point in trained)
    first = sorted(point.accuracy_first_128 for point in trained)
    settings = trained[0]
    return (
        f"{len(trained)} seeds of the published run ({settings.steps:,} steps, {settings.optimizer}, rate "
        f"{settings.learning_rate:g}), measured: on all {settings.images:,} images {accuracies[0]:.3f} to "
        f"{accuracies[-1]:.3f}, median {statistics.median(accuracies):.3f}; on the first 128 images {first[0]:.3f} to "
        f"{first[-1]:.3f}. The article's two runs had "
        f"{' and '.join(f'{run.accuracy_first_128:.3f}' for run in PUBLISHED)} on their 128."
    )


def race_paragraph() -> str:
    """Who does a training step in what time, from the committed race."""
    from experiments.training_race import sentences

    found = gallery.committed("training_race")
    said = "; ".join(sentences(found.of(results.StepPoint)))
    return f"Measured by `{found.command}` on {_machine(found)}: {said}."


def gpu_part() -> str:
    """What the committed files of GPUs say: the race as a table, a sentence for each other finding, and pictures."""
    from experiments import timeline, training_race

    def of_race(found: results.Results) -> list[str]:
        steps = found.of(results.StepPoint)
        return [*training_race.sentences(steps), *training_race.floor(steps, found.gpu_ceilings)]

    def of_timeline(found: results.Results) -> list[str]:
        return [timeline.sentence(point) for point in found.of(results.TimelinePoint) if point.spans]

    lines: list[str] = []
    for stem, found in gallery.races().items():
        lines += [*gpu_table(found), "", f"Measured by `{found.command}` on {_gpu(found)}.", "", _picture(stem)]
    for name, sentences in {"training_race": of_race, "timeline": of_timeline}.items():
        for stem, found in gallery.of_gpus(name).items():
            if said := sentences(found):
                lines += [f"- {sentence.removesuffix('.')}." for sentence in said]
                lines += ["", f"Measured by `{found.command}` on {_gpu(found)}.", "", _picture(stem)]
    shown = ("matmul_scaling_", "roofline_")
    lines += [_picture(name) for name in gallery.pictures() if name.startswith(shown)]
    if not lines:
        return "No GPU has run these kernels and engines yet, so no figure of theirs is given."
    return "\n".join(lines).rstrip()


def gpu_table(found: results.Results) -> list[str]:
    """How many times as fast as cuBLAS in its own format each hand-written kernel is, and cuBLAS's own rates."""
    from experiments.gpu_race import shares

    points = found.of(results.MatmulPoint)
    told = shares(found)
    lines = [f"| times as fast as cuBLAS | {' | '.join(told)} |", "|---|" + "---:|" * len(told)]
    rates = {(p.kernel, p.shape): figure(p.rate.median / 1e12) for p in points if p.samples}
    for spec in (spec for spec in LADDER if spec.family == "cuda"):
        if spec.handwritten:
            cells = [times(here[spec.name].median) if spec.name in here else "–" for here in told.values()]
            name = f"`{spec.name}`"
        else:
            cells = [rates.get((spec.name, shape), "–") for shape in told]
            name = f"`{spec.name}`, TFLOP/s"
        if set(cells) != {"–"}:
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


_SHOWS = {
    "gpu_race": "TFLOP/s of each CUDA kernel, and how many times as fast as cuBLAS the fastest of each format are",
    "training_race": "Microseconds of one training step by each engine, its optimisations switched off in turn",
    "timeline": "What each engine's training step is at on a GPU, from its begin to its end",
    "matmul_scaling": "GFLOP/s of each CUDA kernel against the size of the matrices",
    "roofline": "The rate of each CUDA kernel under the GPU's measured roofs",
}


def _picture(stem: str) -> str:
    experiment = next(name for name in _SHOWS if stem.startswith(f"{name}_"))  # a file may be named with more of _
    chip = stem.removeprefix(f"{experiment}_")
    return (
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="plots/gallery/{stem}_dark.png">\n'
        f'  <img alt="{_SHOWS[experiment]}: {chip}" src="plots/gallery/{stem}_light.png">\n</picture>\n'
    )


def timeline_paragraph() -> str:
    """What each engine's step is about, from the committed timelines."""
    from experiments.timeline import sentence

    found = gallery.committed("timeline")
    said = "; ".join(sentence(point) for point in found.of(results.TimelinePoint) if point.spans)
    return f"Measured by `{found.command}` on {_machine(found)}: {said}."


def reference_table() -> str:
    """How near ours and TensorFlow's are, from the committed checks, each of some cells and optimizers."""
    from experiments import _reference_tables

    files = [cli.read_results(path) for path in sorted((gallery.RESULTS / "reference_check").glob("*.json"))]
    points = [point for found in files for point in found.points]
    trained = _reference_tables.accuracies(points)
    lines = [
        "| cell, optimizer, TensorFlow's mode | gradients | 200 losses | accuracy, ours | TensorFlow's |",
        "|---|---:|---:|---:|---:|",
    ]
    each = {(point.cell, point.optimizer, point.mode): point for point in _reference_tables.agreements(points)}
    for point in each.values():
        shares = trained.get((point.cell, point.optimizer), ("–", "–"))
        lines.append(
            f"| {point.cell}, {point.optimizer}, {point.mode} | {max(point.gradients.values()):.0e} "
            f"| {point.loss_difference:.0e} | {shares[0]} | {shares[1]} |"
        )
    where = ", ".join(dict.fromkeys(_machine(found) for found in files))
    folder = "experiments/results/reference_check/"
    lines += [
        "",
        f"Measured on {where}; each file in [{folder}]({folder}) holds its command, its raw times and its runs.",
    ]
    return "\n".join([*lines, f"One training step: {'; '.join(_reference_tables.ratios(points))}."])


def cluster_list() -> str:
    """How well the model of many processes does, and what it says, from the committed result."""
    from experiments.cluster_scaling._points import ETHERNET, Scaling
    from experiments.cluster_scaling._report import sentences

    found = gallery.committed("cluster_scaling")
    scaling = Scaling.of(found)
    assert scaling is not None
    said = [f"- {sentence}" for sentence in sentences(scaling, ETHERNET)]
    return "\n".join([*said, "", f"Measured by `{found.command}` on {_machine(found)}, medians."])


def machines_table() -> str:
    """The article's comparison, with the machines whose result files are committed."""
    from experiments._jobs import table_rows

    jobs = gallery.jobs()
    lines = [f"| | {' | '.join(job.machine for job in jobs)} |", "|---|" + "---:|" * len(jobs)]
    lines += [f"| {name} | {' | '.join(figures)} |" for name, figures in table_rows(jobs, years=3)]
    return "\n".join(lines)


def _machine(found: results.Results) -> str:
    return f"{found.machine.cpu}, {found.machine.cores} cores ({found.machine.system})"


def _gpu(found: results.Results) -> str:
    """The GPU of a result file, its driver and the clock of its multiprocessors while it was measured."""
    gpu = found.machine.gpus[0]
    clocks = {clock for point in found.points if (clock := getattr(point, "sm_clock", None))}
    clock = f", at {' to '.join(f'{mhz:,}' for mhz in sorted({min(clocks), max(clocks)}))} MHz" if clocks else ""
    return f"{gpu.name}, driver {gpu.driver}{clock}, in a machine with {_machine(found)}"


def render(text: str) -> str:
    """The README with the parts between the markers made anew."""
    for name, make in PARTS.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(start)
        _, marker, after = rest.partition(end)
        if not marker:
            raise cli.CommandError(f"README.md has lost its marker {end}", cli.CHECK_FAILED)
        text = f"{before}{start}{make()}\n{end}{after}"
    return text


PARTS = {
    "ladder": ladder_table,
    "seeds": seeds_paragraph,
    "race": race_paragraph,
    "timeline": timeline_paragraph,
    "gpu": gpu_part,
    "reference": reference_table,
    "machines": machines_table,
    "cluster": cluster_list,
}


def main(arguments: list[str] | None = None) -> None:
    p = cli.Parser("python -m experiments.readme", "Rewrite the README's figures, and the gallery.", EXAMPLES)
    p.add_argument("--check", action="store_true", help="only compare")
    options = p.parse_args(sys.argv[1:] if arguments is None else arguments)
    with cli.errors_as_lines():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    text = README.read_text(encoding="utf-8")
    fresh = render(text)
    if options.check:
        if fresh != text:
            raise cli.CommandError("README.md is stale; run python -m experiments.readme", cli.CHECK_FAILED)
        return
    README.write_text(fresh, encoding="utf-8")
    print(f"wrote {README}")
    gallery.redraw()


if __name__ == "__main__":
    main()
