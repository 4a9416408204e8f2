"""``python -m experiments``: list the experiments."""

from __future__ import annotations

import ast
import pkgutil
import sys
from pathlib import Path

import experiments
from kernels.cli import CommandError, Parser, errors_as_lines
from kernels.nearest import did_you_mean

EXAMPLES = """\
  python -m experiments
  python -m experiments.matmul_scaling --help        what one of them takes
exit codes: 0 done, 2 wrong usage"""


def main(arguments: list[str] | None = None) -> None:
    about = "List the experiments. Each is a command of its own."
    p = Parser("python -m experiments", about, EXAMPLES)
    _, rest = p.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    with errors_as_lines():
        if rest:
            _refuse(rest[0])
        for module, text in _all().items():
            _, _, purpose = text.partition(": ")
            print(f"{f'python -m experiments.{module}':42} {purpose}")


def _refuse(name: str) -> None:
    if name in _all():
        raise CommandError(f"{name} is a command of its own: python -m experiments.{name}")
    hint = did_you_mean(name, _all()) or "python -m experiments lists them"
    raise CommandError(f"no experiment is called '{name}': {hint}")


def _all() -> dict[str, str]:
    """The first line of each one's docstring, by its name."""
    folder = Path(experiments.__file__).parent
    found = {}
    for module in pkgutil.iter_modules([str(folder)]):
        source = folder / module.name / "__main__.py" if module.ispkg else folder / f"{module.name}.py"
        if module.name.startswith("_") or not source.exists():
            continue
        text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
        found[module.name] = text.splitlines()[0]
    return found


if __name__ == "__main__":
    main()
