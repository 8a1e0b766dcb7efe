"""Which rows to keep: triples of a column, an operator and a value, as a pyarrow expression."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.errors import FormatError, UnknownNameError

Where: TypeAlias = "pc.Expression | Sequence[tuple[str, str, Any]]"
"""What rows to keep: a pyarrow expression, or triples such as ("accuracy", ">", 0.9) that must all hold."""

EXPECTED_WHERE = "Expected a pyarrow expression, or triples such as [('accuracy', '>', 0.9), ('step', 'in', [0, 100])]."

_OPERATORS: Mapping[str, Callable[[Any, Any], pc.Expression]] = MappingProxyType(
    {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "in": lambda column, values: column.isin(values),
        "not in": lambda column, values: ~column.isin(values),
    }
)


def triples_to_expression(where: Sequence[tuple[str, str, Any]], schema: pa.Schema) -> pc.Expression:
    """Turn triples (column, operator, value) that must all hold into one expression.

    Values take the type of their column first: a float32 accuracy of .9 is not the float64 .9, but is meant by it.
    """
    expression = pc.scalar(True)
    triples: Sequence[Any] = where if isinstance(where, (list, tuple)) else [where]
    for triple in triples:
        if not isinstance(triple, (list, tuple)) or len(triple) != 3 or triple[1] not in _OPERATORS:
            raise FormatError(f"where has {triple!r}. {EXPECTED_WHERE}")
        name, operation, value = triple
        if name not in schema.names:
            raise UnknownNameError.among("column", name, schema.names)
        kind, several = schema.field(name).type, operation.endswith("in")
        try:
            typed = pa.array(list(value), kind) if several else pa.scalar(value, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"where has {triple!r}: {error}. {EXPECTED_WHERE}") from error
        if not several and not typed.is_valid:
            raise FormatError(f"where has {triple!r}: no value of an index is missing. {EXPECTED_WHERE}")
        expression &= _OPERATORS[operation](pc.field(name), typed)
    return expression
