"""`Zoo.torch_dataset`: rows and batches, DataLoaders with and without workers, pickles, and the native gathering."""

import io
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import safetensors.numpy
import torch
from conftest import CELLS, ZOOS
from damage import edit_index, edit_manifest
from torch.utils.data import ConcatDataset, DataLoader, Subset

from rnn_zoos import flatten, load_dataset, open_zoo
from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.loaders import gathering
from rnn_zoos.loaders.gathering import RowFormat, copy_rows
from rnn_zoos.loaders.hub import HubRevision
from rnn_zoos.loaders.mapping import RowTensors
from rnn_zoos.symmetry import SignedPermutation

ORDER = [7, 0, 11, 3, 3, -1]


def stored(directory, place):
    """Return the weights of an index row, read by the safetensors library itself."""
    count = read_manifest(directory).splits[place["split"]]["shards"]
    path = directory / "shards" / f"{place['split']}-{place['shard']:05d}-of-{count:05d}.safetensors"
    return {name: tensor[place["row"]] for name, tensor in safetensors.numpy.load_file(path).items()}


def assert_same(found, expected):
    """Compare nested dicts of tensors bit by bit, dtypes included."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert_same(found[name], value)
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype and torch.equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ZOOS)
def test_batches_have_the_stored_weights_in_the_requested_order(name, cell, in_memory, zoo):
    """Of all splits, across shards, with repeated and negative numbers."""
    opened = open_zoo(zoo(name, cell))
    index, architecture = opened.index(), opened.manifest.architecture
    named = opened.torch_dataset(in_memory=in_memory)
    flat = opened.torch_dataset(weights="flat", in_memory=in_memory)
    assert len(named) == len(flat) == len(index) > 12
    batch, vectors = named.__getitems__(ORDER)["weights"], flat.__getitems__(ORDER)["weights"]
    assert list(batch) == list(architecture.parameter_shapes)
    for position, number in enumerate(ORDER):
        expected = stored(zoo(name, cell), index.take([number % len(index)]).to_pylist()[0])
        for parameter, tensor in expected.items():
            assert np.array_equal(batch[parameter][position], tensor)
            assert batch[parameter].is_contiguous() and batch[parameter].dtype == torch.float32
    assert vectors.shape == (len(ORDER), architecture.num_parameters) and vectors.is_contiguous()
    assert torch.equal(vectors, flatten(architecture, batch))
    before = batch["linear.bias"].clone()
    batch["linear.bias"].zero_()  # a copy: neither the mapped files nor the memory change
    assert torch.equal(named.__getitems__(ORDER)["weights"]["linear.bias"], before) and before.any()


def test_rows_are_selected_like_those_of_the_index(zoo):
    opened = open_zoo(zoo("formal-languages"))
    where = [("loss", "<", 1.79)]
    dataset = opened.torch_dataset("train", [0, 11], where, labels=["run", "step"])
    expected = opened.index("train", [0, 11], where)
    batch = dataset.__getitems__(range(len(dataset)))
    assert batch["run"].tolist() == expected["run"].to_pylist() and len(dataset) == len(expected) > 0
    assert batch["step"].tolist() == expected["step"].to_pylist()


def test_labels_have_fixed_types(zoo):
    opened = open_zoo(zoo("formal-languages"))
    names = ["accuracy", "run", "diverged", "task", "split", "weight_decay"]
    batch = opened.torch_dataset("train", labels=names).__getitems__(ORDER)
    assert list(batch) == ["weights", *names]
    rows = opened.index("train").to_pylist()
    types = {"accuracy": torch.float32, "run": torch.int64, "diverged": torch.bool, "weight_decay": torch.float32}
    for name, dtype in types.items():
        assert batch[name].dtype == dtype and batch[name].tolist() == [rows[number][name] for number in ORDER]
    assert batch["task"] == [rows[number]["task"] for number in ORDER]
    row = opened.torch_dataset("train", labels=names)[7]
    assert row["task"] == rows[7]["task"] and row["accuracy"].shape == () and row["run"] == rows[7]["run"]


@pytest.mark.parametrize("name", ZOOS)
def test_rollouts_are_those_of_load_dataset(name, zoo):
    rows = load_dataset(zoo(name), split="train", rollouts=True)
    dataset = open_zoo(zoo(name)).torch_dataset("train", rollouts=True, labels=["step"])
    batch = dataset.__getitems__([2, 0, 2])
    for position, number in enumerate((2, 0, 2)):
        assert_same({k: v[position] for k, v in batch["rollouts"].items()}, dict(rows[number]["rollouts"]))
        assert_same(dataset[number]["rollouts"], dict(rows[number]["rollouts"]))


def test_a_row_owns_its_memory(zoo):
    dataset = open_zoo(zoo("formal-languages")).torch_dataset("train")
    row, file = dataset[4], io.BytesIO()
    assert {name: tuple(tensor.shape) for name, tensor in row["weights"].items()} == dict(
        dataset.zoo.manifest.architecture.parameter_shapes
    )
    torch.save(row["weights"], file)
    assert file.tell() < 4 * dataset.zoo.manifest.architecture.num_parameters + 6_000
    assert torch.equal(row["weights"]["linear.bias"], dataset.__getitems__([4])["weights"]["linear.bias"][0])
    assert len(list(dataset)) == len(dataset), "iteration ends"


def test_no_rows_give_empty_tensors(zoo):
    opened = open_zoo(zoo("sequential-mnist"))
    for in_memory in (False, True):
        some = opened.torch_dataset("train", labels=["angle", "task"], rollouts=True, in_memory=in_memory)
        none = some.__getitems__([])
        assert none["weights"]["linear.bias"].shape == (0, 10) and none["task"] == [] and len(none["angle"]) == 0
        assert none["rollouts"]["sequences"].shape == (0, 6, 50, 16)
        empty = opened.torch_dataset("train", where=[("run", "<", 0)], weights="flat", in_memory=in_memory)
        assert len(empty) == 0 and len(empty.__getitems__([])["weights"]) == 0
        with pytest.raises(IndexError, match="There is no row 0; this dataset has 0 rows"):
            empty[0]


def test_wrong_arguments_are_errors_that_list_the_valid_ones(zoo):
    opened = open_zoo(zoo("formal-languages"))
    with pytest.raises(UnknownNameError, match="Unknown label 'acuracy'.*Did you mean 'accuracy'"):
        opened.torch_dataset(labels=["acuracy"])
    with pytest.raises(UnknownNameError, match="Unknown label 'shard'"):
        opened.torch_dataset(labels=["shard"])
    with pytest.raises(UnknownNameError, match="Unknown label 'accuracy,step'"):
        opened.torch_dataset(labels="accuracy,step")
    with pytest.raises(UnknownNameError, match="Unknown form of weights 'stacked'; known: named, flat"):
        opened.torch_dataset(weights="stacked")
    with pytest.raises(UnknownNameError, match="Unknown split"):
        opened.torch_dataset("training")
    dataset = opened.torch_dataset("train")
    for wrong in ([0, len(dataset)], [-len(dataset) - 1], [0.5], [True], [[0]], ["0"]):
        with pytest.raises(IndexError, match="There is no row|numbers of rows are"):
            dataset.__getitems__(wrong)
    with pytest.raises(TypeError):
        dataset["weights"]


def test_a_single_label_may_be_given_as_a_string(zoo):
    assert list(open_zoo(zoo("formal-languages")).torch_dataset(labels="accuracy")[0]) == ["weights", "accuracy"]


def test_labels_may_be_any_iterable_of_names(zoo):
    opened = open_zoo(zoo("formal-languages"))
    for labels in (iter(["run", "task"]), np.array(["run", "task"])):
        assert list(opened.torch_dataset(labels=labels)[0]) == ["weights", "run", "task"]
    for wrong in (None, 3):
        with pytest.raises(FormatError, match=rf"labels is {wrong}; expected a list of names, such as \['accuracy'\]"):
            opened.torch_dataset(labels=wrong)


@pytest.mark.parametrize("weights", ["named", "flat"])
@pytest.mark.parametrize("workers", [0, 2])
def test_data_loaders_give_every_row_once_as_stacked_batches(weights, workers, zoo):
    dataset = open_zoo(zoo("sequential-mnist")).torch_dataset(
        "train", labels=["run", "step", "task"], rollouts=True, weights=weights
    )
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(
        dataset, batch_size=4, shuffle=True, num_workers=workers, collate_fn=dataset.collate, generator=generator
    )
    rows = {(row["run"].item(), row["step"].item()): number for number, row in enumerate(dataset)}
    seen = []
    for batch in loader:
        numbers = [rows[key] for key in zip(batch["run"].tolist(), batch["step"].tolist(), strict=True)]
        assert_same(batch, dataset.__getitems__(numbers))
        seen += numbers
    assert sorted(seen) == list(range(len(dataset))) and seen != sorted(seen)


def test_subsets_and_concatenations_give_stacked_batches(zoo):
    opened = open_zoo(zoo("formal-languages"))
    dataset = opened.torch_dataset(labels=["task"])
    subset = Subset(dataset, [5, 2, 9])
    assert_same(next(iter(DataLoader(subset, 3, collate_fn=dataset.collate))), dataset.__getitems__([5, 2, 9]))
    both = ConcatDataset([opened.torch_dataset("train", labels=["task"]), opened.torch_dataset("ood", labels=["task"])])
    batch = next(iter(DataLoader(both, 3, collate_fn=dataset.collate)))
    assert_same(batch, opened.torch_dataset("train", labels=["task"]).__getitems__([0, 1, 2]))


class Permute:
    """Permutes and signs the units of every network at random, with random numbers of its own."""

    def __init__(self, architecture, seed):
        self.architecture, self.generator = architecture, torch.Generator().manual_seed(seed)

    def __call__(self, weights):
        count = len(weights["linear.bias"])
        permutation = SignedPermutation.sample(self.architecture, count, generator=self.generator)
        return permutation.apply(self.architecture, weights)


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_transform_changes_the_weights_of_every_network_and_not_what_is_stored(in_memory, zoo):
    opened = open_zoo(zoo("formal-languages"))
    architecture = opened.manifest.architecture
    plain = opened.torch_dataset("train", in_memory=in_memory)
    before = plain.__getitems__(ORDER)["weights"]
    named = opened.torch_dataset("train", transform=Permute(architecture, 3), in_memory=in_memory)
    flat = opened.torch_dataset("train", transform=Permute(architecture, 3), weights="flat", in_memory=in_memory)
    first, second = (named.__getitems__(ORDER)["weights"] for _ in range(2))
    expected = Permute(architecture, 3)(before)
    assert_same(first, expected)
    assert torch.equal(flat.__getitems__(ORDER)["weights"], flatten(architecture, expected))
    assert not torch.equal(first["linear.weight"], second["linear.weight"]), "every batch is permuted anew"
    assert torch.equal(first["linear.weight"].abs().sum(-1), before["linear.weight"].abs().sum(-1)) or torch.allclose(
        first["linear.weight"].abs().sum(-1), before["linear.weight"].abs().sum(-1)
    )
    doubling = opened.torch_dataset("train", transform=double_in_place, in_memory=in_memory)
    doubling.__getitems__(ORDER)
    assert torch.equal(doubling.__getitems__(ORDER)["weights"]["linear.bias"], 2 * before["linear.bias"])


def double_in_place(weights):
    for tensor in weights.values():
        tensor.mul_(2)
    return weights


def double_without_return(weights):
    double_in_place(weights)


@pytest.mark.parametrize("weights", ["named", "flat"])
@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (double_without_return, "`transform` returned None: it forgot to return the weights"),
        (lambda weights: [*weights.values()], "`transform` returned a list that is no dict of tensors"),
        (lambda weights: {name: tensor.numpy() for name, tensor in weights.items()}, "a dict that is no dict of tens"),
        (lambda weights: {}, "Weights do not fit"),
        (lambda weights: {f"my.{name}": tensor for name, tensor in weights.items()}, "Weights do not fit"),
        (lambda weights: {name: tensor[:1] for name, tensor in weights.items()}, r"the leading axes \(1,\)"),
        (lambda weights: weights | {"linear.bias": weights["linear.bias"][:1]}, "linear.bias has shape"),
    ],
)
def test_what_a_transform_returns_must_be_the_weights_of_the_same_networks(transform, message, weights, zoo):
    """Else labels would stand beside other networks."""
    dataset = open_zoo(zoo("formal-languages")).torch_dataset("train", transform=transform, weights=weights)
    with pytest.raises(FormatError, match=rf"{message}.* Expected all parameters by their names, each \[3, \*shape\]"):
        dataset.__getitems__([2, 0, 1])
    with pytest.raises(FormatError, match="`transform` is 3; expected a function"):
        open_zoo(zoo("formal-languages")).torch_dataset("train", transform=3, weights=weights)


def read_in_process(data):
    return flatten_batch(pickle.loads(data))  # noqa: S301 - written by the test below


def flatten_batch(dataset):
    return dataset.__getitems__(ORDER)["weights"]["linear.weight"].numpy(), dataset.in_memory


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_pickle_names_the_zoo_and_works_in_a_spawned_process(in_memory, zoo):
    dataset = open_zoo(zoo("formal-languages")).torch_dataset("train", labels=["task"], in_memory=in_memory)
    data = pickle.dumps(dataset)
    assert len(data) < 4_000 and zoo("formal-languages").name.encode() in data
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        read, kept = pool.submit(read_in_process, data).result()
    assert np.array_equal(read, dataset.__getitems__(ORDER)["weights"]["linear.weight"]) and kept == in_memory


def test_a_pickle_contains_no_token_and_notices_another_zoo(zoo, tmp_path):
    import shutil

    opened = open_zoo(shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"))
    dataset = opened.torch_dataset("train")
    data = pickle.dumps(dataset)
    edit_manifest(tmp_path / "zoo" / "zoo.json", lambda values: values.update(seed=14))
    with pytest.raises(FormatError, match="has changed since this dataset was made"):
        pickle.loads(data)  # noqa: S301 - written above
    opened.source = HubRevision("owner/name", "0" * 40, "hf_secret")
    assert b"hf_secret" not in pickle.dumps(dataset)


@pytest.mark.skipif(gathering._native is None, reason="built without a C++ compiler")
@pytest.mark.parametrize("layout", ["stacked", "flat"])
def test_native_and_numpy_copies_are_equal(layout, monkeypatch):
    """Sources of different lengths, rows that begin at odd addresses, and strided sources."""
    random = np.random.default_rng(0)
    shapes = {"a": ("F32", (3, 5)), "b": ("F32", ()), "c": ("F32", (7,)), "d": ("F32", (0,)), "e": ("F32", (1300,))}
    lengths = (4, 1, 9)

    def numbers(rows, shape):
        data = random.integers(256, size=4 * rows * int(np.prod(shape)) + 1, dtype=np.uint8)[1:]
        return data.view(np.float32).reshape(rows, *shape)

    sources = [RowTensors({n: numbers(rows, s) for n, (_, s) in shapes.items()}, rows) for rows in lengths]
    form = RowFormat(shapes)
    for strided in (False, True):
        if strided:
            whole = [form.flat(rows) for rows in lengths]
            blocks = [random.integers(256, size=layout.num_bytes, dtype=np.uint8) for layout in whole]
            sources = [RowTensors(w.views(b), rows) for w, b, rows in zip(whole, blocks, lengths, strict=True)]
        for count in (0, 1, 37):
            picked = random.integers(len(sources), size=count)
            rows = np.array([random.integers(lengths[number]) for number in picked], np.int64)
            target = getattr(form, layout)(count)
            found = target.views(copy_rows(sources, picked, rows, target))
            with monkeypatch.context() as patch:
                patch.setattr(gathering, "_native", None)
                expected = target.views(copy_rows(sources, picked, rows, target))
            for name, (_, shape) in shapes.items():
                assert found[name].shape == (count, *shape)
                assert found[name].tobytes() == expected[name].tobytes()
                for position, (number, row) in enumerate(zip(picked, rows, strict=True)):
                    assert found[name][position].tobytes() == sources[number].tensors[name][row].tobytes()


@pytest.mark.parametrize("native", [True, False])
def test_an_index_that_names_rows_that_do_not_exist_is_an_error(native, zoo, tmp_path, monkeypatch):
    import shutil

    if not native:
        monkeypatch.setattr(gathering, "_native", None)
    for wrong in (10_000, -1):
        out = shutil.copytree(zoo("formal-languages"), tmp_path / f"zoo{wrong}")
        edit_index(out, "train", lambda rows, wrong=wrong: rows[2].update(row=wrong))
        dataset = open_zoo(out).torch_dataset("train")
        assert dataset[0]["weights"]
        with pytest.raises(FormatError, match=r"index/train.parquet names rows that shard \d+ does not hold"):
            dataset.__getitems__([0, 2])
