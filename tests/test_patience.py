"""How long a process waits for the others: as long as they may need, and not for ever."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import psutil

from tests.mpi_jobs import ROOT

WAIT = """
import sys, time
import psutil
from rnn import patience
patience.SECONDS, patience._ONE_BY_ONE = 0.4, 0.4
waiting = patience.Patience(int(sys.argv[1])).waiting
for work, wait in zip(sys.argv[2::2], sys.argv[3::2]):
    time.sleep(float(work))
    with waiting():
        if wait == "stopped":
            psutil.Process().suspend()
        time.sleep(0.2 if wait == "stopped" else float(wait))
print("all were there")
"""


def _start(rank: int, *seconds: float | str) -> subprocess.Popen[str]:
    """A process that works and waits in turns, for so many seconds each; "stopped": till it is told to go on."""
    command = [sys.executable, "-c", WAIT, str(rank), *map(str, seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_wait_without_end_is_ended_and_told() -> None:
    begin = time.monotonic()
    process = _start(0, 0, 60)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - begin < 30
    assert process.returncode == 1
    assert re.fullmatch(r"error: process 0 has waited \d+ s for the others: one of them, or the .*answer\n", said)


def test_many_short_waits_are_no_long_one() -> None:
    process = _start(0, *(0.0, 0.15) * 8)
    assert "all were there" in process.communicate(timeout=30)[0]


def test_who_works_long_waits_long() -> None:
    process = _start(0, 1.0, 1.2)
    assert "all were there" in process.communicate(timeout=30)[0]


def test_the_others_let_the_first_speak() -> None:
    process = _start(1, 0, 0.6)
    assert "all were there" in process.communicate(timeout=30)[0]


def test_a_process_that_was_stopped_has_not_waited_meanwhile() -> None:
    process = _start(0, 0, "stopped")
    found = psutil.Process(process.pid)
    while found.status() != psutil.STATUS_STOPPED:
        time.sleep(0.05)
    time.sleep(1.6)
    found.resume()
    assert "all were there" in process.communicate(timeout=30)[0]


def test_who_may_be_late_in_any_case_is_waited_for():
    text = (
        "import time\nfrom rnn import patience\npatience.SECONDS = 0.2\n"
        "with patience.Patience(0).waiting(5.0):\n    time.sleep(1.2)\nprint('there')"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "there\n")
