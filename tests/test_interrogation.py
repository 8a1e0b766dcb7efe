"""Fewest queries against brute force, the gap family by search, and the bounds that always hold."""

import math
from itertools import combinations

import numpy as np
import pytest

from rnn_zoos.baselines.interrogation import (
    Question,
    compare,
    depths,
    draw_interrogation,
    gap_family,
    greedy_separating_set,
    identify,
    independent_family,
    interactive_tree,
    smallest_separating_set,
)
from rnn_zoos.errors import FormatError, StorageError


def random_family(seed: int, functions: int = 7, inputs: int = 5, answers: int = 3) -> np.ndarray:
    """Draw functions that differ, from the few that there are."""
    random = np.random.default_rng(seed)
    numbers = random.choice(answers**inputs, functions, replace=False)
    return numbers[:, None] // answers ** np.arange(inputs) % answers


def fewest_fixed(rows: np.ndarray) -> int:
    """Try all sets of inputs, small ones first."""
    sizes = range(rows.shape[1] + 1)
    sets = ((size, chosen) for size in sizes for chosen in combinations(range(rows.shape[1]), size))
    return next(size for size, chosen in sets if len({tuple(row[list(chosen)]) for row in rows}) == len(rows))


def best_tree(rows: list[tuple[int, ...]], combine) -> float:
    """Try every next input, and so on: `combine` makes a cost of those of the branches and their sizes."""
    if len(rows) == 1:
        return 0
    costs = []
    for asked in range(len(rows[0])):
        branches = [[row for row in rows if row[asked] == answer] for answer in {row[asked] for row in rows}]
        if len(branches) > 1:
            costs.append(combine([best_tree(branch, combine) for branch in branches], len(rows)))
    return min(costs)


@pytest.mark.parametrize("seed", range(12))
def test_searches_find_what_brute_force_finds(seed):
    rows = random_family(seed, functions=2 + seed % 6, inputs=5, answers=2 + seed % 2)
    listed = [tuple(row) for row in rows.tolist()]
    fixed = smallest_separating_set(rows)
    assert len(fixed) == fewest_fixed(rows) and len({tuple(row) for row in rows[:, fixed]}) == len(rows)
    worst, least_sum = interactive_tree(rows, "worst"), interactive_tree(rows, "mean")
    assert max(depths(worst).values()) == best_tree(listed, lambda costs, count: 1 + max(costs))
    assert sum(depths(least_sum).values()) == best_tree(listed, lambda costs, count: count + sum(costs))
    greedy = greedy_separating_set(rows)
    assert len(fixed) <= len(greedy) <= len(rows) - 1 and len({tuple(row) for row in rows[:, greedy]}) == len(rows)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("goal", ["worst", "mean"])
def test_every_function_is_found_by_asking_it_alone(seed, goal):
    rows = random_family(seed, functions=11)
    tree = interactive_tree(rows, goal)
    for number, row in enumerate(rows):
        found, asked = identify(tree, row.__getitem__)
        assert found == number and len(asked) == depths(tree)[number] == len(set(asked))
    assert isinstance(tree, Question)
    with pytest.raises(FormatError, match=r"was answered 9; expected .* Ask a function of the family"):
        identify(tree, lambda asked: 9)


@pytest.mark.parametrize("seed", range(8))
def test_bounds_hold_in_any_family(seed):
    rows = random_family(seed, functions=3 + seed, inputs=4, answers=3)
    found = compare(rows)
    assert found.bounds_hold
    largest = max(len(set(column)) for column in rows.T)
    assert found.most == len(rows) - 1 and found.least >= math.log(len(rows), largest) - 1e-9 > found.least - 1


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_gap_is_exponential(n):
    rows = gap_family(n)
    assert rows.shape == (2**n, 2**n - 1)
    found = compare(rows)
    assert (found.interactive, found.non_interactive) == (n, 2**n - 1) and found.mean == n
    if n > 1:  # every input is needed, by two functions that nothing else tells apart
        for left_out in range(2**n - 1):
            others = np.delete(rows, left_out, axis=1)
            assert len({tuple(row) for row in others}) < len(rows)


def test_where_answers_are_independent_interaction_does_not_help():
    for answers in ([2, 2, 2], [3, 2], [4]):
        rows = independent_family(answers)
        assert rows.shape == (math.prod(answers), len(answers)) and len({tuple(row) for row in rows}) == len(rows)
        found = compare(rows)
        assert found.interactive == found.non_interactive == len(answers) == found.mean
    with pytest.raises(FormatError, match="each at least 2"):
        independent_family([3, 1])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 1], [1, 0], [0, 1]], "Functions 0 and 2 of the table are equal"),
        ([0, 1], r"shape \(2,\); expected integers \[functions, inputs\]"),
        (np.zeros((0, 3), int), "none empty"),
        ([[0.5], [1.5]], "The table is float64"),
    ],
)
def test_what_is_no_family_is_refused(table, message):
    for function in (greedy_separating_set, smallest_separating_set, interactive_tree, compare):
        with pytest.raises(FormatError, match=message):
            function(table)
    with pytest.raises(FormatError, match="depth of the tree is 0; expected 1 or more"):
        gap_family(0)


@pytest.mark.slow
def test_the_figure_is_drawn(tmp_path):
    assert draw_interrogation(tmp_path / "new").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="Give another folder"):
        draw_interrogation(tmp_path / "file")
