"""Two hosts for real, as MPI sees them: network namespaces with addresses of their own, and TCP between them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.mpi.launcher import mpiexec
from rnn import checkpoint
from tests import idx, mpi_jobs
from tests.mpi_products import SHAPES

# ssh's place: options, the host's address, a command
LAUNCHER = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1
shift
exec ip netns exec "ladder-$host" unshare --uts sh -c "hostname $host; $*"
"""
ADDRESSES = ("10.77.0.1", "10.77.0.2")
SECONDS = 30.0  # in which a job has to end that has lost a host


def _why_not() -> str | None:
    if reason := mpi_jobs.why_not_hydra():
        return reason
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        return "network namespaces need root, and the programs ip and unshare"
    return None


pytestmark = [pytest.mark.slow, pytest.mark.skipif(_why_not() is not None, reason=str(_why_not()))]


class Hosts:
    """Two namespaces, joined by a cable; programs are started from the first."""

    def __init__(self, folder: Path) -> None:
        self.names = [f"ladder-{address}" for address in ADDRESSES]
        self._launcher = folder / "launcher"
        self._launcher.write_text(LAUNCHER)
        self._launcher.chmod(0o755)

    def connect(self) -> None:
        for name in self.names:
            _ip("netns", "add", name)
        cable = ["type", "veth", "peer", "name", "eth0", "netns", self.names[1]]
        _ip("link", "add", "eth0", "netns", self.names[0], *cable)
        for name, address in zip(self.names, ADDRESSES, strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        while any(_shown(name)["operstate"] != "UP" for name in self.names):
            time.sleep(0.05)

    def close(self) -> None:
        for name in self.names:
            for process in self.processes(name):
                os.kill(process, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)

    def command(self, *program: str) -> list[str]:
        """One process on each host; shared memory, which both have in truth, is forbidden."""
        hosts = ",".join(f"{address}:1" for address in ADDRESSES)
        launcher = [str(mpiexec()), "-launcher", "ssh", "-launcher-exec", str(self._launcher), "-hosts", hosts]
        program = ("-genv", "UCX_TLS", "tcp,self", sys.executable, "-m", *program)
        return ["ip", "netns", "exec", self.names[0], *launcher, *program]

    def processes(self, name: str) -> list[int]:
        """What runs there."""
        done = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        return [int(number) for number in done.stdout.split()]

    def sent(self) -> int:
        """Bytes that the first host has sent to the second."""
        return int(_shown(self.names[0])["stats64"]["tx"]["bytes"])

    def cut(self) -> None:
        """The cable."""
        _ip("-n", self.names[1], "link", "set", "eth0", "down")


def _shown(name: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(_ip("-n", name, "-s", "-json", "link", "show", "eth0"))[0]
    return shown


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    joined = Hosts(tmp_path)
    try:
        joined.connect()
        yield joined
    finally:
        joined.close()


def _run(hosts: Hosts, folder: Path, *program: str) -> str:
    done = subprocess.run(
        hosts.command(*program), cwd=folder, env=mpi_jobs.environment(), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_products_across_a_network(hosts: Hosts) -> None:
    errors = json.loads(_run(hosts, mpi_jobs.ROOT, "tests.mpi_products"))
    assert len(errors) == len(SHAPES)
    assert all(0 <= error <= 1 for error in errors)
    assert max(errors) > 0
    most = max(4 * (m * k + k * n) for m, k, n in SHAPES)
    assert hosts.sent() > most / 4, "the operands did not cross the network"


def test_training_across_a_network(hosts: Hosts, tmp_path: Path) -> None:
    data = idx.write(tmp_path / "data", idx.contents())
    run = ["rnn.train", "--data", str(data), "--steps", "20", "--batch-size", "12", "--hidden", "32", "--checkpoint"]
    said = _run(hosts, tmp_path, *run, "two.npz")
    assert f"Processes: 2 (1 on {os.uname().nodename}, 1 on {ADDRESSES[1]}), over MPICH" in said
    numbers = sum(array.size for array in checkpoint.load(tmp_path / "two.npz").arrays.values())
    assert hosts.sent() > 20 * 4 * numbers / 2, "the gradients did not cross the network"
    assert mpi_jobs.run(1, *run, "one.npz", folder=tmp_path).returncode == 0
    one, two = (checkpoint.load(tmp_path / name).arrays for name in ("one.npz", "two.npz"))
    for name, weight in one.items():
        assert np.linalg.norm(two[name] - weight) / np.linalg.norm(weight) < 5e-6, name


def test_a_host_that_is_cut_off_ends_the_job(hosts: Hosts, tmp_path: Path) -> None:
    data = idx.write(tmp_path / "data", idx.contents())
    run = ["--data", str(data), "--steps", "1000000", "--hidden", "8", "--display-step", "10"]
    keep = ["--checkpoint", "run.npz", "--checkpoint-every", "5"]
    process = subprocess.Popen(
        hosts.command("tests.mpi_faults", "none", *run, *keep), cwd=tmp_path, env=mpi_jobs.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    while not (line := process.stdout.readline()).startswith("Step 10,"):
        assert line, "the run has ended"
    hosts.cut()
    begin = time.monotonic()
    _, said = process.communicate(timeout=2 * SECONDS)
    assert time.monotonic() - begin < SECONDS
    assert process.returncode != 0
    assert "error: process 0 has waited" in said
    assert "error: a process was lost, and the run ended with it; run.npz holds step" in said
    assert checkpoint.load(tmp_path / "run.npz").header.step >= 10
    # a host that waits for the first to have saved is given more time
    while hosts.processes(hosts.names[1]):
        assert time.monotonic() - begin < SECONDS + 60, "the host that was cut off still trains"
        time.sleep(0.5)
