"""The words that the kernels are written in: typed pointers, vectors, register tiles.

Numba vectorises plain loops to a third of what the processor can do and keeps small arrays on the heap. Here a
register tile is a *value*: rows x vectors of LLVM's ``<lanes x real>`` in one aggregate, which LLVM keeps in registers.
A single vector is a tile of one row and one vector. Words that change a tile return the new one.

Pointers are Numba's ``CPointer`` (p[i] reads and writes an element): what they point at says the element type, so that
one text serves float32 and float64. Indices count elements. Nothing checks bounds.

Multiplications and additions fuse where the processor has FMA and are two roundings elsewhere (``llvm.fmuladd``).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.registry import cpu_target
from numba.extending import intrinsic, lower_builtin, register_model, type_callable

from ..winograd_matrices import ONE, ZERO, Number, Variant, matrices

__all__ = [
    "VECTOR_BYTES",
    "Lanes",
    "Mask",
    "Tile",
    "absolute",
    "across",
    "add_apart",
    "add_complex",
    "add_crossed",
    "add_defects",
    "add_dots",
    "add_gathered",
    "add_index",
    "add_masked",
    "add_outer",
    "add_product",
    "add_shared",
    "add_strided",
    "add_sweep",
    "add_tiles",
    "add_window",
    "advance",
    "better",
    "better_at",
    "call",
    "constant",
    "evens",
    "fourier",
    "join",
    "joined",
    "joined_pairs",
    "lanes",
    "least",
    "load",
    "load_evens_part",
    "load_integers",
    "load_last_or",
    "load_part",
    "load_part_or",
    "load_planes",
    "load_points",
    "load_rows",
    "load_rows_capped",
    "load_rows_part",
    "load_square",
    "multiply_points",
    "outputs_of",
    "pointer",
    "points_of",
    "points_of_outputs",
    "prefetch",
    "relu",
    "repeat",
    "splat_index",
    "splat_rows",
    "splat_tile",
    "stack",
    "store",
    "store_evens",
    "store_first_rows",
    "store_part",
    "store_planes",
    "store_points",
    "store_rows",
    "store_wrapped",
    "sum_lanes",
    "taps_of",
    "transpose",
    "turn_points",
    "twice",
    "vector_of",
    "with_vector",
    "zero",
    "zip_high",
    "zip_low",
]


def _vector_bytes() -> int:
    """Bytes of the widest vectors that Numba may use here (it honours NUMBA_ENABLE_AVX and NUMBA_CPU_FEATURES)."""
    features = set(str(cpu_target.target_context.codegen().magic_tuple()[2]).split(","))
    if {"+avx512f", "+avx512vl", "+avx512dq", "+avx512bw"} <= features:
        return 64
    return 32 if {"+avx2", "+fma"} <= features else 16


VECTOR_BYTES = _vector_bytes()
INT32 = ir.IntType(32)


class Tile(types.Type):  # type: ignore[misc]
    """A value of rows x vectors vectors of one element type."""

    def __init__(self, real: types.Float, rows: int, vectors: int) -> None:
        self.real, self.rows, self.vectors = real, rows, vectors
        self.lanes = lanes_of(real)
        super().__init__(name=f"Tile({real}, {rows}x{vectors}x{self.lanes})")


def lanes_of(real: types.Float) -> int:
    """Elements of a vector."""
    return int(VECTOR_BYTES // (real.bitwidth // 8))


def _vector(real: types.Number) -> ir.VectorType:
    """Return the vector of an element type; only what loads, stores and compares takes integers."""
    if isinstance(real, types.Integer):
        return ir.VectorType(ir.IntType(real.bitwidth), lanes_of(real))
    return ir.VectorType(ir.FloatType() if real.bitwidth == 32 else ir.DoubleType(), lanes_of(real))


@register_model(Tile)
class _TileModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, tile: Tile) -> None:
        super().__init__(manager, tile, ir.ArrayType(_vector(tile.real), tile.rows * tile.vectors))


# ---- code generation


def _at(b: Any, base: Any, *indices: Any) -> Any:
    """Return base + sum of indices, in elements."""
    for index in indices:
        if isinstance(index, int):
            if index == 0:
                continue
            index = ir.Constant(ir.IntType(64), index)
        base = b.gep(base, [index])
    return base


def _load(b: Any, p: Any, real: types.Float) -> Any:
    v = b.load(b.bitcast(p, _vector(real).as_pointer()))
    v.align = real.bitwidth // 8
    return v


def _store(b: Any, v: Any, p: Any, real: types.Float) -> None:
    b.store(v, b.bitcast(p, _vector(real).as_pointer()), align=real.bitwidth // 8)


def _splat(b: Any, s: Any, vector: ir.VectorType) -> Any:
    one = b.insert_element(ir.Constant(vector, ir.Undefined), s, INT32(0))
    everywhere = ir.Constant(ir.VectorType(INT32, vector.count), None)
    return b.shuffle_vector(one, ir.Constant(vector, ir.Undefined), everywhere)


def _fma(b: Any, x: Any, y: Any, z: Any, real: types.Float) -> Any:
    vector = _vector(real)
    name = f"llvm.fmuladd.v{vector.count}f{real.bitwidth}"
    return b.call(cgutils.get_or_insert_function(b.module, ir.FunctionType(vector, [vector] * 3), name), [x, y, z])


def _part_mask(b: Any, n: Any, real: types.Float) -> Any:
    """Return the mask of the first n lanes; integers of the element's size compare one vector at a time."""
    integer, count = ir.IntType(real.bitwidth), lanes_of(real)
    vector, most = ir.VectorType(integer, count), n.type(count)
    capped = b.select(b.icmp_signed("<", n, most), n, most)
    spread = _splat(b, b.trunc(capped, integer), vector)
    return b.icmp_signed("<", ir.Constant(vector, list(range(count))), spread)


def _real_of(p: Any) -> types.Float:
    return p.dtype


class Mask:
    """Lanes that a comparison of vectors found true, while code is generated."""

    def __init__(self, b: Any, value: Any) -> None:
        self.b, self.value = b, value

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.b, self.b.and_(self.value, other.value))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.b, self.b.or_(self.value, other.value))

    def choose(self, x: Lanes | float, y: Lanes | float) -> Lanes:
        """Return lanes of x where the mask is set, of y elsewhere; one of them at least is a vector."""
        some = x if isinstance(x, Lanes) else y
        assert isinstance(some, Lanes)
        return some.of(self.b.select(self.value, some.value_of(x), some.value_of(y)))


class Lanes:
    """A vector while code is generated, with the operators that C has for vectors.

    A number stands for a vector of it. Products and sums fuse where the processor can, as gcc fuses them in csrc/.
    """

    def __init__(self, b: Any, value: Any, real: types.Float) -> None:
        self.b, self.value, self.real = b, value, real

    def of(self, value: Any) -> Lanes:
        """Return another vector of the same type."""
        return Lanes(self.b, value, self.real)

    def value_of(self, other: Lanes | float) -> Any:
        """Return LLVM's value of a vector or a number."""
        if isinstance(other, Lanes):
            return other.value
        return ir.Constant(self.value.type, [float(other)] * self.value.type.count)

    def _with(self, operation: str, x: Lanes | float, y: Lanes | float) -> Lanes:
        values = self.value_of(x), self.value_of(y)
        return self.of(getattr(self.b, operation)(*values, flags=("contract",)))

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._with("fadd", self, other)

    def __radd__(self, other: float) -> Lanes:
        return self._with("fadd", other, self)

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._with("fsub", self, other)

    def __rsub__(self, other: float) -> Lanes:
        return self._with("fsub", other, self)

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._with("fmul", self, other)

    def __rmul__(self, other: float) -> Lanes:
        return self._with("fmul", other, self)

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return self._with("fdiv", self, other)

    def __rtruediv__(self, other: float) -> Lanes:
        return self._with("fdiv", other, self)

    def __neg__(self) -> Lanes:
        return self.of(self.b.fneg(self.value))

    def _compared(self, word: str, other: Lanes | float) -> Mask:
        return Mask(self.b, self.b.fcmp_ordered(word, self.value, self.value_of(other)))

    def __lt__(self, other: Lanes | float) -> Mask:
        return self._compared("<", other)

    def __le__(self, other: Lanes | float) -> Mask:
        return self._compared("<=", other)

    def __gt__(self, other: Lanes | float) -> Mask:
        return self._compared(">", other)

    def __ge__(self, other: Lanes | float) -> Mask:
        return self._compared(">=", other)

    def is_number(self) -> Mask:
        """Whether a lane is not NaN."""
        return self._compared("ord", self)

    def power_of_two(self, rounder: float) -> Lanes:
        """Return 2^i of rounder + i, where rounder = 1.5 * 2^(mantissa bits) leaves i in the low bits."""
        mantissa, bias = (23, 127) if self.real.bitwidth == 32 else (52, 1023)
        integer = ir.VectorType(ir.IntType(self.real.bitwidth), self.value.type.count)

        def everywhere(i: int) -> Any:
            return ir.Constant(integer, [i] * integer.count)

        b = self.b
        power = b.sub(b.bitcast(self.value, integer), b.bitcast(self.value_of(rounder), integer))
        return self.of(b.bitcast(b.shl(b.add(power, everywhere(bias)), everywhere(mantissa)), self.value.type))


def _operator(function: Callable[[Any, Any], Any]) -> None:
    """Give tiles an arithmetic operator, element by element; a number stands for a tile of it."""

    @type_callable(function)
    def of_tiles(context: Any) -> Any:
        def typer(x: Any, y: Any) -> Any:
            tile = x if isinstance(x, Tile) else y
            fit = isinstance(tile, Tile) and all(t == tile or isinstance(t, types.Number) for t in (x, y))
            return tile if fit else None

        return typer

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        tile = signature.return_type
        given = []
        for kind, value in zip(signature.args, arguments, strict=True):
            if isinstance(kind, Tile):
                given.append(cgutils.unpack_tuple(b, value))
            else:
                number = context.cast(b, value, kind, tile.real)
                given.append([_splat(b, number, _vector(tile.real))] * (tile.rows * tile.vectors))
        pairs = zip(*given, strict=True)
        return cgutils.pack_array(b, [function(*(Lanes(b, v, tile.real) for v in pair)).value for pair in pairs])

    for operands in ((Tile, Tile), (Tile, types.Number), (types.Number, Tile)):
        lower_builtin(function, *operands)(generate)


for _function in (operator.add, operator.sub, operator.mul, operator.truediv):
    _operator(_function)


# ---- pointers and elements


@intrinsic
def pointer(typing: Any, address: Any, like: Any) -> Any:
    """Return the address as a pointer to elements of the type of ``like``."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return b.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.unliteral(like))(types.intp, like), generate


@intrinsic
def advance(typing: Any, p: Any, i: Any) -> Any:
    """Return p + i elements."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return _at(b, *arguments)

    return p(p, types.intp), generate


@intrinsic
def zero(typing: Any, p: Any) -> Any:
    """Return the 0 of the type that p points at."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(signature.return_type, 0)

    return p.dtype(p), generate


@intrinsic(prefer_literal=True)
def stack(typing: Any, p: Any, n: Any) -> Any:
    """Return a pointer to n vectors of p's type that live as long as the function; contents arbitrary."""
    count = n.literal_value * lanes_of(_real_of(p))

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_value_type(p.dtype)
        memory = cgutils.alloca_once(b, ir.ArrayType(element, count))
        memory.align = VECTOR_BYTES
        return b.bitcast(memory, element.as_pointer())

    return p(p, n), generate


@intrinsic
def prefetch(typing: Any, p: Any, i: Any) -> Any:
    """Ask for the cache line of p[i], to be written."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])
        function = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
        b.call(function, [b.bitcast(_at(b, *arguments), byte), INT32(1), INT32(3), INT32(1)])
        return context.get_dummy_value()

    return types.void(p, types.intp), generate


@intrinsic
def constant(typing: Any, x: Any, value: Any) -> Any:
    """Return a number as the type of x."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(b, arguments[1], signature.args[1], signature.return_type)

    return x(x, value), generate


@intrinsic
def call(typing: Any, address: Any, arguments: Any) -> Any:
    """Call the C function at an address, compiled for exactly these types, for its effects."""

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        given = [context.get_value_type(t) for t in arguments.types]
        function = b.inttoptr(values[0], ir.FunctionType(ir.IntType(8).as_pointer(), given).as_pointer())
        b.call(function, cgutils.unpack_tuple(b, values[1]))
        return context.get_dummy_value()

    return types.void(types.intp, arguments), generate


# ---- vectors


@intrinsic
def lanes(typing: Any, p: Any) -> Any:
    """Return how many elements of p's type a vector holds."""
    count = lanes_of(_real_of(p))

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.intp, count)

    return types.intp(p), generate


def _one_vector(p: Any) -> Tile:
    return Tile(_real_of(p), 1, 1)


@intrinsic
def load(typing: Any, p: Any, i: Any) -> Any:
    """Return the vector p[i : i + lanes]; no alignment is needed."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        real = _real_of(signature.args[0])
        return cgutils.pack_array(b, [_load(b, _at(b, *arguments), real)])

    return _one_vector(p)(p, types.intp), generate


@intrinsic
def store(typing: Any, p: Any, i: Any, v: Any) -> Any:
    """p[i : i + lanes] = v."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        _store(b, b.extract_value(arguments[2], 0), _at(b, *arguments[:2]), _real_of(signature.args[0]))
        return context.get_dummy_value()

    return types.void(p, types.intp, v), generate


def _masked(b: Any, real: types.Float, what: str, result: Any, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(result, [a.type for a in arguments])
    name = f"llvm.masked.{what}.v{lanes_of(real)}{'i' if isinstance(real, types.Integer) else 'f'}{real.bitwidth}.p0"
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), arguments)


def _load_part(b: Any, p: Any, n: Any, real: types.Float, rest: Any = None) -> Any:
    vector = _vector(real)
    mask = _part_mask(b, n, real)
    where, align = b.bitcast(p, vector.as_pointer()), INT32(real.bitwidth // 8)
    return _masked(b, real, "load", vector, [where, align, mask, ir.Constant(vector, None) if rest is None else rest])


@intrinsic
def load_part(typing: Any, p: Any, i: Any, n: Any) -> Any:
    """Return a vector of p[i : i + n] and zeros, p[i : i + lanes] for more; the memory behind is not touched."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.pack_array(b, [_load_part(b, _at(b, *arguments[:2]), arguments[2], _real_of(signature.args[0]))])

    return _one_vector(p)(p, types.intp, types.intp), generate


@intrinsic
def load_part_or(typing: Any, p: Any, i: Any, n: Any, rest: Any) -> Any:
    """Return a vector of p[i : i + n] and lanes of ``rest``; the memory behind is not touched."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        where, other = _at(b, *arguments[:2]), b.extract_value(arguments[3], 0)
        return cgutils.pack_array(b, [_load_part(b, where, arguments[2], _real_of(signature.args[0]), other)])

    return _one_vector(p)(p, types.intp, types.intp, rest), generate


@intrinsic
def load_last_or(typing: Any, p: Any, end: Any, n: Any, rest: Any) -> Any:
    """Return a vector that ends as p[end - n : end] does, lanes of ``rest`` before; n is below the lanes."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        p, end, n, rest = arguments
        real = _real_of(signature.args[0])
        vector, integer = _vector(real), ir.VectorType(ir.IntType(real.bitwidth), lanes_of(real))
        first = _splat(b, b.trunc(b.sub(n.type(vector.count), n), integer.element), integer)
        mask = b.icmp_signed(">=", ir.Constant(integer, list(range(vector.count))), first)
        where = b.bitcast(_at(b, p, end, -vector.count), vector.as_pointer())
        found = _masked(b, real, "load", vector, [where, INT32(real.bitwidth // 8), mask, b.extract_value(rest, 0)])
        return cgutils.pack_array(b, [found])

    return _one_vector(p)(p, types.intp, types.intp, rest), generate


@intrinsic
def load_evens_part(typing: Any, p: Any, i: Any, n: Any) -> Any:
    """Return a vector of p[i : i + n : 2] and zeros, p[i : i + 2 lanes : 2] for more."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        real, start = _real_of(signature.args[0]), _at(b, *arguments[:2])
        count, n = lanes_of(real), arguments[2]
        low = _load_part(b, start, n, real)
        high = _load_part(b, _at(b, start, count), b.sub(n, n.type(count)), real)
        evens = ir.Constant(ir.VectorType(INT32, count), [2 * e for e in range(count)])
        return cgutils.pack_array(b, [b.shuffle_vector(low, high, evens)])

    return _one_vector(p)(p, types.intp, types.intp), generate


@intrinsic
def store_part(typing: Any, p: Any, i: Any, v: Any, n: Any) -> Any:
    """p[i : i + n] = the first n elements of v."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        real = _real_of(signature.args[0])
        where = b.bitcast(_at(b, *arguments[:2]), _vector(real).as_pointer())
        value = b.extract_value(arguments[2], 0)
        mask = _part_mask(b, arguments[3], real)
        _masked(b, real, "store", ir.VoidType(), [value, where, INT32(real.bitwidth // 8), mask])
        return context.get_dummy_value()

    return types.void(p, types.intp, v, types.intp), generate


@intrinsic
def store_evens(typing: Any, p: Any, i: Any, v: Any, n: Any) -> Any:
    """p[i : i + 2 n : 2] = the first n elements of v; what lies between is neither read nor written."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        real, where, value = _real_of(signature.args[0]), _at(b, *arguments[:2]), b.extract_value(arguments[2], 0)
        vector, count, n = _vector(real), lanes_of(real), b.shl(arguments[3], arguments[3].type(1))
        evens = ir.Constant(ir.VectorType(ir.IntType(1), count), [e % 2 == 0 for e in range(count)])
        for half in range(2):
            twice = ir.Constant(ir.VectorType(INT32, count), [(half * count + e) // 2 for e in range(count)])
            spread = b.shuffle_vector(value, value, twice)
            mask = b.and_(evens, _part_mask(b, b.sub(n, n.type(half * count)), real))
            to = b.bitcast(_at(b, where, half * count), vector.as_pointer())
            _masked(b, real, "store", ir.VoidType(), [spread, to, INT32(real.bitwidth // 8), mask])
        return context.get_dummy_value()

    return types.void(p, types.intp, v, types.intp), generate


def _picked(b: Any, x: Any, y: Any, order: Sequence[int]) -> Any:
    """Return these elements of x and y, one behind the other."""
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT32, len(order)), list(order)))


def _zip(b: Any, x: Any, y: Any, half: int, count: int) -> Any:
    """Return half of x[0] y[0] x[1] y[1] ..."""
    return _picked(b, x, y, [e // 2 + e % 2 * count + half * count // 2 for e in range(count)])


@intrinsic
def zip_low(typing: Any, v: Any, other: Any) -> Any:
    """Return the first vector of v[0] other[0] v[1] other[1] ..."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.pack_array(b, [_zip(b, *(b.extract_value(a, 0) for a in arguments), 0, v.lanes)])

    return v(v, v), generate


@intrinsic
def zip_high(typing: Any, v: Any, other: Any) -> Any:
    """Return the second vector of v[0] other[0] v[1] other[1] ..."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.pack_array(b, [_zip(b, *(b.extract_value(a, 0) for a in arguments), 1, v.lanes)])

    return v(v, v), generate


# ---- register tiles


@intrinsic(prefer_literal=True)
def splat_tile(typing: Any, p: Any, rows: Any, vectors: Any, value: Any) -> Any:
    """Return a tile of one value, of the type that p points at."""
    tile = Tile(_real_of(p), rows.literal_value, vectors.literal_value)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.pack_array(b, [_splat(b, arguments[3], _vector(tile.real))] * (tile.rows * tile.vectors))

    return tile(p, rows, vectors, tile.real), generate


@intrinsic(prefer_literal=True)
def splat_rows(typing: Any, p: Any, rows: Any, vectors: Any) -> Any:
    """Return the tile whose row r holds p[r] everywhere."""
    tile = Tile(_real_of(p), rows.literal_value, vectors.literal_value)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        found = []
        for r in range(tile.rows):
            found += [_splat(b, b.load(_at(b, arguments[0], r)), _vector(tile.real))] * tile.vectors
        return cgutils.pack_array(b, found)

    return tile(p, rows, vectors), generate


def _row_loader(tile: Tile) -> Callable[..., Any]:
    """Return what generates the loads of the tile whose row r begins at p[r ld]."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        row, found = arguments[0], []
        for _ in range(tile.rows):
            found += [_load(b, _at(b, row, j * tile.lanes), tile.real) for j in range(tile.vectors)]
            row = _at(b, row, arguments[1])
        return cgutils.pack_array(b, found)

    return generate


@intrinsic(prefer_literal=True)
def load_rows(typing: Any, p: Any, ld: Any, rows: Any, vectors: Any) -> Any:
    """Return the tile whose row r begins at p[r ld]."""
    tile = Tile(_real_of(p), rows.literal_value, vectors.literal_value)
    return tile(p, types.intp, rows, vectors), _row_loader(tile)


@intrinsic
def load_square(typing: Any, p: Any, ld: Any) -> Any:
    """Return the tile of one vector a row and as many rows as lanes, whose row r begins at p[r ld]."""
    tile = Tile(_real_of(p), lanes_of(_real_of(p)), 1)
    return tile(p, types.intp), _row_loader(tile)


@intrinsic
def store_rows(typing: Any, p: Any, ld: Any, tile: Any) -> Any:
    """Row r of the tile goes to p[r ld]."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        row, values = arguments[0], iter(cgutils.unpack_tuple(b, arguments[2]))
        for _ in range(tile.rows):
            for j in range(tile.vectors):
                _store(b, next(values), _at(b, row, j * tile.lanes), tile.real)
            row = _at(b, row, arguments[1])
        return context.get_dummy_value()

    return types.void(p, types.intp, tile), generate


def _plane_addresses(b: Any, p: Any, ld: Any, tile: Tile) -> Any:
    """Yield where the vectors of a tile lie, row by row: vector j of row r at p[j ld + r lanes]."""
    planes = [p]
    for _ in range(1, tile.vectors):
        planes.append(_at(b, planes[-1], ld))
    for r in range(tile.rows):
        for plane in planes:
            yield _at(b, plane, r * tile.lanes)


@intrinsic(prefer_literal=True)
def load_planes(typing: Any, p: Any, ld: Any, rows: Any, vectors: Any) -> Any:
    """Return the tile whose vector j of row r begins at p[j ld + r lanes]."""
    tile = Tile(_real_of(p), rows.literal_value, vectors.literal_value)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.pack_array(b, [_load(b, at, tile.real) for at in _plane_addresses(b, *arguments[:2], tile)])

    return tile(p, types.intp, rows, vectors), generate


@intrinsic
def store_planes(typing: Any, p: Any, ld: Any, tile: Any) -> Any:
    """Vector j of row r of the tile goes to p[j ld + r lanes]."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        values = cgutils.unpack_tuple(b, arguments[2])
        for v, at in zip(values, _plane_addresses(b, *arguments[:2], tile), strict=True):
            _store(b, v, at, tile.real)
        return context.get_dummy_value()

    return types.void(p, types.intp, tile), generate


@intrinsic(prefer_literal=True)
def load_integers(typing: Any, p: Any, n: Any) -> Any:
    """Return the tuple of p[0] ... p[n - 1]."""
    found = types.UniTuple(p.dtype, n.literal_value)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.pack_array(b, [b.load(_at(b, arguments[0], i)) for i in range(found.count)])

    return found(p, n), generate


@intrinsic(prefer_literal=True)
def repeat(typing: Any, v: Any, rows: Any, vectors: Any) -> Any:
    """Return a tile of one vector."""
    tile = Tile(v.real, rows.literal_value, vectors.literal_value)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.pack_array(b, [b.extract_value(arguments[0], 0)] * (tile.rows * tile.vectors))

    return tile(v, rows, vectors), generate


@intrinsic(prefer_literal=True)
def load_rows_capped(typing: Any, p: Any, ld: Any, rows: Any, n: Any) -> Any:
    """Return the tile of one vector a row whose row r begins at p[min(r, n - 1) ld]."""
    tile = Tile(_real_of(p), rows.literal_value, 1)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        row, ld, n = arguments[0], arguments[1], arguments[3]
        found = [_load(b, row, tile.real)]
        for r in range(1, tile.rows):
            row = _at(b, row, b.select(b.icmp_signed("<", n.type(r), n), ld, ld.type(0)))
            found.append(_load(b, row, tile.real))
        return cgutils.pack_array(b, found)

    return tile(p, types.intp, rows, types.intp), generate


@intrinsic(prefer_literal=True)
def load_rows_part(typing: Any, p: Any, ld: Any, rows: Any, n: Any) -> Any:
    """Return the tile of one vector a row whose row r is p[r ld : r ld + n] and zeros."""
    tile = Tile(_real_of(p), rows.literal_value, 1)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        row, found = arguments[0], []
        for _ in range(tile.rows):
            found.append(_load_part(b, row, arguments[3], tile.real))
            row = _at(b, row, arguments[1])
        return cgutils.pack_array(b, found)

    return tile(p, types.intp, rows, types.intp), generate


@intrinsic(prefer_literal=True)
def vector_of(typing: Any, tile: Any, k: Any) -> Any:
    """Return the vector k of a tile, row by row."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.pack_array(b, [b.extract_value(arguments[0], k.literal_value)])

    return Tile(tile.real, 1, 1)(tile, k), generate


@intrinsic(prefer_literal=True)
def with_vector(typing: Any, tile: Any, k: Any, v: Any) -> Any:
    """Return the tile with another vector k."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return b.insert_value(arguments[0], b.extract_value(arguments[2], 0), k.literal_value)

    return tile(tile, k, v), generate


@intrinsic
def sum_lanes(typing: Any, v: Any) -> Any:
    """Return the sum of a vector's elements as float64, half added to half."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, double = b.extract_value(arguments[0], 0), ir.DoubleType()
        wide = x if v.real.bitwidth == 64 else b.fpext(x, ir.VectorType(double, v.lanes))
        half = v.lanes // 2
        while half:
            lower, upper = (_picked(b, wide, wide, range(first, first + half)) for first in (0, half))
            wide, half = b.fadd(lower, upper), half // 2
        return b.extract_element(wide, INT32(0))

    return types.float64(v), generate


@intrinsic
def store_first_rows(typing: Any, p: Any, ld: Any, tile: Any, n: Any) -> Any:
    """Row r < n of a tile of one vector a row goes to p[r ld]."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        row, n = arguments[0], arguments[3]
        for r, v in enumerate(cgutils.unpack_tuple(b, arguments[2])):
            with b.if_then(b.icmp_signed("<", n.type(r), n)):
                _store(b, v, row, tile.real)
            row = _at(b, row, arguments[1])
        return context.get_dummy_value()

    return types.void(p, types.intp, tile, types.intp), generate


@intrinsic
def store_wrapped(typing: Any, p: Any, tile: Any, i: Any, width: Any, gap: Any) -> Any:
    """p[:] = the vectors of a tile, numbers i, i + 1 ... of rows of ``width`` vectors with ``gap`` elements between."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        where, _, i, width, gap = arguments
        none = i.type(0)
        for v in cgutils.unpack_tuple(b, arguments[1]):
            _store(b, v, where, tile.real)
            i = b.add(i, i.type(1))
            wraps = b.icmp_signed("==", i, width)
            where = _at(b, where, tile.lanes, b.select(wraps, gap, none))
            i = b.select(wraps, none, i)
        return context.get_dummy_value()

    return types.void(p, tile, types.intp, types.intp, types.intp), generate


@intrinsic
def transpose(typing: Any, tile: Any) -> Any:
    """Return the tile with element j of row i where element i of row j was; it has as many rows as lanes.

    For each power of two s, the off-diagonal s x s blocks of every 2s x 2s block change places.
    """

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        v, count = cgutils.unpack_tuple(b, arguments[0]), tile.lanes
        mask, s = ir.VectorType(INT32, count), count // 2
        while s:
            upper = ir.Constant(mask, [count + i - s if i & s else i for i in range(count)])
            lower = ir.Constant(mask, [count + i if i & s else i + s for i in range(count)])
            for i in range(count):
                if not i & s:
                    pair = v[i], v[i + s]
                    v[i], v[i + s] = b.shuffle_vector(*pair, upper), b.shuffle_vector(*pair, lower)
            s //= 2
        return cgutils.pack_array(b, v)

    return tile(tile), generate


@intrinsic
def add_tiles(typing: Any, tile: Any, other: Any) -> Any:
    """Return the sum of two tiles of one shape."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        pairs = zip(*(cgutils.unpack_tuple(b, a) for a in arguments), strict=True)
        return cgutils.pack_array(b, [b.fadd(x, y) for x, y in pairs])

    return tile(tile, tile), generate


@intrinsic
def add_masked(typing: Any, tile: Any, p: Any, i: Any, masks: Any, m: Any) -> Any:
    """Return a tile of one row and p[i], p[i + 1] ... where masks[m], masks[m + 1] ... are not 0; no other is read."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        vector, found = _vector(tile.real), []
        for j, v in enumerate(cgutils.unpack_tuple(b, arguments[0])):
            number = _load(b, _at(b, *arguments[3:], j * tile.lanes), tile.real)
            mask = b.fcmp_unordered("!=", number, ir.Constant(vector, None))
            where = b.bitcast(_at(b, *arguments[1:3], j * tile.lanes), vector.as_pointer())
            align, none = INT32(tile.real.bitwidth // 8), ir.Constant(vector, None)
            found.append(b.fadd(v, _masked(b, tile.real, "load", vector, [where, align, mask, none])))
        return cgutils.pack_array(b, found)

    return tile(tile, p, types.intp, masks, types.intp), generate


@intrinsic
def add_defects(typing: Any, v: Any, tile: Any) -> Any:
    """Return the vector v + the sum of e - e over the vectors e of a tile: v where all are finite, else NaN."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        total = b.extract_value(arguments[0], 0)
        for e in cgutils.unpack_tuple(b, arguments[1]):
            total = b.fadd(total, b.fsub(e, e))
        return cgutils.pack_array(b, [total])

    return v(v, tile), generate


@intrinsic
def add_shared(typing: Any, tile: Any, v: Any, x: Any, ld: Any, step: Any) -> Any:
    """Return tile[r][j] + v x[r ld + j step], whole vectors at a time, for every row r and vector j."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc, row = cgutils.unpack_tuple(b, arguments[0]), arguments[2]
        factor, k = b.extract_value(arguments[1], 0), 0
        for _ in range(tile.rows):
            where = row
            for _ in range(tile.vectors):
                acc[k] = _fma(b, _load(b, where, tile.real), factor, acc[k], tile.real)
                where = _at(b, where, arguments[4])
                k += 1
            row = _at(b, row, arguments[3])
        return cgutils.pack_array(b, acc)

    return tile(tile, v, x, types.intp, types.intp), generate


@intrinsic(prefer_literal=True)
def add_window(
    typing: Any, tile: Any, x: Any, w: Any, k: Any, stride: Any, upper: Any, lower: Any, group: Any
) -> Any:  # fmt: skip
    """Return the tile and the products of one row of pixels, whole vectors, with a row of k taps for each output row.

    The tile's rows are two output rows, its vectors their pixels. ``w`` is the row of taps that x meets for the upper
    one; for the lower one it meets the ``stride`` rows earlier. Where ``upper`` or ``lower`` is 0 it meets none. Each
    pixel is loaded once for all its products; the first lane of each ``group`` is spread over all of them.
    """
    signature = tile(tile, x, w, k, stride, upper, lower, group)
    k, stride, upper, lower, group = (word.literal_value for word in signature.args[3:])
    count = tile.lanes

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc, x0, w0 = cgutils.unpack_tuple(b, arguments[0]), *arguments[1:3]
        rows = [(r, -r * stride * k) for r, meets in enumerate((upper, lower)) if meets]
        taps = {r: [_load(b, _at(b, w0, (first + i) * count), tile.real) for i in range(k)] for r, first in rows}
        spread = ir.Constant(ir.VectorType(INT32, count), [i - i % group for i in range(count)])
        for j in range((tile.vectors - 1) * stride + k):
            v = _load(b, _at(b, x0, j * count), tile.real)
            if group > 1:
                v = b.shuffle_vector(v, v, spread)
            for q in range(tile.vectors):
                if 0 <= j - q * stride < k:
                    for r, _ in rows:
                        at = r * tile.vectors + q
                        acc[at] = _fma(b, v, taps[r][j - q * stride], acc[at], tile.real)
        return cgutils.pack_array(b, acc)

    return signature, generate


@intrinsic
def relu(typing: Any, tile: Any) -> Any:
    """Return 0 where an element is below 0; NaN stays."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        none = ir.Constant(_vector(tile.real), None)
        values = cgutils.unpack_tuple(b, arguments[0])
        return cgutils.pack_array(b, [b.select(b.fcmp_ordered("<", v, none), none, v) for v in values])

    return tile(tile), generate


def _add_products(b: Any, acc: list[Any], factors: list[Any], x: Any, tile: Tile, ld: Any = None) -> Any:
    """Return the tile of acc[r][j] + *factors[r] x[j], whole vectors of x: one step of a matrix product.

    The vectors of x are neighbours, or ``ld`` apart.
    """
    steps = [j * tile.lanes if ld is None else b.mul(ld, ld.type(j)) for j in range(tile.vectors)]
    xs = [_load(b, _at(b, x, step), tile.real) for step in steps]
    for r, factor in enumerate(factors):
        weight = _splat(b, b.load(factor), _vector(tile.real))
        for j, v in enumerate(xs):
            k = r * tile.vectors + j
            acc[k] = _fma(b, v, weight, acc[k], tile.real)
    return cgutils.pack_array(b, acc)


@intrinsic
def add_outer(typing: Any, tile: Any, a: Any, ia: Any, x: Any, ix: Any) -> Any:
    """Return tile[r][j] + a[ia + r] x[ix + j] for every row r and element j: one step of a matrix product."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc, a0 = cgutils.unpack_tuple(b, arguments[0]), _at(b, *arguments[1:3])
        return _add_products(b, acc, [_at(b, a0, r) for r in range(tile.rows)], _at(b, *arguments[3:5]), tile)

    return tile(tile, a, types.intp, x, types.intp), generate


@intrinsic
def add_product(typing: Any, tile: Any, a: Any, ia: Any, ld: Any, x: Any, ix: Any) -> Any:
    """Return tile[r][j] + a[ia + r ld] x[ix + j] for every row r and element j: add_outer with a's rows apart."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc, a0, ld = cgutils.unpack_tuple(b, arguments[0]), _at(b, *arguments[1:3]), arguments[3]
        factors = [_at(b, a0, b.mul(ld, ld.type(r))) for r in range(tile.rows)]
        return _add_products(b, acc, factors, _at(b, *arguments[4:6]), tile)

    return tile(tile, a, types.intp, types.intp, x, types.intp), generate


@intrinsic
def add_gathered(typing: Any, tile: Any, a: Any, ia: Any, at: Any, x: Any, ix: Any) -> Any:
    """Return tile[r][j] + a[ia + at[r]] x[ix + j] for every row r and element j: add_outer with a's rows anywhere."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc, a0 = cgutils.unpack_tuple(b, arguments[0]), _at(b, *arguments[1:3])
        factors = [_at(b, a0, offset) for offset in cgutils.unpack_tuple(b, arguments[3])]
        return _add_products(b, acc, factors, _at(b, *arguments[4:6]), tile)

    return tile(tile, a, types.intp, at, x, types.intp), generate


@intrinsic
def add_apart(typing: Any, tile: Any, a: Any, ia: Any, at: Any, x: Any, ix: Any, ld: Any) -> Any:
    """Return tile[r][j] + a[ia + at[r]] x[ix + j ld], for every row r and vector j: add_gathered, x's vectors apart."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc, a0 = cgutils.unpack_tuple(b, arguments[0]), _at(b, *arguments[1:3])
        factors = [_at(b, a0, offset) for offset in cgutils.unpack_tuple(b, arguments[3])]
        return _add_products(b, acc, factors, _at(b, *arguments[4:6]), tile, arguments[6])

    return tile(tile, a, types.intp, at, x, types.intp, types.intp), generate


@intrinsic
def add_crossed(typing: Any, tile: Any, y: Any, iy: Any, ld: Any, x: Any, ix: Any, at: Any) -> Any:
    """Return tile[r][j] + y[iy + r ld] x[ix + at[j]], whole vectors of both, for every row r and vector j."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc, row, ld, x0 = cgutils.unpack_tuple(b, arguments[0]), _at(b, *arguments[1:3]), arguments[3], arguments[4:6]
        ys = []
        for _ in range(tile.rows):
            ys.append(_load(b, row, tile.real))
            row = _at(b, row, ld)
        for j, offset in enumerate(cgutils.unpack_tuple(b, arguments[6])):
            v = _load(b, _at(b, x0[0], offset, x0[1]), tile.real)
            for r, y in enumerate(ys):
                k = r * tile.vectors + j
                acc[k] = _fma(b, y, v, acc[k], tile.real)
        return cgutils.pack_array(b, acc)

    return tile(tile, y, types.intp, types.intp, x, types.intp, at), generate


@intrinsic
def add_strided(typing: Any, tile: Any, weight: Any, x: Any, ld: Any) -> Any:
    """Return tile[r][j] + weight x[r ld + j] for every row r and element j."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc, row = cgutils.unpack_tuple(b, arguments[0]), arguments[2]
        factor = _splat(b, arguments[1], _vector(tile.real))
        for r in range(tile.rows):
            for j in range(tile.vectors):
                k = r * tile.vectors + j
                acc[k] = _fma(b, _load(b, _at(b, row, j * tile.lanes), tile.real), factor, acc[k], tile.real)
            row = _at(b, row, arguments[3])
        return cgutils.pack_array(b, acc)

    return tile(tile, tile.real, x, types.intp), generate


@intrinsic
def add_dots(typing: Any, tile: Any, x: Any, ld_x: Any, w: Any, ld_w: Any) -> Any:
    """Return tile[r][j] + the vector at x[r ld_x] times that at w[j ld_w] for every row r and vector j."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc, row, column = cgutils.unpack_tuple(b, arguments[0]), arguments[1], arguments[3]
        xs = []
        for _ in range(tile.rows):
            xs.append(_load(b, row, tile.real))
            row = _at(b, row, arguments[2])
        for j in range(tile.vectors):
            weights = _load(b, column, tile.real)
            column = _at(b, column, arguments[4])
            for r, v in enumerate(xs):
                k = r * tile.vectors + j
                acc[k] = _fma(b, v, weights, acc[k], tile.real)
        return cgutils.pack_array(b, acc)

    return tile(tile, x, types.intp, w, types.intp), generate


@intrinsic(prefer_literal=True)
def add_sweep(typing: Any, tile: Any, w: Any, kh_fixed: Any, kh: Any, kw: Any, x: Any, ld_row: Any, off: Any) -> Any:
    """Return tile[r][j] + the sum over a < kh, b < kw of w[a kw + b] x[(r + a) ld_row + off[b] + j].

    Input rows are the outer loop: row i serves every tile row r with 0 <= i - r < kh, so that each vector is loaded
    once for all of them. ``kh_fixed`` is kh where it is below the tile's rows (every input row is then a block of code
    of its own), else 0 (the rows that serve the whole tile share one).
    """
    fixed = kh_fixed.literal_value

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc0, w0, _, n_h, n_w, x0, ld, off0 = arguments
        # LLVM promotes the slots to registers; they spare every loop its phi nodes here.
        slots = cgutils.alloca_once_value(b, acc0)

        def sweep(i: Any, low: int, high: int) -> None:
            row = _at(b, x0, b.mul(i, ld))
            taps = _at(b, w0, b.mul(i, n_w))
            with cgutils.for_range(b, n_w) as loop:
                xk = _at(b, row, b.load(_at(b, off0, loop.index)))
                wk = _at(b, taps, loop.index)
                xs = [_load(b, _at(b, xk, j * tile.lanes), tile.real) for j in range(tile.vectors)]
                for r in range(low, high + 1):
                    weight = _splat(b, b.load(_at(b, wk, b.mul(n_w, n_w.type(-r)))), _vector(tile.real))
                    for j, v in enumerate(xs):
                        slot = cgutils.gep_inbounds(b, slots, 0, r * tile.vectors + j)
                        b.store(_fma(b, v, weight, b.load(slot), tile.real), slot)

        last, number = tile.rows - 1, n_h.type
        if fixed:
            for i in range(tile.rows + fixed - 1):
                sweep(number(i), max(0, i - fixed + 1), min(i, last))
        else:
            for i in range(last):
                sweep(number(i), 0, i)
            with cgutils.for_range(b, b.sub(n_h, number(last))) as loop:
                sweep(b.add(loop.index, number(last)), 0, last)
            for i in range(last):
                sweep(b.add(n_h, number(i)), i + 1, last)
        return b.load(slots)

    integer = types.intp
    return tile(tile, w, kh_fixed, integer, integer, x, integer, off), generate


# ---- Winograd's transforms (winograd_matrices.py says what they are); a tile of one row stays as it is


def _combination(b: Any, terms: list[tuple[Any, Number]], start: Any, real: types.Float) -> Any:
    """Return start + the sum of x factor over (x, factor) in order; no start: None.

    Of two products to begin with the second is rounded, as gcc does it in the C kernels.
    """
    vector = _vector(real)

    def constant(factor: Number) -> Any:
        return ir.Constant(vector, [float(factor)] * vector.count)

    units, total = (ONE, -ONE), start
    if not terms:
        return total
    first, *rest = terms
    if total is None and first[1] in units:
        total, terms = first[0] if first[1] == ONE else b.fneg(first[0]), rest
    elif total is None:
        if not rest:
            return b.fmul(first[0], constant(first[1]))
        second, *terms = rest
        addend = _combination(b, [second], None, real)
        total = _fma(b, first[0], constant(first[1]), addend, real)
    for x, factor in terms:
        if factor in units:
            total = b.fadd(total, x) if factor == ONE else b.fsub(total, x)
        else:
            total = _fma(b, x, constant(factor), total, real)
    return total


@intrinsic
def points_of(typing: Any, tile: Any) -> Any:
    """Return B^T x of alpha rows. The rows of a pair +p, -p are even half +- odd half."""
    alpha = tile.rows

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        if alpha == 1:
            return arguments[0]
        x, bt = cgutils.unpack_tuple(b, arguments[0]), matrices(Variant(1, alpha)).bt

        def half(q: int, odd: int) -> Any:
            terms = [(x[j], bt[q][j]) for j in reversed(range(odd, alpha, 2)) if bt[q][j] != ZERO]
            return _combination(b, terms, None, tile.real)

        found = [half(0, 0)]
        for q in range(1, alpha - 1, 2):
            even, odd = half(q, 0), half(q, 1)
            found += [b.fadd(even, odd), b.fsub(even, odd)]
        return cgutils.pack_array(b, [*found, half(alpha - 1, 1)])

    return tile(tile), generate


@intrinsic(prefer_literal=True)
def outputs_of(typing: Any, tile: Any, m: Any) -> Any:
    """Return the m rows A^T x of alpha rows: sums of a pair where the power is even, differences where it is odd."""
    alpha, result = tile.rows, Tile(tile.real, m.literal_value, 1)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        if alpha == 1:
            return arguments[0]
        x, at = cgutils.unpack_tuple(b, arguments[0]), matrices(Variant(result.rows, alpha - result.rows + 1)).at
        pairs = range(1, alpha - 1, 2)
        halves = [[b.fadd(x[q], x[q + 1]) for q in pairs], [b.fsub(x[q], x[q + 1]) for q in pairs]]
        found = []
        for i in range(result.rows):
            start = x[0] if i == 0 else x[alpha - 1] if i == result.rows - 1 else None
            terms = [(half, at[i][q]) for q, half in zip(pairs, halves[i % 2], strict=True)]
            found.append(_combination(b, terms, start, tile.real))
        return cgutils.pack_array(b, found)

    return result(tile, m), generate


@intrinsic(prefer_literal=True)
def points_of_outputs(typing: Any, tile: Any, alpha: Any) -> Any:
    """Return A y of m rows, alpha of them: the rows of a pair +p, -p are even half +- odd half."""
    m, result = tile.rows, Tile(tile.real, alpha.literal_value, 1)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        y, at = cgutils.unpack_tuple(b, arguments[0]), matrices(Variant(m, result.rows - m + 1)).at
        found = [y[0]]
        for q in range(1, result.rows - 1, 2):
            even = _combination(b, [(y[i], at[i][q]) for i in range(2, m, 2)], y[0], tile.real)
            odd = _combination(b, [(y[1], at[1][q])], None, tile.real)
            odd = _combination(b, [(y[i], at[i][q]) for i in range(3, m, 2)], odd, tile.real)
            found += [b.fadd(even, odd), b.fsub(even, odd)]
        return cgutils.pack_array(b, [*found, y[m - 1]])

    return result(tile, alpha), generate


@intrinsic(prefer_literal=True)
def taps_of(typing: Any, tile: Any, r: Any) -> Any:
    """Return the r rows G^T x of alpha rows; the first of a pair's two products is not rounded, as gcc does it."""
    alpha, result = tile.rows, Tile(tile.real, r.literal_value, 1)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, found = cgutils.unpack_tuple(b, arguments[0]), matrices(Variant(alpha - result.rows + 1, result.rows))
        vector, scales = _vector(tile.real), [row[0] for row in found.g[:-1]]

        def scaled(q: int, addend: Any) -> Any:
            return _fma(b, x[q], ir.Constant(vector, [float(scales[q])] * vector.count), addend, tile.real)

        pairs, halves = range(1, alpha - 1, 2), []
        for q in pairs:
            second = _combination(b, [(x[q + 1], scales[q + 1])], None, tile.real)
            halves.append((scaled(q, second), scaled(q, b.fneg(second))))
        powers = matrices(Variant(result.rows, alpha - result.rows + 1)).at
        rows = []
        for i in range(result.rows):
            terms = [(half[i % 2], powers[i][q]) for q, half in zip(pairs, halves, strict=True)]
            start = x[alpha - 1] if i == result.rows - 1 else None
            if i == 0:
                start, terms = scaled(0, terms[0][0]), terms[1:]
            rows.append(_combination(b, terms, start, tile.real))
        return cgutils.pack_array(b, rows)

    return result(tile, r), generate


# ---- pooling: elements are joined, which is to add them, or to take the larger one (``total`` is None)


@intrinsic
def least(typing: Any, p: Any) -> Any:
    """Return the least value of the type that p points at."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        element = signature.return_type
        lowest = element.minval if isinstance(element, types.Integer) else float("-inf")
        return context.get_constant(element, lowest)

    return p.dtype(p), generate


def _larger(b: Any, x: Any, y: Any, element: types.Number) -> Any:
    """Return the larger one lane by lane, a NaN before any number, x of equal ones."""
    if isinstance(element, types.Integer):
        compare = b.icmp_signed if element.signed else b.icmp_unsigned
        return b.select(compare(">=", x, y), x, y)
    larger = b.select(b.fcmp_ordered(">", x, y), x, y)
    return b.select(b.fcmp_unordered("uno", x, x), x, larger)


def _join(b: Any, x: Any, y: Any, element: types.Number, total: Any) -> Any:
    return _larger(b, x, y, element) if isinstance(total, types.NoneType) else b.fadd(x, y)


@intrinsic
def join(typing: Any, v: Any, other: Any, total: Any) -> Any:
    """Return two vectors joined."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, y = (b.extract_value(a, 0) for a in arguments[:2])
        return cgutils.pack_array(b, [_join(b, x, y, v.real, total)])

    return v(v, v, total), generate


@intrinsic(prefer_literal=True)
def joined(typing: Any, p: Any, ld: Any, count: Any, total: Any) -> Any:
    """Return the vectors at p, p + ld ... p + (count - 1) ld joined in this order."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        real, where = _real_of(p), arguments[0]
        found = _load(b, where, real)
        for _ in range(1, count.literal_value):
            where = _at(b, where, arguments[1])
            found = _join(b, found, _load(b, where, real), real, total)
        return cgutils.pack_array(b, [found])

    return _one_vector(p)(p, types.intp, count, total), generate


@intrinsic(prefer_literal=True)
def joined_pairs(typing: Any, p: Any, count: Any, total: Any) -> Any:
    """Return lane i of p[2 i] ... p[2 i + count - 1] joined: windows of ``count`` elements two apart."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        real, found = _real_of(p), None
        width = lanes_of(real)
        for tap in range(count.literal_value):
            pair = [_load(b, _at(b, arguments[0], tap - tap % 2 + half * width), real) for half in (0, 1)]
            lanes = ir.Constant(ir.VectorType(INT32, width), [2 * i + tap % 2 for i in range(width)])
            drawn = b.shuffle_vector(*pair, lanes)
            found = drawn if found is None else _join(b, found, drawn, real, total)
        return cgutils.pack_array(b, [found])

    return _one_vector(p)(p, count, total), generate


@intrinsic
def across(typing: Any, v: Any, total: Any) -> Any:
    """Return all lanes of a vector joined; lane 0 with lane lanes / 2 and so on."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, half = b.extract_value(arguments[0], 0), v.lanes // 2
        while half:
            lower = ir.Constant(ir.VectorType(INT32, v.lanes), [(i + half) % v.lanes for i in range(v.lanes)])
            x = _join(b, x, b.shuffle_vector(x, x, lower), v.real, total)
            half //= 2
        return b.extract_element(x, INT32(0))

    return v.real(v, total), generate


@intrinsic
def absolute(typing: Any, v: Any) -> Any:
    """Return a vector's |x|."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        integer = ir.VectorType(ir.IntType(v.real.bitwidth), v.lanes)
        mask = ir.Constant(integer, [(1 << v.real.bitwidth - 1) - 1] * v.lanes)
        x = b.extract_value(arguments[0], 0)
        return cgutils.pack_array(b, [b.bitcast(b.and_(b.bitcast(x, integer), mask), x.type)])

    return v(v), generate


@intrinsic
def splat_index(typing: Any, p: Any, value: Any) -> Any:
    """Return a vector of one integer, of the type that p points at."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(p.dtype)
        number = arguments[1]
        number = b.trunc(number, vector.element) if vector.element.width < 64 else number
        return cgutils.pack_array(b, [_splat(b, number, vector)])

    return _one_vector(p)(p, types.intp), generate


@intrinsic
def add_index(typing: Any, v: Any, value: Any) -> Any:
    """Return a vector of integers with one added to all of them."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        vector, number = _vector(v.real), arguments[1]
        number = b.trunc(number, vector.element) if vector.element.width < 64 else number
        return cgutils.pack_array(b, [b.add(b.extract_value(arguments[0], 0), _splat(b, number, vector))])

    return v(v, types.intp), generate


def _better(b: Any, x: Any, x_at: Any, y: Any, y_at: Any) -> Any:
    """Whether y is to replace x: it is greater, or as great and earlier, or a NaN and later."""
    x_nan, y_nan = b.fcmp_unordered("uno", x, x), b.fcmp_unordered("uno", y, y)
    earlier = b.and_(b.fcmp_ordered("==", y, x), b.icmp_signed("<", y_at, x_at))
    nan = b.and_(y_nan, b.or_(b.not_(x_nan), b.icmp_signed(">", y_at, x_at)))
    return b.or_(b.fcmp_ordered(">", y, x), b.or_(earlier, nan))


@intrinsic
def better(typing: Any, v: Any, v_at: Any, other: Any, other_at: Any) -> Any:
    """Return the better one of two vectors' values, lane by lane."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, x_at, y, y_at = (b.extract_value(a, 0) for a in arguments)
        return cgutils.pack_array(b, [b.select(_better(b, x, x_at, y, y_at), y, x)])

    return v(v, v_at, v, v_at), generate


@intrinsic
def better_at(typing: Any, v: Any, v_at: Any, other: Any, other_at: Any) -> Any:
    """Return where the better one of two vectors' values is, lane by lane."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, x_at, y, y_at = (b.extract_value(a, 0) for a in arguments)
        return cgutils.pack_array(b, [b.select(_better(b, x, x_at, y, y_at), y_at, x_at)])

    return v_at(v, v_at, v, v_at), generate


@intrinsic
def twice(typing: Any, v: Any) -> Any:
    """Return two vectors: each element twice."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, found = b.extract_value(arguments[0], 0), []
        for half in (0, v.lanes):
            lanes = ir.Constant(ir.VectorType(INT32, v.lanes), [(half + i) // 2 for i in range(v.lanes)])
            found.append(b.shuffle_vector(x, x, lanes))
        return cgutils.pack_array(b, found)

    return Tile(v.real, 1, 2)(v), generate


@intrinsic
def evens(typing: Any, v: Any, other: Any) -> Any:
    """Return elements 0, 2, 4 ... of two vectors joined."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.Constant(ir.VectorType(INT32, v.lanes), [2 * i for i in range(v.lanes)])
        return cgutils.pack_array(b, [b.shuffle_vector(*(b.extract_value(a, 0) for a in arguments), lanes)])

    return v(v, v), generate


# ---- Fourier transforms: a tile of 2 n rows of one vector is n points, real parts and then imaginary parts


@intrinsic(prefer_literal=True)
def load_points(typing: Any, re: Any, ld_re: Any, im: Any, ld_im: Any, n: Any) -> Any:
    """Return the points of real parts re[q ld_re] and imaginary parts im[q ld_im], q < n, a vector each."""
    tile = Tile(_real_of(re), 2 * n.literal_value, 1)

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        found = []
        for row, ld in (arguments[:2], arguments[2:4]):
            for _ in range(tile.rows // 2):
                found.append(_load(b, row, tile.real))
                row = _at(b, row, ld)
        return cgutils.pack_array(b, found)

    return tile(re, types.intp, im, types.intp, n), generate


@intrinsic
def store_points(typing: Any, re: Any, ld_re: Any, im: Any, ld_im: Any, tile: Any) -> Any:
    """Real parts go to re[q ld_re], imaginary parts to im[q ld_im]."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        values = iter(cgutils.unpack_tuple(b, arguments[4]))
        for row, ld in (arguments[:2], arguments[2:4]):
            for _ in range(tile.rows // 2):
                _store(b, next(values), row, tile.real)
                row = _at(b, row, ld)
        return context.get_dummy_value()

    return types.void(re, types.intp, im, types.intp, tile), generate


def _complex_product(b: Any, a: tuple[Any, Any], t: tuple[Any, Any], real: types.Float) -> tuple[Any, Any]:
    """Return a t; of two products the second is rounded, as gcc does it in the C kernels."""
    (ar, ai), (tr, ti) = a, t
    return _fma(b, ar, tr, b.fneg(b.fmul(ai, ti)), real), _fma(b, ar, ti, b.fmul(ai, tr), real)


@intrinsic
def multiply_points(typing: Any, tile: Any, other: Any) -> Any:
    """Return the products of two tiles of points."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        n = tile.rows // 2
        x, t = (cgutils.unpack_tuple(b, a) for a in arguments)
        found = [_complex_product(b, (x[q], x[q + n]), (t[q], t[q + n]), tile.real) for q in range(n)]
        return cgutils.pack_array(b, [re for re, _ in found] + [im for _, im in found])

    return tile(tile, other), generate


@intrinsic
def turn_points(typing: Any, tile: Any, t: Any) -> Any:
    """Return points 1, 2, ... times the complex numbers t[0] + i t[1], t[2] + i t[3], ...; point 0 stays."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        n, x, vector = tile.rows // 2, cgutils.unpack_tuple(b, arguments[0]), _vector(tile.real)
        for q in range(1, n):
            root = tuple(_splat(b, b.load(_at(b, arguments[1], 2 * q - 2 + i)), vector) for i in range(2))
            x[q], x[q + n] = _complex_product(b, (x[q], x[q + n]), root, tile.real)
        return cgutils.pack_array(b, x)

    return tile(tile, t), generate


def _fourier(b: Any, re: list[Any], im: list[Any], real: types.Float) -> tuple[list[Any], list[Any]]:
    """Return the discrete Fourier transform of 3, 4 or 8 points; the steps of csrc/fft.inc.c."""
    add, sub, vector = b.fadd, b.fsub, _vector(real)

    def plus_times(x: Any, y: Any, factor: float) -> Any:
        return _fma(b, y, ir.Constant(vector, [factor] * vector.count), x, real)

    if len(re) == 3:
        half_root = 0.86602540378443864676
        sum_re, sum_im, gap_re, gap_im = add(*re[1:]), add(*im[1:]), sub(*re[1:]), sub(*im[1:])
        mid_re, mid_im = plus_times(re[0], sum_re, -0.5), plus_times(im[0], sum_im, -0.5)
        return (
            [add(re[0], sum_re), plus_times(mid_re, gap_im, half_root), plus_times(mid_re, gap_im, -half_root)],
            [add(im[0], sum_im), plus_times(mid_im, gap_re, -half_root), plus_times(mid_im, gap_re, half_root)],
        )
    if len(re) == 4:
        ar, ai, br, bi = add(re[0], re[2]), add(im[0], im[2]), sub(re[0], re[2]), sub(im[0], im[2])
        cr, ci, dr, di = add(re[1], re[3]), add(im[1], im[3]), sub(re[1], re[3]), sub(im[1], im[3])
        return [add(ar, cr), add(br, di), sub(ar, cr), sub(br, di)], [
            add(ai, ci),
            sub(bi, dr),
            sub(ai, ci),
            add(bi, dr),
        ]
    even_re, even_im = _fourier(b, re[::2], im[::2], real)
    odd_re, odd_im = _fourier(b, re[1::2], im[1::2], real)
    # odd elements times the eighth roots: 1, (1 - i) / sqrt 2, -i, -(1 + i) / sqrt 2
    root = 0.70710678118654752440
    turned = (
        (odd_re[0], odd_im[0], 1.0),
        (add(odd_re[1], odd_im[1]), sub(odd_im[1], odd_re[1]), root),
        (odd_im[2], b.fneg(odd_re[2]), 1.0),
        (sub(odd_im[3], odd_re[3]), b.fneg(add(odd_re[3], odd_im[3])), root),
    )
    halves: list[list[Any]] = [[], [], [], []]
    for q, (tr, ti, factor) in enumerate(turned):
        for into, x, t in zip((halves[:2], halves[2:]), (even_re[q], even_im[q]), (tr, ti), strict=True):
            into[0].append(add(x, t) if factor == 1.0 else plus_times(x, t, factor))
            into[1].append(sub(x, t) if factor == 1.0 else plus_times(x, t, -factor))
    return halves[0] + halves[1], halves[2] + halves[3]


@intrinsic
def fourier(typing: Any, tile: Any) -> Any:
    """Return the discrete Fourier transform of the points, exp(-2 pi i q r / n)."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        n, x = tile.rows // 2, cgutils.unpack_tuple(b, arguments[0])
        re, im = _fourier(b, x[:n], x[n:], tile.real)
        return cgutils.pack_array(b, re + im)

    return tile(tile), generate


@intrinsic(prefer_literal=True)
def add_complex(typing: Any, tile: Any, w: Any, z: Any, ld: Any, n: Any) -> Any:
    """Return tile[m n + i] + w[m] z[i], complex, for every m and i < n.

    Row by row the tile's two vectors are real and imaginary parts, and so are those of w[m] and z[i ld].
    """
    pairs = n.literal_value

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        acc, real = cgutils.unpack_tuple(b, arguments[0]), tile.real

        def point(p: Any) -> tuple[Any, Any]:
            return _load(b, p, real), _load(b, _at(b, p, tile.lanes), real)

        weights = [point(_at(b, arguments[1], 2 * m * tile.lanes)) for m in range(tile.rows // pairs)]
        where = arguments[2]
        for i in range(pairs):
            zr, zi = point(where)
            where = _at(b, where, arguments[3])
            for m, (wr, wi) in enumerate(weights):
                k = 2 * (m * pairs + i)
                acc[k] = _fma(b, b.fneg(wi), zi, _fma(b, wr, zr, acc[k], real), real)
                acc[k + 1] = _fma(b, wi, zr, _fma(b, wr, zi, acc[k + 1], real), real)
        return cgutils.pack_array(b, acc)

    return tile(tile, w, z, types.intp, n), generate
