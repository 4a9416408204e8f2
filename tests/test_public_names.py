"""``__all__`` says what a module gives to others: all that they take, and nothing that is not there."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [
    file for folder in ("kernels", "rnn", "experiments", "plots") for file in sorted((ROOT / folder).rglob("*.py"))
]
TREES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(file.read_text("utf-8"))
    for file in FILES
}


def _public(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]:
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def test_what_is_imported_elsewhere_is_public() -> None:
    listed = {module: names for module, tree in TREES.items() if (names := _public(tree)) is not None}
    assert len(listed) > 100
    hidden = {
        (node.module, name.name)
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in listed
        for name in node.names
        if name.name not in listed[node.module] and f"{node.module}.{name.name}" not in TREES
    }
    assert not hidden


def test_what_is_public_is_there() -> None:
    """Read, not imported: many modules need a GPU, or MPI."""
    for module, tree in TREES.items():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        names |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        names |= {
            (alias.asname or alias.name)
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert set(_public(tree) or ()) <= names, module
