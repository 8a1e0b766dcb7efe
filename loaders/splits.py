"""Split expressions as users of `datasets` write them: `train`, `train[:10%]`, `train+test`."""

from __future__ import annotations

from collections.abc import Mapping

import datasets

from rnn_zoos.errors import FormatError, UnknownNameError


def without_spaces(expression: str) -> str:
    """Return a split expression without spaces around its parts: `datasets` reads them, but refuses them in names."""
    return "+".join(part.strip() for part in expression.split("+"))


def split_parts(expression: str, sizes: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Return the parts that a split expression names: split, first row and end, in its order.

    Args:
        expression: names of splits, each with an optional slice in rows or percent, joined by "+".
        sizes: split -> number of rows.

    Raises:
        UnknownNameError: for an unknown split.
        FormatError: for a malformed expression.
    """
    try:
        parts = datasets.ReadInstruction.from_spec(expression).to_absolute(dict(sizes))
    except (ValueError, AssertionError, AttributeError) as error:
        names = [part.split("[")[0].strip() for part in expression.split("+")]
        for name in names:
            if name and name not in sizes:
                raise UnknownNameError.among("split", name, sizes) from None
        raise FormatError(
            f"split is {expression!r} ({error}). Expected names of splits, such as 'train', 'train[:10%]', "
            "'train[100:200]' or 'train+test'."
        ) from error
    return [(part.splitname, part.from_, part.to) for part in parts]
