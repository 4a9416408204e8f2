"""What every command shares: mistakes and full disks are one line, and a file that is no result is never replaced."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress, TaskID

from experiments import __main__ as index
from kernels import cli, names, progress
from kernels.cuda.compile import CompileError
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
    assert capsys.readouterr().err == "error: too little memory for this: Unable to allocate 29.1 TiB; ask for less\n"


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


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (cli.at_least(2), "2", 2), (cli.at_least(0), "0", 0), (cli.positive, "1e-9", 1e-9), (cli.positive, "3", 3.0),
        (cli.share, "0.5", 0.5), (cli.share, "1", 1.0),
    ],
)  # fmt: skip
def test_arguments_in_range(convert: Callable[[str], float], text: str, value: float) -> None:
    assert convert(text) == value
    assert type(convert(text)) is type(value)


@pytest.mark.parametrize(
    ("convert", "text", "says"),
    [
        (cli.at_least(2), "1", "must be at least 2, not 1"), (cli.at_least(0), "-1", "must be at least 0"),
        (cli.at_least(0), "1.5", "must be a whole number, not '1.5'"), (cli.at_least(0), "", "must be a whole number"),
        (cli.positive, "0", "must be above 0"), (cli.positive, "-1", "must be above 0"),
        (cli.positive, "nan", "must be above 0"), (cli.positive, "inf", "must be above 0"),
        (cli.positive, "much", "must be a number, not 'much'"), (cli.share, "1.01", "must be a share of 1"),
        (cli.share, "0", "must be above 0"), (cli.share, "85%", "must be a number"),
    ],
)  # fmt: skip
def test_arguments_out_of_range(convert: Callable[[str], float], text: str, says: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=says):
        convert(text)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--unknown"], "unrecognized arguments: --unknown"),
        (["--size", "0"], "argument --size: must be at least 1, not 0"),
        (["--si", "1"], "unrecognized arguments: --si 1"),  # an abbreviation means something else once there is --side
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.Parser("python -m x", "text", "examples")
    parser.add_argument("--size", type=cli.at_least(1))
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", f"error: {says} (see python -m x --help)\n")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (cli.CommandError("no such thing"), 2, "error: no such thing\n"),
        (cli.CommandError("no GPU", cli.ABSENT), 3, "error: no GPU\n"),
        (CompileError("x.cu does not compile:\nline 3: oops"), 1, "error: x.cu does not compile:\nline 3: oops\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_end_a_command_in_one_line(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop, cli.errors_as_lines():
        raise error
    assert stop.value.code == code
    assert capsys.readouterr() == ("", says)


def test_help_breaks_no_name_in_two(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    parser = cli.Parser("python -m x", "text", "  two  spaces")
    parser.add_argument("--kernel", help=cli.kernel_help())
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown.split() or f"{name}," in shown.split() or f"{name};" in shown.split() for name in names())
    assert "  two  spaces" in shown


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("matmul_scaling", "is a command of its own: python -m experiments.matmul_scaling"),
        ("explorer", "is a command of its own: python -m experiments.explorer"),
        ("matmul_scalin", "no experiment is called 'matmul_scalin': did you mean matmul_scaling?"),
        ("_files", "no experiment is called '_files': python -m experiments lists them"),
    ],
)
def test_an_experiment_is_no_argument(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        index.main([name, "--quick"])
    assert stop.value.code == cli.USAGE
    assert says in capsys.readouterr().err


def test_what_is_under_way_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[object, float]] = []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    update = Progress.update

    def noting(self: Progress, task: TaskID, **changes: Any) -> None:
        update(self, task, **changes)
        shown.append((changes["description"], self.tasks[0].completed))

    monkeypatch.setattr(Progress, "update", noting)
    with progress.named(2) as advance:
        advance("first")
        advance("second")
    assert shown == [("first", 0), ("second", 1)]
