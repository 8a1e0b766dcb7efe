from pathlib import Path

import pytest
import yaml

from rnn_zoos.errors import PresetError, UnknownNameError
from rnn_zoos.families.registry import ZOOS, task_family
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.presets import load_preset, preset_name, preset_names
from rnn_zoos.generation.trainers.trainer import learning_rate

OF_THE_PAPER = ("formal-languages", "sequential-mnist")


def test_the_presets_of_the_package_are_valid():
    assert preset_names() == ["demo", "diverse", "medium", "mixed", "paper", "small"]
    for preset in preset_names():
        for zoo in ZOOS:
            load_preset(preset, zoo)


@pytest.mark.parametrize("zoo", OF_THE_PAPER)
def test_the_paper_preset_has_the_settings_of_the_paper(zoo):
    settings = load_preset("paper", zoo)
    assert settings.runs == 1000 and settings.batch_size == 32 and settings.num_updates == 20_000
    assert settings.snapshots == (0, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
    architecture = settings.architecture(task_family(zoo))
    assert (architecture.cell, architecture.num_layers, architecture.hidden_size) == ("lstm", 2, 32)
    rates = {update: learning_rate(settings, update) for update in (0, 5000, 10_000, 15_000, 20_000, 30_000)}
    assert rates == pytest.approx({0: 0.01, 5000: 0.0065, 10_000: 0.003, 15_000: 0.00165, 20_000: 3e-4, 30_000: 3e-4})
    assert settings.weight_decay == ((1e-4,) if zoo == "formal-languages" else (0, 1e-3, 1e-2, 1e-1))
    expected = {"formal-languages": {"strings": 1000, "rollouts": 100}}.get(
        zoo, {"held_out_digits": 12_000, "fit_digits": 12_000, "test_digits": 10_000, "rollouts": 100}
    )
    assert settings.evaluation == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": "many"}, r"formal-languages.batch_size is 'many'.*integer"),
        ({"batch_size": 0}, r"batch_size is 0.*greater than or equal to 1"),
        ({"batch_size": True}, r"batch_size is True"),
        ({"cell": "lstn"}, r"cell is 'lstn'.*'lstm', 'gru' or 'rnn'"),
        ({"batchsize": 3}, r"batchsize is not a setting. Allowed: seed, runs, .*batch_size"),
        ({"runs": None}, r"formal-languages.runs is None"),
        ({"snapshots": [0, 20, 10]}, r"snapshots is \[0, 20, 10\].*ascending"),
        ({"snapshots": []}, r"snapshots is \[\]"),
        ({"learning_rate": {0: -0.1}}, r"learning_rate.0 is -0.1"),
        ({"learning_rate": {0: float("nan")}}, r"learning_rate.0 is nan"),
        ({"weight_decay": []}, r"weight_decay is \[\]"),
        ({"evaluation": {"strings": 3}}, r"evaluation has the keys \['strings'\]; expected \['rollouts', 'strings'\]"),
        ({"seed": -1}, r"seed is -1"),
        ({"stratified_tasks": 1}, r"stratified_tasks is 1.*boolean"),
        ({"weight_decay": [True]}, r"weight_decay.0 is True"),
    ],
)
def test_a_wrong_value_is_reported_with_what_is_allowed(tiny_preset, tmp_path, changes, message):
    content = yaml.safe_load(Path(tiny_preset()).read_text())
    content["formal-languages"] |= changes
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(PresetError, match=message):
        load_preset(str(tmp_path / "mine.yaml"), "formal-languages")


def test_missing_keys_missing_files_and_broken_yaml_are_reported(tiny_preset, tmp_path):
    content = yaml.safe_load(Path(tiny_preset()).read_text())
    del content["formal-languages"]["cell"], content["sequential-mnist"]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(PresetError, match="formal-languages: give either cell, num_layers and hidden_size, or arch"):
        load_preset(str(path), "formal-languages")
    with pytest.raises(UnknownNameError, match="Unknown zoo of preset .*known: automata, formal-languages"):
        load_preset(str(path), "sequential-mnist")
    path.write_text("a: [")
    with pytest.raises(PresetError, match="not readable YAML"):
        load_preset(str(path), "formal-languages")
    path.write_text("formal-languages: {runs: 3, runs: 9}")
    with pytest.raises(PresetError, match="the key 'runs' is given twice"):
        load_preset(str(path), "formal-languages")
    path.write_text("- a")
    with pytest.raises(PresetError, match="holds list"):
        load_preset(str(path), "formal-languages")
    path.write_text("formal-languages: 3")
    with pytest.raises(PresetError, match="formal-languages"):
        load_preset(str(path), "formal-languages")
    with pytest.raises(PresetError, match="no preset file"):
        load_preset(str(tmp_path / "none.yaml"), "formal-languages")
    with pytest.raises(UnknownNameError, match="Unknown preset '../presets/demo'"):
        load_preset("../presets/demo", "formal-languages")
    with pytest.raises(UnknownNameError, match="Unknown preset 'dmo'.*Did you mean 'demo'"):
        load_preset("dmo", "formal-languages")
    with pytest.raises(UnknownNameError, match="Unknown zoo 'formal'.*sequential-mnist"):
        load_preset("demo", "formal")


def test_a_preset_has_the_name_of_its_file_or_the_one_in_it(tiny_preset, tmp_path):
    path = tmp_path / "mine.yaml"
    for key, name in (("", "mine"), ("name: yours\n", "yours")):
        path.write_text(key + Path(tiny_preset()).read_text())
        assert make_plan("formal-languages", str(path)).preset == preset_name(str(path)) == name
    assert preset_name("demo") == "demo"
    path.write_text("name: [yours]\n" + Path(tiny_preset()).read_text())
    with pytest.raises(PresetError, match=r"mine.yaml: name is \['yours'\]; expected a string"):
        make_plan("formal-languages", str(path))


def test_settings_can_be_shared_by_the_merge_key_of_yaml(tiny_preset, tmp_path):
    content = yaml.safe_load(Path(tiny_preset()).read_text())["formal-languages"]
    path = tmp_path / "mine.yaml"
    base = yaml.safe_dump({**content, "seed": 4}, default_flow_style=True, width=9999)
    path.write_text(f"base: &base {base}formal-languages: {{<<: *base, runs: 2}}\n")
    settings = load_preset(str(path), "formal-languages")
    assert (settings.seed, settings.runs) == (4, 2)
    path.write_text("[" * 5000)
    with pytest.raises(PresetError, match="not readable YAML"):
        load_preset(str(path), "formal-languages")


def test_settings_that_are_new_since_version_0_1_are_stored_only_where_they_are_used():
    paper, medium = (load_preset(preset, "sequential-mnist") for preset in ("paper", "medium"))
    assert "stratified_tasks" not in paper.as_data() and medium.as_data()["stratified_tasks"] is True
