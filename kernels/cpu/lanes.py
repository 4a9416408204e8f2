"""Vector registers for Numba: a register tile as a value, and the instructions that fill, use and store it.

Numba has no word for "these 16 numbers are one register". This file adds one, a `Tile` of rows x vectors registers of
`lanes` float32 numbers, and the operations on it. Each becomes a few LLVM vector instructions, which LLVM maps to
whatever the processor has: 16 lanes are one AVX-512 register, two AVX2 registers or four of ARM's NEON.

A tile is a plain value inside a compiled function. It never exists in memory: LLVM gives every element a register of
its own, as long as the tile, one row of vectors and one broadcast number fit the register file.

Besides these, +, -, * and / work on two tiles of one shape, or on a tile and a number, element by element.

The operations do not check bounds. Offsets and strides count float32 numbers.
"""

from __future__ import annotations

import operator
import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

__all__ = ["LANES", "REGISTERS", "add_outer", "add_rows", "clamp", "rows", "store", "transposed", "zeros"]


def _has(feature: str) -> bool:
    """Whether the processor Numba compiles for has a feature; NUMBA_CPU_FEATURES may name another processor."""
    if numba.config.CPU_FEATURES is not None:
        return f"+{feature}" in numba.config.CPU_FEATURES.split(",")
    if feature == "neon" and platform.machine() in ("arm64", "aarch64"):
        return True  # LLVM has no list of an Apple processor's features
    return bool(llvmlite.binding.get_host_cpu_features().get(feature))


# float32 lanes of the widest vector register, and how many such registers there are
if _has("avx512f"):
    LANES, REGISTERS = 16, 32
elif _has("avx2"):
    LANES, REGISTERS = 8, 16
else:
    LANES, REGISTERS = 4, 32 if _has("neon") else 16


class Tile(types.Type):
    """Numba's type of a register tile."""

    def __init__(self, rows: int, vectors: int, lanes: int) -> None:
        self.rows, self.vectors, self.lanes = rows, vectors, lanes
        super().__init__(name=f"Tile({rows}, {vectors}, {lanes})")

    @property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(ir.FloatType(), self.lanes)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, tile: Tile) -> None:
        super().__init__(manager, tile, ir.ArrayType(tile.vector, tile.rows * tile.vectors))


@intrinsic(prefer_literal=True)
def zeros(typing: Any, rows: Any, vectors: Any, lanes: Any) -> Any:
    """``zeros(rows, vectors, lanes)``: a tile of zeros; the three numbers are constants of the program."""
    tile = Tile(rows.literal_value, vectors.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(tile), None)

    return tile(rows, vectors, lanes), generate


@intrinsic
def add_outer(typing: Any, tile: Any, a: Any, a_offset: Any, b: Any, b_offset: Any) -> Any:
    """``tile = add_outer(tile, a, a_offset, b, b_offset)``: one step of k.

    Adds the outer product of the next `rows` numbers of a and the next `vectors` vectors of b: loads the vectors of b,
    copies each number of a to all lanes, and issues rows x vectors multiply-adds, fused where the processor can: where
    it cannot, llvm.fma would call a function for each. None waits for another.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, a, a_offset, b, b_offset = arguments
        vector = tile.vector
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{tile.lanes}f32"
        )
        a_data = _pointer(context, builder, signature.args[1], a, a_offset)
        b_data = _pointer(context, builder, signature.args[3], b, b_offset)
        b_vectors = [_load(builder, vector, _step(builder, b_data, v * tile.lanes)) for v in range(tile.vectors)]
        for r in range(tile.rows):
            a_lanes = _broadcast(builder, vector, builder.load(_step(builder, a_data, r)))
            for v, b_vector in enumerate(b_vectors):
                index = r * tile.vectors + v
                total = builder.call(fma, [a_lanes, b_vector, builder.extract_value(value, index)])
                value = builder.insert_value(value, total, index)
        return value

    return tile(tile, a, types.intp, b, types.intp), generate


@intrinsic
def add_rows(typing: Any, tile: Any, c: Any, offset: Any, stride: Any) -> Any:
    """``tile = add_rows(tile, c, offset, stride)``: add to row r of the tile what c holds from offset + r·stride on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, c, offset, stride = arguments
        c_data = _pointer(context, builder, signature.args[1], c, offset)
        for r, v, index in _elements(tile):
            row = builder.gep(c_data, [builder.mul(stride, ir.Constant(stride.type, r))])
            numbers = _load(builder, tile.vector, _step(builder, row, v * tile.lanes))
            total = builder.fadd(builder.extract_value(value, index), numbers)
            value = builder.insert_value(value, total, index)
        return value

    return tile(tile, c, types.intp, types.intp), generate


@intrinsic
def transposed(typing: Any, tile: Any) -> Any:
    """``tile = transposed(tile)``: rows become columns, for a tile of `lanes` rows of one vector.

    log2(lanes) rounds; each exchanges the off-diagonal blocks of half the size between pairs of rows.
    """
    lanes = tile.lanes
    assert (tile.rows, tile.vectors) == (lanes, 1), "only a square tile of single vectors can be transposed"

    def shuffle(builder: Any, upper: Any, lower: Any, columns: list[int]) -> Any:
        return builder.shuffle_vector(upper, lower, ir.Constant(ir.VectorType(ir.IntType(32), lanes), columns))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        rows = [builder.extract_value(value, r) for r in range(lanes)]
        half = lanes // 2
        while half:
            # columns from `lanes` on are those of the lower row
            keep_upper = [lanes + c - half if c & half else c for c in range(lanes)]
            keep_lower = [lanes + c if c & half else c + half for c in range(lanes)]
            for r in range(lanes):
                if not r & half:
                    upper, lower = rows[r], rows[r + half]
                    rows[r] = shuffle(builder, upper, lower, keep_upper)
                    rows[r + half] = shuffle(builder, upper, lower, keep_lower)
            half //= 2
        for r, row in enumerate(rows):
            value = builder.insert_value(value, row, r)
        return value

    return tile(tile), generate


@intrinsic(prefer_literal=True)
def rows(typing: Any, tile: Any, part: Any, count: Any) -> Any:
    """``rows(tile, part, count)``: the rows from part·count on; part and count are constants of the program."""
    some = Tile(count.literal_value, tile.vectors, tile.lanes)
    first = part.literal_value * count.literal_value * tile.vectors

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = ir.Constant(context.get_value_type(some), ir.Undefined)
        for _, _, index in _elements(some):
            number = builder.extract_value(arguments[0], first + index)
            value = builder.insert_value(value, number, index)
        return value

    return some(tile, part, count), generate


@intrinsic
def clamp(typing: Any, tile: Any, low: Any, high: Any) -> Any:
    """``clamp(tile, low, high)``: every number moved into low..high; NaN stays NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, low, high = arguments
        low, high = _broadcast(builder, tile.vector, low), _broadcast(builder, tile.vector, high)
        for _, _, index in _elements(tile):
            x = builder.extract_value(value, index)
            x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
            x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
            value = builder.insert_value(value, x, index)
        return value

    return tile(tile, types.float32, types.float32), generate


def _define_operator(symbol: Callable[..., Any], instruction: str) -> None:
    """Let ``symbol`` work on two tiles, or a tile and a number, element by element."""

    @intrinsic
    def elementwise(typing: Any, x: Any, y: Any) -> Any:
        tile = x if isinstance(x, Tile) else y

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def element(argument: Any, kind: Any, index: int) -> Any:
                if isinstance(kind, Tile):
                    return builder.extract_value(argument, index)
                return _broadcast(builder, tile.vector, argument)

            value = ir.Constant(context.get_value_type(tile), ir.Undefined)
            for _, _, index in _elements(tile):
                left, right = (element(a, k, index) for a, k in zip(arguments, signature.args, strict=True))
                # "contract": a product and a sum may become one fused instruction
                result = getattr(builder, instruction)(left, right, flags=("contract",))
                value = builder.insert_value(value, result, index)
            return value

        number = types.float32
        return tile(x if isinstance(x, Tile) else number, y if isinstance(y, Tile) else number), generate

    @overload(symbol)
    def operate(x, y):  # type: ignore[no-untyped-def]
        if isinstance(x, Tile) or isinstance(y, Tile):
            return lambda x, y: elementwise(x, y)
        return None


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
_define_operator(operator.truediv, "fdiv")


@intrinsic
def store(typing: Any, tile: Any, c: Any, offset: Any, stride: Any) -> Any:
    """``store(tile, c, offset, stride)``: write row r of the tile to c from offset + r·stride on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, c, offset, stride = arguments
        c_data = _pointer(context, builder, signature.args[1], c, offset)
        for r, v, index in _elements(tile):
            row = builder.gep(c_data, [builder.mul(stride, ir.Constant(stride.type, r))])
            target = builder.bitcast(_step(builder, row, v * tile.lanes), tile.vector.as_pointer())
            builder.store(builder.extract_value(value, index), target, align=4)
        return context.get_dummy_value()

    return types.none(tile, c, types.intp, types.intp), generate


def _elements(tile: Tile) -> list[tuple[int, int, int]]:
    """Row, vector and index of every register of a tile."""
    return [(r, v, r * tile.vectors + v) for r in range(tile.rows) for v in range(tile.vectors)]


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def _step(builder: Any, pointer: Any, count: int) -> Any:
    return builder.gep(pointer, [ir.Constant(ir.IntType(64), count)])


def _load(builder: Any, vector: ir.VectorType, pointer: Any) -> Any:
    # align=4: right for any address, and as fast as an aligned load where the address is aligned
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=4)


def _broadcast(builder: Any, vector: ir.VectorType, number: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    all_zero = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(first, undefined, all_zero)
