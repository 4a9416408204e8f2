"""A process that outlives the run: where the run is killed, it still says what there is to go on from.

MPI's launcher kills every process of a job at once when it has lost one, the first included: none of them can say
where the last checkpoint lies. This one is not the launcher's child and reads what the first process writes it; when
that ends without a farewell, the last line read is printed. And where the launcher waits for ever for a machine that is
cut off, this ends the launcher.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress

import psutil

__all__ = ["Witness"]

_FAREWELL = ""
_LAUNCHERS = ("mpiexec", "mpirun", "prterun", "orterun")
_SECONDS = 3.0  # for the launcher to end by itself


class Witness:
    """The witness's process, started with the first line to remember, and anew where it was lost."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def remember(self, line: str) -> None:
        """Say this, and nothing else, should the run be killed."""
        if self._process is None or self._process.poll() is not None:
            launcher = next((p.pid for p in psutil.Process().parents() if p.name().startswith(_LAUNCHERS)), 0)
            command = [sys.executable, "-m", "rnn.witness", str(launcher)]
            # in a session of its own no Ctrl-C reaches it
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
        _tell(self._process, line)

    def dismiss(self) -> None:
        """All went as it should, or was said by the run itself."""
        if self._process:
            _tell(self._process, _FAREWELL)
            with suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    # a witness may be lost too: the run goes on without
    with suppress(BrokenPipeError):
        process.stdin.write(line + "\n")
        process.stdin.flush()


def main() -> None:
    launcher = psutil.Process(int(sys.argv[1])) if int(sys.argv[1]) else None
    line = _FAREWELL
    for line in sys.stdin:  # noqa: B007 - the last one is what counts
        pass
    if line.strip() == _FAREWELL:
        return
    print(line.strip(), file=sys.stderr, flush=True)
    if launcher:
        # it waits for this process's output to end
        for output in (sys.stdout, sys.stderr):
            os.close(output.fileno())
        time.sleep(_SECONDS)
        if launcher.is_running():
            launcher.kill()
    os._exit(0)


if __name__ == "__main__":
    main()
