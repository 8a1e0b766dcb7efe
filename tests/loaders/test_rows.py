"""Rows and steps that do not lead to a network: the error says what there is instead."""

import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import generate_in_process
from damage import edit_index
from mixed_preset import MIXED

from rnn_zoos import load_dataset, load_model, stack
from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.loaders import gathering
from rnn_zoos.loaders.index_rows import PLACE
from rnn_zoos.loaders.views.sample import sample_network
from rnn_zoos.loaders.zoo import open_zoo

READERS = {
    "stack": lambda zoo, rows: zoo.stack(rows),
    "stacks": lambda zoo, rows: zoo.stacks(rows),
    "weights": lambda zoo, rows: zoo.weights(rows[0]),
    "take": lambda zoo, rows: zoo.take("weights", {name: [row[name] for row in rows] for name in rows[0]}),
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "mixed.yaml").write_text(MIXED.format(runs=7))
    plan = make_plan("formal-languages", str(folder / "mixed.yaml"), backend="native")
    generate_in_process(folder / "zoo", plan)
    return folder / "zoo"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("columns", [None, ["run", "step", "weights"], ["split", "shard"]])
def test_rows_without_a_place_are_an_error_that_points_to_their_weights(reader, columns, zoo):
    rows = load_dataset(zoo("formal-languages"), split="train")
    picked = [rows[number] for number in (3, 0)]
    if columns is not None:
        picked = [{name: row.get(name, 0) for name in columns} for row in picked]
    with pytest.raises(
        FormatError, match=r"expected rows of `Zoo.index`, with split, shard and row\..*row\['weights'\]"
    ):
        READERS[reader](open_zoo(zoo("formal-languages")), picked)


@pytest.mark.parametrize("rows", [{"run": [0]}, ["run", "step"], [None], [3]], ids=str)
def test_what_is_no_list_of_rows_is_an_error(rows, zoo):
    opened = open_zoo(zoo("formal-languages"))
    for read in (opened.stack, opened.stacks):
        with pytest.raises(FormatError, match="expected rows of `Zoo.index`"):
            read(rows)


def test_places_may_stand_beside_anything_and_places_of_no_kind_are_an_error(zoo):
    """Rows of tensors, dicts and texts do not fit into one table; only their places are read."""
    opened = open_zoo(zoo("formal-languages"))
    rows = opened.index("train").to_pylist()[:3]
    odd = [{**row, "extra": value} for row, value in zip(rows, (torch.ones(2, 2), {"a": 1}, "text"), strict=True)]
    for name, weights in opened.stack(odd).weights.items():
        assert torch.equal(weights, opened.stack(rows).weights[name])
    for column, value in (("shard", "0"), ("row", None), ("row", 0.5)):
        with pytest.raises(FormatError, match="shard or row that is no number"):
            opened.stack([rows[0] | {column: value}])
    with pytest.raises(FormatError, match="shard or row that is no number"):
        opened.stack(pa.table({"split": ["train"], "shard": ["0"], "row": [0]}))


def test_rows_may_be_a_table_its_columns_or_its_rows(zoo):
    opened = open_zoo(zoo("formal-languages"))
    table = opened.index("train")
    expected = opened.take("weights", table.to_pydict())
    for rows in (table, table.to_pylist(), table.to_pandas(), {name: table[name].to_numpy() for name in PLACE}):
        found = opened.take("weights", rows)
        assert all(np.array_equal(found[name], array) for name, array in expected.items())
        assert torch.equal(opened.stack(rows).weights["linear.bias"], torch.from_numpy(expected["linear.bias"]))


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": [0, 1]}, r"have the lengths \[1, 1, 2\]; expected columns of one length"),
        ({"split": ["train", "train"]}, r"have the lengths \[2, 1, 1\]; expected columns of one length"),
        ({"row": [0.7]}, "shard or row that is no number"),
        ({"row": 0}, r"row is 0; expected the column of several rows. Of one row, give \[row\]"),
        ({"split": "train"}, r"split is 'train'; expected the column of several rows"),
    ],
)
def test_columns_that_are_not_those_of_rows_are_an_error(change, message, native, zoo, monkeypatch):
    if not native:
        monkeypatch.setattr(gathering, "_native", None)
    with pytest.raises(FormatError, match=message):
        open_zoo(zoo("formal-languages")).take("weights", {"split": ["train"], "shard": [0], "row": [0]} | change)


def test_a_kind_of_files_or_a_row_of_a_file_that_does_not_exist_is_an_error(zoo):
    opened = open_zoo(zoo("formal-languages"))
    file = opened.manifest.paths("shards", "train")[0]
    for read in (
        lambda: opened.take("weigths", opened.index("train")),
        lambda: opened.read_row("weigths", file, 0),
        lambda: opened.row_format("weigths", opened.manifest.architecture),
        lambda: opened.fetch("train", [0], ["weigths"]),
    ):
        with pytest.raises(UnknownNameError, match="Unknown kind of tensors 'weigths'; known: weights, rollouts"):
            read()
    for row in (0.7, "0"):
        with pytest.raises(FormatError, match=f"The row is {row!r}; expected the number of a row in {file}"):
            opened.read_row("weights", file, row)
    with pytest.raises(FormatError, match=r"The zoo has no file \['shards/.*'\] in shards"):
        opened.read_row("weights", [file], 0)


def test_the_name_of_the_folder_stands_for_its_tensors(zoo):
    """As in version 0.1."""
    opened = open_zoo(zoo("formal-languages"))
    rows, file = opened.index("train"), opened.manifest.paths("shards", "train")[0]
    for read in (lambda kind: opened.take(kind, rows), lambda kind: opened.read_row(kind, file, 2)):
        one, other = read("shards"), read("weights")
        assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    assert opened.row_format("shards", opened.manifest.architecture).fields


@pytest.mark.parametrize("kind", ["one architecture", "several"])
def test_a_split_or_shard_that_the_zoo_lacks_is_an_error(kind, zoo, mixed):
    opened = open_zoo(mixed if kind == "several" else zoo("formal-languages"))
    row = opened.index("train").to_pylist()[0]
    for change, message in (({"split": "dev"}, "names the split 'dev'; expected one of train"), ({"shard": 99}, "99")):
        for read in (opened.weights, lambda row: opened.stacks([row])):
            with pytest.raises(FormatError, match=message):
                read(row | change)


def test_rows_of_an_index_have_no_weights_for_a_stack_of_rows(zoo):
    with pytest.raises(FormatError, match="A row without weights.*for rows of an index there is `Zoo.stack`"):
        stack(open_zoo(zoo("formal-languages")).index("train").to_pylist())


def test_a_step_after_the_end_of_a_run_is_an_error_that_says_why_it_ended(edited_zoo, tmp_path):
    directory = edited_zoo("formal-languages", {"seed: 13": "seed: 13\n  vary: {num_updates: [2, 11]}"})
    index = open_zoo(directory).index(steps=2).to_pylist()
    short, whole = (next(row for row in index if row["num_updates"] == count) for count in (2, 11))
    ended = f"Run {short['run']} ended after 2 updates, before step 11; it has the steps \\[0, 2\\]\\."
    for read in (load_model, sample_network):
        with pytest.raises(UnknownNameError, match=ended):
            read(directory, run=short["run"], step=11, **({"count": 1} if read is sample_network else {}))
    out = shutil.copytree(directory, tmp_path / "zoo")
    edit_index(out, short["split"], lambda rows: [row.update(diverged=True) for row in rows])
    with pytest.raises(UnknownNameError, match=f"Run {short['run']} diverged before step 11; it has the steps"):
        open_zoo(out).row(short["run"], 11)
    assert open_zoo(directory).row(whole["run"], 11)["step"] == 11


def test_a_snapshot_that_is_missing_for_no_reason_is_not_called_diverged(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    edit_index(out, "train", lambda rows: rows.pop())
    run = open_zoo(zoo("formal-languages")).index("train")["run"][-1].as_py()
    with pytest.raises(UnknownNameError, match=rf"Run {run} has no snapshot at step 11; it has the steps \[0, 2\]"):
        open_zoo(out).row(run, 11)


def test_a_run_that_the_zoo_lacks_is_an_error_with_the_range_of_runs(zoo):
    with pytest.raises(UnknownNameError, match="Unknown run 9999999999; this zoo has the runs 0 to 6"):
        sample_network(zoo("formal-languages"), run=9999999999, step=None, count=3)
