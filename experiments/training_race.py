"""``python -m experiments.training_race``: one training step by every engine, by plain NumPy, TensorFlow and PyTorch.

All start from the same weights, see the same batch, and must agree on the losses of the first steps before any is
timed. Each has a process of its own, and they are timed in turns in one run, so a drift of the machine's speed meets
all alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments._apart import Apart
from kernels import cli, progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernels.measure.results import Results, StepPoint
    from rnn.settings import Settings

EXAMPLES = """\
  python -m experiments.training_race                                     everything that is installed
  python -m experiments.training_race --kernel cpu-blas cpu-numba-simd --rounds 20
  python -m experiments.training_race --kernel cuda         on a GPU: each optimisation switched off in turn
  python -m experiments.training_race --batch-size 256 --hidden 256 --results race.json
exit codes: 0 done, 1 a contestant's loss is wrong, 2 wrong usage, 3 a kernel asked for cannot run here"""

Step = Callable[[], Any]  # returns the loss; to read it is to wait for a GPU
RATE = 0.001
CHECKED_STEPS = 5
OURS = ("fused", "stepwise", "graph", "persistent")  # how the names of this project's engines begin
AGREEMENT = 1e-4  # relative, of the losses of the first steps: float32 sums in different orders


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    p = cli.Parser(
        "python -m experiments.training_race",
        "Time one training step of the published network, side by side.",
        EXAMPLES,
    )
    p.add_argument(
        "--kernel",
        nargs="+",
        default=["numba", "cpu-blas"],
        metavar="NAME",
        help=f"kernels of the stepwise engine: {cli.kernel_help()} (default: numba cpu-blas)",
    )
    p.add_argument("--batch-size", type=cli.at_least(1), default=128, metavar="N", help="(default: %(default)s)")
    p.add_argument("--hidden", type=cli.at_least(1), default=128, metavar="N", help="(default: %(default)s)")
    p.add_argument("--rounds", type=cli.at_least(1), default=5, metavar="N", help="turns each (default: %(default)s)")
    cli.add_threads(p)
    p.add_argument("--results", type=Path, metavar="FILE", help="write a result file (.json)")
    options = p.parse_args(arguments)
    with cli.errors_as_lines():
        cli.require_writable(options.results)
        cli.use_threads(options.threads)
        _race(options, arguments)


def _race(options: argparse.Namespace, arguments: list[str]) -> None:
    from kernels.measure import ceilings, machine, results, timing

    print(f"Machine: {machine.describe().sentence()}")
    limits = ceilings.measure(options.threads)
    print(f"Limits:  {limits.peak_flops / 1e9:.0f} GFLOP/s, measured with {options.threads} threads", flush=True)
    entries, absent = _contestants(options)
    chip = None
    if any(_on_gpu(name) for name in entries):
        from kernels.measure import gpu_ceilings

        chip, _ = gpu_ceilings.measure()
        print(f"GPU:     {chip.peak_flops / 1e12:.1f} TFLOP/s, measured", flush=True)
    setting = {"batch_size": options.batch_size, "hidden": options.hidden, "threads": options.threads}
    points: list[StepPoint] = []
    turns: dict[str, Callable[[], list[float]]] = {}
    first: dict[str, tuple[float, list[float]]] = {}
    expected: list[float] = []
    with ExitStack() as processes:
        with progress.named(len(entries)) as advance:
            for name, start in entries.items():
                advance(name)
                contestant = processes.enter_context(
                    Apart(name, partial(Contestant, start, _calls(name)), options.threads)
                )
                first[name] = contestant.call("begin")
                expected = expected or first[name][1]
                if worst := _disagreement(first[name][1], expected):
                    points.append(results.StepPoint(name, **setting, status="failed", reason=worst))
                else:
                    turns[name] = partial(contestant.call, "turn")
        taken = timing.alternate(turns, options.rounds)
    # once more: a neighbour on the same machine may have been busy the first time
    limits = max(limits, ceilings.measure(options.threads), key=lambda found: found.peak_flops)
    for name, samples in taken.items():
        seconds, losses = first[name]
        points.append(
            results.StepPoint(name, **setting, status="ok", loss=losses[0], first_call=seconds, samples=samples)
        )
    points += [results.StepPoint(name, **setting, status="skipped", reason=reason) for name, reason in absent.items()]

    def peak(name: str) -> float:
        return chip.peak_flops if chip and _on_gpu(name) else limits.peak_flops

    _show(points, options, peak)
    if options.results:
        found = results.new("experiments.training_race", arguments, points, limits, gpu_ceilings=chip)
        cli.write_results(options.results, found)
    wrong = [f"{point.contestant}: {point.reason}" for point in points if point.status == "failed"]
    flops = _flops(options.batch_size, options.hidden)
    wrong += [
        f"{name} is above the machine's peak"
        for name, samples in taken.items()
        if timing.spread(samples).median < flops / peak(name)
    ]
    if wrong:
        raise cli.CommandError("; ".join(wrong), cli.CHECK_FAILED)


class Contestant:
    """A training step and what is timed of it: `calls` steps in a row, then the wait for the last loss."""

    def __init__(self, start: Callable[[], Step], calls: int = 1) -> None:
        self._step, self._calls = start(), calls

    def begin(self) -> tuple[float, list[float]]:
        """Seconds of the very first step, and the losses of the first ones."""
        from kernels.measure import timing

        losses: list[float] = []
        seconds = timing.first_call(lambda: losses.append(float(self._step())))
        return seconds, losses + [float(self._step()) for _ in range(CHECKED_STEPS - 1)]

    def turn(self) -> list[float]:
        """Seconds of a step, a few times."""
        from kernels.measure import timing

        def steps() -> float:
            for _ in range(self._calls - 1):
                self._step()
            return float(self._step())

        return [seconds / self._calls for seconds in timing.turn(steps)]


def _disagreement(losses: list[float], expected: list[float]) -> str | None:
    for step, (loss, right) in enumerate(zip(losses, expected, strict=True), 1):
        if not abs(loss - right) <= AGREEMENT * abs(right):
            return f"loss {loss:.6f} at step {step}, the others have {right:.6f}"
    return None


def _contestants(options: argparse.Namespace) -> tuple[dict[str, Callable[[], Step]], dict[str, str]]:
    """What can start here, by name, and why the rest cannot."""
    from rnn import engines, reference_network
    from rnn.settings import Settings

    settings = Settings(batch_size=options.batch_size, hidden=options.hidden, learning_rate=RATE)
    entries: dict[str, Callable[[], Step]] = {"NumPy, as one writes it": partial(_numpy_network, settings)}
    for kernel in {kernel.name: kernel for kernel in map(cli.get_kernel, options.kernel)}.values():
        if kernel.spec.family == "cuda":
            from experiments._gpu_training import contestants

            entries |= contestants(kernel, settings, partial(_batch, settings))
            continue
        entries[f"stepwise, {kernel.name}"] = partial(_engine, "stepwise", kernel.name, settings)
        if engines.choose("auto", kernel, settings) == "fused":
            entries[f"fused, {kernel.name}"] = partial(_engine, "fused", kernel.name, settings)
    absent = {}
    if reason := reference_network.why_absent():
        absent["TensorFlow"] = reason
    else:
        for mode in reference_network.MODES:
            entries[f"TensorFlow, {mode}"] = partial(_tensorflow, mode, settings, options.threads)
    if importlib.util.find_spec("torch"):
        entries["PyTorch"] = partial(_torch, settings, options.threads)
    else:
        absent["PyTorch"] = "not installed; pip install torch"
    return entries, absent


def _start(settings: Settings) -> tuple[dict[str, NDArray], NDArray, NDArray]:
    """Weights, images and labels: the same for everyone."""
    from rnn.batches import Batches
    from rnn.data import DataError, load
    from rnn.network import initial_weights

    try:
        x, labels = Batches(load().train, settings.batch_size, settings.seed)[0]
    except DataError as error:
        raise cli.CommandError(str(error)) from error
    return initial_weights(settings.cell, settings.hidden, settings.seed), x, labels


def _batch(settings: Settings) -> tuple[NDArray, NDArray]:
    return _start(settings)[1:]


def _on_gpu(name: str) -> bool:
    return ", cuda-" in name


def _calls(name: str) -> int:
    from experiments._gpu_training import CALLS

    return CALLS if _on_gpu(name) else 1


def _engine(name: str, kernel: str, settings: Settings) -> Step:
    from rnn import engines

    _, x, labels = _start(settings)
    engine = engines.create(name, cli.get_kernel(kernel), settings)
    return lambda: engine.train(x, labels)


def _numpy_network(settings: Settings) -> Step:
    import numpy as np

    from experiments import _numpy_lstm

    weights, x, labels = _start(settings)

    def step() -> float:
        loss, gradients = _numpy_lstm.loss_and_gradients(weights, x, labels)
        for name, weight in weights.items():
            weight -= np.float32(RATE) * gradients[name]
        return loss

    return step


def _tensorflow(mode: str, settings: Settings, threads: int) -> Step:
    from rnn.reference_network import Reference

    _, x, labels = _start(settings)
    reference = Reference(settings, mode, threads)
    return lambda: reference.train(x, labels)


def _torch(settings: Settings, threads: int) -> Step:
    from experiments import _pytorch

    return _pytorch.step_of(*_start(settings), RATE, threads)


def _show(points: list[StepPoint], options: argparse.Namespace, peak: Callable[[str], float]) -> None:
    from rich.console import Console

    from experiments._tables import table
    from kernels.measure.timing import ratio, spread

    timed = sorted((point for point in points if point.samples), key=lambda point: spread(point.samples).median)
    title = f"One training step: batch {options.batch_size}, hidden {options.hidden}, {options.threads} threads"
    made = table(title, "by", "ms", "±", "times the fastest", "of the peak", "first call, s")
    for point in timed:
        seconds = spread(point.samples)
        made.add_row(
            point.contestant,
            f"{seconds.median * 1e3:.2f}",
            f"{seconds.half_range * 1e3:.2f}",
            f"{ratio(point.samples, timed[0].samples).median:.2f}",
            f"{_flops(options.batch_size, options.hidden) / seconds.median / peak(point.contestant):.0%}",
            f"{point.first_call:.2f}",
        )
    Console().print(made)
    for point in points:
        if point.status != "ok":
            print(f"{point.contestant} {point.status}: {point.reason}")
    for sentence in sentences(timed):
        print(sentence)


def sentences(points: Sequence[StepPoint]) -> list[str]:
    """The fastest against the second, and our fastest engine against TensorFlow's best mode."""
    from kernels.measure.timing import ratio, spread

    timed = sorted((point for point in points if point.samples), key=lambda point: spread(point.samples).median)
    ours = next((point for point in timed if point.contestant.startswith(OURS)), None)
    theirs = next((point for point in timed if point.contestant.startswith("TensorFlow")), None)
    said = []
    if len(timed) > 1:
        times = ratio(timed[1].samples, timed[0].samples)
        factor = f"{times.median:.2f} ± {times.half_range:.2f}"
        said.append(f"{timed[0].contestant} is {factor} times faster than {timed[1].contestant}")
    if ours and theirs:
        times = ratio(theirs.samples, ours.samples)
        factor, mode = f"{times.median:.2f} ± {times.half_range:.2f}", theirs.contestant.split()[-1]
        said.append(f"{ours.contestant} is {factor} times as fast as TensorFlow's best mode, {mode}")
    return said


def arithmetic_limit(found: Results) -> float | None:
    """Seconds of a step at the measured peak; None where no peak was measured, or no step."""
    from kernels.measure.results import StepPoint

    steps = [point for point in found.points if isinstance(point, StepPoint)]
    if found.ceilings is None or not steps:
        return None
    return _flops(steps[0].batch_size, steps[0].hidden) / found.ceilings.peak_flops


def _flops(batch: int, hidden: int, steps: int = 28, inputs: int = 28) -> int:
    """Of the LSTM's products: z = xh·W, dh = dz·Wᵀ (not needed at the first step) and dW = xhᵀ·dz."""
    forward = 2 * batch * (inputs + hidden) * 4 * hidden
    return steps * 2 * forward + (steps - 1) * 2 * batch * hidden * 4 * hidden


if __name__ == "__main__":
    main()
