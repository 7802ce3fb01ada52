"""Sums and products whose rounding the source fixes, whatever the compiler makes of them.

A compiler that may reorder a sum or fuse a product into it (``fastmath``) decides so anew each time it
meets the code: in the copy that it runs at once, in the one that it leaves on disk, in its next version.
The compiled loops give it no such freedom. Loops over elements are as fast without it if they say
themselves where a product and a sum are one instruction (``fma``), and a sum over many elements if it
says which of them are added side by side (``dot``).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

# Numbers that are summed side by side, and how many such sums there are.
_LANES = 16
_SUMS = 2


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """``a b + c`` of numbers or vectors of them: one instruction where the processor has it."""
    kind = a.type
    if isinstance(kind, ir.VectorType):
        name = f"v{kind.count}{kind.element.intrinsic_name}"
    else:
        name = kind.intrinsic_name
    function = builder.module.declare_intrinsic(
        f"llvm.fmuladd.{name}", fnty=ir.FunctionType(kind, [kind] * 3)
    )
    return builder.call(function, [a, b, c])


def _fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a b + c``, rounded once where the processor can."""
    number = typing_context.unify_types(a, b, c)
    if not isinstance(number, types.Float):
        number = types.float64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b, c = (
            context.cast(builder, value, kind, number)
            for value, kind in zip(arguments, signature.args, strict=True)
        )
        return fused(builder, a, b, c)

    return number(a, b, c), generate


fma: Any = intrinsic(_fma)


def loop(builder: Any, first: Any, last: Any, step: int, body: Any, before: Any) -> Any:
    """``values = body(at, values)`` for at = first, first + step, … < last; the values at the end."""
    entry = builder.block
    head, inside, done = (builder.append_basic_block(name) for name in ("head", "inside", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    at, *values = (builder.phi(value.type) for value in (first, *before))
    builder.cbranch(builder.icmp_signed("<", at, last), inside, done)
    builder.position_at_end(inside)
    after = [builder.add(at, ir.Constant(at.type, step)), *body(at, values)]
    # Rows are short: unrolled further, finding the way through the loop would take longer than it.
    back = builder.branch(head)
    leave = builder.module.add_metadata(["llvm.loop.unroll.disable"])
    hint = builder.module.add_metadata([leave])
    hint.operands = (hint, leave)
    back.set_metadata("llvm.loop", hint)
    for phi, start, following in zip((at, *values), (first, *before), after, strict=True):
        phi.add_incoming(start, entry)
        phi.add_incoming(following, inside)
    builder.position_at_end(done)
    return values


def folded(builder: Any, vector: Any) -> Any:
    """The sum of a vector's numbers: one half is added to the other until a single one is left."""
    width = vector.type.count
    while width > 1:
        width //= 2
        low, high = (
            ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(first, first + width)))
            for first in (0, width)
        )
        none = ir.Constant(vector.type, ir.Undefined)
        vector = builder.fadd(
            builder.shuffle_vector(vector, none, low), builder.shuffle_vector(vector, none, high)
        )
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _dot(typing_context: Any, left: Any, i: Any, right: Any, j: Any, n: Any) -> Any:  # noqa: ARG001
    """``Σ left[i + f] right[j + f]`` over f < n, of two arrays of one type as they lie in memory."""
    for array in (left, right):
        if not (isinstance(array, types.Array) and array.layout == "C"):
            raise TypeError(f"dot takes C-contiguous arrays, not {array}")
    if left.dtype != right.dtype or not isinstance(left.dtype, types.Float):
        raise TypeError(f"dot takes arrays of one kind of float, not {left} and {right}")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, integer = context.get_value_type(left.dtype), context.get_value_type(types.intp)
        vector = ir.VectorType(number, _LANES)
        starts = []
        for array, at in ((0, 1), (2, 3)):
            data = context.make_array(signature.args[array])(
                context, builder, arguments[array]
            ).data
            shift = context.cast(builder, arguments[at], signature.args[at], types.intp)
            starts.append(builder.gep(data, [shift]))
        n = context.cast(builder, arguments[4], signature.args[4], types.intp)

        def load(start: Any, at: Any) -> Any:
            address = builder.gep(start, [at])
            loaded = builder.load(builder.bitcast(address, vector.as_pointer()))
            loaded.align = left.dtype.bitwidth // 8
            return loaded

        def constant(value: int) -> Any:
            return ir.Constant(integer, value)

        def add(at: Any, sums: Any) -> Any:
            after = []
            for s, total in enumerate(sums):
                here = builder.add(at, constant(s * _LANES))
                after.append(fused(builder, load(starts[0], here), load(starts[1], here), total))
            return after

        def add_one(at: Any, sums: Any) -> Any:
            a, b = (builder.load(builder.gep(start, [at])) for start in starts)
            return [fused(builder, a, b, sums[0])]

        zero = ir.Constant(vector, None)
        whole = builder.and_(n, constant(-_LANES * _SUMS))
        sums = loop(builder, constant(0), whole, _LANES * _SUMS, add, [zero] * _SUMS)
        while len(sums) > 1:
            sums = [builder.fadd(*pair) for pair in zip(sums[::2], sums[1::2], strict=True)]
        most = builder.and_(n, constant(-_LANES))
        (total,) = loop(builder, whole, most, _LANES, add, sums)
        (total,) = loop(builder, most, n, 1, add_one, [folded(builder, total)])
        return total

    return left.dtype(left, i, right, j, n), generate


dot: Any = intrinsic(_dot)


@register_jitable
def row_dot(left: Any, i: Any, right: Any, j: Any) -> Any:
    """``Σ_f left[i, f] right[j, f]``."""
    k = left.shape[1]
    return dot(left, i * k, right, j * k, k)
