"""Selecting index rows and columns: what users pass to the loaders, as plain Python values or an expression."""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.errors import FormatError, UnknownNameError

Where: TypeAlias = "pc.Expression | Iterable[tuple[str, str, Any]]"
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


def normalise_steps(steps: int | Iterable[int] | None) -> list[int] | None:
    """Return steps as sorted Python integers without duplicates; None stays None.

    An iterator is used up: normalise once, then use the result, which this function returns unchanged.

    Args:
        steps: an integer or several, in any iterable: list, set, range, generator, numpy array, torch tensor.

    Raises:
        FormatError: for anything else; booleans are not integers here.
    """
    if steps is None:
        return None
    given = _plain(steps)
    several = isinstance(given, Iterable) and not isinstance(given, (str, bytes))
    wanted = set()
    for step in map(_plain, given if several else [given]):
        if isinstance(step, bool) or not hasattr(step, "__index__"):
            raise FormatError(f"steps {'has' if several else 'is'} {step!r}; expected an integer or several.")
        wanted.add(operator.index(step))
    return sorted(wanted)


def normalise_where(where: Where | None) -> pc.Expression | list[tuple[str, str, Any]] | None:
    """Return a filter as an expression, or as a list of triples whose values are Python objects; None stays None.

    The values of `in` and `not in` become lists. Iterators are used up: normalise once, then use the result, which
    this function returns unchanged. Whether the columns exist is not known here; see `row_filter`.

    Raises:
        FormatError: for a malformed triple, an unknown operator, or a value of `in` that is not a list.
    """
    if where is None or isinstance(where, pc.Expression):
        return where
    if isinstance(where, (str, bytes, Mapping)) or not isinstance(where, Iterable):
        raise FormatError(f"where is {where!r}. {_EXPECTED}")
    return [_normalise_triple(triple) for triple in where]


def _normalise_triple(triple: Any) -> tuple[str, str, Any]:  # noqa: ANN401 - what a user passed
    well_formed = isinstance(triple, (list, tuple)) and len(triple) == 3 and isinstance(triple[1], str)
    if not well_formed or triple[1] not in _OPERATORS:
        raise FormatError(f"where has {triple!r}. {_EXPECTED}")
    name, operation, value = triple[0], triple[1], _plain(triple[2])
    if not operation.endswith("in"):
        return name, operation, value
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise FormatError(f"where has {triple!r}. Give {operation!r} a list: ({name!r}, {operation!r}, [{value!r}]).")
    values = [_plain(item) for item in value]
    return name, operation, sorted(values, key=repr) if isinstance(value, (set, frozenset)) else values


def list_of_names(argument: str, given: Iterable[str]) -> list[str]:
    """Return the names that a user gave for an argument, in any iterable; it is used up if it is an iterator.

    Raises:
        FormatError: for a single string, and for what is not iterable.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        example = given if isinstance(given, str) else "accuracy"
        raise FormatError(f"{argument} is {given!r}; expected a list of names, such as [{example!r}].")
    return list(given)


def _plain(value: Any) -> Any:  # noqa: ANN401 - what a user passed
    """Return an array, tensor or one of their scalars (numpy, torch, pandas, pyarrow) as Python objects."""
    for convert in ("tolist", "to_pylist", "as_py"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    return value


def selection_identity(steps: int | Iterable[int] | None, where: Where | None) -> str:
    """Return a hash of a whole selection, for fingerprints: two selections share it only if they keep the same rows.

    Unlike the `repr` of an array or an expression, it covers every value. Pass what `normalise_steps` and
    `normalise_where` returned if the arguments may be iterators.

    Raises:
        FormatError: for a malformed `steps` or `where`.
    """
    condition = normalise_where(where)
    if isinstance(condition, pc.Expression):
        serialised = condition.__reduce__()[1][0]  # the only complete form of an expression; its repr omits values
        condition = hashlib.sha256(serialised).hexdigest()
    return hashlib.sha256(repr((normalise_steps(steps), condition)).encode()).hexdigest()


def row_filter(
    schema: pa.Schema, known_steps: Sequence[int], steps: int | Iterable[int] | None, where: Where | None
) -> pc.Expression | None:
    """Combine `steps` and `where` into one expression over an index with this schema; None selects all rows.

    Raises:
        UnknownNameError: for a step or column that the zoo does not have.
        FormatError: for a malformed `steps` or `where`.
    """
    wanted, condition = normalise_steps(steps), normalise_where(where)
    for step in wanted or []:
        if step not in known_steps:
            raise UnknownNameError.among("step", step, known_steps)
    selected = None if wanted is None else pc.field("step").isin(pa.array(wanted, pa.int32()))
    if condition is None:
        return selected
    if not isinstance(condition, pc.Expression):
        condition = _triples_to_expression(condition, schema)
    try:
        schema.empty_table().filter(condition)
    except (pa.ArrowException, TypeError) as error:
        raise FormatError(f"where is {where}, which is not a valid filter: {error}. {_EXPECTED}") from error
    return condition if selected is None else selected & condition


def _triples_to_expression(where: Sequence[tuple[str, str, Any]], schema: pa.Schema) -> pc.Expression:
    """Combine normalised triples (column, operator, value) by "and".

    Values are cast to the type of their column first: a float32 column never equals the float64 number 0.9, although
    that is what a user who writes 0.9 means. Numbers that a column of integers cannot hold stay what they are.
    """
    expression = pc.scalar(True)
    for triple in where:
        name, operation, value = triple
        if name not in schema.names:
            raise UnknownNameError.among("column", name, schema.names)
        dtype, is_list = schema.field(name).type, operation.endswith("in")
        if pa.types.is_integer(dtype) and _is_other_number(value):
            expression &= _compare_with_other(pc.field(name), operation, value)
            continue
        try:
            typed = _typed_list(value, dtype) if is_list else pa.scalar(_as_float(value, dtype), _wide(dtype))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"where has {triple!r}: {error}. {_EXPECTED}") from error
        if not is_list and not typed.is_valid:
            raise FormatError(f"where has {triple!r}, but no value of an index is missing. {_EXPECTED}")
        expression &= _OPERATORS[operation](pc.field(name), typed)
    return expression


def _wide(dtype: pa.DataType) -> pa.DataType:
    """Return the type of values that are compared with a column: integers may be larger than those of the column."""
    return pa.int64() if pa.types.is_integer(dtype) else dtype


def _as_float(value: Any, dtype: pa.DataType) -> Any:  # noqa: ANN401 - what a user passed
    """Return a whole number as a float for a column of floats: pyarrow refuses those above 2**24 for float32."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and pa.types.is_floating(dtype) else value


def _is_other_number(value: Any) -> bool:  # noqa: ANN401 - what a user passed
    """Return whether a value is a number that no column of integers can have: 3.5, 1e30, an infinity, NaN."""
    return isinstance(value, (int, float)) and not (-(1 << 63) <= value < 1 << 63 and value == int(value))


def _compare_with_other(column: pc.Expression, operation: str, number: float) -> pc.Expression:
    """Compare a column of integers with a number that none can have.

    The column is compared with an integer: pyarrow would make one of 3.5, or floats of the column, which it refuses for
    large integers.
    """
    if operation in ("==", "!=") or math.isnan(number):
        return pc.scalar(operation == "!=")
    below = operation in ("<", "<=")
    if not -(1 << 63) <= number < 1 << 63:
        return pc.scalar((number > 0) == below)
    whole = pa.scalar(math.floor(number), pa.int64())
    return column <= whole if below else column > whole


def _typed_list(values: Sequence[Any], dtype: pa.DataType) -> pa.Array:
    """Return values as those of a column's type, without numbers that no column of this type can have."""
    if not pa.types.is_integer(dtype):
        return pa.array([_as_float(value, dtype) for value in values], dtype)
    numbers = pa.array([value for value in values if not _is_other_number(value)], pa.int64())
    limits = np.iinfo(dtype.to_pandas_dtype())
    fits = pc.and_(pc.greater_equal(numbers, int(limits.min)), pc.less_equal(numbers, int(limits.max)))
    return numbers.filter(fits).cast(dtype)
