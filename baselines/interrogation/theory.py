"""How many queries identify one of finitely many functions, with and without interaction: exact searches and bounds.

A family is a table of integers [F functions, X inputs]: row f holds the outputs of function f for all inputs. Rows must
differ; otherwise, or if the table is not such an array, functions raise FormatError. A query evaluates the unknown
function at one input. A non-interactive interrogator fixes its inputs beforehand: they must be a separating set, on
which all rows differ. An interactive interrogator is a decision tree: the outputs so far determine the next input. Both
are the subject of section 3 of Herrmann, Faccio and Schmidhuber (ICML 2024). The statements here are in our own words,
and named by what they say:

- F - 1 queries are enough: every family of F functions can be identified by at most F - 1 non-interactive queries,
  `greedy_separating_set`.
- The worst case of F - 1 queries, for both kinds: some families need them even with interaction, for example functions
  that are 1 at one input each, all at different ones, `compare(numpy.eye(F, dtype=int))`.
- The gap: interaction can save exponentially many queries, n instead of 2^n - 1 for `gap_family(n)`.
- Interaction never costs queries, since an interactive interrogator may ignore the outputs.
- The information bound: with K possible outputs, ceil(log_K F) queries are necessary. `compare` returns all of these
  numbers.
- No gain: some families gain nothing from interaction, `independent_family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array

Goal: TypeAlias = Literal["worst", "mean"]
"""What an interactive interrogator minimises: queries in the worst case, or the mean over functions."""

Tree: TypeAlias = "Question | int"
"""An interactive interrogator: its next question, or the number of the function that it has identified."""


@dataclass(frozen=True)
class Question:
    """A query, and how the interrogator continues after each output that is possible here."""

    input: int
    branches: Mapping[int, Tree]


@dataclass(frozen=True)
class Comparison:
    """How many queries identify a function of a family of F functions with K possible outputs.

    Attributes:
        least: Lower bound on the worst case, ceil(log_K F).
        mean: Mean over functions, of the interactive interrogator with the lowest mean.
        interactive: Worst case, of the interactive interrogator with the lowest worst case.
        non_interactive: Size of the smallest separating set.
        most: Upper bound, F - 1.
    """

    least: int
    mean: float
    interactive: int
    non_interactive: int
    most: int

    @property
    def bounds_hold(self) -> bool:
        """Whether least <= interactive <= non-interactive <= most, and mean <= interactive."""
        return self.least <= self.interactive <= self.non_interactive <= self.most and self.mean <= self.interactive


def compare(table: Array) -> Comparison:
    """Return how many queries a family [F, X] needs with and without interaction; as slow as the exact searches."""
    rows = _checked(table)
    for_worst, for_mean = (depths(interactive_tree(rows, goal)).values() for goal in ("worst", "mean"))
    return Comparison(
        least=_least("worst", len(rows), max(len(np.unique(column)) for column in rows.T)),
        mean=sum(for_mean) / len(rows),
        interactive=max(for_worst),
        non_interactive=len(smallest_separating_set(rows)),
        most=len(rows) - 1,
    )


def greedy_separating_set(table: Array) -> list[int]:
    """Return a separating set of a family [F, X], built greedily: each input leaves the fewest pairs unseparated. Fast.

    It has at most F - 1 inputs: functions that are not yet separated differ at some input, so every chosen input splits
    a group, and F - 1 splits separate all. It is at most 1 + ln(F (F - 1) / 2) times as large as the smallest one, the
    bound for greedy set covers (Johnson, 1974).
    """
    rows = _checked(table)
    codes = [np.unique(column, return_inverse=True)[1] for column in rows.T]  # each below len(rows)
    groups = np.zeros(len(rows), np.int64)
    inputs: list[int] = []
    while groups.max() < len(rows) - 1:
        splits = [np.unique(groups * len(rows) + code, return_inverse=True)[1] for code in codes]
        inputs.append(int(np.argmin([(np.bincount(split) ** 2).sum() for split in splits])))
        groups = splits[inputs[-1]]
    return inputs


def smallest_separating_set(table: Array) -> list[int]:
    """Return a smallest separating set of a family [F, X], sorted.

    Exact search: exponential in X in the worst case; takes F^2 X bytes.
    """
    rows = _checked(table)
    greedy = greedy_separating_set(rows)
    first, second = np.triu_indices(len(rows), 1)
    separates = rows[first] != rows[second]
    covers = (_cover(separates.copy(), size) for size in range(len(greedy)))
    return sorted(next((cover for cover in covers if cover is not None), greedy))


def _cover(separates: Array, most: int) -> list[int] | None:
    """Return at most `most` inputs that separate all pairs, or None. Overwrites `separates`, bool [pairs, inputs]."""
    if not len(separates):
        return []
    options, gains = separates.sum(axis=1), separates.sum(axis=0)
    forced = separates[options == 1].any(axis=0).sum()
    if options.min() == 0 or forced > most or np.sort(gains)[::-1][:most].sum() < len(separates):
        return None
    inputs = np.flatnonzero(separates[options.argmin()])  # every cover contains one of these, the fewest
    for chosen in inputs[np.argsort(-gains[inputs])].tolist():
        rest = _cover(separates[~separates[:, chosen]], most - 1)
        if rest is not None:
            return [chosen, *rest]
        separates[:, chosen] = False  # no cover of this size contains it
    return None


def interactive_tree(table: Array, goal: Goal = "worst") -> Tree:
    """Return the interactive interrogator of a family [F, X] with the lowest worst case, or the lowest mean.

    Exact search over sets of functions (bit masks), each solved once: exponential in F in the worst case.
    """
    rows = _checked(table)
    masks: list[dict[int, int]] = [{} for _ in rows.T]  # input -> output -> the functions with this output
    for (function, number), output in np.ndenumerate(rows):
        masks[number][int(output)] = masks[number].get(int(output), 0) | 1 << function
    outputs = max(map(len, masks))

    def cost(mask: int, parts: Sequence[int]) -> int:
        return 1 + max(parts) if goal == "worst" else mask.bit_count() + sum(parts)

    @cache
    def solve(mask: int) -> tuple[int, Tree]:
        """Return the depth (or the sum of depths) of the best tree for a set of functions, and the tree."""
        if mask.bit_count() == 1:
            return 0, mask.bit_length() - 1
        options = []
        for number, of_output in enumerate(masks):
            parts = {output: mask & part for output, part in of_output.items() if mask & part}
            if len(parts) > 1:
                bound = cost(mask, [_least(goal, part.bit_count(), outputs) for part in parts.values()])
                options.append((bound, number, parts))
        best: tuple[int, Tree] = len(rows) ** 2, -1  # more than any tree costs
        for bound, number, parts in sorted(options, key=lambda option: option[0]):
            if bound < best[0]:
                solved = {output: solve(part) for output, part in parts.items()}
                tree = Question(number, {output: part for output, (_, part) in solved.items()})
                best = min(best, (cost(mask, [part[0] for part in solved.values()]), tree), key=lambda each: each[0])
        return best

    return solve((1 << len(rows)) - 1)[1]


def _least(goal: Goal, functions: int, outputs: int) -> int:
    """Return the least depth, or sum of depths, of any tree with so many leaves: they are on two adjacent levels."""
    outputs, depth, leaves = max(outputs, 2), 0, 1
    while leaves * outputs <= functions:
        depth, leaves = depth + 1, leaves * outputs
    remaining = functions - leaves  # replacing a leaf by a question adds outputs - 1 leaves
    return depth + (remaining > 0) if goal == "worst" else depth * functions + remaining - (-remaining // (outputs - 1))


def identify(tree: Tree, function: Callable[[int], int]) -> tuple[int, list[int]]:
    """Query a function as the tree demands; return its number in the family, and the inputs that were queried.

    Raises FormatError if an output is impossible for the family. A function outside the family may go unnoticed: it is
    then taken for a function with the same outputs at the queried inputs.
    """
    queried: list[int] = []
    while isinstance(tree, Question):
        queried.append(tree.input)
        output = int(function(tree.input))
        if output not in tree.branches:
            expected = f"expected one of {sorted(tree.branches)}"
            raise FormatError(
                f"The output for input {tree.input} is {output}; {expected}. Use a function of the family."
            )
        tree = tree.branches[output]
    return tree, queried


def depths(tree: Tree) -> dict[int, int]:
    """Return function -> the number of queries after which the tree has identified it."""
    if not isinstance(tree, Question):
        return {tree: 0}
    return {function: 1 + depth for part in tree.branches.values() for function, depth in depths(part).items()}


def gap_family(n: int) -> Array:
    """Return 2^n functions, [2^n, 2^n - 1], that need n queries with interaction and 2^n - 1 without.

    The inputs are the inner nodes of a full binary tree, level by level; the functions are its 2^n leaves. A leaf's
    output for a node is 1 if the leaf is in the right subtree of the node, else 0.

    With interaction, following the path from the root takes n queries, and fewer queries have fewer than 2^n outcomes.
    Without, every node is needed: consider the two leaves reached by going left or right at the node, and left below
    it. They agree at the nodes above, and their output for all other nodes is 0, so only this node separates them. (If
    nodes off the path had a third output, the 2^(n-1) lowest nodes would be enough.)

    Raises FormatError if n < 1.
    """
    if n < 1:
        raise FormatError(f"The depth of the tree is {n}; expected 1 or more.")
    nodes = [(level, node) for level in range(n) for node in range(2**level)]
    return np.stack([np.arange(2**n) >> (n - 1 - level) == 2 * node + 1 for level, node in nodes], axis=1) * 1


def independent_family(outputs: Sequence[int]) -> Array:
    """Return all functions whose output for input i is in 0 .. outputs[i] - 1, [product of outputs, X].

    All X inputs must be queried, with or without interaction: the output for an input does not depend on the outputs
    for the others. Raises FormatError if there is no input, or one with fewer than 2 outputs.
    """
    if not outputs or min(outputs) < 2:
        raise FormatError(f"The numbers of outputs are {list(outputs)}; expected one or more, each at least 2.")
    return np.indices(tuple(outputs)).reshape(len(outputs), -1).T


def _checked(table: Array) -> Array:
    """Return a family as an array. Raises FormatError if it is none, or has two equal functions."""
    rows = np.asarray(table)
    if rows.ndim != 2 or rows.size == 0 or rows.dtype.kind not in "iub":
        found = f"The table has dtype {rows.dtype} and shape {rows.shape}"
        raise FormatError(
            f"{found}; expected integers of shape [functions, inputs], neither of them 0. Give one row per function, "
            "with its outputs for all inputs."
        )
    first: dict[bytes, int] = {}
    for number, row in enumerate(rows):
        equal = first.setdefault(row.tobytes(), number)
        if equal != number:
            raise FormatError(
                f"Functions {equal} and {number} of the table are equal; expected different rows. Remove one of them, "
                "or add an input at which they differ."
            )
    return rows
