"""``python -m experiments``: list the experiments."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

import experiments
from kernels.cli import errors_as_lines


def main() -> None:
    with errors_as_lines():
        _list()


def _list() -> None:
    folder = Path(experiments.__file__).parent
    for module in pkgutil.iter_modules([str(folder)]):
        source = folder / module.name / "__main__.py" if module.ispkg else folder / f"{module.name}.py"
        if module.name.startswith("_") or not source.exists():
            continue
        text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
        command, _, purpose = text.splitlines()[0].partition(": ")
        print(f"{command.strip('`'):42} {purpose}")


if __name__ == "__main__":
    main()
