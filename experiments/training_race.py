"""``python -m experiments.training_race``: one training step by every engine, by plain NumPy, TensorFlow and PyTorch.

All start from the same weights, see the same batch, and must agree with float64 on the first gradients and the losses
of the first steps before any is timed. Each has a process of its own, and they are timed in turns in one run, so a
drift of the machine's speed meets all alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from experiments import _files, _header
from experiments._apart import Apart
from experiments._contestants import CALLS, CHECKED_STEPS, RATE, Contestant, Expected, contestants
from experiments._peak import above, has_peak
from kernels import cli, progress
from kernels.measure import gpu_ceilings, machine, results, timing
from kernels.measure.limits import Ceilings
from kernels.measure.results import Results, StepPoint
from kernels.measure.timing import ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray


EXAMPLES = """\
  python -m experiments.training_race                                     everything that is installed
  python -m experiments.training_race --kernel cpu-blas cpu-numba-simd --rounds 20
  python -m experiments.training_race --kernel cuda         on a GPU: each optimisation switched off in turn
  python -m experiments.training_race --batch-size 256 --hidden 256 --results race.json --plot race.png
  python -m experiments.training_race --from race.json --plot race.svg
exit codes: 0 done, 1 a contestant is wrong or above the peak, 2 wrong usage, 3 a kernel asked for cannot run here"""


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(arguments)
    with cli.errors_as_lines():
        found = _files.read_or_measure(
            parser, options, "training steps", lambda found: found.of(StepPoint), partial(_measure, options, arguments)
        )
        _show(found)
        if options.plot:
            from plots import race

            _files.save_picture(race.draw(found, arithmetic_limit(found)), options.plot)
        _judge(found)


def _parser() -> cli.Parser:
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
        help=f"kernels, each with all its engines: {cli.kernel_help()} (default: numba cpu-blas)",
    )
    p.add_argument("--batch-size", type=cli.at_least(1), default=128, metavar="N", help="(default: %(default)s)")
    p.add_argument("--hidden", type=cli.at_least(1), default=128, metavar="N", help="(default: %(default)s)")
    p.add_argument("--rounds", type=cli.at_least(1), default=5, metavar="N", help="turns each (default: %(default)s)")
    cli.add_threads(p)
    _files.add_options(p)
    return p


def _measure(options: argparse.Namespace, arguments: list[str]) -> Results:
    from kernels.measure import ceilings
    from rnn.settings import Settings

    cli.use_threads(options.threads)
    for name in options.kernel:
        cli.get_kernel(name)  # before anything is measured
    busy = _header.show()
    limits = ceilings.measure(options.threads)
    print(f"Limits:  {limits.peak_flops / 1e9:.0f} GFLOP/s, measured with {options.threads} threads", flush=True)
    settings = Settings(batch_size=options.batch_size, hidden=options.hidden, learning_rate=RATE)
    entries, absent = contestants(settings, options.kernel, options.threads)
    chip = _gpu_limits() if any(entry.on_gpu for entry in entries.values()) else None
    setting = {"batch_size": options.batch_size, "hidden": options.hidden, "threads": options.threads}
    points: list[StepPoint] = []
    turns: dict[str, Callable[[], list[float]]] = {}
    lost: dict[str, str] = {}
    first: dict[str, tuple[float, list[float]]] = {}
    expected = Expected.of(settings)
    with ExitStack() as processes:
        with progress.named(len(entries)) as advance:
            for name, entry in entries.items():
                advance(name)
                racer = processes.enter_context(Apart(name, partial(Racer, entry), options.threads))
                try:
                    seconds, losses, gradients = racer.call("begin")
                except cli.CommandError as error:  # the others race without it
                    points.append(results.StepPoint(name, **setting, status="failed", reason=str(error)))
                    continue
                first[name] = seconds, losses
                if worst := expected.disagreement(losses, gradients, entry.rounds_to):
                    points.append(results.StepPoint(name, **setting, status="failed", reason=worst))
                else:
                    turns[name] = partial(_turn, racer, name, lost)
        taken = timing.alternate(turns, options.rounds)
        clock = machine.sm_clock() if chip else None  # at once: a GPU that is idle for long slows down
    points += [results.StepPoint(name, **setting, status="failed", reason=reason) for name, reason in lost.items()]
    taken = {name: samples for name, samples in taken.items() if name not in lost}
    # once more: a neighbour on the same machine may have been busy the first time
    limits = max(limits, ceilings.measure(options.threads), key=lambda found: found.peak_flops)
    for name, samples in taken.items():
        seconds, losses = first[name]
        points.append(
            results.StepPoint(
                name,
                **setting,
                status="ok",
                loss=losses[0],
                first_call=seconds,
                samples=samples,
                sm_clock=clock if entries[name].on_gpu else None,
                rounds_to=entries[name].rounds_to,
                on_gpu=entries[name].on_gpu,
            )
        )
    points += [results.StepPoint(name, **setting, status="skipped", reason=reason) for name, reason in absent.items()]
    return results.new("experiments.training_race", arguments, points, limits, gpu_ceilings=chip, busy_cores=busy)


def _judge(found: Results) -> None:
    points = found.of(StepPoint)
    wrong = [f"{point.contestant}: {point.reason}" for point in points if point.status == "failed"]
    wrong += [
        f"{point.contestant} is " + above("the machine's peak")
        for point in points
        if point.samples and (share := _share_of_peak(found, point)) and share > 1
    ]
    if wrong:
        raise cli.CommandError("; ".join(wrong), cli.CHECK_FAILED)


def _share_of_peak(found: Results, point: StepPoint) -> float | None:
    """Of the measured peak of what it ran on; None where that does not bound it."""
    if point.on_gpu is None and found.gpu_ceilings:
        return None
    limits = found.gpu_ceilings if point.on_gpu else found.ceilings
    if limits is None or not has_peak(point.contestant, point.rounds_to, found.machine.system):
        return None
    return _flops(point.batch_size, point.hidden) / point.seconds.median / limits.peak_flops


def _turn(racer: Apart, name: str, lost: dict[str, str]) -> list[float]:
    """A contestant's turn; none any more once it has broken down, and why is told in `lost`."""
    if name in lost:
        return []
    try:
        samples: list[float] = racer.call("turn")
    except cli.CommandError as error:
        lost[name] = str(error)
        return []
    return samples


def _gpu_limits() -> Ceilings:
    import msgspec

    from rnn import grid_barrier

    chip, _ = gpu_ceilings.measure()
    chip = msgspec.structs.replace(chip, grid_barrier=grid_barrier.seconds())
    waiting = "" if chip.grid_barrier is None else f", {chip.grid_barrier * 1e6:.2f} µs for a barrier of all blocks"
    print(f"GPU:     {chip.peak_flops / 1e12:.1f} TFLOP/s{waiting}, measured", flush=True)
    return chip


class Racer:
    """A contestant in its own process. On a GPU a sample is CALLS steps in a row, then the wait for the last loss."""

    def __init__(self, entry: Contestant) -> None:
        self._runner, self._calls = entry.start(), CALLS if entry.on_gpu else 1

    def begin(self) -> tuple[float, list[float], dict[str, NDArray]]:
        """Seconds of the very first step, the losses of the first ones, and the first gradients."""
        from rnn.arrays import to_host

        # arrays that the next call overwrites
        gradients = {name: to_host(array).copy() for name, array in self._runner.gradients().items()}
        losses: list[float] = []
        seconds = timing.seconds_of(lambda: losses.append(float(self._runner.step())))
        return seconds, losses + [float(self._runner.step()) for _ in range(CHECKED_STEPS - 1)], gradients

    def turn(self) -> list[float]:
        """Seconds of a step, a few times."""

        def steps() -> float:
            for _ in range(self._calls - 1):
                self._runner.step()
            return float(self._runner.step())

        return [seconds / self._calls for seconds in timing.turn(steps)]


def _show(found: Results) -> None:
    from experiments._tables import marked, print_table, table

    points = found.of(StepPoint)
    timed, first = _by_speed(points), points[0]
    title = f"One training step: batch {first.batch_size}, hidden {first.hidden}, {first.threads} threads"
    made = table(title, "by", "ms", "±", "times the fastest", "of the peak", "first call, s")
    for point in timed:
        seconds = point.seconds
        made.add_row(
            point.contestant,
            marked(_ms(seconds.median), seconds),
            _ms(seconds.half_range),
            f"{ratio(point.samples, timed[0].samples).median:.2f}",
            f"{share:.0%}" if (share := _share_of_peak(found, point)) else "",
            f"{point.first_call:.2f}",
        )
    print_table(made)
    for point in points:
        if point.status != "ok":
            print(f"{point.contestant} {point.status}: {point.reason}")
    for sentence in sentences(timed) + floor(timed, found.gpu_ceilings):
        print(sentence)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}" if seconds >= 1e-3 else f"{seconds * 1e3:.4f}"


def sentences(points: Sequence[StepPoint]) -> list[str]:
    """The fastest against the second, and our fastest engine against TensorFlow's best mode.

    On a GPU also the persistent engine against cuDNN's LSTM in a CUDA graph, and the graph against single launches.
    """
    from experiments._reference_tables import against_tensorflow

    timed = _by_speed(points)
    ours = next((point for point in timed if point.ours), None)
    theirs = next((point for point in timed if point.contestant.startswith("TensorFlow")), None)
    said = []
    if len(timed) > 1:
        times = ratio(timed[1].samples, timed[0].samples)
        said.append(f"{timed[0].contestant} is {times} times as fast as {timed[1].contestant}")
    if ours and theirs:
        said.append(against_tensorflow(ours, theirs))
    for one, other in (("persistent, ", "PyTorch, cuDNN, CUDA graph"), ("graph, ", "stepwise, ")):
        if (fast := _whole(timed, one)) and (slow := _whole(timed, other)):
            said.append(f"{fast.contestant} is {ratio(slow.samples, fast.samples)} times as fast as {slow.contestant}")
    return said


def floor(points: Sequence[StepPoint], chip: Ceilings | None) -> list[str]:
    """How far the persistent engine is from its floor: the arithmetic, and its two barriers of all blocks."""
    ours = _whole(_by_speed(points), "persistent, ")
    if ours is None or chip is None or chip.grid_barrier is None:
        return []
    arithmetic = _flops(ours.batch_size, ours.hidden) / chip.peak_flops
    least, taken = arithmetic + 2 * chip.grid_barrier, ours.seconds.median
    return [
        f"{ours.contestant} takes {taken * 1e6:.1f} µs, {taken / least:.2f} times its floor of {least * 1e6:.1f} µs: "
        f"{arithmetic * 1e6:.1f} µs of arithmetic at the measured peak, and 2 barriers of all blocks of "
        f"{chip.grid_barrier * 1e6:.2f} µs"
    ]


def _whole(timed: Sequence[StepPoint], begin: str) -> StepPoint | None:
    """The fastest whose name begins so and goes on without a comma: with nothing switched off, and no TF32."""
    parts = begin.count(",")
    return next((p for p in timed if p.contestant.startswith(begin) and p.contestant.count(",") == parts), None)


def _by_speed(points: Sequence[StepPoint]) -> list[StepPoint]:
    return sorted((point for point in points if point.samples), key=lambda point: point.seconds.median)


def arithmetic_limit(found: Results) -> float | None:
    """Seconds of a step at the measured peak, the GPU's where it raced; None where no peak was measured, or no step."""
    steps, limits = found.of(StepPoint), found.gpu_ceilings or found.ceilings
    if limits is None or not steps:
        return None
    return _flops(steps[0].batch_size, steps[0].hidden) / limits.peak_flops


def _flops(batch: int, hidden: int, steps: int = 28, inputs: int = 28) -> int:
    """Of the LSTM's products: z = xh·W, dh = dz·Wᵀ (not needed at the first step) and dW = xhᵀ·dz."""
    forward = 2 * batch * (inputs + hidden) * 4 * hidden
    return steps * 2 * forward + (steps - 1) * 2 * batch * hidden * 4 * hidden


if __name__ == "__main__":
    main()
