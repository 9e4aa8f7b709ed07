"""Words of device code that Numba has none for: wide and widening memory accesses, asynchronous copies, divisions.

Arrays are flat. Indices are 32-bit and not negative: Numba's own indexing would add the length to negative ones and
compute in 64 bits. Arrays of float16 come as uint16 and are float32 from here on: the conversion is one instruction,
while float16 arithmetic leaves calls that only CUDA's C++ headers resolve.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

__all__ = [
    "commit_copies",
    "copy2_async",
    "copy4_async",
    "copy_async",
    "load",
    "load2",
    "load4",
    "mma_tf32",
    "move",
    "product",
    "quotient",
    "store",
    "store2",
    "tf32",
    "wait_copies",
    "wait_older_copies",
    "within",
]

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_F32 = ir.FloatType()
_HALF = types.uint16


def _address(context: Any, builder: Any, array_type: Any, array: Any, index_type: Any, index: Any) -> Any:
    """Return the address of an element of a flat array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [context.cast(builder, index, index_type, types.int32)])


def _assembly(
    builder: Any, result: Any, text: str, constraints: str, operands: list[Any], effects: bool = False
) -> Any:
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(ir.InlineAsm(kind, text, constraints, side_effect=effects), operands)


def _value(array: Any) -> Any:
    """Return what elements are once they are loaded."""
    return types.float32 if array.dtype == _HALF else array.dtype


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Return array[index], float16 as float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = _address(context, builder, array, arguments[0], index, arguments[1])
        found = builder.load(at)
        if array.dtype == _HALF:
            return _assembly(builder, _F32, "cvt.f32.f16 $0, $1;", "=f,h", [found])
        return found

    return _value(array)(array, index), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Let array[index] = value, rounded to float16 where the array is of that."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = _address(context, builder, array, arguments[0], index, arguments[1])
        what = context.cast(builder, arguments[2], value, _value(array))
        if array.dtype == _HALF:
            what = _assembly(builder, _I16, "cvt.rn.f16.f32 $0, $1;", "=h,f", [what])
        builder.store(what, at)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def move(typing: Any, target: Any, to: Any, source: Any, at: Any) -> Any:
    """Let target[to] = source[at], bit by bit: both are of one type, float16 stays what it is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = builder.load(_address(context, builder, source, arguments[2], at, arguments[3]))
        builder.store(found, _address(context, builder, target, arguments[0], to, arguments[1]))
        return context.get_dummy_value()

    return types.void(target, to, source, at), generate


def _vector(context: Any, builder: Any, array_type: Any, arguments: Any, index_type: Any, count: int) -> Any:
    """Return the address of ``count`` neighbours as one vector, and its alignment: its own size, up to 16 bytes."""
    at = _address(context, builder, array_type, arguments[0], index_type, arguments[1])
    kind = ir.VectorType(context.get_data_type(array_type.dtype), count)
    return builder.bitcast(at, kind.as_pointer()), min(16, count * array_type.dtype.bitwidth // 8)


def _load_several(array: Any, index: Any, count: int) -> Any:
    result = types.UniTuple(array.dtype, count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at, alignment = _vector(context, builder, array, arguments, index, count)
        found = builder.load(at, align=alignment)
        lanes = [builder.extract_element(found, _I32(lane)) for lane in range(count)]
        return context.make_tuple(builder, result, lanes)

    return result(array, index), generate


@intrinsic
def load4(typing: Any, array: Any, index: Any) -> Any:
    """Return four neighbours, of which the first has an address that is a multiple of 16: in 128-bit loads."""
    return _load_several(array, index, 4)


@intrinsic
def load2(typing: Any, array: Any, index: Any) -> Any:
    """Return two neighbours, of which the first has an address that is a multiple of their size: in one load."""
    return _load_several(array, index, 2)


@intrinsic
def store2(typing: Any, array: Any, index: Any, first: Any, second: Any) -> Any:
    """Let array[index] and the next be two values, at an address that is a multiple of their size: in one store."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at, alignment = _vector(context, builder, array, arguments, index, 2)
        pair = ir.Constant(at.type.pointee, ir.Undefined)
        for lane, (value, kind) in enumerate(zip(arguments[2:], (first, second), strict=True)):
            pair = builder.insert_element(pair, context.cast(builder, value, kind, array.dtype), _I32(lane))
        builder.store(pair, at, align=alignment)
        return context.get_dummy_value()

    return types.void(array, index, first, second), generate


def _copy(context: Any, builder: Any, signature: Any, arguments: Any, count: int) -> Any:
    """Copy ``count`` elements from global to shared memory without waiting for them; zeros where not ``inside``."""
    target, target_index, source, source_index, inside = signature.args
    to = _address(context, builder, target, arguments[0], target_index, arguments[1])
    at = _address(context, builder, source, arguments[2], source_index, arguments[3])
    total = count * source.dtype.bitwidth // 8
    step = min(total, 16)
    taken = context.cast(builder, arguments[4], inside, types.boolean)
    size = builder.select(taken, ir.Constant(_I32, step), ir.Constant(_I32, 0))
    # only whole 16 bytes may go past the first level of cache, which has no use for them
    way = "cg" if step == 16 else "ca"
    to, at = builder.ptrtoint(to, _I64), builder.ptrtoint(at, _I64)
    for offset in range(0, total, step):
        text = (
            "{ .reg .u64 s, g; .reg .u32 a; cvta.to.shared.u64 s, $0; cvt.u32.u64 a, s; cvta.to.global.u64 g, $1; "
            f"cp.async.{way}.shared.global [a + {offset}], [g + {offset}], {step}, $2; }}"
        )
        _assembly(builder, ir.VoidType(), text, "l,l,r,~{memory}", [to, at, size], effects=True)
    return context.get_dummy_value()


@intrinsic
def copy_async(typing: Any, target: Any, target_index: Any, source: Any, source_index: Any, inside: Any) -> Any:
    """Begin to copy one element of 4 or 8 bytes to shared memory; zero where not ``inside``, and nothing is read."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _copy(context, builder, signature, arguments, 1)

    return types.void(target, target_index, source, source_index, inside), generate


@intrinsic
def copy2_async(typing: Any, target: Any, target_index: Any, source: Any, source_index: Any, inside: Any) -> Any:
    """Begin to copy two neighbours, both addresses multiples of their size; zeros where not ``inside``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _copy(context, builder, signature, arguments, 2)

    return types.void(target, target_index, source, source_index, inside), generate


@intrinsic
def copy4_async(typing: Any, target: Any, target_index: Any, source: Any, source_index: Any, inside: Any) -> Any:
    """Begin to copy four neighbours, both addresses multiples of 16; zeros where not ``inside``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _copy(context, builder, signature, arguments, 4)

    return types.void(target, target_index, source, source_index, inside), generate


def _order(text: str) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _assembly(builder, ir.VoidType(), text, "~{memory}", [], effects=True)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def commit_copies(typing: Any) -> Any:
    """Make one group of the copies that this thread has begun since the last one."""
    return _order("cp.async.commit_group;")


@intrinsic
def wait_copies(typing: Any) -> Any:
    """Wait for all groups of this thread."""
    return _order("cp.async.wait_group 0;")


@intrinsic
def wait_older_copies(typing: Any) -> Any:
    """Wait for all groups of this thread but the latest."""
    return _order("cp.async.wait_group 1;")


@intrinsic
def tf32(typing: Any, value: Any) -> Any:
    """Return a float32 rounded to 10 bits of mantissa, halves away from zero: an operand of :func:`mma_tf32`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = _assembly(builder, _I32, "cvt.rna.tf32.f32 $0, $1;", "=r,f", [arguments[0]])
        return builder.bitcast(bits, _F32)

    return types.float32(types.float32), generate


@intrinsic
def mma_tf32(
    typing: Any, a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, c0: Any, c1: Any, c2: Any, c3: Any
) -> Any:
    """Return a lane's four sums of a warp's A B + C, A of 16 x 8, B of 8 x 8, C of 16 x 8; all lanes call it.

    Lane 4 g + t has A[g, t], A[g + 8, t], A[g, t + 4], A[g + 8, t + 4]; B[t, g], B[t + 4, g]; and of C and the result
    [g, 2 t], [g, 2 t + 1], [g + 8, 2 t], [g + 8, 2 t + 1] (PTX ISA, mma.m16n8k8).
    """
    result = types.UniTuple(types.float32, 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        operands = [builder.bitcast(value, _I32) for value in arguments[:6]] + list(arguments[6:])
        text = (
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, "
            "{$10, $11, $12, $13};"
        )
        kind = ir.LiteralStructType([_F32] * 4)
        found = _assembly(builder, kind, text, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f", operands, effects=True)
        return context.make_tuple(builder, result, [builder.extract_value(found, lane) for lane in range(4)])

    return result(*(types.float32,) * 10), generate


@intrinsic
def product(typing: Any, a: Any, b: Any) -> Any:
    """Return a b, rounded: no sum that it is a part of is made in one step with it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single = a == types.float32
        kind, constraint = ("f32", "f") if single else ("f64", "d")
        result = _F32 if single else ir.DoubleType()
        return _assembly(
            builder, result, f"mul.rn.{kind} $0, $1, $2;", f"={constraint},{constraint},{constraint}", arguments
        )

    return a(a, b), generate


@intrinsic
def within(typing: Any, index: Any, size: Any) -> Any:
    """Return whether 0 <= index < size, for size >= 0: in one comparison of 32 bits without signs."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, second = (
            context.cast(builder, value, kind, types.int32)
            for value, kind in zip(arguments, (index, size), strict=True)
        )
        return builder.icmp_unsigned("<", first, second)

    return types.boolean(index, size), generate


@intrinsic
def quotient(typing: Any, a: Any, b: Any) -> Any:
    """Return a // b for a >= 0, b > 0, in 32 bits and without Python's tests for zero and signs."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, second = (
            context.cast(builder, value, kind, types.int32) for value, kind in zip(arguments, (a, b), strict=True)
        )
        return builder.udiv(first, second)

    return types.int32(a, b), generate
