"""Launches captured as a CUDA graph: one call of the host puts all of them into the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Captured"]


class Captured:
    """`calls` calls as a CUDA graph. result: what the last one returned, filled anew by every `launch`.

    The call is made once before, so that everything is compiled and allocated; undo: takes back what that changed. What
    it allocates is written at every launch, so the graph has memory of its own, which no one else is given; what it
    holds is read at every launch, so the call is kept.
    """

    def __init__(self, call: Callable[[], Any], calls: int = 1, undo: Callable[[], object] = lambda: None) -> None:
        import cupy

        self._call, self._memory = call, cupy.cuda.MemoryPool()
        stream = cupy.cuda.Stream(non_blocking=True)
        # what was put into another stream must be there
        cupy.cuda.Device().synchronize()
        with cupy.cuda.using_allocator(self._memory.malloc), stream:
            call()
            undo()
            stream.synchronize()
            stream.begin_capture()
            for _ in range(calls):
                self.result = call()
            self._graph = stream.end_capture()

    def launch(self) -> None:
        """Put the graph into CuPy's current stream."""
        self._graph.launch()
