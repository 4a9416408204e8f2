"""The persistent engine: a whole training step of the LSTM in one launch on a GPU, by rnn/cuda/lstm_persistent.cu.

The host hands over a batch and goes on; the loss stays on the GPU until it is printed. Why the kernel is made as it is,
with figures: rnn/persistent_sizes.py. Evaluation is the stepwise engine's. Plain gradient descent is in the kernel;
with Adam the kernel leaves the gradients, and the optimizer's own launches follow.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kernels.cuda import compile as compiler
from kernels.cuda import launch
from rnn import persistent_sizes
from rnn.arrays import device, to_device, to_host
from rnn.cells import Matmul
from rnn.engines import UnsupportedEngine
from rnn.persistent_sizes import INPUTS, STEPS, Sizes
from rnn.settings import Settings
from rnn.stepwise_cuda import StepwiseCUDA

__all__ = ["PHASES", "SOURCE", "PersistentCUDA", "why_not"]

SOURCE = Path(__file__).parent / "cuda" / "lstm_persistent.cu"
PHASES = ("weights", "product", "gates", "barrier", "loss", "grid barrier", "gradients", "update")  # as timeline.cuh
_ORDER = ("cell_weight", "cell_bias", "output_weight", "output_bias")  # of the kernel's parameters


def why_not(settings: Settings, chip: launch.GPU) -> str | None:
    """Why a chip like this one cannot run these settings in the persistent engine, or None."""
    if settings.cell != "lstm":
        return f"the persistent engine is written for the LSTM, not for the {settings.cell} cell"
    if not chip.cooperative:
        return f"the {chip.name} cannot launch a grid whose blocks are all resident (cooperative launch)"
    return persistent_sizes.why_not(settings.hidden, chip.shared_bytes)


class PersistentCUDA(StepwiseCUDA):
    """The LSTM's training step in one cooperative launch. Raises UnsupportedEngine where `why_not` says so.

    The gradients are valid until the next call; each loss is an array of its own. weights_on_chip: False reads all
    weights from L2 in every time step, to see what it buys that they stay.
    """

    def __init__(self, settings: Settings, matmul: Matmul, weights_on_chip: bool = True) -> None:
        if reason := self.why_not(settings):
            raise UnsupportedEngine(reason)
        import cupy

        super().__init__(settings, matmul)
        self._chip, self._weights_on_chip = launch.gpu(device()), weights_on_chip
        # Adam's update needs the gradients first
        self._rate = settings.learning_rate if settings.optimizer == "sgd" else None
        self._barrier = cupy.zeros(1, np.uint32)
        self._no_stamps = cupy.zeros((1, 0), np.int64)
        self._gradients = {name: cupy.empty(self.weights[name].shape, np.float32) for name in _ORDER}
        self._memory: dict[int, tuple[Sizes, tuple[Any, ...]]] = {}

    @staticmethod
    def why_not(settings: Settings) -> str | None:
        """Why this GPU cannot train such a network with this engine, or None; compiles it to see how much it takes."""
        chip = launch.gpu(device())
        if reason := why_not(settings, chip):
            return reason
        sizes = persistent_sizes.choose(settings.hidden, settings.batch_size, chip.multiprocessors, chip.shared_bytes)
        resident = _resident(sizes, device()) * chip.multiprocessors
        if resident >= sizes.blocks:
            return None
        return (
            f"the {chip.name} holds {resident} blocks of {sizes.threads} threads and {sizes.shared_bytes} bytes "
            f"at a time, the persistent engine needs {sizes.blocks}"
        )

    def train(self, x: Any, labels: Any) -> Any:
        if self._rate is None:
            return super().train(x, labels)
        return self._launch(x, labels, self._rate)

    def loss_and_gradients(self, x: Any, labels: Any) -> tuple[Any, dict[str, Any]]:
        return self._launch(x, labels, 0.0), self._gradients

    def phases(self, x: Any, labels: Any) -> list[tuple[str, int]]:
        """What the first thread of block 0 does in a step, in order: of PHASES, and clocks. No weight changes."""
        import cupy

        sizes = self._sizes(len(labels))
        stamps = cupy.zeros((sizes.blocks, sizes.stamps(len(labels))), np.int64)
        self._launch(x, labels, 0.0, stamps)
        seen = to_host(stamps)[0]
        clocks, phases = np.divmod(seen[seen > 0], 8)
        return [(PHASES[phase], int(taken)) for phase, taken in zip(phases[1:], np.diff(clocks), strict=True)]

    def _launch(self, x: Any, labels: Any, rate: float, stamps: Any = None) -> Any:
        import cupy

        x = cupy.ascontiguousarray(to_device(x))
        labels = cupy.ascontiguousarray(to_device(labels).astype(np.uint8, copy=False))
        batch = len(labels)
        if x.shape != (STEPS, batch, INPUTS) or x.dtype != np.float32:
            raise ValueError(f"x must be float32 of ({STEPS}, {batch}, {INPUTS}), it is {x.dtype} of {x.shape}")
        if batch not in self._memory:
            sizes = self._sizes(batch)
            self._memory[batch] = sizes, _workspace(sizes, batch)
        sizes, workspace = self._memory[batch]
        timeline = stamps is not None
        stamps = stamps if timeline else self._no_stamps
        loss = cupy.empty(1, np.float32)
        arguments = (
            x, labels, *(self.weights[name] for name in _ORDER), *(self._gradients[name] for name in _ORDER),
            loss, *workspace, self._barrier, np.int32(batch), np.int32(sizes.slices), np.int32(sizes.output_slices),
            np.float32(rate), stamps, np.int32(stamps.shape[1]),
        )  # fmt: skip
        function = _function(sizes, device(), timeline)
        function((sizes.blocks,), (sizes.threads,), arguments, shared_mem=sizes.shared_bytes)
        return loss[0]

    def _sizes(self, batch: int) -> Sizes:
        hidden = len(self.weights["output_weight"])
        sizes = persistent_sizes.choose(hidden, batch, self._chip.multiprocessors, self._chip.shared_bytes)
        return sizes if self._weights_on_chip else replace(sizes, quads_in_registers=0, quads_in_shared=0)


def _workspace(sizes: Sizes, batch: int) -> tuple[Any, ...]:
    """losses, xh, gates, cell, dz, dlogits, partials: as the kernel's head describes them."""
    import cupy

    xh = cupy.zeros((STEPS + 1, batch, sizes.xh_columns), np.float32)
    xh[:, :, INPUTS + sizes.hidden] = 1  # the input whose weight is the bias
    return (
        cupy.empty(batch, np.float32),
        xh,
        *(cupy.empty((STEPS, batch, count * sizes.units), np.float32) for count in (4, 1, 4)),
        cupy.zeros((batch, 32), np.float32),
        cupy.empty((sizes.tasks, 32, 32), np.float32),
    )


@functools.cache
def _function(sizes: Sizes, number: int, timeline: bool = False) -> Any:
    """The kernel for these sizes, with or without its stamps."""
    import cupy

    code = compiler.cubin(SOURCE, sizes.options(timeline), str(launch.gpu(number).architecture))
    function = cupy.RawModule(path=str(code), enable_cooperative_groups=True).get_function("train_step")
    function.max_dynamic_shared_size_bytes = sizes.shared_bytes
    return function


def _resident(sizes: Sizes, number: int) -> int:
    """How many blocks of the kernel one SM holds at a time, says the driver."""
    import cupy

    resident = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
    return int(resident(_function(sizes, number).kernel.ptr, sizes.threads, sizes.shared_bytes))
