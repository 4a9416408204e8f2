"""``python -m kernels.tune``: find the fastest tile sizes of the CUDA C kernels on this GPU, and remember them.

A candidate is verified before it is timed, at a ragged shape and at the shape in question. The choices are kept for
each GPU by name, in a file of the user's cache; `cuda-cupy-*` kernels read it from then on.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import kernels
from kernels import cli, progress
from kernels.ladder import find
from kernels.shapes import NETWORK_SHAPES, Shape

if TYPE_CHECKING:
    from kernels.contract import Reference
    from kernels.cuda.programs import Program
    from kernels.cuda.sizes import Tuned
    from kernels.cuda.tiles import Tile

EXAMPLES = """\
  python -m kernels.tune                                    all that have sizes to choose from
  python -m kernels.tune --kernel cuda-cupy-warptile
exit codes: 0 done, 1 a candidate was wrong, 2 wrong usage, 3 no GPU"""

# the network's products, as it multiplies them; a small one, and large ones of both kinds
SHAPES = (*NETWORK_SHAPES, *(Shape(size, size, size) for size in (512, 1024, 4096, 4095)))
_RAGGED = (131, 67, 261)
_CALLS = 20  # of a graph: the host takes longer to launch a small product than the GPU to make it


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    with cli.errors_as_lines():
        chosen = [cli.get_kernel(name, needs_gpu=True) for name in options.kernel or _tunable()]
        from kernels.cuda.programs import PROGRAMS
        from kernels.cuda.sizes import tuned_file, write_tuned

        for kernel in chosen:
            if kernel.name not in _tunable():
                raise cli.CommandError(f"{kernel.name} has no sizes to choose from; {', '.join(_tunable())} have")
        for kernel in chosen:
            for choice in _tune(PROGRAMS[kernel.name]):
                try:
                    write_tuned([choice])  # at once: what was found is kept, whatever ends the rest
                except OSError as error:
                    raise cli.CommandError(f"cannot write {tuned_file()}: {error}", cli.CHECK_FAILED) from error
        print(f"wrote {tuned_file()}")


def _parser() -> argparse.ArgumentParser:
    p = cli.Parser("python -m kernels.tune", "Find the fastest tile sizes of CUDA C kernels on this GPU.", EXAMPLES)
    p.add_argument("--kernel", nargs="+", metavar="NAME", help=f"(default: {' '.join(_tunable())})")
    return p


def _tunable() -> list[str]:
    from kernels.cuda.programs import PROGRAMS

    return [program.name for program in PROGRAMS.values() if len(program.tiles) > 1]


def _tune(program: Program) -> Iterator[Tuned]:
    """The fastest of the program's tiles for each shape, as soon as it is found."""
    import cupy

    from kernels.cuda.launch import gpu
    from kernels.cuda.sizes import Tuned

    chip = gpu(cupy.cuda.Device().id)
    fitting = program.fitting(chip.shared_bytes)
    print(f"{program.name} on {chip.name}: {len(fitting)} candidates")
    with progress.named(len(SHAPES)) as advance:
        for shape in SHAPES:
            advance(f"{program.name} {shape}")
            tile, rate = _fastest(program, fitting, shape)
            print(f"  {shape!s:16} {rate / 1e12:6.1f} TFLOP/s  {tile}", flush=True)
            yield Tuned(chip.name, program.name, shape.m, shape.k, shape.n, tile.defines())


def _fastest(program: Program, tiles: list[Tile], shape: Shape) -> tuple[Tile, float]:
    """The tile with the highest rate at that shape, and that rate in FLOP/s."""
    import numpy as np

    from kernels.contract import Reference
    from kernels.cuda import timing
    from kernels.cuda.arrays import to_device
    from kernels.cuda.captured import Captured
    from kernels.cuda.launch import for_program

    a, b = map(to_device, shape.operands())
    out = to_device(np.full((shape.m, shape.n), np.nan, np.float32))
    reference = Reference.of(a, b)  # on the GPU
    rates = {}
    for tile in tiles:
        product = for_program(program, tile)
        _verify_ragged(program, product)
        out[...] = np.nan
        product(a, b, out)
        _check(program, reference, out)
        graph = Captured(functools.partial(product, a, b, out), _CALLS)
        rates[tile] = shape.flops * _CALLS / float(np.median(timing.repeat(graph.launch, 0.1)))
    best = max(rates, key=lambda tile: rates[tile])
    return best, rates[best]


def _verify_ragged(program: Program, product: object) -> None:
    import numpy as np

    from kernels.contract import Reference

    m, k, n = _RAGGED
    random = np.random.default_rng(0)
    a, b = random.standard_normal((m, k), np.float32), random.standard_normal((k, n), np.float32)
    kernel = kernels.Kernel(find(program.name), product)  # type: ignore[arg-type]
    out = np.full((m, n), np.nan, np.float32)
    _check(program, Reference.of(a, b), kernel.matmul(a, b, out))


def _check(program: Program, reference: Reference, out: Any) -> None:
    from kernels.contract import VerificationError

    try:
        reference.check(out, program.name, find(program.name).rounds_to)
    except VerificationError as error:
        raise cli.CommandError(str(error), cli.CHECK_FAILED) from error


if __name__ == "__main__":
    main()
