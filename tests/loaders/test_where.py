"""`steps` and `where` in every form that users have them in, and the identity of a selection."""

import math
import operator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.format.index import read_index
from rnn_zoos.loaders.where import normalise_steps, normalise_where, selection_identity
from rnn_zoos.loaders.zoo import open_zoo

INTEGERS = [
    np.int64(11),
    np.array(11),
    torch.tensor(11),
    pa.scalar(11),
    [11, 11],
    (np.int32(11),),
    {11},
    range(11, 12),
    np.array([11], np.uint16),
    torch.tensor([11]),
    [torch.tensor(11)],
    pa.array([11]),
    pa.chunked_array([[11]]),
]


@pytest.mark.parametrize("steps", INTEGERS, ids=lambda steps: f"{type(steps).__name__} {steps}".replace("\n", ""))
def test_steps_are_integers_in_any_form(steps, zoo):
    assert normalise_steps(steps) == [11]
    assert set(open_zoo(zoo("formal-languages")).index(steps=steps)["step"].to_pylist()) == {11}


def test_steps_of_a_generator_select_from_every_split_and_normalising_again_changes_nothing(zoo):
    opened = open_zoo(zoo("formal-languages"))
    assert opened.index(steps=(step for step in (11, 0))).equals(opened.index(steps=[0, 11]))
    assert normalise_steps(normalise_steps(iter([2, 11, 2]))) == [2, 11] and normalise_steps(None) is None
    assert opened.index(steps=[]).num_rows == 0


@pytest.mark.parametrize(
    "steps",
    [True, [0, True], np.True_, torch.tensor([True]), 2.0, [2.0], "2", ["2"], b"\2", np.array([[2]]), [None], dict],
    ids=repr,
)
def test_steps_that_are_not_integers_are_refused(steps, zoo):
    with pytest.raises(FormatError, match="steps (is|has) .*expected an integer or several"):
        open_zoo(zoo("formal-languages")).index(steps=steps)


@pytest.mark.parametrize("steps", [10**30, [2, -1]])
def test_steps_that_the_zoo_does_not_have_are_refused(steps, zoo):
    with pytest.raises(UnknownNameError, match="Unknown step .*known: 0, 2, 11"):
        open_zoo(zoo("formal-languages")).index(steps=steps)


def test_a_string_after_in_is_refused_with_the_list_to_give_instead(zoo):
    opened = open_zoo(zoo("formal-languages"))
    task = opened.index()["task"][0].as_py()
    for operation in ("in", "not in"):
        with pytest.raises(FormatError) as error:
            opened.index(where=[("task", operation, task)])
        assert f"Give '{operation}' a list: ('task', '{operation}', [{task!r}])." in str(error.value)
    with pytest.raises(FormatError, match=r"Give 'in' a list: \('run', 'in', \[3\]\)"):
        opened.index(where=[("run", "in", np.int64(3))])
    assert opened.index(where=[("task", "in", [task])]).num_rows > 0


def generate(values):
    yield from values


@pytest.mark.parametrize(
    "make",
    [
        lambda: [("run", "in", generate([2, 5]))],
        lambda: generate([("run", "in", [2, 5])]),
        lambda: [("run", "in", {5, 2})],
        lambda: [("run", "in", np.array([5, 2]))],
        lambda: [("run", "in", torch.tensor([5, 2]))],
        lambda: [("run", "in", [np.int64(5), torch.tensor(2)])],
        lambda: [("run", "in", pa.chunked_array([[5], [2]]))],
        lambda: [("run", ">=", torch.tensor(2)), ("run", "not in", range(3, 5)), ("run", "<=", np.array(5))],
    ],
)
def test_values_of_where_in_any_form_select_from_every_split(make, zoo):
    opened = open_zoo(zoo("formal-languages"))
    expected = opened.index(where=pc.field("run").isin([2, 5]))
    assert opened.index(where=make()).equals(expected)
    once = normalise_where(make())
    assert normalise_where(once) == once
    assert opened.index(where=once).equals(expected) and opened.index(where=once).equals(expected)


COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = [3.5, 2.0, -0.5, -2.5, 1, 2**31, 2**40, -(2**40), 2**63, 10**30, 1e30, -1e30, math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("column", ["m_b", "step", "num_updates"])
@pytest.mark.parametrize("number", NUMBERS)
def test_any_number_is_compared_with_a_column_of_integers_as_by_numpy(number, column, edited_zoo):
    zoo = open_zoo(edited_zoo("formal-languages", {"seed: 13": "seed: 13\n  vary: {num_updates: [2, 11]}"}))
    values = zoo.index()[column].to_numpy().astype(np.float64)
    for sign, compare in COMPARISONS.items():
        found = zoo.index(where=[(column, sign, number)])[column].to_pylist()
        assert found == values[compare(values, float(number))].tolist(), sign


@pytest.mark.parametrize("number", NUMBERS)
def test_any_number_is_compared_with_a_column_of_large_integers(number, zoo):
    """Of integers above 2**24, pyarrow refuses to make float32."""
    opened = open_zoo(zoo("automata"))
    automata = opened.index()["automaton"].to_pylist()
    assert max(automata) > 2**31
    for sign, compare in COMPARISONS.items():
        found = opened.index(where=[("automaton", sign, number)])["automaton"].to_pylist()
        assert found == [automaton for automaton in automata if compare(automaton, number)], sign


@pytest.mark.parametrize("number", [*NUMBERS, 10**400])
def test_any_number_is_compared_with_a_column_of_floats(number, zoo):
    opened = open_zoo(zoo("formal-languages"))
    values = opened.index()["hessian_trace"].to_numpy()
    if number == 10**400:
        with pytest.raises(FormatError, match="too large"):
            opened.index(where=[("hessian_trace", "<", number)])
        return
    for sign, compare in COMPARISONS.items():
        found = opened.index(where=[("hessian_trace", sign, number)])["hessian_trace"].to_pylist()
        assert found == values[compare(values, np.float32(number))].tolist(), sign
    assert opened.index(where=[("hessian_trace", "not in", [10**8 + 1, 0.5])]).num_rows == len(values)


def test_an_expression_that_cannot_be_evaluated_is_to_blame_and_not_the_index(zoo, tmp_path):
    opened = open_zoo(zoo("formal-languages"))
    divided = pc.field("steps_to_90") / pc.field("step") < 1
    with pytest.raises(FormatError, match="^where is .*, which cannot be evaluated on .*train.parquet: divide by zero"):
        opened.index("train", where=divided)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(FormatError, match="is not a readable parquet index"):
        read_index(tmp_path / "x.parquet", divided)


def test_only_numbers_that_a_column_of_integers_can_have_count_in_a_list(zoo):
    opened = open_zoo(zoo("formal-languages"))
    for extra in ([3.5], [2**31, -(2**40)], [1e30, 10**30], [math.inf, -math.inf, math.nan], [2.0]):
        assert set(opened.index(where=[("step", "in", [*extra, 2])])["step"].to_pylist()) == {2}, extra
        assert set(opened.index(where=[("step", "not in", [*extra, 2])])["step"].to_pylist()) == {0, 11}, extra
    assert opened.index(where=[("step", "in", [3.5])]).num_rows == 0
    assert opened.index(where=[("step", "not in", [3.5])]).equals(opened.index())


@pytest.mark.parametrize("where", [3, "accuracy > 0.5", {"run": 3}, [("run", ">")], [("run", "~", 3)], ["run"]])
def test_a_malformed_where_is_refused(where, zoo):
    with pytest.raises(FormatError, match=r"where (is|has) .*Expected a pyarrow expression, or triples"):
        open_zoo(zoo("formal-languages")).index(where=where)


def test_selections_share_an_identity_only_if_they_are_equal():
    """The `repr` of a long array or expression omits values, so that it cannot tell selections apart."""
    runs = np.arange(5000)
    other = np.where(runs == 2500, 9999, runs)
    assert repr(runs) == repr(other) and str(pc.field("run").isin(runs)) == str(pc.field("run").isin(other))
    selections = [
        (None, None),
        ([], None),
        (None, []),
        (11, None),
        ([2, 11], None),
        (None, [("run", "in", runs)]),
        (None, [("run", "in", other)]),
        (None, [("run", "not in", runs)]),
        (None, pc.field("run").isin(runs)),
        (None, pc.field("run").isin(other)),
        (None, [("task", "==", "3")]),
        (None, [("task", "==", 3)]),
    ]
    identities = [selection_identity(*selection) for selection in selections]
    assert len(set(identities)) == len(selections)
    assert identities == [selection_identity(*selection) for selection in selections]
    assert selection_identity(range(2, 12, 9), None) == selection_identity(torch.tensor([11, 2]), None)
    assert selection_identity(None, [("run", "in", torch.arange(5000))]) == identities[5]
    assert selection_identity(None, generate([("run", "in", set(runs.tolist()))])) == selection_identity(
        None, [("run", "in", frozenset(runs.tolist()))]
    )
