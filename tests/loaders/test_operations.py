"""Every operation of `datasets` on the rows of a zoo: the right weights, or an error; never others, never none."""

import json
import pickle

import datasets
import numpy as np
import pytest
import torch
from conftest import ZOOS
from torch.utils.data import DataLoader

from rnn_zoos import Weights, load_dataset, open_zoo, stack_weights
from rnn_zoos.errors import FormatError
from rnn_zoos.loaders import features, materialize, places

PLACES = Weights(decode=False)


@pytest.fixture(scope="module", autouse=True)
def quiet_and_cached_here(tmp_path_factory):
    """Hide progress bars, and keep what `datasets` caches in a temporary folder."""
    datasets.disable_progress_bars()
    before, datasets.config.HF_DATASETS_CACHE = datasets.config.HF_DATASETS_CACHE, tmp_path_factory.mktemp("cache")
    yield
    datasets.config.HF_DATASETS_CACHE = before
    datasets.enable_progress_bars()


@pytest.fixture(params=ZOOS)
def opened(request, zoo):
    return open_zoo(zoo(request.param))


@pytest.fixture
def right(opened):
    """Return a function: rows -> their number, after comparing the weights and rollouts of each with the zoo."""
    expected = {}
    for rows in load_dataset(opened.source.folder, rollouts=True).values():
        for row in rows:
            weights = opened.weights(opened.row(row["run"], row["step"]))
            expected[row["run"], row["step"]] = {"weights": weights, "rollouts": row["rollouts"]}

    def compare(rows):
        count = 0
        for row in rows:
            for column, tensors in expected[int(row["run"]), int(row["step"])].items():
                assert list(row[column]) == list(tensors)
                for name, tensor in tensors.items():
                    assert np.array_equal(np.asarray(row[column][name]), np.asarray(tensor))
            count += 1
        return count

    return compare


def load(zoo, split="train", **options):
    return load_dataset(zoo.source.folder, split=split, rollouts=True, **options)


def add_column(batch):
    return batch | {"new": [1] * len(batch["run"])}


def halve(row):
    return {"weights": {name: tensor / 2 for name, tensor in row["weights"].items()}}


def halve_batch(batch):
    return {"weights": [halve({"weights": weights})["weights"] for weights in batch["weights"]]}


def is_halved(rows, original):
    """Whether the weights of all rows are half of those of the original rows."""
    pairs = zip(rows, original, strict=True)
    return all(torch.equal(row["weights"][n], t / 2) for row, before in pairs for n, t in before["weights"].items())


SAME_ROWS = {
    "select": lambda rows: rows.select([2, 0]),
    "filter": lambda rows: rows.filter(lambda row: row["step"] > 0),
    "filter by columns": lambda rows: rows.filter(lambda step: step > 0, input_columns=["step"]),
    "sort": lambda rows: rows.sort("loss" if "loss" in rows.column_names else "eval_loss"),
    "shuffle": lambda rows: rows.shuffle(seed=3),
    "shard": lambda rows: rows.shard(2, 1),
    "skip": lambda rows: rows.skip(1),
    "take": lambda rows: rows.take(2),
    "repeat": lambda rows: rows.repeat(2),
    "flatten": lambda rows: rows.flatten(),
    "map that relabels": lambda rows: rows.map(lambda row: {"split": "validation"}),
    "map that rotates": lambda rows: rows.map(lambda row: {"angle": row.get("angle", 0) + 90}),
    "map that returns its row": lambda rows: rows.map(lambda row: row),
    "map that returns what it read": lambda rows: rows.map(lambda row: (row["weights"], row["rollouts"], row)[2]),
    "map, batched": lambda rows: rows.map(add_column, batched=True),
    "map, two processes": lambda rows: rows.map(add_column, batched=True, num_proc=2),
    "rename a label": lambda rows: rows.rename_column("split", "part"),
    "remove labels": lambda rows: rows.remove_columns(["split", "task", "accuracy"]),
    "select columns": lambda rows: rows.select_columns(["run", "step", "weights", "rollouts"]),
    "add a column": lambda rows: rows.add_column("number", list(range(len(rows)))),
    "cast a label": lambda rows: rows.cast_column("run", datasets.Value("int64")),
    "cast to places and back": lambda rows: rows.cast_column("weights", PLACES).cast_column("weights", Weights()),
    "class_encode_column": lambda rows: rows.class_encode_column("task"),
    "train_test_split": lambda rows: rows.train_test_split(0.4, seed=1)["test"],
    "train_test_split, stratified": lambda rows: rows.class_encode_column("split").train_test_split(
        0.4, seed=1, stratify_by_column="split"
    )["train"],
    "with_format torch": lambda rows: rows.with_format("torch"),
    "with_format numpy": lambda rows: rows.with_format("numpy"),
    "with_format and back": lambda rows: rows.with_format("torch").with_format(None),
    "with_transform": lambda rows: rows.with_transform(lambda batch: batch),
    "to_iterable_dataset": lambda rows: rows.to_iterable_dataset(2),
    "pickle": lambda rows: pickle.loads(pickle.dumps(rows)),  # noqa: S301 - our own bytes
    "materialize": materialize,
}


@pytest.mark.parametrize("name", SAME_ROWS)
def test_an_operation_keeps_the_weights_of_its_rows(name, opened, right):
    assert right(SAME_ROWS[name](load(opened))) > 0


def late(batch):
    return [step > 0 for step in batch["step"]]


@pytest.fixture
def read(monkeypatch):
    """Return the list of the stored weights that are read."""
    read = []
    monkeypatch.setattr(features, "read_weights", lambda stored: (read.append(stored), places.read_weights(stored))[1])
    return read


@pytest.mark.parametrize(
    ("streaming", "everything", "change"),
    [
        (False, False, lambda rows: rows.filter(lambda step: step > 0, input_columns=["step"])),
        (False, False, lambda rows: rows.filter(late, batched=True)),
        (False, True, lambda rows: rows.filter(lambda row: row["step"] > 0)),
        (False, False, lambda rows: rows.remove_columns(["weights"])),
        (True, True, lambda rows: rows.filter(lambda step: step > 0, input_columns=["step"])),
        (True, True, lambda rows: rows.filter(late, batched=True)),
        (True, True, lambda rows: rows.remove_columns(["weights"])),
        (True, False, lambda rows: rows.select_columns(["step"])),
    ],
)
def test_weights_are_read_by_the_operations_that_the_documentation_names(streaming, everything, change, zoo, read):
    rows = load_dataset(zoo("formal-languages"), split="train", streaming=streaming)
    count = sum(1 for _ in rows.select_columns(["step"]))
    assert not read and count > 0
    changed = change(rows)
    if streaming:
        assert list(changed)
    assert len(read) == (count if everything else 0)


def test_streams_read_weights_only_of_chosen_rows_and_columns(zoo, read):
    late_rows = load_dataset(zoo("formal-languages"), split="train", streaming=True, steps=11)
    assert len(list(late_rows)) == len(read) > 0
    read.clear()
    labels = load_dataset(zoo("formal-languages"), split="train", streaming=True, columns=["step"])
    assert len(list(labels)) > 0 and not read


def test_two_zoos_and_two_splits_can_be_concatenated_and_interleaved(opened, right):
    splits = opened.splits()
    parts = [load(opened, split) for split in (splits[0], splits[-1])]
    assert right(datasets.concatenate_datasets(parts)) == sum(map(len, parts))
    assert right(datasets.interleave_datasets(parts, stopping_strategy="all_exhausted")) >= sum(map(len, parts))
    streams = [load(opened, split, streaming=True) for split in (splits[0], splits[-1])]
    assert right(datasets.concatenate_datasets(streams)) == sum(map(len, parts))
    assert right(datasets.interleave_datasets(streams, stopping_strategy="all_exhausted")) >= sum(map(len, parts))


def test_zoos_of_two_architectures_are_concatenated_only_after_a_cast(zoo):
    parts = [load_dataset(zoo("formal-languages", cell), split="train") for cell in ("lstm", "gru")]
    with pytest.raises(ValueError, match="features can't be aligned"):
        datasets.concatenate_datasets(parts)
    both = datasets.concatenate_datasets([part.cast_column("weights", Weights()) for part in parts])
    assert set(both[0]["weights"]) != set(both[len(parts[0])]["weights"])
    for row, expected in zip(both, [*parts[0], *parts[1]], strict=True):
        assert all(torch.equal(row["weights"][name], tensor) for name, tensor in expected["weights"].items())


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.map(halve),
        lambda rows: rows.map(halve, num_proc=2),
        lambda rows: rows.map(halve, features=rows.features),
        lambda rows: rows.map(halve_batch, batched=True, batch_size=5),
        lambda rows: rows.with_format("numpy").map(halve).with_format(None),
        lambda rows: rows.with_format("torch").map(halve).with_format(None),
        lambda rows: rows.to_iterable_dataset().map(halve),
        lambda rows: rows.to_iterable_dataset().map(halve, features=rows.features),
    ],
)
def test_map_can_change_the_weights(change, zoo):
    rows = load_dataset(zoo("formal-languages"), split="train")
    changed = change(rows)
    assert is_halved(changed, rows)
    assert isinstance(changed, datasets.IterableDataset) or changed.features["weights"] == rows.features["weights"]


def test_map_can_change_rollouts(opened):
    rows = load(opened)
    changed = rows.map(lambda row: {"rollouts": row["rollouts"] | {"sequences": 1 + row["rollouts"]["sequences"]}})
    for row, before in zip(changed, rows, strict=True):
        for name, tensor in before["rollouts"].items():
            expected = 1 + tensor if name == "sequences" else tensor
            assert torch.equal(row["rollouts"][name], expected) and row["rollouts"][name].dtype == tensor.dtype


def test_map_can_change_the_weights_of_some_rows(zoo):
    rows = load_dataset(zoo("formal-languages"), split="train").cast_column("weights", Weights())
    places = rows.cast_column("weights", PLACES)
    mixed = [places[n]["weights"] if n % 2 else halve(rows[n])["weights"] for n in range(len(rows))]
    changed = places.map(lambda row, n: {"weights": mixed[n]}, with_indices=True, features=rows.features)
    for number, row in enumerate(changed):
        scale = 1 if number % 2 else 2
        assert all(torch.equal(row["weights"][name] * scale, t) for name, t in rows[number]["weights"].items())


def test_map_may_replace_the_weights_by_something_else_but_not_by_other_shapes(zoo):
    rows = load_dataset(zoo("formal-languages"), split="train")
    norms = rows.map(lambda row: {"weights": row["weights"]["linear.bias"].norm().item()})
    assert norms.features["weights"] == datasets.Value("float64")
    named = rows.map(lambda row: {"weights": {"bias": row["weights"]["linear.bias"].norm().item()}})
    assert named.features["weights"] == {"bias": datasets.Value("float64")}
    with pytest.raises(FormatError, match="not the weights of|The weights have the shapes"):
        rows.map(lambda row: {"weights": {name: tensor[:2] for name, tensor in row["weights"].items()}})
    gru = load_dataset(zoo("formal-languages", "gru"), split="train")[0]["weights"]
    with pytest.raises(FormatError, match=r"weights are of Architecture\(cell='gru'.*first cast the column"):
        rows.map(lambda row: {"weights": gru})
    other = rows.cast_column("weights", Weights()).map(lambda row: {"weights": gru})
    assert all(torch.equal(other[3]["weights"][name], tensor) for name, tensor in gru.items())


def test_a_renamed_column_of_weights_is_decoded(zoo):
    rows = load_dataset(zoo("formal-languages"), split="train")
    assert torch.equal(rows.rename_column("weights", "w")[3]["w"]["linear.bias"], rows[3]["weights"]["linear.bias"])


@pytest.mark.parametrize(("library", "kind"), [("torch", torch.Tensor), ("numpy", np.ndarray)])
def test_a_format_makes_labels_arrays_of_that_library(library, kind, opened):
    rows = load(opened).with_format(library)
    row, batch = rows[0], rows[0:3]
    assert all(isinstance(tensor, kind) for tensor in row["weights"].values())
    assert str(row["accuracy"].dtype).endswith("float32") and str(row["step"].dtype).removeprefix("torch.")[:3] == "int"
    assert isinstance(batch["accuracy"], kind) and batch["accuracy"].shape == (3,)
    assert all(np.array_equal(batch["weights"][0][name], tensor) for name, tensor in row["weights"].items())


def test_tables_and_text_files_show_the_places(opened, tmp_path):
    rows = load(opened)
    expected = rows.cast_column("weights", PLACES)[1]["weights"]
    assert expected["bytes"] is None and expected["file"] in opened.manifest.files
    assert expected["zoo"] == f"{opened.source.folder}#{opened.identity}"
    assert rows.to_pandas()["weights"].iloc[1] == expected
    decoded = rows.with_format("pandas")[:]["weights"].iloc[1]
    assert all(torch.equal(decoded[name], tensor) for name, tensor in rows[1]["weights"].items())
    assert rows.with_format("arrow")[:]["weights"][1].as_py() == rows.to_dict()["weights"][1] == expected
    rows.to_json(tmp_path / "rows.json")
    assert json.loads((tmp_path / "rows.json").read_text().splitlines()[1])["weights"] == expected
    rows.to_csv(tmp_path / "rows.csv")
    assert expected["file"] in (tmp_path / "rows.csv").read_text()


def test_parquet_files_hold_places_or_after_materialize_bytes(opened, right, tmp_path):
    for name, rows in (("places", load(opened)), ("bytes", materialize(load(opened)))):
        rows.to_parquet(tmp_path / f"{name}.parquet")
        again = datasets.Dataset.from_parquet(str(tmp_path / f"{name}.parquet"), cache_dir=str(tmp_path))
        assert right(again) == len(rows)
        stored = again.cast_column("weights", PLACES)[0]["weights"]
        assert (stored["bytes"] is None, stored["zoo"] is None) == (
            (True, False) if name == "places" else (False, True)
        )
    stream = load(opened, streaming=True)
    stream.to_parquet(tmp_path / "stream.parquet")
    assert right(datasets.Dataset.from_parquet(str(tmp_path / "stream.parquet"), cache_dir=str(tmp_path))) > 0


def test_all_splits_are_materialized_at_once_and_a_stream_is_refused(opened, right):
    splits = load(opened, split=None)
    made = materialize(splits)
    assert isinstance(made, datasets.DatasetDict) and list(made) == list(splits)
    for split, rows in made.items():
        assert right(rows) == len(splits[split])
        assert rows.cast_column("weights", PLACES)[0]["weights"]["zoo"] is None
    for wrong in (load(opened, streaming=True), load(opened, split=None, streaming=True), None):
        with pytest.raises(FormatError, match="rows are of type .*expected a Dataset or a DatasetDict"):
            materialize(wrong)


def test_saved_rows_need_no_zoo(opened, right, tmp_path):
    load(opened).save_to_disk(tmp_path / "saved")
    saved = datasets.load_from_disk(str(tmp_path / "saved"))
    assert right(saved) > 0
    assert saved.cast_column("weights", PLACES)[0]["weights"]["zoo"] is None


def test_batches_of_rows_hold_lists_of_networks(opened):
    rows = load(opened)
    first = rows.batch(2)[0]
    assert first["run"] == rows[0:2]["run"]
    for batch in (first, next(iter(load(opened, streaming=True).batch(2))), next(load(opened, streaming=True).iter(2))):
        for weights, row in zip(batch["weights"], rows, strict=False):
            assert all(torch.equal(weights[name], tensor) for name, tensor in row["weights"].items())


@pytest.mark.parametrize(
    "context",
    [
        None,
        "fork",
        pytest.param("spawn", marks=pytest.mark.slow),
        pytest.param("forkserver", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_data_loaders_collate_weights(context, streaming, opened):
    rows = load(opened, streaming=streaming)
    loader = DataLoader(rows, batch_size=2, num_workers=2 if context else 0, multiprocessing_context=context)
    known = {(row["run"], row["step"]): row for row in load(opened)}
    seen = 0
    for batch in loader:
        keys = list(zip(batch["run"].tolist(), batch["step"].tolist(), strict=True))
        expected = stack_weights([known[key]["weights"] for key in keys])
        assert all(torch.equal(batch["weights"][name], tensor) for name, tensor in expected.items())
        assert batch["rollouts"]["sequences"].shape[0] == len(keys)
        seen += len(keys)
    assert seen == len(known)


STREAM_OPERATIONS = {
    "filter": lambda rows: rows.filter(lambda row: row["step"] > 0),
    "map that relabels": lambda rows: rows.map(lambda row: {"split": "validation", "angle": 1.0}),
    "map, batched": lambda rows: rows.map(add_column, batched=True),
    "shuffle": lambda rows: rows.shuffle(seed=3, buffer_size=2),
    "take": lambda rows: rows.take(2),
    "skip": lambda rows: rows.skip(1),
    "repeat": lambda rows: rows.repeat(2),
    "shard": lambda rows: rows.shard(rows.num_shards, 0),
    "rename a label": lambda rows: rows.rename_column("split", "part"),
    "remove labels": lambda rows: rows.remove_columns(["split", "task"]),
    "select columns": lambda rows: rows.select_columns(["run", "step", "weights", "rollouts"]),
    "cast to places and back": lambda rows: rows.cast_column("weights", PLACES).cast_column("weights", Weights()),
    "with_format torch": lambda rows: rows.with_format("torch"),
    "with_format numpy": lambda rows: rows.with_format("numpy"),
    "pickle": lambda rows: pickle.loads(pickle.dumps(rows)),  # noqa: S301 - our own bytes
}


@pytest.mark.parametrize("name", STREAM_OPERATIONS)
def test_an_operation_on_a_stream_keeps_the_weights_of_its_rows(name, opened, right):
    assert right(STREAM_OPERATIONS[name](load(opened, streaming=True))) > 0
