"""Every exercise accepts its solution and rejects plausible wrong answers, each for the right reason."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from experiments.exercises import __main__ as command
from experiments.exercises import _check
from experiments.exercises._task import STUBS, Task
from experiments.exercises._tasks import TASKS, find
from kernels import cli
from kernels.cuda import offline
from tests.exercises.wrong import WRONG

SOLUTIONS = Path(__file__).parent / "exercises"
needs_compiler = pytest.mark.skipif(offline.why_no_compiler() is not None, reason=str(offline.why_no_compiler()))


def _solution(name: str) -> str:
    return (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")


def _task(name: str) -> Task:
    task = find(name)
    assert task
    return task


def _rejection(text: str, name: str, folder: Path) -> _check.Rejected:
    file = folder / "mine.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(_check.Rejected) as rejected:
        _check.check(file, _task(name))
    return rejected.value


def test_there_are_ten_with_a_stub_and_a_solution_each() -> None:
    names = [task.name for task in TASKS]
    assert len(names) == len(set(names)) == 10
    assert {path.stem for path in STUBS.glob("*.py")} == set(names) == set(WRONG)
    assert all(_check.task_of(STUBS / f"{name}.py").name == name for name in names)
    assert min(len(wrong) for wrong in WRONG.values()) >= 5


@pytest.mark.parametrize("name", [task.name for task in TASKS])
def test_the_solution_is_accepted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["check", str(SOLUTIONS / f"{name}.py")])
    said = capsys.readouterr().out
    assert "accepted. Right at sizes" in said
    assert ("  It compiles for a GPU." if offline.why_no_compiler() is None else "Not compiled") in said
    assert said.endswith(f"  Another solution: tests/exercises/{name}.py\n")


_LOOP = "        for k in range(TILE):\n            total += a_tile[y, k] * b_tile[k, x]\n"
_HELPER = "def times(x, y):\n    return x * y\n\n\n"


@needs_compiler
@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        (_LOOP, "        total += sum([a_tile[y, q] * b_tile[q, x] for q in range(TILE)])\n", 18, "attribute 'append'"),
        (_LOOP, "        total += sum(a_tile[y, q] * b_tile[q, x] for q in range(TILE))\n", 18, "use of yield"),
        (
            _LOOP,
            "        d = {q: a_tile[y, q] * b_tile[q, x] for q in range(TILE)}\n"
            "        for q in range(TILE):\n            total += d[q]\n",
            18,
            "DictType[undefined,undefined]",
        ),
        (
            "            total += a_tile",
            "            s = f'{k:3d}'\n            total += a_tile",
            19,
            "f-strings not supported",
        ),
        (
            "    a_tile = cuda.shared.array((TILE, TILE), float32)\n",
            "    n = a.shape[1] + TILE\n    a_tile = cuda.shared.array((n, TILE), float32)\n",
            None,  # Numba names none
            "Function(<function shared.array>) found for signature: array(Tuple(int64, ",
        ),
        (
            "b_tile = cuda.shared.array((TILE, TILE)",
            "b_tile = cuda.shared.array((TILE, TILE + 1)",
            None,
            "shared.array",
        ),
        ("@cuda.jit\n", "", 7, "not a GPU kernel"),
        ("@cuda.jit\n", "from numba import njit\n\n\n@njit\n", 10, "not a GPU kernel"),
    ],
)
def test_what_no_gpu_can_run_is_rejected(old: str, new: str, line: int | None, says: str, tmp_path: Path) -> None:
    text = _solution("shared_tile")
    assert text.count(old) == 1
    rejected = _rejection(text.replace(old, new), "shared_tile", tmp_path)
    assert (rejected.kind, rejected.line) == ("compile", line)
    assert says in rejected.says
    assert "0x7" not in rejected.says
    assert rejected.hint.endswith(".")


@needs_compiler
def test_a_function_that_a_kernel_calls_is_a_device_function(tmp_path: Path) -> None:
    called = _solution("shared_tile").replace("a_tile[y, k] * b_tile[k, x]", "times(a_tile[y, k], b_tile[k, x])")
    plain = called.replace("@cuda.jit\n", f"{_HELPER}@cuda.jit\n")
    rejected = _rejection(plain, "shared_tile", tmp_path)
    assert str(rejected).startswith("line 23: right, but it does not compile for a GPU: Untyped global name 'times'")
    assert "@cuda.jit(device=True)" in rejected.hint
    (tmp_path / "mine.py").write_text(plain.replace(_HELPER, f"@cuda.jit(device=True)\n{_HELPER}"))
    assert _check.check(tmp_path / "mine.py", _task("shared_tile")) is None


def test_without_a_compiler_the_answer_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(offline, "_find", lambda tool: None)
    command.main(["check", str(SOLUTIONS / "histogram.py")])
    _, line, _ = capsys.readouterr().out.splitlines()
    assert line == f"  Not compiled for a GPU: {offline.why_no_compiler()}"


@pytest.mark.parametrize("name", [task.name for task in TASKS])
def test_the_stub_is_not(name: str, tmp_path: Path) -> None:
    assert _rejection(_task(name).stub, name, tmp_path).kind in ("unwritten", "wrong", "target", "race")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [pytest.param(name, wrong, id=f"{name}-{n}") for name in WRONG for n, wrong in enumerate(WRONG[name])],
)
def test_a_wrong_answer_is_rejected_for_the_right_reason(
    name: str, wrong: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, kind, word = wrong
    assert _solution(name).count(old) == 1
    if kind == "endless":
        monkeypatch.setattr(_check, "SECONDS", 0.5)
    rejected = _rejection(_solution(name).replace(old, new), name, tmp_path)
    assert rejected.kind == kind, rejected
    assert word.lower() in f"{rejected} {rejected.hint}".lower()
    assert rejected.hint.endswith((".", "?"))


_BY_ARRIVAL = """\
    arrived = cuda.shared.array(1, int32)
    if cuda.threadIdx.x == 0:
        arrived[0] = 0
    cuda.syncthreads()
    place = cuda.blockIdx.x * cuda.blockDim.x + cuda.atomic.add(arrived, 0, 1)
    i = cuda.grid(1)
    if i < x.shape[0] and place < x.shape[0]:
        value = x[i]
        y[place] = value * value
"""


def test_threads_that_arrive_in_order_by_chance_alone_are_not_right(tmp_path: Path) -> None:
    """No race, and right where thread 0 comes first, 1 second: only other orders tell."""
    name = "one_thread_per_element"
    start = _solution(name).replace("import cuda", "import cuda, int32").partition("    i = cuda")[0]
    assert _rejection(start + _BY_ARRIVAL, name, tmp_path).kind == "wrong"


_SERIAL_PRODUCT = """\
        for i in range(c.shape[0]):
            for j in range(c.shape[1]):
                total = float32(0)
                for k in range(a.shape[1]):
                    total += a[i, k] * b[k, j]
                c[i, j] = total
"""
_SERIAL = {
    "one_thread_per_element": "        for i in range(x.shape[0]):\n            y[i] = x[i] ** 2\n",
    "one_thread_per_result": _SERIAL_PRODUCT,
    "coalesce": _SERIAL_PRODUCT,
    "transpose": "        for i in range(x.shape[0]):\n            for j in range(x.shape[1]):\n"
    "                y[j, i] = x[i, j]\n",
    "histogram": "        for i in range(digits.shape[0]):\n            cuda.atomic.add(counts, digits[i], 1)\n",
    "reduce_with_shuffles": "        own = float32(0)\n        for i in range(x.shape[0]):\n"
    "            own += x[i]\n        total[0] = own\n",
    "register_tile": """\
        for rows in range(0, c.shape[0], 4):
            for j in range(c.shape[1]):
                sums = cuda.local.array(4, float32)
                for r in range(4):
                    sums[r] = 0
                for k in range(a.shape[1]):
                    once = b[k, j]
                    for r in range(min(4, c.shape[0] - rows)):
                        sums[r] += a[rows + r, k] * once
                for r in range(min(4, c.shape[0] - rows)):
                    c[rows + r, j] = sums[r]
""",
}


@pytest.mark.parametrize("name", _SERIAL)
def test_one_thread_that_does_it_all_is_not_what_was_asked(name: str, tmp_path: Path) -> None:
    given = ", ".join(_check._arguments(_task(name).stub))
    text = f'from numba import cuda, float32\nEXERCISE = "{name}"\n\n\n@cuda.jit\ndef kernel({given}):\n'
    mask = "    own = cuda.local.array(1, float32)\n    own[0] = 0\n"  # to look busy
    alone = mask + "    if cuda.threadIdx.x + cuda.threadIdx.y + cuda.blockIdx.x + cuda.blockIdx.y == 0:\n"
    rejected = _rejection(text + alone + _SERIAL[name], name, tmp_path)
    assert rejected.kind == "target"
    assert rejected.says.startswith("right, but only 1 thread ")


_AHEAD = """\
    tiles = (a.shape[1] + TILE - 1) // TILE
    for tile in range(-1, tiles):
        if tile + 1 < tiles:
            start, then = (tile + 1) * TILE, (tile + 1) % 2
            a_tiles[then, y, x] = a[i, start + x] if i < a.shape[0] and start + x < a.shape[1] else float32(0)
            b_tiles[then, y, x] = b[start + y, j] if start + y < b.shape[0] and j < b.shape[1] else float32(0)
        if tile >= 0:
            for k in range(TILE):
                total += a_tiles[tile % 2, y, k] * b_tiles[tile % 2, k, x]
        cuda.syncthreads()
"""

_PRIVATE = """\
    own = cuda.shared.array(10, int32)
    t = cuda.threadIdx.x
    if t < 10:
        own[t] = 0
    cuda.syncthreads()
    i = cuda.grid(1)
    if i < digits.shape[0]:
        cuda.atomic.add(own, digits[i], 1)
    cuda.syncthreads()
    if t < 10:
        cuda.atomic.add(counts, t, own[t])
"""


_OF_A_WARP = """\
    i = cuda.grid(1)
    digit = digits[i] if i < digits.shape[0] else -1
    alike = cuda.match_any_sync(0xFFFFFFFF, digit)
    if digit >= 0 and cuda.ffs(alike) - 1 == cuda.laneid:
        cuda.atomic.add(counts, digit, cuda.popc(alike))
"""


def test_other_right_answers_are_accepted(tmp_path: Path) -> None:
    """The first tile fetched ahead of the loop; a histogram for each block, or warp; a file with a byte-order mark."""
    before, _, rest = _solution("double_buffer").partition("    for start in range")
    after = rest.partition("    if i < c.shape[0]")
    ahead = before + _AHEAD + "".join(after[1:])
    start = _solution("histogram").replace("import cuda", "import cuda, int32").partition("    i = cuda")[0]
    marked = "\ufeff" + _solution("one_thread_per_element")
    right = [("double_buffer", ahead), ("histogram", start + _PRIVATE), ("histogram", start + _OF_A_WARP)]
    for name, text in [*right, ("one_thread_per_element", marked)]:
        (tmp_path / "mine.py").write_text(text, encoding="utf-8")
        assert _check.task_of(tmp_path / "mine.py").name == name
        _check.check(tmp_path / "mine.py", _task(name))


def test_a_kernel_that_is_right_at_smaller_sizes_is_told_so(tmp_path: Path) -> None:
    loop = "    for i in range(thread, x.shape[0], 64):\n        own += x[i]\n"
    alone = "    if thread < x.shape[0]:\n        own = x[thread]\n"
    rejected = _rejection(_solution("reduce_with_shuffles").replace(loop, alone), "reduce_with_shuffles", tmp_path)
    assert (rejected.kind, rejected.hint) == ("wrong", "It is right at 64, 1, 50: what is different here?")
    assert "at size 200;" in rejected.says


def test_what_is_added_to_an_unset_result_was_stored(tmp_path: Path) -> None:
    text = _solution("one_thread_per_result").replace("total += a[i, k] * b[k, j]", "c[i, j] += a[i, k] * b[k, j]")
    rejected = _rejection(text.replace("        c[i, j] = total\n", ""), "one_thread_per_result", tmp_path)
    assert rejected.kind == "wrong"
    assert "stored at [0, 0] is NaN, as all is that is made of a number never set" in rejected.says


@pytest.mark.parametrize("name", [task.name for task in TASKS])
def test_the_specification_is_numpys(name: str) -> None:
    """What a solution is held against, computed once more by what the stub says."""
    task = _task(name)
    said = next(line for line in task.stub.splitlines() if line.startswith("NumPy: "))
    target, _, formula = said.removeprefix("NumPy: ").partition(" = ")
    formula = formula.partition(",")[0] if name == "transpose" else formula
    for size in task.sizes:
        operands = task.operands(size)
        given = dict(
            zip(
                "ab" if "a @ b" in formula else ("digits" if name == "histogram" else "x",),
                operands.arguments,
                strict=False,
            )
        )
        result = np.zeros_like(operands.exact)
        exec(f"{target.split('[')[0]}[:] = {formula}", {"np": np, target.split("[")[0]: result, **given})
        np.testing.assert_allclose(result, operands.exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("def kernel(:\n", "file", "line 1"),
        ("x = 1\n", "file", "no function called kernel"),
        ("def kernel(x): pass\n", "file", "takes (x), not (x, y)"),
        ("def kernel(y, x): pass\n", "file", "takes (y, x), not (x, y)"),
        ("import sys\nsys.exit()\n", "error", "line 2: SystemExit"),
        ("import nothing_like_it\n", "error", "line 1: ModuleNotFoundError"),
        ("def kernel(x, y):\n    y[0] = undefined\n", "error", "line 2: NameError"),
        ("import numpy as np\ndef kernel(x, y):\n    y[0] = np.dot(x, x)\n", "error", "line 3"),
        ("def kernel(x, y):\n    y[:] = x\n", "error", "line 2: TypeError"),
    ],
)
def test_what_is_no_kernel_is_explained(text: str, kind: str, says: str, tmp_path: Path) -> None:
    if "(:" in text:
        (tmp_path / "mine.py").write_text(text)
        with pytest.raises(_check.Rejected) as stop:
            _check.task_of(tmp_path / "mine.py")
        rejected = stop.value
    else:
        rejected = _rejection(text, "one_thread_per_element", tmp_path)
    assert rejected.kind == kind
    assert says in str(rejected)


def test_an_endless_loop_outside_the_kernel_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_check, "SECONDS", 0.1)
    rejected = _rejection("while True:\n    pass\n", "histogram", tmp_path)
    assert (rejected.kind, rejected.says) == ("endless", "the file took more than 0.1 seconds and was stopped")


def test_an_endless_loop_ends_where_ctrl_c_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell's background jobs."""
    monkeypatch.setattr(_check, "SECONDS", 0.1)

    def endless(seconds: float) -> None:
        end = monotonic() + seconds
        while monotonic() < end:
            pass

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(_check.Rejected, match="was stopped"), _check._time_limit():
            endless(10)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_no_endless_loop() -> None:
    with pytest.raises(KeyboardInterrupt), _check._time_limit():
        raise KeyboardInterrupt


def test_start_writes_the_stub_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command.main(["start", "transpose"])
    file = tmp_path / "transpose.py"
    assert file.read_text(encoding="utf-8") == (STUBS / "transpose.py").read_text(encoding="utf-8")
    file.write_text("my work")
    with pytest.raises(SystemExit) as stop:
        command.main(["start", "transpose"])
    assert stop.value.code == cli.USAGE
    assert "transpose.py exists" in capsys.readouterr().err
    assert file.read_text() == "my work"


def test_check_tells_each_file_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(["check", str(SOLUTIONS / "histogram.py"), str(STUBS / "histogram.py")])
    assert stop.value.code == cli.CHECK_FAILED
    said = capsys.readouterr().out.splitlines()
    assert "accepted" in said[0]
    assert "not yet. line" in said[3]
    assert "another thread may come in between" in said[4]
    assert said[5:] == [f"  Watch it: python -m experiments.explorer --file {STUBS / 'histogram.py'} --open"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def kernel(:", "line 1: invalid syntax"),
        ('# mine\nEXERCISE = "share_tile"\n', "line 2: there is no exercise 'share_tile': did you mean shared_tile or"),
    ],
)
def test_check_goes_on_after_a_file_that_cannot_run(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(SystemExit) as stop:
        command.main(["check", str(tmp_path / "mine.py"), str(SOLUTIONS / "histogram.py")])
    assert stop.value.code == cli.CHECK_FAILED
    said = capsys.readouterr().out
    assert f"mine.py: not yet. {says}" in said
    assert "Watch" not in said
    assert "histogram.py: accepted" in said


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    command.main([])
    shown = capsys.readouterr().out
    assert all(task.name in shown for task in TASKS)
    assert re.search("^ ?transpose +banks of shared memory ", shown, re.M)
    assert (
        len({line.index(task.teaches[:12]) for task in TASKS for line in shown.splitlines() if task.name in line}) == 1
    )
    assert shown.endswith("solutions, one for each: tests/exercises/\n")
    assert SOLUTIONS.relative_to(Path(__file__).parents[1]).as_posix() == command._SOLUTIONS
    command.main(["show", "grid_stride"])
    assert capsys.readouterr().out == _task("grid_stride").stub


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["start"], "start takes one exercise"),
        (["show"], "show takes one exercise"),
        (["show", "transpose", "histogram"], "show takes one exercise"),
        (["start", "nowhere"], "there is no exercise 'nowhere': the exercises are one_thread_per_element, "),
        (["start", "share_tile"], "there is no exercise 'share_tile': did you mean shared_tile"),
        (["start", "transpose", "--output", "nowhere/mine.py"], "cannot write nowhere/mine.py: No such file"),
        (["check"], "check takes the files"),
        (["check", "nowhere.py"], "nowhere.py is not a file"),
        (["solve"], "invalid choice"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == cli.USAGE
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
