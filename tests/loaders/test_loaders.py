"""Loading zoos as `datasets` objects, stacks and single networks; summaries and samples."""

import gc
import pickle
import re
import shutil
import statistics

import datasets
import numpy as np
import pyarrow.compute as pc
import pytest
import safetensors.numpy
import torch
from conftest import CELLS, ZOOS
from damage import edit_manifest
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from rnn_zoos import Architecture, NetworkStack, Weights, load_dataset, load_model, stack, unstack_weights
from rnn_zoos.errors import FormatError, IntegrityError, UnknownNameError
from rnn_zoos.families.digit_inputs import tile_inputs
from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.language_strings import one_hot_inputs
from rnn_zoos.families.rotation import rotation_table
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.format.tensors import map_tensors, write_tensors
from rnn_zoos.loaders.views.info import zoo_info
from rnn_zoos.loaders.views.sample import sample_network
from rnn_zoos.loaders.zoo import open_zoo


def stored(directory, row, kind="shards"):
    """Return the tensors of an index row, read by the safetensors library itself."""
    count = read_manifest(directory).splits[row["split"]]["shards"]
    path = directory / kind / f"{row['split']}-{row['shard']:05d}-of-{count:05d}.safetensors"
    return {name: tensor[row["row"]] for name, tensor in safetensors.numpy.load_file(path).items()}


@pytest.mark.parametrize("name", ZOOS)
def test_rows_have_the_stored_labels_and_weights(name, zoo):
    loaded = load_dataset(zoo(name))
    assert isinstance(loaded, datasets.DatasetDict)
    index = open_zoo(zoo(name)).index().to_pylist()
    assert sum(len(split) for split in loaded.values()) == len(index) > 10
    rows = iter(index)
    for split in loaded.values():
        for row in split:
            expected = next(rows)
            assert {key: row[key] for key in row if key != "weights"} == {
                key: value for key, value in expected.items() if key not in ("shard", "row")
            }
            weights = stored(zoo(name), expected)
            assert list(row["weights"]) == list(read_manifest(zoo(name)).architecture.parameter_shapes)
            assert all(np.array_equal(row["weights"][n], weights[n]) for n in weights)


def test_batches_across_shards_keep_the_requested_order(zoo):
    train = load_dataset(zoo("formal-languages"), split="train")
    order = [7, 0, 11, 3, 3]
    batch = train[order]
    assert len(batch["weights"]) == 5
    for position, number in enumerate(order):
        row = train[number]
        assert batch["run"][position] == row["run"] and batch["step"][position] == row["step"]
        for name, tensor in row["weights"].items():
            assert torch.equal(batch["weights"][position][name], tensor)
    before = batch["weights"][0]["linear.bias"].clone()
    batch["weights"][0]["linear.bias"] += 1  # a copy: the mapped file is unchanged
    assert torch.equal(train[7]["weights"]["linear.bias"], before)


def test_saving_the_weights_of_a_row_takes_their_own_size(zoo, tmp_path):
    weights = load_dataset(zoo("formal-languages"), split="train")[:]["weights"][3]
    torch.save(weights, tmp_path / "weights.pt")
    torch.save({name: tensor.clone() for name, tensor in weights.items()}, tmp_path / "clones.pt")
    assert (tmp_path / "weights.pt").stat().st_size <= (tmp_path / "clones.pt").stat().st_size + 100


@pytest.mark.parametrize("name", ZOOS)
@pytest.mark.parametrize("streaming", [False, True])
def test_numpy_rows_have_the_same_bits_as_torch_rows(name, streaming, zoo):
    for split, rows in load_dataset(zoo(name), rollouts=True).items():
        arrays = load_dataset(zoo(name), split=split, rollouts=True, tensors="numpy", streaming=streaming)
        for row, numpy_row in zip(rows, arrays, strict=True):
            for column in ("weights", "rollouts"):
                found, expected = numpy_row.pop(column), row.pop(column)
                assert list(found) == list(expected)
                for key, value in expected.items():
                    assert type(found[key]) is np.ndarray and np.array_equal(found[key], value.numpy())
                    assert found[key].dtype == value.numpy().dtype
            assert numpy_row == row


@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_gives_the_outputs_of_its_networks(cell, zoo):
    """Rows of several splits and shards, one of them twice; outputs, states, and gradients of the inputs."""
    opened = open_zoo(zoo("formal-languages", cell))
    rows = opened.index(steps=[2, 11]).take([9, 0, 5, 5])
    assert len(set(rows["split"].to_pylist())) > 1
    inputs = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for networks in (opened.stack(rows), opened.stack(rows.to_pylist())):
        outputs, state = networks(inputs)
        assert state[0][0].shape == (4, 3, 7) and networks.num_networks == 4
        (gradient,) = torch.autograd.grad(outputs.square().sum(), inputs)
        alone = [load_model(zoo("formal-languages", cell), row["run"], row["step"]) for row in rows.to_pylist()]
        expected = torch.stack([network(inputs) for network in alone])
        assert torch.allclose(outputs, expected, atol=1e-6)
        assert torch.allclose(gradient, torch.autograd.grad(expected.square().sum(), inputs)[0], atol=1e-5)
    with pytest.raises(FormatError, match="expected rows of `Zoo.index`"):
        opened.stack(rows.select(["run", "step"]))


def test_rollouts_of_a_zoo_without_are_refused(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")

    def forget(data):
        data["rollouts"] = {}
        data["files"] = {path: entry for path, entry in data["files"].items() if not path.startswith("rollouts/")}

    edit_manifest(out / "zoo.json", forget)
    assert "rollouts" not in load_dataset(out, split="train")[0]
    for load in (lambda: load_dataset(out, rollouts=True), lambda: open_zoo(out).torch_dataset(rollouts=True)):
        with pytest.raises(FormatError, match="This zoo has no rollouts. Leave out `rollouts`"):
            load()


@pytest.mark.parametrize("cell", CELLS)
def test_rows_alone_give_networks_and_stacks(cell, zoo):
    train = load_dataset(zoo("formal-languages", cell), split="train")
    inputs = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))
    picked = [7, 0, 3]
    expected = [load_model(zoo("formal-languages", cell), train[n]["run"], train[n]["step"])(inputs) for n in picked]
    for number, outputs in zip(picked, expected, strict=True):
        network = load_model(train[number])
        assert torch.equal(network(inputs), outputs) and not network.training
    arrays = load_dataset(zoo("formal-languages", cell), split="train", tensors="numpy")
    for rows in (train[picked], [train[n] for n in picked], arrays[picked]):
        outputs, _ = stack(rows)(inputs)
        assert torch.allclose(outputs, torch.stack(expected), atol=1e-6)
    for wrong in ({"run": 3}, {"weights": [1.0]}, {"weights": {"a.weight": torch.zeros(3)}}):
        with pytest.raises(FormatError, match="without weights|not the weights of a recurrent"):
            load_model(wrong)
    places = train.cast_column("weights", Weights(decode=False))
    for load in (lambda: load_model(places[0]), lambda: stack(places[:2])):
        with pytest.raises(FormatError, match="has the place of its weights, not the weights"):
            load()
    with pytest.raises(FormatError, match="run is None"):
        load_model(zoo("formal-languages", cell))


def test_one_row_and_stacked_weights_are_no_rows_to_stack(zoo):
    rows, opened = load_dataset(zoo("formal-languages"), split="train"), open_zoo(zoo("formal-languages"))
    with pytest.raises(FormatError, match=r"this is one\. Use load_model\(row\), or stack\(\[row\]\)"):
        stack(rows[0])
    assert stack([rows[0]]).num_networks == 1
    for batch in (next(iter(DataLoader(rows, batch_size=3))), opened.torch_dataset("train").__getitems__([0, 1, 2])):
        for use in (stack, load_model):
            with pytest.raises(FormatError, match=r"weights are stacked already.*Use NetworkStack\(Architecture.of"):
                use(batch)
        weights = batch["weights"]
        networks = NetworkStack(Architecture.of(weights), weights)
        assert torch.equal(networks.weights["linear.bias"], stack(rows[0:3]).weights["linear.bias"])
        single = load_model({"weights": unstack_weights(weights)[2]})
        assert torch.equal(single.linear.bias, rows[2]["weights"]["linear.bias"])
    flat = opened.torch_dataset("train", weights="flat")
    for use, given in ((stack, flat.__getitems__([0])), (load_model, flat[0])):
        with pytest.raises(FormatError, match=r"weights are one tensor \[.*expected a dict .* there is `unflatten`"):
            use(given)
    with pytest.raises(FormatError, match="A row without weights"):
        stack({"run": [0, 1]})


def test_the_identity_of_a_zoo_depends_on_its_content_and_not_on_how_it_was_made(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    assert open_zoo(out).identity == open_zoo(zoo("formal-languages")).identity
    edit_manifest(out / "zoo.json", lambda data: data["made"].update(seconds=1e6))
    assert open_zoo(out).identity == open_zoo(zoo("formal-languages")).identity
    edit_manifest(out / "zoo.json", lambda data: data["files"]["index/train.parquet"].update(sha256="0" * 64))
    assert open_zoo(out).identity != open_zoo(zoo("formal-languages")).identity


def test_steps_and_where_select_the_matching_rows(zoo):
    directory = zoo("formal-languages")
    everything = open_zoo(directory).index().to_pylist()
    assert len(load_dataset(directory, split="train", steps=11)) == sum(
        row["step"] == 11 and row["split"] == "train" for row in everything
    )
    some = load_dataset(directory, steps=[0, 11], where=[("m_b", "in", [-1, 0, 1]), ("loss", "<", 1.79)])
    kept = [row for split in some.values() for row in split]
    assert {(row["run"], row["step"]) for row in kept} == {
        (r["run"], r["step"]) for r in everything if r["step"] != 2 and abs(r["m_b"]) <= 1 and r["loss"] < 1.79
    }
    assert 0 < len(kept) < len(everything)
    expression = load_dataset(directory, split="train", where=(pc.field("run") == 2) | (pc.field("step") == 0))
    assert all(row["run"] == 2 or row["step"] == 0 for row in expression)
    assert len(load_dataset(directory, split="train", where=[("loss", ">", 99)])) == 0
    assert len(list(load_dataset(directory, split="train", where=[("loss", ">", 99)], streaming=True))) == 0


def test_where_compares_with_values_cast_to_the_column_type(zoo):
    """Columns are float32: neither 0.0001 nor 0.1 equals any of their values exactly, but both must match."""
    languages = load_dataset(zoo("formal-languages"), split="train")
    assert len(load_dataset(zoo("formal-languages"), split="train", where=[("weight_decay", "==", 0.0001)])) == len(
        languages
    )
    everything = open_zoo(zoo("sequential-mnist")).index().to_pylist()
    decayed = [row for row in everything if row["weight_decay"] > 0.05]
    for where in ([("weight_decay", "==", 0.1)], [("weight_decay", ">=", 0.1)], [("weight_decay", "in", [0.1, 7])]):
        assert open_zoo(zoo("sequential-mnist")).index(where=where).num_rows == len(decayed) > 0
    assert open_zoo(zoo("sequential-mnist")).index(where=[("weight_decay", ">", 0.1)]).num_rows == 0
    assert open_zoo(zoo("sequential-mnist")).index(steps=np.int64(8), split=datasets.Split.TRAIN).num_rows > 0


@pytest.mark.parametrize("name", ZOOS)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_selection_may_have_no_rows(name, streaming, zoo):
    none = load_dataset(zoo(name), split="train", where=[("run", "<", 0)], rollouts=True, streaming=streaming)
    assert list(none) == [] and "weights" in none.features
    assert streaming or none[0:0]["weights"] == none[[]]["weights"] == []


@pytest.mark.parametrize("streaming", [False, True])
def test_split_expressions_name_rows_of_several_splits(streaming, zoo):
    directory = zoo("formal-languages")
    everything = load_dataset(directory)

    def keys(rows):
        return [(row["run"], row["step"], row["weights"]["linear.bias"].tolist()) for row in rows]

    for expression, expected in (
        ("train[:25%]", keys(everything["train"].select(range(3)))),
        ("ood+train[-2:]", [*keys(everything["ood"]), *keys(everything["train"].select([10, 11]))]),
        (" ood + train[-2:] ", [*keys(everything["ood"]), *keys(everything["train"].select([10, 11]))]),
        ("train[2:5]+train[:1]", keys(everything["train"].select([2, 3, 4, 0]))),
    ):
        assert keys(load_dataset(directory, split=expression, streaming=streaming)) == expected
    late = load_dataset(directory, split="train[:50%]", steps=11, streaming=streaming)
    assert keys(late) == keys(
        everything["train"].filter(lambda step: step == 11, input_columns=["step"]).select([0, 1])
    )


def test_columns_are_chosen_in_their_order_and_without_weights_nothing_is_read(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    shutil.rmtree(out / "shards")
    labels = load_dataset(out, split="train", columns=["task", "step"])
    assert labels.column_names == ["task", "step"] and len(list(labels)) == 12
    both = load_dataset(zoo("formal-languages"), split="train", columns=["weights", "run"])
    assert list(both[0]) == ["weights", "run"]
    with pytest.raises(UnknownNameError, match="Unknown column 'rollouts'; known: run, .*weights"):
        load_dataset(out, split="train", columns=["rollouts"])
    for columns, message in (
        ("task", r"columns is 'task'; expected a list of names, such as \['task'\]"),
        (3, "columns is 3; expected a list of names"),
        ([], r"columns is \[\]; expected at least one of: run, .*weights"),
    ):
        with pytest.raises(FormatError, match=message):
            load_dataset(out, split="train", columns=columns)


def test_errors_for_wrong_arguments_list_the_valid_ones(zoo, tmp_path):
    directory = zoo("formal-languages")
    with pytest.raises(UnknownNameError, match="Unknown split 'training'; known: train, .*Did you mean 'train'"):
        load_dataset(directory, split="training")
    for malformed in ("train[", "train[:x]", "train[:1000%]"):
        with pytest.raises(FormatError, match="split is 'train.*Expected names of splits, such as"):
            load_dataset(directory, split=malformed)
    for several in (["train", "test"], ("train",)):
        with pytest.raises(FormatError, match=rf"split is {re.escape(str(several))}; expected one name or expression"):
            load_dataset(directory, split=several)
    for empty in ("", "train+"):
        with pytest.raises(FormatError, match=rf"split is '{re.escape(empty)}'.*Expected names of splits, such as"):
            load_dataset(directory, split=empty)
    with pytest.raises(FormatError, match="embeddings is 3; expected the path of a file"):
        load_dataset(directory, embeddings=3)
    with pytest.raises(UnknownNameError, match="Unknown split 'tests'; known: train, .*Did you mean 'test'"):
        load_dataset(directory, split="train[:2]+tests")
    with pytest.raises(UnknownNameError, match="Unknown kind of tensors 'jax'; known: torch, numpy"):
        load_dataset(directory, tensors="jax")
    with pytest.raises(UnknownNameError, match="Unknown step 12; known: 0, 2, 11"):
        load_dataset(directory, steps=[0, 12])
    with pytest.raises(UnknownNameError, match="Unknown column 'acuracy'.*Did you mean 'accuracy'"):
        load_dataset(directory, where=[("acuracy", ">", 0)])
    with pytest.raises(FormatError, match=r"where has \('accuracy', '>'\)"):
        load_dataset(directory, where=[("accuracy", ">")])
    with pytest.raises(FormatError, match=r"where has \('accuracy', \['>'\], 0.5\). Expected a pyarrow expression"):
        load_dataset(directory, where=[("accuracy", [">"], 0.5)])
    with pytest.raises(FormatError, match="where has .*'~'"):
        load_dataset(directory, where=[("accuracy", "~", 3)])
    for where in (
        3,
        ("run", ">", 3),
        [("accuracy", ">", "x")],
        [("accuracy", "==", None)],
        pc.field("nope") == 3,
        pc.field("run"),
    ):
        with pytest.raises(FormatError, match="(?s)where .*Expected a pyarrow expression, or triples"):
            load_dataset(directory, where=where)
    with pytest.raises(FormatError, match="steps is 11.5"):
        load_dataset(directory, steps=11.5)
    with pytest.raises(FormatError, match="revision is 'v1'"):
        load_dataset(directory, revision="v1")
    with pytest.raises(FormatError, match="expected a directory, or OWNER/NAME"):
        load_dataset(None)
    with pytest.raises(UnknownNameError, match="Unknown run"):
        load_model(directory, "3", 11)
    with pytest.raises(FormatError, match="is neither a directory nor the name of a zoo.*rnn-zoos generate"):
        load_dataset("./formal-languages")
    with pytest.raises(FormatError, match="not a zoo"):
        load_dataset(tmp_path)
    with pytest.raises(UnknownNameError, match="Unknown run 7; this zoo has the runs 0 to 6"):
        load_model(directory, run=7, step=0)
    with pytest.raises(UnknownNameError, match="Unknown step 1 of run 3; it has the steps 0, 2, 11"):
        load_model(directory, run=3, step=1)


@pytest.mark.parametrize("cell", CELLS)
def test_language_networks_reproduce_their_stored_rollouts(cell, zoo):
    for split in load_dataset(zoo("formal-languages", cell), rollouts=True).values():
        for row in split:
            network = load_model(zoo("formal-languages", cell), row["run"], row["step"])
            rollouts = row["rollouts"]
            assert rollouts["sequences"].shape == (4, 42) and rollouts["sequences"].dtype == torch.uint8
            with torch.no_grad():
                log_probs = network(one_hot_inputs(rollouts["sequences"])).log_softmax(-1)
            assert_equal_to_half_rounding(log_probs, rollouts["log_probs"])
            assert getattr(network, cell).weight_hh_l1.equal(row["weights"][f"{cell}.weight_hh_l1"])


@pytest.mark.parametrize("cell", CELLS)
def test_digit_networks_reproduce_their_stored_rollouts_on_real_digits(cell, zoo):
    digits = load_digits("embedded")
    for split in load_dataset(zoo("sequential-mnist", cell), rollouts=True).values():
        for row in split:
            network = load_model(zoo("sequential-mnist", cell), row["run"], row["step"])
            rollouts = row["rollouts"]
            assert rollouts["sequences"].shape == (6, 50, 16) and rollouts["sequences"].dtype == torch.float32
            with torch.no_grad():
                assert_equal_to_half_rounding(network(rollouts["sequences"]), rollouts["logits"])
            expected = tile_inputs(digits.images[digits.train], rotation_table(row["angle"]))
            places = [(expected == inputs).all(-1).all(-1).nonzero().item() for inputs in rollouts["sequences"]]
            assert torch.equal(digits.labels[digits.train][places].to(torch.uint8), rollouts["labels"])


def assert_equal_to_half_rounding(exact: torch.Tensor, half: torch.Tensor) -> None:
    """Allow the nearest float16, or its neighbour where the float32 sum was rounded the other way."""
    assert half.dtype == torch.float16
    spacing = 2.0 ** (exact.abs().clamp(min=2**-14).log2().floor() - 10)
    assert ((exact - half.float()).abs() <= 0.5 * spacing + 1e-5 * (1 + exact.abs())).all()


def test_a_pickled_dataset_works_and_contains_no_weights(zoo):
    train = load_dataset(zoo("formal-languages"), split="train")
    row = train[3]
    data = pickle.dumps(train)
    assert len(data) < 20_000
    again = pickle.loads(data)  # noqa: S301 - our own bytes
    assert all(torch.equal(again[3]["weights"][name], tensor) for name, tensor in row["weights"].items())


@pytest.mark.parametrize("name", ZOOS)
def test_a_stream_has_the_same_rows_and_divides_over_nodes(name, zoo):
    whole = load_dataset(zoo(name), split="train", rollouts=True)
    stream = load_dataset(zoo(name), split="train", rollouts=True, streaming=True)
    assert isinstance(stream, datasets.IterableDataset)
    assert set(load_dataset(zoo(name), streaming=True)) == set(load_dataset(zoo(name)))
    rows = list(stream)
    assert len(rows) == len(whole)
    for row, expected in zip(rows, whole, strict=True):
        assert row.keys() == expected.keys() and row["run"] == expected["run"] and row["step"] == expected["step"]
        assert all(torch.equal(row["weights"][n], tensor) for n, tensor in expected["weights"].items())
        assert torch.equal(row["rollouts"]["sequences"], expected["rollouts"]["sequences"])
    nodes = [list(split_dataset_by_node(stream, rank, 2)) for rank in range(2)]
    assert sorted((r["run"], r["step"]) for node in nodes for r in node) == [(r["run"], r["step"]) for r in whole]
    assert all(nodes)


def test_mapping_a_shard_allocates_no_memory_for_it(tmp_path):
    size = 50_000_000
    write_tensors(tmp_path / "x.safetensors", {"a": np.ones((size, 1), np.uint8)}, {})
    gc.collect()
    before = private_memory()
    mapped = map_tensors(tmp_path / "x.safetensors")
    assert mapped["a"].sum(dtype=np.int64) == size
    assert private_memory() - before < 10_000  # KiB


def private_memory() -> int:
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("RssAnon")).split()[1])


@pytest.mark.parametrize("kind", ["shards", "rollouts"])
def test_reading_a_file_with_a_flipped_byte_is_an_error_that_names_the_file(kind, zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    path = sorted((out / kind).glob("train-00001*"))[0]
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 64]) + data[-8:])
    train = load_dataset(out, split="train", rollouts=kind == "rollouts")
    assert "weights" in train[0], "another shard is intact"
    with pytest.raises(IntegrityError, match=rf"{path.name} has sha256 .*Download or generate this zoo again"):
        train[len(train) - 1], train[:]


def test_a_damaged_index_is_an_error_that_names_the_file(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    (out / "index" / "train.parquet").write_bytes((out / "index" / "train.parquet").read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="index/train.parquet has"):
        load_dataset(out)


@pytest.mark.parametrize("name", ZOOS)
def test_info_summarises_the_zoo(name, zoo):
    info = zoo_info(open_zoo(zoo(name)))
    manifest, index = read_manifest(zoo(name)), open_zoo(zoo(name)).index().to_pylist()
    assert info["zoo"]["runs"] == manifest.runs and info["zoo"]["snapshots"] == len(index)
    assert [row["split"] for row in info["splits"]] == list(manifest.splits)
    accuracy = next(row for row in info["labels"] if row["label"] == "accuracy")
    assert accuracy["min"] == min(r["accuracy"] for r in index) and accuracy["max"] == max(r["accuracy"] for r in index)
    for row in info["steps"]:
        own = [r for r in index if r["step"] == row["step"]]
        assert row["accuracy"] == pytest.approx(statistics.mean(r["accuracy"] for r in own), rel=1e-6)
        assert row["weight_norm"] == pytest.approx(statistics.median(r["weight_norm"] for r in own), rel=1e-6)


def test_sample_shows_the_strings_on_which_a_snapshot_was_evaluated(zoo):
    title, rows = sample_network(zoo("formal-languages"), run=2, step=None, count=13)
    row = open_zoo(zoo("formal-languages")).row(2, 11)
    assert "step 11" in title and row["task"] in title
    assert sum(r["verdict"] == "right" for r in rows) / 13 == pytest.approx(row["accuracy"])
    faults = {"right": {""}, "wrong": {"order", "counts", "no end"}}
    assert all(
        r["fault"] in faults[r["verdict"]] and r["string"].endswith("...") == (r["fault"] == "no end") for r in rows
    )


def test_sample_shows_classified_digits(zoo):
    _, rows = sample_network(zoo("sequential-mnist"), run=0, step=8, count=20)
    digits = load_digits("embedded")
    assert len(rows) == 20
    for row in rows:
        assert digits.labels[digits.numbers.tolist().index(row["MNIST number"])] == row["digit"]
        assert (row["verdict"] == "right") == (row["digit"] == row["named"]) and 0.1 <= row["probability"] <= 1
