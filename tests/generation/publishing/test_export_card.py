"""Cards: what they advertise works, on an export as on a published zoo."""

import json
import re

import numpy as np
import pytest
import yaml
from conftest import ZOOS
from documents import DOCUMENTS, code_blocks

from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.presets import load_preset
from rnn_zoos.generation.publishing import card
from rnn_zoos.generation.publishing.export import export_parquet, write_export
from rnn_zoos.loaders.zoo import open_zoo

REPO = "rnn-zoos/tiny"


def card_of(zoo, out, published: bool) -> tuple[dict, str]:
    """Return metadata and text of a card."""
    write_export(open_zoo(zoo), out, REPO, published)
    _, metadata, body = (out / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(metadata), body


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("name", ZOOS)
def test_the_card_has_the_zoos_numbers_and_a_command_that_regenerates_it(name, published, zoo, tmp_path):
    metadata, body = card_of(zoo(name), tmp_path / "out", published)
    configs = [(config["config_name"], config.get("default")) for config in metadata["configs"]]
    assert configs == [("full", True), ("index", False)]
    assert f'load_dataset("{REPO}"' in body and card._PLACE not in body
    manifest = read_manifest(zoo(name))
    assert f"| runs | {manifest.runs} |" in body
    for picture in re.findall(r"!\[.*\]\((.*)\)", body):
        assert (tmp_path / "out" / picture).is_file()
    command = re.search(r"rnn-zoos generate (\S+) --preset preset.yaml --backend (\S+)", body)
    assert command and command.groups() == (name, manifest.made["backend"])
    preset = str(tmp_path / "out" / "preset.yaml")
    plan = make_plan(name, preset, backend=command[2])
    assert load_preset(preset, name).as_data() == json.loads(json.dumps(manifest.settings))
    assert plan.settings.runs == manifest.runs and plan.preset == manifest.preset


@pytest.mark.parametrize("name", ZOOS)
def test_the_example_of_the_card_of_an_export_runs(name, zoo, tmp_path):
    """It names the directory, here one with a quotation mark, and gives the first row its shapes."""
    out = tmp_path / 'six"7'
    export_parquet(zoo(name), out)
    example, *_ = code_blocks((out / "README.md").read_text(), "python")
    assert "rnn_zoos.load" not in example and "import rnn_zoos" not in example
    found: dict = {}
    exec(example, found)
    source = open_zoo(zoo(name))
    row = source.index("train").to_pylist()[0]
    assert found["rows"][0]["task"] == found["labels"][0]["task"] == row["task"]
    expected = source.weights(row)
    assert list(found["weights"]) == list(expected)
    assert all(np.array_equal(found["weights"][key], tensor.numpy()) for key, tensor in expected.items())


@pytest.mark.parametrize("name", ZOOS)
def test_a_card_lists_the_files_that_there_are(name, zoo, tmp_path):
    export_parquet(zoo(name), tmp_path / "out")
    body = (tmp_path / "out" / "README.md").read_text()
    listed = re.search(r"### Files\n\n```\n(.*?)```", body, re.S)[1]
    folders = {line.split()[0].partition("/")[0] for line in listed.splitlines()}
    assert folders == {path.name for path in (tmp_path / "out").iterdir()} - {"export.json"}
    assert "### Rollouts" not in body and "rollouts=True" not in body and "`export.json` has the sha256" in body
    published = card_of(zoo(name), tmp_path / "published", published=True)[1]
    for text in (
        "rnn_zoos.load_dataset",
        "rollouts=True",
        "\nzoo.json ",
        "\nshards/train",
        "`zoo.json` has the versions",
    ):
        assert text in published


@pytest.mark.parametrize("name", ZOOS)
def test_the_recipe_for_shapes_in_the_documentation_runs(name, zoo, tmp_path, monkeypatch):
    export_parquet(zoo(name), tmp_path / "exported")
    monkeypatch.chdir(tmp_path)
    recipe = re.search(r"```python\n([^`]*b\"rnn_zoos\".*?)```", DOCUMENTS["docs/loading.md"], re.S)[1]
    found: dict = {}
    exec(recipe, found)
    source = open_zoo(zoo(name))
    expected = source.take("weights", source.index("train").to_pydict())
    assert list(found["weights"]) == list(source.manifest.architecture.parameter_shapes)
    assert all(np.array_equal(tensor, expected[key]) for key, tensor in found["weights"].items())
