"""The fewest queries: searches agree with brute force, the gap is as wide as claimed, bounds hold and can fail."""

from dataclasses import replace
from itertools import combinations
from math import log

import numpy as np
import pytest
from PIL import Image

from rnn_zoos.baselines.interrogation import theory as interrogation
from rnn_zoos.baselines.interrogation.theory import (
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

SHAPES = ((1, 3, 2), (2, 1, 2), (5, 7, 2), (7, 5, 3), (6, 4, 4), (9, 6, 2), (10, 4, 3))
FAMILIES = 15


def random_table(functions: int, inputs: int, answers: int, random: np.random.Generator) -> np.ndarray:
    """Different rows of answers that are not 0, 1, 2, and of inputs that need not differ."""
    while True:
        table = random.choice(np.array([-7, 40, 3, 1000])[:answers], (functions, inputs))
        if len({tuple(row) for row in table.tolist()}) == functions:
            return table


def separates(table: np.ndarray, inputs) -> bool:
    return len({tuple(row[i] for i in inputs) for row in table.tolist()}) == len(table)


def fewest_by_all_subsets(table: np.ndarray) -> int:
    inputs = range(table.shape[1])
    return next(n for n in range(len(inputs) + 1) if any(separates(table, some) for some in combinations(inputs, n)))


def least_by_all_trees(rows: list[tuple[int, ...]], goal: str) -> int:
    """Depth, or the sum of depths, of the best of all trees, none remembered."""
    if len(rows) == 1:
        return 0
    found = []
    for asked in range(len(rows[0])):
        parts = [[row for row in rows if row[asked] == answer] for answer in {row[asked] for row in rows}]
        if len(parts) > 1:
            costs = [least_by_all_trees(part, goal) for part in parts]
            found.append(1 + max(costs) if goal == "worst" else len(rows) + sum(costs))
    return min(found)


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
def test_every_function_is_identified_in_the_depth_of_its_leaf(shape, goal):
    table = random_table(*shape, np.random.default_rng(list(shape)))
    tree = interactive_tree(table, goal)
    of_function = depths(tree)
    assert set(of_function) == set(range(len(table)))
    for number, row in enumerate(table):
        found, asked = identify(tree, row.__getitem__)
        assert found == number and len(asked) == len(set(asked)) == of_function[number]


def test_any_family_can_be_identified_by_one_query_less_than_functions():
    random = np.random.default_rng(5)
    for shape in (*SHAPES, (60, 9, 3), (300, 40, 2)):
        table = random_table(*shape, random)
        inputs = greedy_separating_set(table)
        assert separates(table, inputs) and len(inputs) <= len(table) - 1
        if len(table) in range(2, 11):
            pairs = len(table) * (len(table) - 1) / 2
            fewest = len(smallest_separating_set(table))
            assert fewest <= len(inputs) <= (1 + log(pairs)) * fewest
    for functions in range(1, 8):  # it can take all of them: each answers 1 to one input of its own
        compared = compare(np.eye(functions, dtype=int))
        assert compared.interactive == compared.non_interactive == compared.most == functions - 1


def test_greed_may_need_more_than_the_smallest():
    random = np.random.default_rng(0)
    tables = [random_table(9, 6, 2, random) for _ in range(40)]
    assert any(len(greedy_separating_set(table)) > len(smallest_separating_set(table)) for table in tables)


@pytest.mark.parametrize("n", range(1, 6))
def test_the_gap_is_exponential(n):
    table = gap_family(n)
    assert table.shape == (2**n, 2**n - 1) and set(table.ravel().tolist()) == {0, 1}
    compared = compare(table)
    assert (compared.interactive, compared.mean, compared.non_interactive) == (n, n, 2**n - 1)
    assert compared.least == n and compared.most == 2**n - 1 and compared.bounds_hold
    everything = set(range(2**n - 1))
    assert not any(separates(table, everything - {one}) for one in everything)
    if n < 4:
        assert fewest_by_all_subsets(table) == 2**n - 1
        assert least_by_all_trees([tuple(row) for row in table.tolist()], "worst") == n


def test_the_gap_family_walks_down_its_tree():
    assert gap_family(2).tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 1]]
    found, asked = identify(interactive_tree(gap_family(3)), gap_family(3)[5].__getitem__)
    assert (found, asked) == (5, [0, 2, 5])  # right, left, right


@pytest.mark.parametrize("n", range(1, 5))
def test_a_third_answer_off_the_path_would_halve_the_gap(n):
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


def test_bounds_that_do_not_hold_are_told():
    fine = compare(random_table(7, 5, 3, np.random.default_rng(1)))
    assert fine.bounds_hold
    for wrong in (
        {"least": fine.interactive + 1},
        {"interactive": fine.non_interactive + 1},
        {"non_interactive": fine.most + 1},
        {"mean": fine.interactive + 0.5},
    ):
        assert not replace(fine, **wrong).bounds_hold


@pytest.mark.parametrize("answers", [[2], [5], [2, 3], [4, 2, 3], [2, 2, 2, 2]])
def test_independent_inputs_leave_no_gap(answers):
    table = independent_family(answers)
    assert table.shape == (np.prod(answers), len(answers)) and (table.max(axis=0) == np.array(answers) - 1).all()
    compared = compare(table)
    assert compared.interactive == compared.mean == compared.non_interactive == len(answers)
    assert set(depths(interactive_tree(table)).values()) == {len(answers)}


def test_the_bound_of_the_search_is_what_the_best_tree_of_any_shape_takes():
    """The best split is not the most even one: 5 leaves of 3 answers are 3 + 1 + 1, not 2 + 2 + 1."""

    def best(goal: str, functions: int, answers: int, known: dict[int, int]) -> int:
        def splits(left: int, parts: int, largest: int):
            if parts == 1 and left <= largest:
                yield (left,)
            for first in range(min(left - parts + 1, largest), 0, -1) if parts > 1 else ():
                yield from ((first, *rest) for rest in splits(left - first, parts - 1, first))

        costs = [
            1 + max(map(known.get, split)) if goal == "worst" else functions + sum(map(known.get, split))
            for parts in range(2, min(answers, functions) + 1)
            for split in splits(functions, parts, functions - 1)
        ]
        return min(costs)

    for goal in ("worst", "mean"):
        for answers in (2, 3, 4):
            known = {1: 0}
            for functions in range(2, 20):
                known[functions] = best(goal, functions, answers, known)
            assert known == {functions: interrogation._least(goal, functions, answers) for functions in known}


def test_answers_of_any_integer_type_are_told_apart():
    """Neighbours, too, that are one float64: 2^63 and 2^63 + 1."""
    for answers, kind in (([True, False], bool), ([2**63, 2**63 + 1], np.uint64), ([-(2**63), 2**63 - 1], np.int64)):
        table = np.array(answers, kind)[:, None]
        assert greedy_separating_set(table) == smallest_separating_set(table) == [0]
        assert [identify(interactive_tree(table), row.__getitem__)[0] for row in table] == [0, 1]


@pytest.mark.parametrize("search", [compare, greedy_separating_set, smallest_separating_set, interactive_tree])
def test_bad_tables_are_refused(search):
    with pytest.raises(FormatError, match="Functions 1 and 3 of the table are equal; .* Leave one of them out"):
        search(np.array([[0, 1], [2, 0], [0, 2], [2, 0]]))
    for table in (np.zeros(3, int), np.zeros((0, 3), int), np.zeros((2, 0), int), np.eye(3), np.zeros((1, 2, 3), int)):
        with pytest.raises(FormatError, match="The table is .*64 of shape .*; expected integers .* Give a row"):
            search(table)


def test_bad_families_and_answers_are_refused():
    for n in (0, -1):
        with pytest.raises(FormatError, match=f"The depth of the tree is {n}; expected 1 or more"):
            gap_family(n)
    for answers in ([], [2, 1], [0]):
        with pytest.raises(FormatError, match="The numbers of answers are .*; expected one or more, each at least 2"):
            independent_family(answers)
    tree = interactive_tree(gap_family(2))
    with pytest.raises(FormatError, match=r"Input 0 was answered 7; expected one of \[0, 1\]. Ask a function"):
        identify(tree, lambda asked: 7)


def test_the_picture_shows_what_was_found(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(interrogation, "compare", lambda table: kept.append(compare(table)) or kept[-1])
    path = draw_interrogation(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "interrogation.png"
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] > 1000 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert all(compared.bounds_hold for compared in kept)
    assert [compared.non_interactive for compared in kept[:6]] == [1, 3, 7, 15, 31, 63]
    assert np.mean([each.interactive for each in kept[6:]]) < np.mean([each.non_interactive for each in kept[6:]]) - 0.5
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(interrogation, "compare", lambda table: kept[0])
    with pytest.raises(StorageError, match="The figure cannot go to .* Give another folder"):
        draw_interrogation(file / "below")
