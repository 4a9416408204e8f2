"""``python -m experiments.cluster_scaling``: what do more processes buy, here and, by a model, on a cluster of 1,000?

Strong scaling shares one work among more processes, weak scaling gives each as much as before: as many images of the
network's batch, or as many multiply-adds of a product (m·n·k/P stays the same, so n grows with the cube root of P; with
as much memory for each the work of each would grow, and time would say nothing). The processes are started here, by
mpiexec, in turns; the model is fitted to what one and two of them take for its parts, never to what it predicts.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec

import kernels
from experiments import _files, _header
from experiments.cluster_scaling import _report as report
from experiments.cluster_scaling._model import size_of
from experiments.cluster_scaling._points import ETHERNET, Network, Scaling
from experiments.cluster_scaling._ranks import Order
from kernels import cli, progress, threads
from kernels.extras import install
from kernels.measure import results, timing
from kernels.measure.cluster import CostPoint, SharedPoint
from kernels.measure.results import Results
from kernels.mpi.launcher import mpiexec, started

EXAMPLES = """\
  python -m experiments.cluster_scaling --plot cluster.png
  python -m experiments.cluster_scaling --hostfile hosts --processes 1 2 4 8 16
  python -m experiments.cluster_scaling --from cluster.json --latency 2 --bandwidth 12.5     another network
  python -m experiments.cluster_scaling --mpiexec="-genv MPIR_CVAR_NOLOCAL 1 -genv UCX_TLS tcp,self"   TCP (MPICH)
  python -m experiments.cluster_scaling --mpiexec="--bind-to none --oversubscribe"                     Open MPI
exit codes: 0 done, 1 a result was wrong, 2 wrong usage, 3 no MPI here"""


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(arguments)
    with cli.errors_as_lines():
        found = _files.read_or_measure(
            parser,
            options,
            "times of processes",
            Scaling.of,
            partial(_measure, options, arguments),
            shows=("latency", "bandwidth"),
        )
        scaling = Scaling.of(found)
        assert scaling
        other = Network(options.latency / 1e6, options.bandwidth * 1e9)
        report.show(scaling, other)
        if options.plot:
            from plots import cluster

            _files.save_picture(cluster.draw(report.panels(scaling, other), found), options.plot)


def _parser() -> argparse.ArgumentParser:
    p = cli.Parser("python -m experiments.cluster_scaling", "Strong and weak scaling over processes.", EXAMPLES)
    images = 128
    cores = min(threads.cores(), images)  # each process has one image at least
    default = sorted({1, 2, cores} | {2**power for power in range(1, cores.bit_length())})
    p.add_argument(
        "--processes", nargs="+", type=cli.at_least(1), default=default, metavar="P",
        help=f"1 and 2 must be among them (default: {' '.join(map(str, default))})",
    )  # fmt: skip
    p.add_argument(
        "--images", type=cli.at_least(1), default=images, metavar="N",
        help="of a batch: in all, and of each process (default: %(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--size", type=cli.at_least(1), default=2048, metavar="N",
        help="NxN·NxN: in all, and of each process in multiply-adds (default: %(default)s)",
    )  # fmt: skip
    p.add_argument("--rounds", type=cli.at_least(1), default=5, metavar="N", help="turns each (default: %(default)s)")
    p.add_argument("--hosts", metavar="LIST", help="machines for mpiexec, such as one:8,two:8")
    p.add_argument("--hostfile", type=Path, metavar="FILE", help="the same, a machine a line")
    p.add_argument(
        "--mpiexec", type=shlex.split, default=[], metavar="OPTIONS", help="more options for mpiexec, in quotes"
    )
    p.add_argument(
        "--latency", type=cli.positive, default=ETHERNET.latency * 1e6, metavar="US",
        help="of the network to predict for, in microseconds (default: %(default)g)",
    )  # fmt: skip
    p.add_argument(
        "--bandwidth", type=cli.positive, default=ETHERNET.bandwidth / 1e9, metavar="GB",
        help="of it, in GB/s (default: %(default)g, 10 Gbit/s Ethernet)",
    )  # fmt: skip
    _files.add_options(p)
    return p


def _measure(options: argparse.Namespace, arguments: list[str]) -> Results:
    _check(options)

    busy = _header.show()
    processes = sorted(set(options.processes))
    within = max(count for count in processes if count <= max(2, threads.cores()))
    # the last: as many threads in one process, to compare with
    groups = [(count, 1) for count in processes] + [(1, within)]
    taken: dict[bytes, list[float]] = {}
    with progress.named(options.rounds * len(groups)) as advance:
        for turn in range(options.rounds):
            for count, each in groups:
                advance(f"turn {turn + 1}: processes {count}, threads {each}")
                for point in _run(options, count, each, check=turn == 0):
                    samples = taken.setdefault(_without_samples(point), [])
                    samples += point.samples
    points = [
        msgspec.structs.replace(msgspec.json.decode(point, type=SharedPoint | CostPoint), samples=samples)
        for point, samples in taken.items()
    ]
    return results.new("experiments.cluster_scaling", arguments, points, ceilings=None, busy_cores=busy)


def _check(options: argparse.Namespace) -> None:
    """End the command now where it could not be done."""
    if not {1, 2} <= set(options.processes):
        raise cli.CommandError("--processes needs 1 and 2 among them: the model is fitted to what they take")
    if max(options.processes) > options.images:
        raise cli.CommandError(f"{max(options.processes)} processes cannot share {options.images} images")
    if started().processes > 1:
        raise cli.CommandError("start it without mpiexec: it starts its processes itself")
    if options.hostfile and not options.hostfile.is_file():
        raise cli.CommandError(f"there is no file {options.hostfile}; it should name one machine a line")
    reason = kernels.unavailable("mpi-summa") or (None if mpiexec() else f"mpiexec is not installed: {install('mpi')}")
    if reason:
        raise cli.CommandError(reason, cli.ABSENT)


def _run(options: argparse.Namespace, processes: int, each: int, check: bool) -> list[SharedPoint | CostPoint]:
    """One group's turn."""
    scalings = ("strong", "weak") if each == 1 else ("strong",)
    images = {scaling: size_of("training", scaling, processes, options.images) for scaling in scalings}
    n = {scaling: size_of("product", scaling, processes, options.size) for scaling in scalings}
    order = Order(each, images, n, timing.MIN_SAMPLES, check)
    where = ["--host", options.hosts] if options.hosts else []
    where += ["--hostfile", str(options.hostfile)] if options.hostfile else []
    command = [str(mpiexec()), *where, *options.mpiexec, "-n", str(processes), sys.executable, "-m"]
    command += ["experiments.cluster_scaling._ranks", msgspec.json.encode(order).decode()]
    # Python's copy of the environment: in the process's own, Open MPI has noted that this process is one of its own
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        line = told(done.stderr) or f"exit code {done.returncode} of {shlex.join(command[:-1])}"
        raise cli.CommandError(line, cli.ABSENT if done.returncode == cli.ABSENT else cli.CHECK_FAILED)
    points: list[SharedPoint | CostPoint] = msgspec.json.decode(done.stdout, type=list[SharedPoint | CostPoint])
    return points


def told(said: str) -> str:
    """The line that tells most of what a group that failed has said."""
    lines = said.strip().splitlines()
    # Hydra's launcher adds where in its own source it ended
    lines = [line for line in lines if not line.startswith("[mpiexec@")] or lines
    texts = [line for line in lines if line.strip("-")] or [""]
    # Open MPI's launcher begins with what it is about, between lines of dashes; Python ends with that
    about = texts[-1] if texts == lines else texts[0]
    return next((line.removeprefix("error: ") for line in texts if line.startswith("error: ")), about)


def _without_samples(point: SharedPoint | CostPoint) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(point, samples=[]))


if __name__ == "__main__":
    main()
