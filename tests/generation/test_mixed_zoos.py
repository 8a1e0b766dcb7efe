"""Zoos of several architectures: generated, extended, merged, checked, loaded, published."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import CELLS, contents, generate_in_process
from damage import edit_index, edit_manifest, keep_rows
from documents import code_blocks
from mixed_preset import MIXED

from rnn_zoos.errors import FormatError, PlanMismatchError, PresetError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.groups import group_shards
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.plan import Plan, make_plan, plan_of_zoo
from rnn_zoos.generation.publishing.export import export_parquet
from rnn_zoos.generation.trainers.backends import make_trainer
from rnn_zoos.generation.writing.merge import merge
from rnn_zoos.generation.writing.relabel import relabel
from rnn_zoos.generation.writing.verify import verify
from rnn_zoos.loaders import load_dataset, load_model, sample_network, stack, zoo_info
from rnn_zoos.loaders.paper.exporting import export_paper
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.weights import flatten

_OTHERS = "    - {cell: gru, num_layers: 1, hidden_size: 5}\n    - {cell: rnn, num_layers: 3, hidden_size: 4}\n"
ARCHITECTURES = tuple(Architecture(cell, n, 6, h, 6) for cell, n, h in [("lstm", 2, 7), ("gru", 1, 5), ("rnn", 3, 4)])
NAMES = ["lstm-2x7", "gru-1x5", "rnn-3x4"]


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed-presets")

    def write(runs: int) -> str:
        path = folder / "mixed.yaml"
        path.write_text(MIXED.format(runs=runs))
        return str(path)

    return write


def native_plan(preset: str) -> Plan:
    return make_plan("formal-languages", preset, backend="native")


@pytest.fixture(scope="module")
def mixed(preset, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("mixed-zoo")
    generate_in_process(directory, native_plan(preset(17)))
    return directory


def test_the_zoo_conforms_and_says_which_architecture_each_run_has(mixed):
    assert check_zoo(mixed) == []
    zoo = open_zoo(mixed)
    assert zoo.manifest.architectures == ARCHITECTURES
    table = zoo.index()
    by_run = {row["run"]: row for row in table.to_pylist()}
    assert len(by_run) == 17
    assert set(Counter(row["architecture"] for row in by_run.values())) == set(NAMES)
    for row in table.to_pylist():
        own = ARCHITECTURES[NAMES.index(row["architecture"])]
        assert (row["cell"], row["num_layers"], row["hidden_size"]) == (own.cell, own.num_layers, own.hidden_size)
        assert Architecture.of(zoo.weights(row)) == own
        assert zoo.manifest.architecture_of(row["split"], row["shard"]) == own


def test_check_finds_another_architecture_than_that_of_the_run_and_of_its_shard(mixed, tmp_path):
    out = shutil.copytree(mixed, tmp_path / "zoo")

    def edit(rows):
        other = next(name for name in NAMES if name != rows[0]["architecture"])
        rows[0]["architecture"] = other
        rows[-1]["hidden_size"] = 6

    edit_index(out, "train", edit)
    findings = check_zoo(out)
    for text in ("its shard holds networks of", "architecture is '", "hidden_size is 6; seed 13 assigns"):
        assert any(text in finding for finding in findings), findings


@pytest.mark.parametrize("backend", ["loop", "native"])
def test_a_run_has_the_bits_that_it_has_when_it_is_trained_alone(backend, preset, tmp_path):
    plan = make_plan("formal-languages", preset(9), backend=backend)
    generate_in_process(tmp_path / "zoo", plan)
    zoo = open_zoo(tmp_path / "zoo")
    for run, _ in plan.runs():
        settings = plan.settings.of_architecture(run.architecture)
        (trained,) = make_trainer(backend).train(plan.family, settings, [run], lambda updates: None)
        for number, step in enumerate(trained.steps):
            stored = zoo.weights(zoo.row(run.run, step))
            assert all(torch.equal(stored[name], tensor[number]) for name, tensor in trained.weights.items())


def test_one_worker_two_workers_and_a_process_per_device_give_the_same_bytes(mixed, preset, tmp_path):
    engines = [LocalEngine(1), LocalEngine(2)]
    for number, engine in enumerate(engines):
        generate(native_plan(preset(17)), tmp_path / str(number), engine)
        assert contents(tmp_path / str(number)) == contents(mixed)
    for number, at_once in enumerate((3, 40)):
        plan = make_plan("formal-languages", preset(5), backend="stacked")
        engine = LocalEngine(1, ("cpu",), at_once)
        generate(plan, tmp_path / f"stacked-{number}", engine)
        assert check_zoo(tmp_path / f"stacked-{number}") == []
    assert contents(tmp_path / "stacked-0") == contents(tmp_path / "stacked-1")


def test_groups_of_a_device_have_one_architecture(preset):
    shards = make_plan("formal-languages", preset(40)).shards
    groups = list(group_shards(shards, 5))
    assert sorted(str(shard) for group in groups for shard in group.shards) == sorted(map(str, shards))
    for group in groups:
        assert len({shard.architecture for shard in group.shards}) == 1 and group.num_runs <= 5


def test_a_longer_plan_keeps_the_shards_of_a_shorter_one(preset):
    short, long = (make_plan("formal-languages", preset(runs)) for runs in (17, 40))
    longer = {shard.name: shard for shard in long.shards}
    for shard in short.shards:
        assert longer[shard.name].run_numbers[: len(shard.table)] == shard.run_numbers
        assert longer[shard.name].architecture == shard.architecture
    for plan in (short, long):
        assert sorted(n for shard in plan.shards for n in shard.run_numbers) == list(range(plan.settings.runs))
        for shard in plan.shards:
            assert 1 <= len(shard.table) <= 2
            assert {run.architecture for run in shard.runs} == {shard.architecture}


def test_an_extended_zoo_has_the_bytes_of_one_that_was_made_at_once(mixed, preset, tmp_path):
    generate_in_process(tmp_path, native_plan(preset(9)))
    generate_in_process(tmp_path, native_plan(preset(17)))
    assert contents(tmp_path) == contents(mixed)


def test_parts_are_merged(mixed, preset, tmp_path):
    plan = native_plan(preset(17))
    for part in (1, 2):
        generate(plan, tmp_path / f"part{part}", LocalEngine(1), (part, 2))
    merge([tmp_path / "part1", tmp_path / "part2"], tmp_path / "whole")
    assert contents(tmp_path / "whole") == contents(mixed)


def test_runs_can_be_verified_and_labels_measured_again(mixed, tmp_path):
    report = verify(mixed, runs=17, workers=1)
    assert report.exact and report.findings == [] and len(report.runs) == 17
    plan = plan_of_zoo(read_manifest(mixed))
    assert plan.architectures == ARCHITECTURES
    assert relabel(mixed).labels == ()


def test_stacks_group_rows_by_architecture_and_keep_their_positions(mixed):
    zoo = open_zoo(mixed)
    table = zoo.index()
    found = set()
    for positions, networks in zoo.stacks(table):
        for place, position in enumerate(positions.tolist()):
            weights = zoo.weights(table.slice(position, 1).to_pylist()[0])
            assert Architecture.of(weights) == networks.architecture
            assert all(torch.equal(networks.weights[name][place], tensor) for name, tensor in weights.items())
            found.add(position)
    assert found == set(range(len(table)))
    assert zoo.stacks(table.slice(0, 0)) == []


def test_what_needs_one_architecture_says_so(mixed, tmp_path):
    zoo = open_zoo(mixed)
    for call in (
        lambda: zoo.stack(zoo.index()),
        lambda: zoo.torch_dataset(),
        lambda: zoo.manifest.architecture,
        lambda: export_paper(mixed, tmp_path / "paper"),
    ):
        with pytest.raises(FormatError, match=r"3 architectures \((gru-1x5, )?lstm-2x7, "):
            call()


def test_rows_of_one_architecture_make_a_torch_dataset_and_a_stack(mixed):
    zoo = open_zoo(mixed)
    where = [("architecture", "==", "gru-1x5")]
    dataset = zoo.torch_dataset(where=where, labels=["accuracy"], weights="flat", rollouts=True)
    assert dataset.architecture == ARCHITECTURES[1]
    networks = zoo.stack(zoo.index(where=where))
    batch = dataset.__getitems__(range(len(dataset)))
    assert torch.equal(batch["weights"], flatten(networks.architecture, networks.weights))
    assert batch["rollouts"]["sequences"].shape[:2] == (len(dataset), 4)
    in_memory = zoo.torch_dataset(where=where, in_memory=True)
    assert torch.equal(in_memory[0]["weights"]["gru.bias_hh_l0"], networks.weights["gru.bias_hh_l0"][0])


def test_every_row_of_a_dataset_has_weights_of_its_own_shape(mixed):
    zoo, rows = open_zoo(mixed), load_dataset(mixed, split="train")
    for row, indexed in zip(rows, zoo.index("train").to_pylist(), strict=True):
        own = ARCHITECTURES[NAMES.index(row["architecture"])]
        assert {name: tuple(t.shape) for name, t in row["weights"].items()} == own.parameter_shapes
        assert all(torch.equal(row["weights"][name], t) for name, t in zoo.weights(indexed).items())
        network = load_model(mixed, run=row["run"], step=row["step"])
        assert torch.equal(load_model(row)(torch.ones(1, 3, 6)), network(torch.ones(1, 3, 6)))
    one = rows.filter(lambda row: row["cell"] == "lstm")
    assert stack(one[0:2]).architecture == ARCHITECTURES[0]


@pytest.mark.parametrize("cell", CELLS)
def test_a_network_of_every_architecture_can_be_sampled(cell, mixed):
    run = open_zoo(mixed).index(where=[("cell", "==", cell)])["run"][0].as_py()
    _, rows = sample_network(mixed, run=run, step=None, count=3)
    assert len(rows) == 3


def test_the_summary_of_a_zoo_says_how_well_each_architecture_does(mixed):
    zoo, info = open_zoo(mixed), zoo_info(open_zoo(mixed))
    assert info["zoo"]["format"] == 2 and info["zoo"]["network"] == f"{len(ARCHITECTURES)} architectures"
    assert [row["architecture"] for row in info["architectures"]] == [own.name for own in ARCHITECTURES]
    last = zoo.manifest.snapshots[-1]
    for row, own in zip(info["architectures"], ARCHITECTURES, strict=True):
        rows = zoo.index(where=[("architecture", "==", own.name), ("step", "==", last)])
        assert (row["runs"], row["parameters"]) == (len(rows), own.num_parameters)
        assert row[f"accuracy at {last}"] == pytest.approx(np.mean(rows["accuracy"].to_pylist()))
    assert sum(row["runs"] for row in info["architectures"]) == zoo.manifest.runs


def test_the_summary_has_all_steps_for_an_architecture_that_lacks_some(mixed, tmp_path):
    out, first = shutil.copytree(mixed, tmp_path / "zoo"), ARCHITECTURES[0].name
    for split in open_zoo(mixed).splits():
        keep_rows(out, split, lambda row: row["architecture"] != first or row["step"] == 2)
    info = zoo_info(open_zoo(out))["architectures"]
    columns = ["architecture", "parameters", "runs", "accuracy at 0", "accuracy at 2", "accuracy at 11"]
    assert [list(row) for row in info] == [columns] * len(ARCHITECTURES)
    assert (info[0]["accuracy at 0"], info[0]["accuracy at 11"]) == (None, None)
    assert info[0]["accuracy at 2"] == zoo_info(open_zoo(mixed))["architectures"][0]["accuracy at 2"]


def test_a_zoo_of_several_architectures_without_labels_has_a_summary(mixed, monkeypatch):
    monkeypatch.setattr("rnn_zoos.families.formal_languages.FormalLanguages.measured_labels", {})
    rows = zoo_info(open_zoo(mixed))["architectures"]
    assert [set(row) for row in rows] == [{"architecture", "parameters", "runs"}] * len(ARCHITECTURES)


def test_plain_parquet_files_describe_and_hold_all_weights(mixed, tmp_path):
    export_parquet(mixed, tmp_path / "export")
    zoo, found = open_zoo(mixed), {}
    example, *_ = code_blocks((tmp_path / "export" / "README.md").read_text(), "python")
    exec(example, found)
    expected = zoo.weights(zoo.index(zoo.splits()[0]).to_pylist()[0])
    assert list(found["weights"]) == list(expected)
    assert all(torch.equal(torch.tensor(found["weights"][name]), tensor) for name, tensor in expected.items())
    for split in zoo.splits():
        (path,) = (tmp_path / "export" / "data").glob(f"{split}-*.parquet")
        about = json.loads(pq.read_schema(path).metadata[b"rnn_zoos"])
        assert list(about["architectures"]) == NAMES
        for row in pq.read_table(path).to_pylist():
            described = about["architectures"][row["architecture"]]
            weights, first = {}, 0
            for parameter in described["parameters"]:
                shape = parameter["shape"]
                size = torch.Size(shape).numel()
                weights[parameter["name"]] = torch.tensor(row["weights"][first : first + size]).view(shape)
                first += size
            assert first == len(row["weights"])
            stored = zoo.weights(zoo.row(row["run"], row["step"]))
            assert all(torch.equal(weights[name], tensor) for name, tensor in stored.items())


def test_version_0_1_refuses_the_format(mixed):
    """It compared the entry `format` with 1, and asked the user to update."""
    assert json.loads((mixed / "zoo.json").read_text())["format"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["shard_architectures"]["train"].__setitem__(0, 7), "numbers below 3"),
        (lambda data: data["shard_architectures"]["train"].append(0), "shard_architectures has"),
        (lambda data: data["architectures"].append(data["architectures"][0]), "zip"),
        (lambda data: data["architectures"][1].__setitem__("hidden_size", 8), "does not match"),
        (lambda data: data.pop("shard_architectures"), "shard_architectures"),
        (lambda data: data["settings"]["architectures"][0].update(weight=10**18), "whole numbers from 1 to 1000"),
        (lambda data: data["settings"]["architectures"][0].update(weight=0), "whole numbers from 1 to 1000"),
        (lambda data: data["settings"].update(vary={"batch_size": [1e300]}), "expected numbers below"),
        (lambda data: data["settings"].update(vary={"momentum": [1]}), "expected choices of learning_rate"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(change, message, mixed, tmp_path):
    (tmp_path / "zoo.json").write_bytes((mixed / "zoo.json").read_bytes())
    edit_manifest(tmp_path / "zoo.json", change)
    with pytest.raises(FormatError, match=message):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("text", "new", "message"),
    [
        (
            "    - {cell: gru, num_layers: 1, hidden_size: 5}\n    - {cell: rnn, num_layers: 3, hidden_size: 4}\n",
            "",
            "two",
        ),
        ("cell: gru, num_layers: 1, hidden_size: 5", "cell: lstm, num_layers: 2, hidden_size: 7", "different"),
        (
            "  batch_size: 3",
            "  cell: lstm\n  batch_size: 3",
            "either cell, num_layers and hidden_size, or architectures",
        ),
        ("weight: 2", "weight: 0", "greater than or equal to 1"),
        ("cell: gru", "cell: mamba", "'lstm', 'gru' or 'rnn'"),
    ],
)
def test_a_wrong_preset_is_explained(text, new, message, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(MIXED.format(runs=3).replace(text, new))
    with pytest.raises(PresetError, match=message):
        make_plan("formal-languages", str(path))


def test_a_directory_cannot_go_on_with_other_architectures(preset, tmp_path):
    plan = make_plan("formal-languages", preset(4))
    generate_in_process(tmp_path / "zoo", plan)
    other = tmp_path / "other.yaml"
    other.write_text(MIXED.format(runs=6).replace("weight: 2", "weight: 3"))
    with pytest.raises(PlanMismatchError, match="architectures"):
        generate(make_plan("formal-languages", str(other)), tmp_path / "zoo")
