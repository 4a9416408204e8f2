"""A process that outlives the run: where the run is killed, it still says what there is to go on from.

MPI's launcher kills every process of a job at once when it has lost one, the first included: none of them can say
where the last checkpoint lies. This one is not the launcher's child and reads what the first process writes it; when
that ends without a farewell, the last line read is printed.
"""

from __future__ import annotations

import subprocess
import sys

__all__ = ["Witness"]

_FAREWELL = ""


class Witness:
    """The witness's process, started with the first line to remember."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def remember(self, line: str) -> None:
        """Say this, and nothing else, should the run be killed."""
        if self._process is None:
            command = [sys.executable, "-m", "rnn.witness"]
            # in a session of its own no Ctrl-C reaches it
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
        _tell(self._process, line)

    def dismiss(self) -> None:
        """All went as it should, or was said by the run itself."""
        if self._process:
            _tell(self._process, _FAREWELL)
            self._process.communicate()
            self._process = None


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    process.stdin.write(line + "\n")
    process.stdin.flush()


def main() -> None:
    line = _FAREWELL
    for line in sys.stdin:  # noqa: B007 - the last one is what counts
        pass
    if line.strip() != _FAREWELL:
        print(line.strip(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
