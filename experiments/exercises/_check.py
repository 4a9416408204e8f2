"""Runs a learner's kernel on the recorder, and says in the learner's terms what is wrong with it."""

from __future__ import annotations

import _thread
import ast
import re
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.exercises._task import Operands, Shape, Task, shown
from experiments.exercises._tasks import find
from kernels.cuda import offline
from kernels.cuda.compile import CompileError
from kernels.recorder import Fault, Order, Recording, record
from kernels.recorder.substitute import python_function

__all__ = ["SECONDS", "Rejected", "check", "load", "recording", "task_of", "trial"]

SECONDS = 20.0  # for one launch; a right kernel takes less than one
_ORDERS: tuple[Order, ...] = ("forward", "reverse", 1)

_HINTS = {
    "out of bounds": "The grid is made of whole blocks, so some threads lie beyond the edge. What should they not do?",
    "negative index": "A GPU does not count from the end: a negative index is somebody else's memory.",
    "missed barrier": "syncthreads waits for all threads of a block. Who has left before it, and could they stay and "
    "only not store?",
    "divergent barrier": "All threads of a block have to come to the same syncthreads, so no `if` that only some of "
    "them pass may hold it.",
    "missed warp barrier": "All lanes that a mask names have to come to the same call.",
    "race": "Two threads touch one place and one of them writes; nothing says who comes first. What must all threads "
    "have finished before the other access may begin?",
    "race between blocks": "Blocks are never ordered. Let each write places of its own, or use cuda.atomic.",
    "uninitialised read": "Shared memory holds anything at first. Who writes this place, and before whom?",
    "unwritten": "No thread stored this result. Which thread should have?",
    "wrong": "Compute one result by hand for the smallest size, and follow its thread.",
    "changed": "The inputs are only for reading.",
    "compile": "A GPU has numbers, loops, arrays and numba.cuda, but no lists, dicts, sets, generators, texts or try. "
    "A function that the kernel calls needs @cuda.jit(device=True) above it. The shape of a shared or local array is "
    "of plain numbers, or of names set above the kernel, without arithmetic.",
}


@dataclass(eq=False)
class Rejected(Exception):  # noqa: N818 - reads as what happened
    """kind: a fault of the recorder, or unwritten, wrong, changed, target, compile, error, endless or file.
    line: if known."""

    kind: str
    says: str
    hint: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.says}"


def task_of(path: Path) -> Task:
    """The exercise that a learner's file names after EXERCISE. Raises Rejected."""
    try:
        tree = ast.parse(_text(path))
    except OSError as error:
        raise Rejected("file", f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Rejected("file", f"{path} cannot be read: {error}") from error
    except SyntaxError as error:
        hint = "Python cannot read the file; look at this line and the one above it."
        raise Rejected("file", f"{error.msg}", hint, error.lineno) from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXERCISE":
            try:
                return find(str(getattr(node.value, "value", "")))
            except LookupError as error:
                raise Rejected("file", str(error), 'EXERCISE = "..." names it.', node.lineno) from error
    raise Rejected("file", "it does not say which exercise it is", 'Keep the line EXERCISE = "..." of the stub.')


def check(path: Path, task: Task) -> str | None:
    """Return if the kernel in the file is right, reaches the exercise's target and compiles for a GPU.

    What is returned is why it could not be compiled here, or None where it was. Raises Rejected.
    """
    kernel = load(path, task)
    for size in task.sizes:
        for order in _ORDERS:
            trial(path, kernel, task, size, order)
    return _compile(path, kernel, task)


def load(path: Path, task: Task) -> Any:
    """The kernel in a learner's file, if it takes the exercise's arguments. Raises Rejected."""
    module = ModuleType("exercise")
    module.__file__ = str(path)
    with _explained(path), _time_limit("the file"):
        exec(compile(_text(path), str(path), "exec"), vars(module))
    kernel = vars(module).get("kernel")
    try:
        asked = list(signature(python_function(kernel)).parameters)
    except TypeError as error:
        raise Rejected("file", "it has no function called kernel", "Keep the stub's `def kernel`.") from error
    if asked != (given := _arguments(task.stub)):
        says = f"its kernel takes ({', '.join(asked)}), not ({', '.join(given)})"
        raise Rejected("file", says, "Keep the stub's arguments: the target counts by their names.")
    return kernel


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")  # some editors put a mark in front


def _arguments(stub: str) -> list[str]:
    (kernel,) = (node for node in ast.parse(stub).body if isinstance(node, ast.FunctionDef) and node.name == "kernel")
    return [argument.arg for argument in kernel.args.args]


def recording(
    path: Path, kernel: Any, task: Task, operands: Operands, size: Shape, order: Order = "forward"
) -> Recording:
    """What the kernel in the file does on operands of that size. Raises Rejected for what it raises."""
    with _explained(path), _time_limit():
        return record(kernel, *task.launch(size), *operands.arguments, order=order)


def trial(path: Path, kernel: Any, task: Task, size: Shape, order: Order = "forward") -> None:
    """Return if the kernel is right at this size and within the target. Raises Rejected."""
    operands = task.operands(size)
    before = [argument.copy() for argument in operands.arguments[:-1]]
    found = recording(path, kernel, task, operands, size, order)
    if found.faults:
        raise _fault(found.faults[0], task, size)
    for argument, old in zip(operands.arguments, before, strict=False):
        if not np.array_equal(argument, old):
            raise _rejected("changed", "it writes to its inputs", task)
    _compare(operands, found, task, size)
    if missed := task.missed(found, size):
        raise Rejected("target", f"right, but {missed.says} (size {shown(size)})", _sentence(missed.hint))


def _compile(path: Path, kernel: Any, task: Task) -> str | None:
    from numba.cuda.dispatcher import CUDADispatcher

    if not isinstance(kernel, CUDADispatcher):
        first = python_function(kernel).__code__.co_firstlineno
        raise Rejected("compile", "right, but not a GPU kernel", "Keep the stub's @cuda.jit above it.", first)
    if missing := offline.why_no_compiler():
        return missing
    arguments, errors = task.operands(task.sizes[0]).arguments, []
    # what the oldest chip that is compiled for can do, all can; a newer one has functions of its own
    for architecture in (offline.ARCHITECTURES[0], offline.ARCHITECTURES[-1]):
        try:
            offline.compile_numba(kernel, architecture, arguments)
        except CompileError as error:
            errors.append(error)
        else:
            return None
    says, line = _told(errors[0], path)
    raise _rejected("compile", f"right, but it does not compile for a GPU: {says}", task, line) from errors[0]


def _told(error: CompileError, path: Path) -> tuple[str, int | None]:
    """What a compiler says first, without its own workings, and the first line of the file that it names."""
    _, text = str(error).split("\n", 1)
    place = re.search(rf'{re.escape(path.name)}(?:", line | \()(\d+)', text)
    lines = [
        line.strip().lstrip("->= ") for line in text.splitlines() if line.strip() and not line.startswith("Failed in ")
    ]
    says = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return re.sub(r" at 0x\w+|\.? Raised from .*", "", says), int(place[1]) if place else None


def _compare(operands: Operands, recording: Recording, task: Task, size: Shape) -> None:
    found: NDArray = operands.arguments[-1].astype(np.float64)
    with np.errstate(invalid="ignore"):
        wrong = ~(abs(found - operands.exact) <= operands.error)
    if not wrong.any():
        return
    # the first by row and column, which a learner can follow by hand
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    count = f"{int(wrong.sum())} of {wrong.size} results are wrong at size {shown(size)}"
    if np.isnan(found[place]):
        if _stored(recording, _arguments(task.stub)[-1], place):
            says = f"{count}; what was stored at {list(place)} is NaN, as all is that is made of a number never set"
            raise _rejected("wrong", says, task)
        raise _rejected("unwritten", f"{count}; nothing was ever stored at {list(place)}", task)
    says = f"{count}; at {list(place)} it has {found[place]:g}, not {operands.exact[place]:g}"
    before = ", ".join(map(shown, task.sizes[: task.sizes.index(size)]))
    hint = f"It is right at {before}: what is different here?" if before else None
    raise _rejected("wrong", says, task, hint=hint)


def _stored(recording: Recording, array: str, place: Shape) -> bool:
    return any(e.array.name == array and e.site.kind != "read" and e.index == place for e in recording.events)


def _fault(fault: Fault, task: Task, size: Shape) -> Rejected:
    return _rejected(fault.kind, f"{fault.kind}: {fault.message} (size {shown(size)})", task, fault.line)


def _rejected(kind: str, says: str, task: Task, line: int | None = None, hint: str | None = None) -> Rejected:
    """hint: instead of the general one for this kind."""
    # the exercise's own first: it is the nearer one
    hints = _sentence(task.hints.get(kind)), hint or _HINTS[kind]
    return Rejected(kind, says, " ".join(filter(None, hints)), line)


def _sentence(hint: str | None) -> str:
    return f"{hint[0].upper()}{hint[1:]}{'' if hint[-1] in '.?' else '.'}" if hint else ""


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever the learner's code raises becomes one sentence with its line."""
    try:
        yield
    except Rejected:
        raise
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        hint = (
            "This is what Python says while it runs your code; a kernel may use numbers, loops, arrays and numba.cuda."
        )
        raise Rejected("error", f"{type(error).__name__}: {error}", hint, lines[-1] if lines else None) from error


@contextmanager
def _time_limit(what: str = "a launch") -> Iterator[None]:
    """Ends a loop that never ends, as Ctrl-C would: from a thread, so that it works on every system."""
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        _thread.interrupt_main()

    timer = threading.Timer(SECONDS, interrupt)
    # a shell starts its background jobs with Ctrl-C ignored, and interrupt_main would be too
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if not late.is_set():
            raise
        hint = "Look at each loop: what makes it stop?"
        raise Rejected("endless", f"{what} took more than {SECONDS:g} seconds and was stopped", hint) from None
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
