"""Objects in processes of their own: thread pools of two libraries in one process keep each other from working."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kernels import cli

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Apart"]


class Apart:
    """What `create` makes, in a new process with a number of threads; `call` it there and wait for the answer.

    Between calls it sleeps. Arguments and answers are pickled. A CommandError there is raised here.
    """

    def __init__(self, name: str, create: Callable[[], object], threads: int) -> None:
        processes = multiprocessing.get_context("spawn")
        self._name, (self._here, there) = name, processes.Pipe()
        self._process = processes.Process(target=_serve, args=(there, create, threads), daemon=True)
        self._process.start()
        there.close()

    def call(self, method: str, *arguments: object) -> Any:
        """What the object's method answers."""
        try:
            self._here.send((method, arguments))
            answer = self._here.recv()
        except (EOFError, ConnectionError):
            raise cli.CommandError(f"{self._name} stopped; what it said stands above", cli.CHECK_FAILED) from None
        if isinstance(answer, cli.CommandError):
            raise answer
        return answer

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self._here.close()
        self._process.join(timeout=10)


def _serve(connection: Connection, create: Callable[[], object], threads: int) -> None:
    """Answer every message until the other end is closed."""
    try:
        cli.use_threads(threads)
        made = create()
        while True:
            method, arguments = connection.recv()
            connection.send(getattr(made, method)(*arguments))
    except cli.CommandError as error:
        connection.send(error)
    except (EOFError, KeyboardInterrupt):
        pass  # nobody asks any more, or the command has been told to stop and says so
