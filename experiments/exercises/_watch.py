"""A learner's own kernel in the explorer, at the first size at which it goes wrong."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

from experiments.exercises._check import Rejected, load, task_of, trial
from experiments.exercises._task import Shape, Task
from experiments.explorer._recorded import recorded
from kernels.recorder.substitute import python_function

__all__ = ["watched"]


def watched(path: Path) -> dict[str, Any]:
    """The kernel in an exercise's file, as `recorded` returns it. Raises Rejected where it does not run."""
    task = task_of(path)
    kernel = load(path, task)
    size = next((size for size in task.sizes if _goes_wrong(path, kernel, task, size)), task.sizes[0])
    result = list(signature(python_function(kernel)).parameters)[-1]
    return recorded(path.name, task.teaches, kernel, *task.launch(size), task.operands(size).arguments, result=result)


def _goes_wrong(path: Path, kernel: Any, task: Task, size: Shape) -> bool:
    try:
        trial(path, kernel, task, size)
    except Rejected as rejected:
        if rejected.kind in ("error", "endless"):
            raise
        return True
    return False
