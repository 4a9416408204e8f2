"""What every command shares: mistakes and full disks are one line, and a file that is no result is never replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels import cli
from kernels.measure import results
from kernels.threads import cores

ROOT = Path(__file__).parents[1]


def _run(*arguments: str, stdout: int | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | variables,
    )


def test_only_a_result_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    cli.require_results(None)
    cli.require_results(file)
    assert not file.exists()
    file.write_text('{"name": "a package"}')
    with pytest.raises(cli.CommandError, match=r"run\.json is not a result file, and is not overwritten"):
        cli.require_results(file)
    assert file.read_text() == '{"name": "a package"}'
    for other in (b"[1]", b"\xff", b'{"schema": 1'):
        file.write_bytes(other)
        with pytest.raises(cli.CommandError, match="is not overwritten"):
            cli.require_results(file)
    results.write(file, results.new("a test", [], [], None))
    cli.require_results(file)
    with pytest.raises(cli.CommandError, match=r"notes\.txt: the name must end in \.json"):
        cli.require_results(tmp_path / "notes.txt")
    with pytest.raises(cli.CommandError, match="it is a directory"):
        cli.require_results(tmp_path)


def test_a_command_may_have_more_threads_than_cores_whatever_it_writes_to(tmp_path: Path) -> None:
    """Numba sizes its pool when it is imported, so no check of files may import it."""
    file, most = tmp_path / "run.json", str(cores() + 1)
    results.write(file, results.new("a test", [], [], None))
    done = _run("experiments.thread_scaling", "--size", "8", "--rounds", "1", "--most", most, "--results", str(file))
    assert (done.returncode, done.stderr) == (0, "")


def test_too_little_memory_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, cli.errors_as_lines():
        raise MemoryError("Unable to allocate 29.1 TiB")
    assert ended.value.code == cli.CHECK_FAILED
    assert capsys.readouterr().err == "error: too little memory for this: Unable to allocate 29.1 TiB\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_a_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = _run("experiments.machines", stdout=full.fileno())
    assert done.returncode == cli.CHECK_FAILED
    assert done.stderr == "error: No space left on device\n"


def test_other_errors_of_the_system_are_not_hidden() -> None:
    with pytest.raises(FileNotFoundError), cli.errors_as_lines():
        Path("no such file").read_text()


def test_a_terminal_that_lacks_a_letter_gets_the_rest() -> None:
    done = _run("experiments.machines", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "324.519 s / 82.601 s = 3.93 times as fast" in done.stdout
    assert done.stdout.isascii()
