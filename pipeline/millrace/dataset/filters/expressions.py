"""Translate sqlglot's tree of a filter into a pyarrow expression."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace.arrow import decoded_type
from millrace.dataset.filters.filter_literal import FilterLiteral
from millrace.dataset.filters.literals import comparable_type, convert_literal
from millrace.dataset.filters.tokens import LANGUAGE, TYPED, check_column
from millrace.display import shortened
from millrace.errors import UsageError

_COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
_SIGN_OF: Final = {"EQ": "=", "NEQ": "!=", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}

_VIEWED: Final = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
"""Types to which a dictionary of views is cast: Arrow cannot cast it to its own value type."""

_UNKNOWN: Final = pc.scalar(pa.scalar(None, pa.bool_()))


class ExpressionBuilder:
    """A translator of sqlglot's tree into an expression, which refuses every unknown node."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def condition(self, node: Any) -> pc.Expression:
        """Return an expression that is true, false or unknown for every row."""
        from sqlglot import exp

        node = node.unnest()
        match node:
            case exp.And() | exp.Or():
                parts = [self.condition(part) for part in _flattened(node)]
                return _balanced(parts, both=isinstance(node, exp.And))
            case exp.Not():
                return ~self.condition(node.this)
            case exp.Boolean():
                return pc.scalar(bool(node.this))
            case exp.Null():
                return _UNKNOWN
            case exp.Column() | exp.Identifier():
                name = self._column(node)
                if not pa.types.is_boolean(self._schema.field(name).type):
                    raise UsageError(f"column {name!r} alone is not a condition", hint="compare it with something")
                return pc.field(name)
        return self._predicate(node)

    def _predicate(self, node: Any) -> pc.Expression:
        from sqlglot import exp

        match node:
            case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
                return self._compare(_SIGN_OF[type(node).__name__], node.this, node.expression)
            case exp.In():
                return self._membership(node)
            case exp.Between():
                low = self._compare(">=", node.this, node.args["low"])
                return low & self._compare("<=", node.this, node.args["high"])
            case exp.Is():
                if not isinstance(node.expression, exp.Null):
                    raise UsageError(f"the filter has IS {node.expression.sql()}", hint="only is null, is not null")
                return self._null_test(self._column(node.this))
        raise UsageError(f"{shortened(node.sql(), 60)} is not a condition", hint=LANGUAGE)

    def _compare(self, sign: str, left: Any, right: Any) -> pc.Expression:
        left, right = left.unnest(), right.unnest()
        if _is_name(right) and not _is_name(left):
            sign, left, right = _MIRRORED[sign], right, left
        if not _is_name(left):
            raise UsageError(
                f"{shortened(left.sql(), 60)} {sign} {shortened(right.sql(), 60)} compares no column", hint=LANGUAGE
            )
        name = self._column(left)
        if _is_name(right):
            return self._compare_columns(sign, name, self._column(right))
        value = self._value(right, name)
        if sign not in ("=", "!=") and pa.types.is_boolean(value.type):
            raise UsageError(f"column {name!r} is boolean", hint="compare it with = or !=", column=name)
        if not value.is_valid:
            return _UNKNOWN  # Arrow's own comparison with null ends the process for a dictionary of large_string
        return _COMPARISONS[sign](self._operand(name), pc.scalar(value))

    def _compare_columns(self, sign: str, left: str, right: str) -> pc.Expression:
        kinds = [comparable_type(self._schema.field(name).type) for name in (left, right)]
        if not _exactly_comparable(*kinds):
            types = " and ".join(f"{name!r} ({self._schema.field(name).type})" for name in (left, right))
            raise UsageError(f"columns {types} cannot be compared exactly", hint="compare columns of the same type")
        if sign not in ("=", "!=") and pa.types.is_boolean(kinds[0]):
            raise UsageError(f"column {left!r} is boolean", hint="compare it with = or !=", column=left)
        return _COMPARISONS[sign](self._operand(left), self._operand(right))

    def _membership(self, node: Any) -> pc.Expression:
        name = self._column(node.this)
        items = node.expressions
        if not items:
            raise UsageError("the filter has IN without a list of literals", hint=LANGUAGE)
        values = [self._value(item, name) for item in items]
        valid = [value for value in values if value.is_valid]
        kind = comparable_type(self._schema.field(name).type)
        if kind is not None and pa.types.is_floating(kind) and any(value.as_py() == 0 for value in valid):
            # isin distinguishes 0.0 from -0.0, equality does not.
            valid += [pa.scalar(zero, pa.float64()).cast(kind) for zero in (0.0, -0.0)]
        is_listed = self._operand(name).isin(_array(valid, kind))
        # isin never returns unknown. In SQL a null in the column or in the list makes "not found" unknown.
        listed_null = not all(value.is_valid for value in values)
        return is_listed | (_UNKNOWN if listed_null else self._null_test(name) & _UNKNOWN)

    def _column(self, node: Any) -> str:
        node = node.unnest()
        if not _is_name(node):
            raise UsageError(f"{shortened(node.sql(), 60)} is given where a column's name is expected", hint=LANGUAGE)
        name: str = node.name
        check_column(name, self._schema, 0)
        return name

    def _operand(self, name: str) -> pc.Expression:
        kind = self._schema.field(name).type
        target = comparable_type(kind)
        return pc.field(name) if target == decoded_type(kind) else pc.field(name).cast(target)

    def _null_test(self, name: str) -> pc.Expression:
        kind = self._schema.field(name).type
        if pa.types.is_dictionary(kind):
            # is_null reads the indices only, but the dictionary itself may hold a null.
            return pc.field(name).cast(_VIEWED.get(kind.value_type, kind.value_type)).is_null()
        return pc.field(name).is_null()

    def _value(self, node: Any, name: str) -> pa.Scalar:
        from sqlglot import exp

        node = node.unnest()
        kind = self._schema.field(name).type
        match node:
            case exp.Null():
                if comparable_type(kind) is None:
                    raise UsageError(f"column {name!r} of type {kind} cannot be compared", hint="use is null")
                return pa.scalar(None, comparable_type(kind))
            case exp.Literal():
                literal = FilterLiteral("string" if node.is_string else "number", node.this)
            case exp.Neg() if isinstance(node.this, exp.Literal) and not node.this.is_string:
                literal = FilterLiteral("number", "-" + node.this.this)
            case exp.Boolean():
                literal = FilterLiteral("boolean", "true" if node.this else "false")
            case exp.Cast() if isinstance(node.this, exp.Literal) and str(node.to).lower() in TYPED:
                literal = FilterLiteral(str(node.to).lower(), node.this.this)  # type: ignore[arg-type] # checked above
            case _:
                raise UsageError(f"{shortened(node.sql(), 60)} is given where a literal is expected", hint=LANGUAGE)
        return convert_literal(literal, name, kind)


def _is_name(node: Any) -> bool:
    from sqlglot import exp

    return isinstance(node, exp.Column | exp.Identifier)


def _flattened(node: Any) -> list[Any]:
    """Return the parts of ``a and b and c``, which sqlglot nests to the left.

    The function is iterative because there may be thousands of them.
    """
    kind, parts, remaining = type(node), [], [node]
    while remaining:
        part = remaining.pop().unnest()
        if isinstance(part, kind):
            remaining += [part.expression, part.this]
        else:
            parts.append(part)
    return parts


def _balanced(parts: Sequence[pc.Expression], *, both: bool) -> pc.Expression:
    """Combine all parts into one expression of minimal depth.

    pyarrow recurses in native code, and 20,000 levels end the process.
    """
    if len(parts) == 1:
        return parts[0]
    middle = (len(parts) + 1) // 2
    left, right = _balanced(parts[:middle], both=both), _balanced(parts[middle:], both=both)
    return left & right if both else left | right


def _array(values: Sequence[pa.Scalar], kind: pa.DataType | None) -> pa.Array:
    return pa.concat_arrays([pa.array([], kind), *(pa.repeat(value, 1) for value in values)])


def _exactly_comparable(left: pa.DataType | None, right: pa.DataType | None) -> bool:
    if left is None or right is None:
        return False
    kinds = {left, right}
    if left == right or kinds == {pa.string(), pa.large_string()}:
        return True
    integers = [kind for kind in kinds if pa.types.is_integer(kind)]
    floats = [kind for kind in kinds if pa.types.is_floating(kind)]
    if len(integers) == 2:
        # uint64 and a signed type have no common integer type.
        return pa.uint64() not in kinds or not any(map(pa.types.is_signed_integer, kinds))
    if integers and floats:
        return bool(integers[0].bit_width <= 32 and floats[0] == pa.float64())
    return len(floats) == 2
