"""Zoos may lack known labels and have unknown ones; the columns that identify a snapshot are required."""

import shutil

import numpy as np
import pyarrow as pa
import pytest
from conftest import ZOOS
from damage import edit_index, edit_manifest, replace_index
from old_zoos import LabelledLanguages, remove_labels

from rnn_zoos.errors import FormatError
from rnn_zoos.families.columns import PLACE_COLUMNS, PLAN_COLUMNS, Column
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.columns import missing_labels, unknown_labels, with_labels
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.loaders.paper.exporting import export_paper
from rnn_zoos.loaders.views.figures import draw_zoo
from rnn_zoos.loaders.views.info import zoo_info
from rnn_zoos.loaders.zoo import open_zoo


def add_columns(out, before, **columns):
    """Add columns, name -> (dtype, function number of rows -> values), before the column `before`."""

    def describe(data):
        items = list(data["columns"].items())
        place = [name for name, _ in items].index(before)
        new = [(name, {"dtype": dtype, "description": "new", "unit": ""}) for name, (dtype, _) in columns.items()]
        data["columns"] = dict([*items[:place], *new, *items[place:]])

    edit_manifest(out / "zoo.json", describe)
    for split in [split for split, counts in read_manifest(out).splits.items() if counts["shards"]]:
        table = read_index(out / "index" / f"{split}.parquet")
        for name, (dtype, values) in columns.items():
            field = pa.field(name, getattr(pa, dtype if dtype != "bool" else "bool_")(), nullable=False)
            array = pa.array(values(len(table)), field.type)
            table = table.add_column(table.column_names.index(before), field, array)
        replace_index(out, split, table)
    return out


@pytest.mark.parametrize("name", ZOOS)
def test_every_label_may_be_missing(name, zoo, tmp_path):
    labels = list(task_family(name).labels)
    for count in (1, 2, len(labels)):
        out = remove_labels(shutil.copytree(zoo(name), tmp_path / str(count)), *labels[-count:])
        assert check_zoo(out) == []
        assert missing_labels(read_manifest(out), task_family(name)) == labels[-count:]
        index = open_zoo(out).index()
        assert len(index) and not {*labels[-count:]} & {*index.column_names}
        assert {row["label"] for row in zoo_info(open_zoo(out))["labels"]} >= {*labels[:-count]}


def test_a_zoo_of_a_later_version_is_valid_and_its_labels_can_be_read(zoo, tmp_path):
    """Its names and signs say nothing: a later version knows what they mean."""
    out = add_columns(
        shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"),
        "shard",
        log_loss=("float32", lambda count: -np.arange(1.0, count + 1)),
        train_accuracy=("float64", lambda count: np.full(count, 99.5)),
        converged=("bool", lambda count: [True] * count),
        phase_loss=("string", lambda count: ["early"] * count),
    )
    assert check_zoo(out) == []
    names = ["log_loss", "train_accuracy", "converged", "phase_loss"]
    assert unknown_labels(read_manifest(out), FormalLanguages()) == names
    index = open_zoo(out).index("train", where=[("log_loss", "<", -1)])
    assert index["log_loss"].to_pylist() == [-2.0 - row for row in range(len(index))]
    assert {"log_loss", "train_accuracy"} <= {row["label"] for row in zoo_info(open_zoo(out))["labels"]}
    edit_index(out, "train", lambda rows: rows[1].update(log_loss=float("inf")))
    assert ["log_loss is inf; expected a finite number" in finding for finding in check_zoo(out)] == [True]


@pytest.mark.parametrize("name", ZOOS)
def test_readers_that_need_a_missing_label_say_so(name, zoo, tmp_path):
    out = remove_labels(shutil.copytree(zoo(name), tmp_path / "zoo"), *task_family(name).labels)
    with pytest.raises(FormatError, match="lacks the labels accuracy, which are needed here; `rnn-zoos relabel`"):
        draw_zoo(out, tmp_path / "figures")
    with pytest.raises(FormatError, match="lacks the labels (count_accuracy|accuracy, train_loss, eval_loss), which"):
        export_paper(out, tmp_path / "paper")


@pytest.mark.parametrize("column", [*PLAN_COLUMNS, "m_c", *PLACE_COLUMNS])
def test_columns_that_identify_a_snapshot_are_required(column, zoo, tmp_path):
    out = remove_labels(shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"), column)
    findings = check_zoo(out)
    assert findings[0] == f"zoo.json: the columns lack {column}, which every zoo has."


def test_columns_of_an_import_that_say_where_it_comes_from_are_required(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    edit_manifest(out / "zoo.json", lambda data: data.update(imported={"layout": "elsewhere"}))
    assert any("the columns lack original_run, original_row, original_step" in line for line in check_zoo(out))


def test_required_columns_have_a_fixed_order_and_index_and_manifest_agree(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    edit_manifest(out / "zoo.json", lambda data: data["columns"].update(run=data["columns"].pop("run")))
    assert any("the columns have the order step, split, task" in finding for finding in check_zoo(out))
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "other")
    edit_manifest(out / "zoo.json", lambda data: data["columns"].pop("loss"))
    findings = check_zoo(out)
    assert findings and all("has the columns run int32" in finding for finding in findings), findings


@pytest.mark.parametrize(
    "column",
    [
        {"dtype": "float16", "description": "", "unit": ""},
        {"dtype": "float32", "description": ""},
        {"dtype": "float32", "description": "", "unit": "", "more": ""},
        {"dtype": "float32", "description": None, "unit": ""},
        {"dtype": ["float32"], "description": "", "unit": ""},
    ],
)
def test_an_unknown_column_needs_an_allowed_dtype_a_description_and_a_unit(column, zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    edit_manifest(out / "zoo.json", lambda data: data["columns"].update(more=column))
    with pytest.raises(FormatError, match="the column more is described as"):
        check_zoo(out)


def test_a_later_label_is_checked_by_what_its_entry_says(zoo, tmp_path, monkeypatch):
    out = add_columns(
        shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"),
        "shard",
        square_sum=("float32", lambda count: np.full(count, 1.5)),
    )
    label = LabelledLanguages.further_labels["square_sum"]
    for fraction, count in ((False, 0), (True, 21)):
        entry = type(label)(Column("float32", "new"), label.measure, fraction)
        monkeypatch.setattr(
            FormalLanguages, "further_labels", {**LabelledLanguages.further_labels, "square_sum": entry}
        )
        findings = check_zoo(out)
        assert len([line for line in findings if "square_sum is 1.5; expected 0 to 1." in line]) == count
        assert len(findings) == count


def test_new_labels_come_after_the_known_label_before_them():
    known = {name: Column("float32", name) for name in "abcde"}
    for given, labels, expected in (
        ("abe", "cd", "abcde"),
        ("abXe", "cd", "abcdXe"),
        ("abXeY", "d", "abdXeY"),
        ("aXb", "cde", "aXbcde"),
        ("bYa", "c", "bcYa"),
    ):
        columns = {name: known.get(name, Column("int32", name)) for name in given}
        found = with_labels(columns, known, labels)
        assert "".join(found) == expected
        assert all(column == known.get(name, Column("int32", name)) for name, column in found.items())
