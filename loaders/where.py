"""Selecting index rows: the `steps` and `where` arguments of the loaders, compiled to one pyarrow expression."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.errors import FormatError, UnknownNameError

Where: TypeAlias = "pc.Expression | Sequence[tuple[str, str, Any]]"
"""A filter on index rows: a pyarrow expression, or triples such as ("accuracy", ">", 0.9) that must all hold."""

_EXPECTED = "Expected a pyarrow expression, or triples such as [('accuracy', '>', 0.9), ('step', 'in', [0, 100])]."

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


def row_filter(
    schema: pa.Schema, known_steps: Sequence[int], steps: int | Iterable[int] | None, where: Where | None
) -> pc.Expression | None:
    """Combine `steps` and `where` into one expression over an index with this schema; None selects all rows.

    Raises:
        UnknownNameError: for a step or column that the zoo does not have.
        FormatError: for a malformed `steps` or `where`.
    """
    selected = None if steps is None else pc.field("step").isin(_check_steps(steps, known_steps))
    if where is None:
        return selected
    condition = where if isinstance(where, pc.Expression) else _triples_to_expression(where, schema)
    try:
        schema.empty_table().filter(condition)
    except (pa.ArrowException, TypeError) as error:
        raise FormatError(f"where is {where}, which is not a valid filter: {error}. {_EXPECTED}") from error
    return condition if selected is None else selected & condition


def _check_steps(steps: int | Iterable[int], known_steps: Sequence[int]) -> list[int]:
    """Return steps as a list of Python integers, all of which the zoo has."""
    try:
        wanted = [operator.index(step) for step in (steps if isinstance(steps, Iterable) else [steps])]
    except TypeError as error:
        raise FormatError(f"steps is {steps!r}; expected an integer or several.") from error
    for step in wanted:
        if step not in known_steps:
            raise UnknownNameError.among("step", step, known_steps)
    return wanted


def _triples_to_expression(where: Sequence[tuple[str, str, Any]], schema: pa.Schema) -> pc.Expression:
    """Combine triples (column, operator, value) by "and".

    Values are cast to the type of their column first: a float32 column never equals the float64 number 0.9, although
    that is what a user who writes 0.9 means.
    """
    expression = pc.scalar(True)
    triples: Sequence[Any] = where if isinstance(where, (list, tuple)) else [where]
    for triple in triples:
        if not isinstance(triple, (list, tuple)) or len(triple) != 3 or triple[1] not in _OPERATORS:
            raise FormatError(f"where has {triple!r}. {_EXPECTED}")
        name, operation, value = triple
        if name not in schema.names:
            raise UnknownNameError.among("column", name, schema.names)
        dtype, is_list = schema.field(name).type, operation.endswith("in")
        try:
            typed = pa.array(list(value), dtype) if is_list else pa.scalar(value, dtype)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"where has {triple!r}: {error}. {_EXPECTED}") from error
        if not is_list and not typed.is_valid:
            raise FormatError(f"where has {triple!r}, but no value of an index is missing. {_EXPECTED}")
        expression &= _OPERATORS[operation](pc.field(name), typed)
    return expression
