"""Which of finitely many functions is it? The fewest queries that tell, with and without interaction.

A family is a table of integers [F functions, X inputs]: row f holds the answers of function f to all inputs. A table
that is not one, or holds a function twice, raises FormatError. A non-interactive interrogator fixes its inputs
beforehand: all rows have to differ on them, they are a separating set. An interactive one is a decision tree: the
answers so far choose the next input. The module makes the three statements of section 3 of Herrmann, Faccio and
Schmidhuber (ICML 2024, Propositions 3.1 to 3.3) executable, in our own words:

1. Any finite family can be identified: `greedy_separating_set`, at most F - 1 queries without interaction.
2. Interaction can be exponentially cheaper: `gap_family`, n queries against 2^n - 1.
3. It never costs more, and counting bounds both: `compare`. In an `independent_family` it does not help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from rnn_zoos.errors import FormatError, StorageError
from rnn_zoos.format.files import Array

Goal: TypeAlias = Literal["worst", "mean"]
Tree: TypeAlias = "Question | int"
"""An interactive interrogator: what it asks next, or the function that it has found."""

_LINES = (
    ("non_interactive", "non-interactive", "#ee6677", "o-"),
    ("interactive", "interactive, worst case", "#4477aa", "o-"),
    ("mean", "interactive, mean over functions", "#228833", "s-"),
    ("least", r"$\lceil\log_2 F\rceil$: no worst case is below", "#777777", ":"),
)


@dataclass(frozen=True)
class Question:
    """The input that is asked, and what follows every answer that is possible here."""

    input: int
    branches: Mapping[int, Tree]


@dataclass(frozen=True)
class Comparison:
    """Queries that F functions take by exact search, and the bounds ceil(log_K F), for K answers, and F - 1."""

    least: int
    mean: float  # of the tree with the least mean over functions
    interactive: int
    non_interactive: int
    most: int

    @property
    def bounds_hold(self) -> bool:
        """Whether least <= interactive <= non-interactive <= most, and mean <= interactive."""
        return self.least <= self.interactive <= self.non_interactive <= self.most and self.mean <= self.interactive


def compare(table: Array) -> Comparison:
    """Return what a family [F, X] takes with and without interaction; as slow as the exact searches."""
    rows = _checked(table)
    worst, in_all = (depths(interactive_tree(rows, goal)).values() for goal in ("worst", "mean"))
    least = _least("worst", len(rows), max(len(np.unique(column)) for column in rows.T))
    return Comparison(least, sum(in_all) / len(rows), max(worst), len(smallest_separating_set(rows)), len(rows) - 1)


def greedy_separating_set(table: Array) -> list[int]:
    """Return inputs on which all functions of a family [F, X] differ; each leaves the fewest pairs together; fast.

    Statement 1: functions that are still together differ at some input, so each that is chosen splits a group, and
    F - 1 splits are enough. At most 1 + ln(F (F - 1) / 2) times the fewest, as greedy covers are (Johnson, 1974).
    """
    rows = _checked(table)
    codes = [np.unique(column, return_inverse=True)[1] for column in rows.T]  # below len(rows), whatever the answers
    groups = np.zeros(len(rows), np.int64)
    inputs: list[int] = []
    while groups.max() < len(rows) - 1:
        splits = [np.unique(groups * len(rows) + code, return_inverse=True)[1] for code in codes]
        inputs.append(int(np.argmin([(np.bincount(split) ** 2).sum() for split in splits])))
        groups = splits[inputs[-1]]
    return inputs


def smallest_separating_set(table: Array) -> list[int]:
    """Return a smallest separating set of a family [F, X], sorted; exact: exponential in X at worst, F^2 X bytes."""
    rows = _checked(table)
    known = greedy_separating_set(rows)
    first, second = np.triu_indices(len(rows), 1)
    separates = rows[first] != rows[second]
    covers = (_cover(separates.copy(), size) for size in range(len(known)))
    return sorted(next((cover for cover in covers if cover is not None), known))


def _cover(separates: Array, most: int) -> list[int] | None:
    """Return at most `most` inputs that separate all pairs, or None. Spends `separates`, bool [pairs, inputs]."""
    if not len(separates):
        return []
    options, gains = separates.sum(axis=1), separates.sum(axis=0)
    forced = separates[options == 1].any(axis=0).sum()
    if options.min() == 0 or forced > most or np.sort(gains)[::-1][:most].sum() < len(separates):
        return None
    inputs = np.flatnonzero(separates[options.argmin()])  # any cover holds one of these: few to try
    for chosen in inputs[np.argsort(-gains[inputs])].tolist():
        rest = _cover(separates[~separates[:, chosen]], most - 1)
        if rest is not None:
            return [chosen, *rest]
        separates[:, chosen] = False  # no cover so small holds it
    return None


def interactive_tree(table: Array, goal: Goal = "worst") -> Tree:
    """Return the interactive interrogator of a family [F, X] of least depth, or of least mean depth over functions.

    Exact search over sets of functions, kept as bit masks, each solved once: exponential in F at worst.
    """
    rows = _checked(table)
    masks: list[dict[int, int]] = [{} for _ in rows.T]
    for (function, asked), answer in np.ndenumerate(rows):
        masks[asked][int(answer)] = masks[asked].get(int(answer), 0) | 1 << function
    answers = max(map(len, masks))

    def cost(mask: int, parts: Sequence[int]) -> int:
        return 1 + max(parts) if goal == "worst" else mask.bit_count() + sum(parts)

    @cache
    def solve(mask: int) -> tuple[int, Tree]:
        """Return depth, or sum of depths, and tree."""
        if mask.bit_count() == 1:
            return 0, mask.bit_length() - 1
        options = []
        for asked, of_answer in enumerate(masks):
            parts = {answer: mask & part for answer, part in of_answer.items() if mask & part}
            if len(parts) > 1:
                bound = cost(mask, [_least(goal, part.bit_count(), answers) for part in parts.values()])
                options.append((bound, asked, parts))
        best: tuple[int, Tree] = len(rows) ** 2, -1  # more than any tree costs
        for bound, asked, parts in sorted(options, key=lambda option: option[0]):
            if bound < best[0]:
                solved = {answer: solve(part) for answer, part in parts.items()}
                tree = Question(asked, {answer: part for answer, (_, part) in solved.items()})
                best = min(best, (cost(mask, [part[0] for part in solved.values()]), tree), key=lambda each: each[0])
        return best

    return solve((1 << len(rows)) - 1)[1]


def _least(goal: Goal, functions: int, answers: int) -> int:
    """Return the least depth, or sum of depths, of a tree with so many leaves: all are on two neighbouring levels."""
    answers, depth, leaves = max(answers, 2), 0, 1
    while leaves * answers <= functions:
        depth, leaves = depth + 1, leaves * answers
    beyond = functions - leaves  # every leaf that turns into a question brings answers - 1 more
    return depth + (beyond > 0) if goal == "worst" else depth * functions + beyond - (-beyond // (answers - 1))


def identify(tree: Tree, function: Callable[[int], int]) -> tuple[int, list[int]]:
    """Ask a function what the tree says; return its number in the family, and the inputs that were asked.

    Raises FormatError for an answer that the family never gives there; a function from outside may pass for one of it.
    """
    asked: list[int] = []
    while isinstance(tree, Question):
        asked.append(tree.input)
        answer = int(function(tree.input))
        if answer not in tree.branches:
            known = f"expected one of {sorted(tree.branches)}"
            raise FormatError(f"Input {tree.input} was answered {answer}; {known}. Ask a function of the family.")
        tree = tree.branches[answer]
    return tree, asked


def depths(tree: Tree) -> dict[int, int]:
    """Return for every function the number of queries after which the tree has found it."""
    if not isinstance(tree, Question):
        return {tree: 0}
    return {function: 1 + depth for part in tree.branches.values() for function, depth in depths(part).items()}


def gap_family(n: int) -> Array:
    """Return 2^n functions, [2^n, 2^n - 1], that take n queries with interaction and 2^n - 1 without.

    Inputs are the inner nodes of a full binary tree, level by level, functions its 2^n leaves: 1 to a node whose right
    half the leaf is in, else 0. Going down takes n queries; fewer have fewer than 2^n outcomes. Turn left or right at a
    node, then left always: only this node tells these two leaves apart, as they agree above and all else answers 0.
    (A third answer off the path would make the 2^(n-1) lowest nodes enough.) Raises FormatError if n < 1.
    """
    if n < 1:
        raise FormatError(f"The depth of the tree is {n}; expected 1 or more.")
    nodes = [(level, node) for level in range(n) for node in range(2**level)]
    return np.stack([np.arange(2**n) >> (n - 1 - level) == 2 * node + 1 for level, node in nodes], axis=1) * 1


def independent_family(answers: Sequence[int]) -> Array:
    """Return all functions that answer input i by 0 to answers[i] - 1, [product, X]: each has to be asked everything.

    An input that was not asked leaves all its answers open. Raises FormatError for an input with fewer than 2.
    """
    if not answers or min(answers) < 2:
        raise FormatError(f"The numbers of answers are {list(answers)}; expected one or more, each at least 2.")
    return np.indices(tuple(answers)).reshape(len(answers), -1).T


def draw_interrogation(out: Path) -> Path:
    """Draw what interaction saves into the folder `out` and return the PNG; takes seconds. Raises StorageError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")  # without pyplot, which would keep it in global state
    gap, rare = figure.subplots(ncols=2)
    depth, beyond, sizes, random = range(1, 7), range(7, 11), range(2, 17, 2), np.random.default_rng(0)
    functions = [row for row in independent_family([2] * 12) if row.sum() <= 2]
    draws = [[random.choice(functions, size, replace=False) for _ in range(20)] for size in sizes]
    for axes, places, tables, lines in ((gap, depth, [[gap_family(n)] for n in depth], 2), (rare, sizes, draws, 4)):
        found = [[compare(table) for table in of_place] for of_place in tables]
        for field, label, colour, style in _LINES[:lines]:
            means = [np.mean([getattr(each, field) for each in of_place]) for of_place in found]
            axes.plot(places, means, style, color=colour, label=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    gap.plot(beyond, [2**n - 1 for n in beyond], "o--", c="#ee6677", mfc="white", label="$2^n - 1$: proved only")
    gap.plot(beyond, beyond, "o--", c="#4477aa", mfc="white", label="$n$: proved only")
    gap.set_yscale("log", base=2)
    gap.set(xlabel="$n$, for $2^n$ functions", ylabel="queries", title="Gap family")
    rare.set(xlabel="$F$, functions", ylabel="queries, mean of 20 families", xticks=sizes, ylim=(0, None))
    rare.set_title("Random families: up to 2 of 12 answers are 1, the others 0")
    gap.legend(frameon=False, loc="upper left")
    rare.legend(frameon=False, loc="lower right")
    try:
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(out / "interrogation.png", dpi=120)
    except OSError as error:
        raise StorageError(f"The figure cannot go to {out}: {error.strerror or error}. Give another folder.") from error
    return out / "interrogation.png"


def _checked(table: Array) -> Array:
    rows = np.asarray(table)
    if rows.ndim != 2 or rows.size == 0 or rows.dtype.kind not in "iub":
        found = f"The table is {rows.dtype} of shape {rows.shape}; expected integers [functions, inputs], none empty."
        raise FormatError(f"{found} Give a row for every function: its answers to all inputs, as numbers.")
    first: dict[bytes, int] = {}
    for number, row in enumerate(rows):
        twin = first.setdefault(row.tobytes(), number)
        if twin != number:
            found = f"Functions {twin} and {number} of the table are equal; expected functions that differ somewhere."
            raise FormatError(f"{found} Leave one of them out, or add an input that tells them apart.")
    return rows
