"""``python -m experiments.gallery``: draw plots/gallery anew, from committed results and the explorer's page.

`experiments.gpu` names its result files after the GPU, matmul_scaling_h200.json beside matmul_scaling.json; each gets a
picture of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kernels import cli
from kernels.measure.results import Results, TimelinePoint, TrainingPoint
from plots import accuracy, cluster, gpu_race, machines, race, roofline, scaling, threads, timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments._jobs import Job

__all__ = ["GALLERY", "RESULTS", "ROOT", "committed", "jobs", "of_gpus", "pictures", "races", "redraw", "seeds"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
GALLERY = ROOT / "plots" / "gallery"

EXAMPLES = """\
  python -m experiments.gallery
exit codes: 0 done, 1 a picture cannot be written, 2 a result file cannot be read"""


def main(arguments: list[str] | None = None) -> None:
    p = cli.Parser("python -m experiments.gallery", "Draw the gallery from the committed result files.", EXAMPLES)
    p.parse_args(sys.argv[1:] if arguments is None else arguments)
    with cli.errors_as_lines():
        redraw()


def redraw() -> None:
    """Write every picture, light and dark."""
    from experiments import _browser, _files
    from plots.style import THEMES

    for name, draw in pictures().items():
        for theme in THEMES:
            _files.save_picture(draw(theme), GALLERY / f"{name}_{theme}.png")
    if reason := _browser.why_absent():
        print(f"the explorer's pictures stay as they are: {reason}")
        return
    from experiments import _screenshots

    _screenshots.take(GALLERY, tuple(THEMES))


def committed(name: str) -> Results:
    """The result file of an experiment."""
    return cli.read_results(RESULTS / f"{name}.json")


def of_gpus(name: str) -> dict[str, Results]:
    """The result files of an experiment on GPUs, by their names without .json."""
    return {file.stem: cli.read_results(file) for file in sorted(RESULTS.glob(f"{name}_*.json"))}


def races() -> dict[str, Results]:
    """The races against cuBLAS of GPUs, of those in which any kernel was timed beside it."""
    from experiments.gpu_race import shares

    return {stem: file for stem, file in of_gpus("gpu_race").items() if any(shares(file).values())}


def seeds() -> list[TrainingPoint]:
    """The runs of the published settings with several seeds."""
    files = sorted((RESULTS / "seeds").glob("*.json"))
    return [point for path in files for point in cli.read_results(path).of(TrainingPoint)]


def jobs() -> list[Job]:
    """The published runs, and the machines whose result files are committed."""
    from experiments.machines import load

    return load(sorted((RESULTS / "machines").glob("*.json")), [], published=True)


def _training_race(found: Results, theme: str) -> Figure:
    from experiments.training_race import arithmetic_limit

    return race.draw(found, arithmetic_limit(found), theme)


def _gpu_race(found: Results, theme: str) -> Figure:
    from experiments.gpu_race import shares

    return gpu_race.draw(found, shares(found), theme)


def _accuracy(theme: str) -> Figure:
    from experiments._published import PUBLISHED
    from rnn.report import wilson

    shares = [(f"{run.machine} (2018)", run.accuracy_first_128) for run in PUBLISHED]
    runs = seeds()
    shares += [(f"seed {run.seed}", run.accuracy_first_128) for run in runs]
    tests = [accuracy.Tested(name, 128, share, *wilson(round(128 * share), 128)) for name, share in shares]
    tests += [accuracy.Tested(f"seed {run.seed}", run.images, run.accuracy, *run.interval) for run in runs]
    return accuracy.draw(tests, theme)


def _cluster_scaling(theme: str) -> Figure:
    from experiments.cluster_scaling._points import ETHERNET, Scaling
    from experiments.cluster_scaling._report import panels

    found = committed("cluster_scaling")
    scaling = Scaling.of(found)
    assert scaling is not None
    return cluster.draw(panels(scaling, ETHERNET), found, theme)


def _machines(theme: str) -> Figure:
    from experiments.machines import runs

    return machines.draw(runs(jobs()), theme)


_OF_ONE_FILE: dict[str, Callable[[Results, str], Figure]] = {
    "matmul_scaling": scaling.draw,
    "roofline": roofline.draw,
    "thread_scaling": threads.draw,
    "training_race": _training_race,
    "timeline": timeline.draw,
}


def _can_be_drawn(found: Results) -> bool:
    """Not where no engine could be watched, as a GPU's driver may not allow it."""
    steps = found.of(TimelinePoint)
    return not steps or any(point.spans for point in steps)


def pictures() -> dict[str, Callable[[str], Figure]]:
    """What draws each picture in a theme, by the picture's name."""
    found: dict[str, Callable[[str], Figure]] = {}
    for name, draw in _OF_ONE_FILE.items():
        files = {name: committed(name)} | of_gpus(name)
        found |= {stem: partial(draw, file) for stem, file in files.items() if _can_be_drawn(file)}
    found |= {stem: partial(_gpu_race, file) for stem, file in races().items()}
    return found | {"accuracy": _accuracy, "machines": _machines, "cluster_scaling": _cluster_scaling}


if __name__ == "__main__":
    main()
