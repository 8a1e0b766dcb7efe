"""The fewest queries: searches agree with brute force, families need the queries that they should, bounds hold."""

import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from math import log
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnn_zoos.baselines.interrogation import figure, theory
from rnn_zoos.baselines.interrogation.figure import draw_interrogation
from rnn_zoos.baselines.interrogation.theory import (
    compare,
    depths,
    gap_family,
    greedy_separating_set,
    identify,
    independent_family,
    interactive_tree,
    smallest_separating_set,
)
from rnn_zoos.errors import FormatError, StorageError

SHAPES = ((1, 3, 2), (2, 1, 2), (5, 7, 2), (7, 5, 3), (6, 4, 4), (9, 6, 2), (10, 4, 3))
FAMILIES = 15


def random_table(functions: int, inputs: int, outputs: int, random: np.random.Generator) -> np.ndarray:
    """Return different rows of outputs other than 0, 1, 2; columns may be equal."""
    while True:
        table = random.choice(np.array([-7, 40, 3, 1000])[:outputs], (functions, inputs))
        if len({tuple(row) for row in table.tolist()}) == functions:
            return table


def separates(table: np.ndarray, inputs) -> bool:
    return len({tuple(row[i] for i in inputs) for row in table.tolist()}) == len(table)


def fewest_by_all_subsets(table: np.ndarray) -> int:
    inputs = range(table.shape[1])
    return next(n for n in range(len(inputs) + 1) if any(separates(table, some) for some in combinations(inputs, n)))


def least_by_all_trees(rows: list[tuple[int, ...]], goal: str) -> int:
    """Return the depth, or the sum of depths, of the best tree, by plain recursion over all trees."""
    if len(rows) == 1:
        return 0
    costs_of_all = []
    for number in range(len(rows[0])):
        parts = [[row for row in rows if row[number] == output] for output in {row[number] for row in rows}]
        if len(parts) > 1:
            costs = [least_by_all_trees(part, goal) for part in parts]
            costs_of_all.append(1 + max(costs) if goal == "worst" else len(rows) + sum(costs))
    return min(costs_of_all)


@pytest.mark.parametrize("shape", SHAPES)
def test_searches_agree_with_brute_force(shape):
    random = np.random.default_rng(list(shape))
    for _ in range(FAMILIES):
        table = random_table(*shape, random)
        smallest = smallest_separating_set(table)
        assert separates(table, smallest) and len(smallest) == fewest_by_all_subsets(table)
        assert smallest == sorted(set(smallest))
        rows = [tuple(row) for row in table.tolist()]
        assert max(depths(interactive_tree(table)).values()) == least_by_all_trees(rows, "worst")
        assert sum(depths(interactive_tree(table, "mean")).values()) == least_by_all_trees(rows, "mean")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("goal", ["worst", "mean"])
def test_every_function_is_identified_after_as_many_queries_as_its_leaf_is_deep(shape, goal):
    table = random_table(*shape, np.random.default_rng(list(shape)))
    tree = interactive_tree(table, goal)
    of_function = depths(tree)
    assert set(of_function) == set(range(len(table)))
    for number, row in enumerate(table):
        found, queried = identify(tree, row.__getitem__)
        assert found == number and len(queried) == len(set(queried)) == of_function[number]


def test_one_query_fewer_than_functions_is_enough_and_sometimes_necessary():
    random = np.random.default_rng(5)
    for shape in (*SHAPES, (60, 9, 3), (300, 40, 2)):
        table = random_table(*shape, random)
        inputs = greedy_separating_set(table)
        assert separates(table, inputs) and len(inputs) <= len(table) - 1
        if len(table) in range(2, 11):
            pairs = len(table) * (len(table) - 1) / 2
            fewest = len(smallest_separating_set(table))
            assert fewest <= len(inputs) <= (1 + log(pairs)) * fewest
    for functions in range(1, 8):  # each function is 1 at one input, all at different ones
        compared = compare(np.eye(functions, dtype=int))
        assert compared.interactive == compared.non_interactive == compared.most == functions - 1


def test_the_greedy_separating_set_is_not_always_the_smallest():
    random = np.random.default_rng(0)
    tables = [random_table(9, 6, 2, random) for _ in range(40)]
    assert any(len(greedy_separating_set(table)) > len(smallest_separating_set(table)) for table in tables)


@pytest.mark.parametrize("n", range(1, 6))
def test_gap_families_need_exponentially_fewer_queries_with_interaction(n):
    table = gap_family(n)
    assert table.shape == (2**n, 2**n - 1) and set(table.ravel().tolist()) == {0, 1}
    compared = compare(table)
    assert (compared.interactive, compared.mean, compared.non_interactive) == (n, n, 2**n - 1)
    assert compared.least == n and compared.most == 2**n - 1 and compared.bounds_hold
    inputs = set(range(2**n - 1))
    assert not any(separates(table, inputs - {one}) for one in inputs)
    if n < 4:
        assert fewest_by_all_subsets(table) == 2**n - 1
        assert least_by_all_trees([tuple(row) for row in table.tolist()], "worst") == n


def test_identifying_a_function_of_a_gap_family_follows_the_path_from_the_root():
    assert gap_family(2).tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 1]]
    found, queried = identify(interactive_tree(gap_family(3)), gap_family(3)[5].__getitem__)
    assert (found, queried) == (5, [0, 2, 5])  # right, left, right


@pytest.mark.parametrize("n", range(1, 5))
def test_a_third_output_off_the_path_would_halve_the_non_interactive_queries(n):
    table = gap_family(n)
    for level in range(n):
        for node in range(2**level):
            table[np.arange(2**n) >> (n - level) != node, 2**level - 1 + node] = 2
    compared = compare(table)
    assert compared.non_interactive == 2 ** (n - 1) and separates(table, range(2 ** (n - 1) - 1, 2**n - 1))


@pytest.mark.parametrize("shape", [*SHAPES, (14, 11, 2), (13, 9, 3)])
def test_bounds_hold_for_any_family(shape):
    random = np.random.default_rng(list(shape))
    for _ in range(FAMILIES):
        compared = compare(random_table(*shape, random))
        assert compared.bounds_hold and compared.most == shape[0] - 1
        assert shape[2] ** compared.least >= shape[0]


def test_violated_bounds_are_detected():
    valid = compare(random_table(7, 5, 3, np.random.default_rng(1)))
    assert valid.bounds_hold
    for wrong in (
        {"least": valid.interactive + 1},
        {"interactive": valid.non_interactive + 1},
        {"non_interactive": valid.most + 1},
        {"mean": valid.interactive + 0.5},
    ):
        assert not replace(valid, **wrong).bounds_hold


@pytest.mark.parametrize("outputs", [[2], [5], [2, 3], [4, 2, 3], [2, 2, 2, 2]])
def test_interaction_saves_nothing_if_inputs_are_independent(outputs):
    table = independent_family(outputs)
    assert table.shape == (np.prod(outputs), len(outputs)) and (table.max(axis=0) == np.array(outputs) - 1).all()
    compared = compare(table)
    assert compared.interactive == compared.mean == compared.non_interactive == len(outputs)
    assert set(depths(interactive_tree(table)).values()) == {len(outputs)}


def splits(functions: int, parts: int, largest: int):
    """Yield the ways to split functions into parts of sizes in descending order, the first at most `largest`."""
    if parts == 1 and functions <= largest:
        yield (functions,)
    for first in range(min(functions - parts + 1, largest), 0, -1) if parts > 1 else ():
        yield from ((first, *rest) for rest in splits(functions - first, parts - 1, first))


def cost_of_best_tree(goal: str, functions: int, outputs: int, known: dict[int, int]) -> int:
    """Return the cost of the best tree, by all splits of the root; `known` has the costs for fewer functions."""
    costs = [
        1 + max(map(known.get, split)) if goal == "worst" else functions + sum(map(known.get, split))
        for parts in range(2, min(outputs, functions) + 1)
        for split in splits(functions, parts, functions - 1)
    ]
    return min(costs)


@pytest.mark.parametrize("goal", ["worst", "mean"])
@pytest.mark.parametrize("outputs", [2, 3, 4])
def test_the_bound_of_the_search_is_the_cost_of_the_best_tree_of_any_shape(goal, outputs):
    """The best split is not the most even one: 5 leaves with 3 outputs are 3 + 1 + 1, not 2 + 2 + 1."""
    known = {1: 0}
    for functions in range(2, 20):
        known[functions] = cost_of_best_tree(goal, functions, outputs, known)
    assert known == {functions: theory._least(goal, functions, outputs) for functions in known}


def test_outputs_of_any_integer_type_are_distinguished():
    """Also 2^63 and 2^63 + 1, which are equal as float64."""
    for outputs, kind in (([True, False], bool), ([2**63, 2**63 + 1], np.uint64), ([-(2**63), 2**63 - 1], np.int64)):
        table = np.array(outputs, kind)[:, None]
        assert greedy_separating_set(table) == smallest_separating_set(table) == [0]
        assert [identify(interactive_tree(table), row.__getitem__)[0] for row in table] == [0, 1]


@pytest.mark.parametrize("search", [compare, greedy_separating_set, smallest_separating_set, interactive_tree])
def test_invalid_tables_are_rejected(search):
    with pytest.raises(FormatError, match="Functions 1 and 3 of the table are equal; .* Remove one of them"):
        search(np.array([[0, 1], [2, 0], [0, 2], [2, 0]]))
    for table in (np.zeros(3, int), np.zeros((0, 3), int), np.zeros((2, 0), int), np.eye(3), np.zeros((1, 2, 3), int)):
        with pytest.raises(
            FormatError, match="The table has dtype .*64 and shape .*; expected integers .* Give one row"
        ):
            search(table)


def test_invalid_sizes_and_outputs_are_rejected():
    for n in (0, -1):
        with pytest.raises(FormatError, match=f"The depth of the tree is {n}; expected 1 or more"):
            gap_family(n)
    for outputs in ([], [2, 1], [0]):
        with pytest.raises(FormatError, match="The numbers of outputs are .*; expected one or more, each at least 2"):
            independent_family(outputs)
    tree = interactive_tree(gap_family(2))
    with pytest.raises(FormatError, match=r"The output for input 0 is 7; expected one of \[0, 1\]. Use a function"):
        identify(tree, lambda number: 7)


def test_the_figure_shows_the_results_of_the_searches(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(figure, "compare", lambda table: found.append(compare(table)) or found[-1])
    path = draw_interrogation(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "interrogation.png"
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] > 1000 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert all(compared.bounds_hold for compared in found)
    assert [compared.non_interactive for compared in found[:6]] == [1, 3, 7, 15, 31, 63]
    interactive, non_interactive = ([getattr(c, f) for c in found[6:]] for f in ("interactive", "non_interactive"))
    assert np.mean(interactive) < np.mean(non_interactive) - 0.5


def test_statements_are_named_by_what_they_say_and_not_by_the_numbers_of_propositions():
    for module in (theory, figure):
        source = Path(module.__file__).read_text(encoding="utf-8")
        assert not re.search(r"(?i)proposition|theorem|lemma", source), module.__name__
    assert "worst case of F - 1 queries" in theory.__doc__ and "The gap:" in theory.__doc__


def test_the_theory_needs_no_plotting():
    script = "import sys, rnn_zoos.baselines.interrogation.theory; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_folder_that_cannot_be_written_is_reported(tmp_path, monkeypatch):
    comparison = compare(gap_family(1))
    monkeypatch.setattr(figure, "compare", lambda table: comparison)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=f"{tmp_path / 'file' / 'below'}"):
        draw_interrogation(tmp_path / "file" / "below")
