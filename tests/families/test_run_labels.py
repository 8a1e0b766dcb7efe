"""Labels of runs against going through the snapshots of each run, in whole numbers."""

from types import MappingProxyType

import numpy as np
import pytest
from conftest import ALL_ZOOS
from synthetic import Synthetic

from rnn_zoos.families.columns import Column
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.run_labels import RUN_LABELS, run_labels, with_run_labels

PERCENTAGES = {"steps_to_50": 50, "steps_to_90": 90}


def labels_of(accuracies, steps=None):
    """Return the labels of a run whose snapshots have these accuracies at the steps 0, 10, 20, ..., as numbers."""
    steps = np.arange(len(accuracies)) * 10 if steps is None else np.array(steps)
    found = run_labels(np.full(len(accuracies), 7), steps, np.array(accuracies, np.float64))
    assert [*found] == [*PERCENTAGES]
    for values in found.values():
        assert values.dtype == np.int32 and len(set(values.tolist())) == 1
    return tuple(values[0].item() for values in found.values())


@pytest.mark.parametrize("total", [1, 13, 1000, 12_000, 40_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_are_the_first_steps_with_half_and_nine_tenths_of_the_last_accuracy(total, dtype):
    """`total` strings per snapshot: the numbers of right ones say exactly what is reached."""
    random, rows = np.random.default_rng(total), []
    for run in random.permutation(300):
        steps = np.sort(random.choice(1000, random.integers(1, 8), replace=False))
        right = random.integers(0, total + 1, len(steps))
        right[:-1] = np.where(random.random(len(steps) - 1) < 0.4, right[-1] * 9 // 10, right[:-1])  # often just so
        for step, count in zip(steps.tolist(), right.tolist(), strict=True):
            first = {
                name: min(
                    s for s, c in zip(steps.tolist(), right.tolist(), strict=True) if 100 * c >= percent * right[-1]
                )
                for name, percent in PERCENTAGES.items()
            }
            rows.append((run, step, count / total, first))
    random.shuffle(rows)
    runs, steps, accuracies, expected = zip(*rows, strict=True)
    found = run_labels(np.array(runs), np.array(steps), np.array(accuracies, dtype))
    assert {name: values.tolist() for name, values in found.items()} == {
        name: [of_row[name] for of_row in expected] for name in PERCENTAGES
    }


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0, 0.2, 0.5, 0.9, 1], (20, 30)),
        ([0, 0.2, 0.49, 0.89, 1], (30, 40)),
        ([0, 0.2, 1, 0.3, 0.2], (10, 10)),  # it falls again: the last accuracy counts, not the largest
        ([0, 0.4, 0, 0.8, 0.8], (10, 30)),  # it falls below what it had reached: that counts nevertheless
        ([0.5, 0.5, 0.5], (0, 0)),
        ([0.9, 0.3, 0], (0, 0)),  # nothing is left to be reached
        ([0, 0, 0], (0, 0)),
        ([0.3], (0, 0)),
        ([0, 0, 0.01], (20, 20)),
    ],
)
def test_runs_that_are_easily_mistaken(accuracies, expected):
    assert labels_of(accuracies) == expected


def test_steps_are_those_that_are_stored():
    assert labels_of([0.1], [500]) == (500, 500), "a run with one snapshot, which is not the initialisation"
    assert labels_of([0.1, 0.4, 0.7], [500, 900, 2**31 - 1]) == (900, 2**31 - 1)
    assert labels_of([0.7, 0.1, 0.4], [30, 10, 20]) == (20, 30), "in any order"


def test_without_snapshots_there_are_no_labels():
    empty = run_labels(np.array([], np.int32), np.array([], np.int32), np.array([], np.float32))
    assert {name: (values.dtype, len(values)) for name, values in empty.items()} == dict.fromkeys(
        PERCENTAGES, (np.int32, 0)
    )
    assert with_run_labels(FormalLanguages(), []) == []


@pytest.mark.parametrize("accuracies", [[0.1, 0.4, float("nan")], [float("nan")] * 3, [-0.5, -0.7, -0.1]])
def test_accuracies_that_no_sound_zoo_has_are_no_error(accuracies):
    assert all(step in (0, 10, 20) for step in labels_of(accuracies))


def test_rows_get_the_labels_of_their_run():
    rows = [{"run": run, "step": step, "accuracy": step / 4, "loss": 0.5} for run in (3, 1) for step in (0, 2, 4)]
    assert with_run_labels(FormalLanguages(), rows) == [{**row, "steps_to_50": 2, "steps_to_90": 4} for row in rows]
    older = [{name: row[name] for name in ("run", "step", "loss")} for row in rows]
    assert with_run_labels(FormalLanguages(), older) == older, "a zoo without accuracies"
    assert with_run_labels(Synthetic(), rows) == rows, "a family without accuracies"


@pytest.mark.parametrize("name", ALL_ZOOS)
def test_families_with_an_accuracy_have_the_labels_after_those_that_are_measured(name):
    family = task_family(name)
    assert family.run_labels == RUN_LABELS and [*RUN_LABELS] == [*PERCENTAGES]
    assert [*family.labels] == [*family.measured_labels, *PERCENTAGES]
    assert [*family.columns][-4:] == [*PERCENTAGES, "shard", "row"]
    assert not family.imported_columns.keys() & RUN_LABELS.keys()


def test_families_without_an_accuracy_or_with_such_a_label_of_their_own():
    assert Synthetic().run_labels == {} and not Synthetic().columns.keys() & RUN_LABELS.keys()

    class Own(FormalLanguages):
        label_columns = MappingProxyType({**FormalLanguages.label_columns, "steps_to_90": Column("float32", "mine")})

    rows = [{"run": 0, "step": step, "accuracy": step / 4, "steps_to_90": 0.25} for step in (0, 2, 4)]
    assert [*Own().run_labels] == ["steps_to_50"] and Own().columns["steps_to_90"].description == "mine"
    assert with_run_labels(Own(), rows) == [{**row, "steps_to_50": 2} for row in rows]
