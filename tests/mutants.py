"""Kernels with one thing changed on purpose, compiled with the line numbers of the original."""

from __future__ import annotations

import ast
import inspect
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any


def mutant(kernel: Any, change: Callable[[ast.FunctionDef], None]) -> FunctionType:
    """The function behind @cuda.jit after `change` has edited its syntax tree."""
    original = kernel.py_func
    lines, first = inspect.getsourcelines(original)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(tree, first - 1)
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    function.decorator_list.clear()
    change(function)
    scope = dict(original.__globals__)
    exec(compile(ast.fix_missing_locations(tree), original.__code__.co_filename, "exec"), scope)
    return scope[function.name]


def changed(source: Path, text: str, folder: Path) -> Path:
    """A .cu file with another text, in a folder to which its headers are copied."""
    for header in source.parent.glob("*.cuh"):
        shutil.copy(header, folder)
    (folder / source.name).write_text(text)
    return folder / source.name


def with_constants(kernel: Any, **constants: int) -> FunctionType:
    """The same code with other values of its module's constants."""
    original = getattr(kernel, "py_func", kernel)
    assert constants.keys() <= original.__globals__.keys()
    return FunctionType(original.__code__, {**original.__globals__, **constants}, original.__name__)


def barriers(kernel: Any) -> list[int]:
    """The lines of the kernel's cuda.syncthreads() statements."""
    found: list[int] = []
    mutant(kernel, lambda function: found.extend(node.lineno for node in ast.walk(function) if _is_barrier(node)))
    return sorted(found)


def without_barrier(kernel: Any, line: int) -> FunctionType:
    """Without the cuda.syncthreads() of that line."""

    class Removal(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.stmt:
            return ast.copy_location(ast.Pass(), node) if _is_barrier(node) and node.lineno == line else node

    return mutant(kernel, lambda function: Removal().visit(function))


def with_statement(kernel: Any, statement: str, before: str) -> FunctionType:
    """With one more statement, in front of and on the line of the one that reads `before`."""

    def insert(function: ast.FunctionDef) -> None:
        (at,) = (n for n, node in enumerate(function.body) if ast.unparse(node) == before)
        (added,) = ast.parse(statement).body
        for node in ast.walk(added):
            if hasattr(node, "lineno"):
                node.lineno = node.end_lineno = function.body[at].lineno
        function.body.insert(at, added)

    return mutant(kernel, insert)


def without_guard(kernel: Any) -> FunctionType:
    """With the condition of its outermost if always true."""

    def remove(function: ast.FunctionDef) -> None:
        (guard,) = (node for node in function.body if isinstance(node, ast.If))
        guard.test = ast.copy_location(ast.Constant(True), guard.test)

    return mutant(kernel, remove)


def replacing(kernel: Any, statement: str, by: str) -> FunctionType:
    """With the outermost statement that reads `statement` replaced."""

    def replace(function: ast.FunctionDef) -> None:
        (at,) = (n for n, node in enumerate(function.body) if ast.unparse(node) == statement)
        (new,) = ast.parse(by).body
        ast.increment_lineno(new, function.body[at].lineno - 1)
        function.body[at] = new

    return mutant(kernel, replace)


def _is_barrier(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node) == "cuda.syncthreads()"
