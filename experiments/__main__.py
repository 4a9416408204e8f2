"""``python -m experiments``: list the experiments."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

import experiments


def main() -> None:
    folder = Path(experiments.__file__).parent
    for module in pkgutil.iter_modules([str(folder)]):
        if module.name.startswith("_"):
            continue
        text = ast.get_docstring(ast.parse((folder / f"{module.name}.py").read_text(encoding="utf-8"))) or ""
        command, _, purpose = text.splitlines()[0].partition(": ")
        print(f"{command.strip('`'):42} {purpose}")


if __name__ == "__main__":
    main()
