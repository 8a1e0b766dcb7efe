"""Which stored results new results are compared with: the same zoo and settings, and other encoders."""

import json
from pathlib import Path

import pytest
from conftest import ZOOS

from rnn_zoos.baselines.benchmark import comparable, runner
from rnn_zoos.baselines.benchmark.comparable import comparable_results, how_to_compare, shared_entries
from rnn_zoos.baselines.benchmark.presets import PRESETS
from rnn_zoos.baselines.benchmark.result_files import read_entries
from rnn_zoos.baselines.downstream.protocols import EVALUATED_SPLITS
from rnn_zoos.baselines.emulation.data import load_data
from rnn_zoos.errors import FormatError, StorageError


def result(encoder: str = "mine", **changes) -> dict:
    zoo = {"name": "formal-languages", "preset": "medium", "sha256": "ab" * 32}
    entries = {"encoder": encoder, "zoo": zoo, "preset": "quick", "settings": {"updates": 3}, "biases": "apart"}
    return entries | {"by_run": runs(), **changes}


def runs(**test: list) -> dict:
    """Return runs and tasks of splits; those of `test` can be changed."""
    splits = {split: {"run": [7 * place, 9], "task": ["b", "a"]} for place, split in enumerate(EVALUATED_SPLITS)}
    return splits | {"test": splits["test"] | test}


def shared(**changes) -> dict:
    return {key: result(**changes)[key] for key in ("zoo", "preset", "settings", "biases", "by_run")}


def store(folder: Path, *contents: object) -> Path:
    folder.mkdir(parents=True)
    for number, content in enumerate(contents):
        (folder / f"{number}.json").write_text(json.dumps(content))
    return folder


COPY = result()["zoo"] | {"sha256": "cd" * 32}


@pytest.fixture(autouse=True)
def _all_are_valid(monkeypatch) -> None:
    monkeypatch.setattr(comparable, "check_result", lambda path: [])


def test_results_of_other_encoders_with_the_same_zoo_and_settings_are_found(tmp_path):
    others = [
        result("flat", zoo=COPY),
        result("flat", zoo=result()["zoo"] | {"preset": "small"}),
        result("flat", transfer="cells"),
        result("flat", preset="cpu"),
        result("flat", settings={"updates": 4}),
        result("flat", biases="merged"),
        result("mine", seed=7),
        {"control": "mean", "zoo": result()["zoo"], "biases": "apart"},
        {"runs": []},
        {"encoder": "flat", "zoo": "medium"},
        [1, 2],
    ]
    folder = store(tmp_path / "results" / "deeper", result("flat"), *others, result("dws", seed=1))
    (folder / "damaged.json").write_text("{")
    found = comparable_results(shared(), ["mine"], tmp_path / "results")
    assert found == [result("flat"), result("dws", seed=1)]


def test_if_there_is_none_results_of_one_copy_of_the_zoo_are_found(tmp_path):
    third = result()["zoo"] | {"sha256": "ef" * 32}
    folder = store(tmp_path / "copies", result("flat", zoo=COPY), result("dws", zoo=third), result("dws", zoo=COPY))
    assert comparable_results(shared(), ["mine"], folder) == [result("flat", zoo=COPY), result("dws", zoo=COPY)]
    others = [
        result("flat", zoo=COPY, by_run=runs(run=[8, 9])),
        result("flat", zoo=COPY, by_run=runs(task=["b", "c"])),
        result("flat", zoo=COPY | {"preset": "small"}),
        result("flat", zoo=COPY, settings={"updates": 4}),
    ]
    for number, other in enumerate(others):
        with pytest.raises(FormatError, match="has no results of other encoders"):
            comparable_results(shared(), ["mine"], store(tmp_path / str(number), other))


def test_without_a_directory_the_stored_results_of_the_project_are_used_if_there_are_any(tmp_path, monkeypatch):
    monkeypatch.setattr(comparable, "STORED", store(tmp_path / "stored", result("flat"), result("dws", preset="cpu")))
    assert comparable_results(shared(), ["mine"], None) == [result("flat")]
    assert comparable_results(shared(preset="paper"), ["mine"], None) == []
    monkeypatch.setattr(comparable, "STORED", tmp_path / "nowhere")
    assert comparable_results(shared(), ["mine"], None) == []
    assert "on the zoo formal-languages, preset medium (abababababab) with preset quick" in how_to_compare(shared())
    assert "rnn-zoos benchmark --zoo DIR --preset quick --out OTHER" in how_to_compare(shared())


def test_a_directory_without_comparable_results_is_reported(tmp_path):
    folder = store(tmp_path / "results", result("mine"), result("flat", preset="cpu"))
    with pytest.raises(FormatError, match="has no results of other encoders on .* with preset quick, biases apart and"):
        comparable_results(shared(), ["mine"], folder)
    with pytest.raises(FormatError, match="nowhere has no results"):
        comparable_results(shared(), ["mine"], tmp_path / "nowhere")


def test_what_cannot_be_read_among_results_is_reported(tmp_path):
    folder = store(tmp_path / "results", result("flat"))
    (folder / "folder.json").mkdir()
    assert len(comparable_results(shared(), ["mine"], folder)) == 1
    (folder / "gone.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match=r"gone.json cannot be read: No such file"):
        comparable_results(shared(), ["mine"], folder)
    with pytest.raises(StorageError, match=r"folder.json cannot be read"):
        read_entries(folder / "folder.json")


def test_a_comparable_result_that_is_not_valid_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(comparable, "check_result", lambda path: [f"{path.stem} is wrong."])
    assert comparable_results(shared(), ["mine"], None) == []
    folder = store(tmp_path / "results", result("flat", preset="cpu"), result("flat"))
    with pytest.raises(FormatError, match=r"1.json: 1 is wrong. Delete the file, or make it again."):
        comparable_results(shared(), ["mine"], folder)


@pytest.mark.parametrize("name", ZOOS)
def test_the_shared_entries_are_those_of_the_result_files(name, zoo):
    data = load_data(zoo(name), biases="merged")
    found = shared_entries(data, "cpu")
    for split, columns in found.pop("by_run").items():
        index = data.zoo.index(split).to_pydict()
        tasks = dict(zip(index["run"], index["task"], strict=True))
        assert columns == {"run": sorted(tasks), "task": [tasks[run] for run in sorted(tasks)]}
    identity = json.loads(json.dumps(runner._encoder_identity(data, "flat", 0, "cpu")))
    assert found == {key: identity[key] for key in found} and found["zoo"]["sha256"] == data.zoo.identity
    assert found["settings"]["updates"] == PRESETS["cpu"].settings[name].updates
