"""The benchmark on families that are not the paper's: automata, and the family that docs/extending.md writes down."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import generate_in_process
from other_package import FAMILY, PRESET, install
from short_benchmark import shorten_benchmark

from rnn_zoos.baselines.benchmark import presets
from rnn_zoos.baselines.benchmark.figures.draw import draw_results
from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
from rnn_zoos.baselines.benchmark.result_files import read_results
from rnn_zoos.baselines.benchmark.runner import run_control, run_encoder
from rnn_zoos.baselines.downstream.clones import clone_fidelity
from rnn_zoos.baselines.downstream.settings import EndToEndSettings
from rnn_zoos.baselines.downstream.targets import family_targets, task_targets
from rnn_zoos.baselines.emulation import references
from rnn_zoos.baselines.emulation.data import ZooData, load_data
from rnn_zoos.baselines.emulation.emulator import Emulator
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.baselines.encoders.probes.probing import InteractiveProbing
from rnn_zoos.errors import EncoderError, FormatError, UnknownNameError
from rnn_zoos.families.automata import Automata
from rnn_zoos.families.behaviours import SHORT_STRINGS
from rnn_zoos.families.named_automata import automaton_of
from rnn_zoos.generation.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data


class OwnProbing(InteractiveProbing):
    """An encoder of a user that changes nothing."""


class Picky(InteractiveProbing):
    @classmethod
    def supports_family(cls, benchmark):
        return benchmark.input_kind == "written"


class OwnModule(torch.nn.Module):
    pass


@pytest.fixture(scope="module")
def automata(edited_zoo):
    """A tiny zoo with automata in every split."""
    edits = {"runs: 19": "runs: 44", "[0, 2, 9]": "[0, 2, 3]", "strings: 13, hard": "strings: 3, hard"}
    edits |= {"hard_pairs: 11, traced_strings: 9": "hard_pairs: 2, traced_strings: 4", "num_layers: 2": "num_layers: 1"}
    return edited_zoo("automata", edits)


@pytest.fixture
def short(monkeypatch) -> presets.Preset:
    """A preset of very short trainings, in which zoos of other families than the paper's are not named."""
    cpu = presets.PRESETS["cpu"]
    settings = replace(cpu.settings["formal-languages"], updates=3, evaluate_every=2, networks=4, hidden=8, layers=1)
    small = {"hidden": 8, "sequences": 2, "steps": 3}
    sizes = {**cpu.sizes, "interactive": small, "probegen": {**small, "latent": 4}}
    chosen = presets.Preset({"formal-languages": settings}, EndToEndSettings(updates=2, hidden=5), sizes)
    shorten_benchmark(monkeypatch, {"cpu": chosen})
    return chosen


def test_behaviour_is_that_of_the_networks_and_classes_are_the_right_answers(automata):
    split = load_data(automata).splits["ood"]
    rows, sequences = torch.tensor([5, 0, 17]), torch.tensor([[3, 0], [1, 1], [2, 3]])
    behaviour = split.behaviour(rows, sequences)
    assert behaviour.inputs.shape == (3, 2, 40, 4) and behaviour.log_probs.shape == (3, 2, 40, 2)
    outputs, _ = split.stack(rows)(behaviour.inputs)
    assert torch.allclose(outputs.log_softmax(-1), behaviour.log_probs, atol=2e-3) and behaviour.unpadded.all()
    for place, number in enumerate(split.labels("automaton")[rows.numpy()].tolist()):
        answers = automaton_of(number).answers(behaviour.inputs[place].argmax(-1))
        assert torch.equal(behaviour.classes[place], answers.long())


def test_the_task_is_what_the_automaton_answers_to_short_strings(automata):
    split = load_data(automata).splits["train"]
    values = family_targets("automata")["task"].values(split)
    assert values.shape == (len(split), len(SHORT_STRINGS)) == (len(split), 14)
    for row, number in zip(values, split.labels("automaton").tolist(), strict=True):
        strings = [torch.tensor([int(symbol) for symbol in string]) for string in SHORT_STRINGS]
        assert row.tolist() == [float(automaton_of(number).answers(string)[-1]) for string in strings]
    assert 0 < values.mean() < 1 and family_targets("automata")["task_trained"].from_step == 500


def test_the_emulator_reads_the_first_symbol_where_it_says_something():
    inputs = torch.eye(4)[torch.tensor([[[0, 1, 2], [3, 1, 2]]])]
    embeddings = torch.ones(1, 3)
    for reads_first in (True, False):
        outputs = Emulator(4, 2, 3, hidden=8, layers=1, reads_first=reads_first)(embeddings, inputs)
        assert torch.equal(outputs[0, 0], outputs[0, 1]) != reads_first


def test_clones_are_judged_by_right_answers_and_by_agreement(automata, tmp_path, short):
    data = load_data(automata)
    run = EmulationRun(data, "statistics", 0, short.settings_of("automata"), tmp_path / "run")
    fidelity, clones = clone_fidelity(run, "test")
    split = data.splits["test"]
    behaviour = split.behaviour(torch.arange(len(split)), torch.arange(4).expand(len(split), -1))
    with torch.no_grad():
        answers = run.emulator(run.embedder.embed("test", torch.arange(len(split))), behaviour.inputs).argmax(-1)
    right = (answers == behaviour.classes).double().flatten(1).mean(1)
    assert np.allclose(clones, right) and fidelity["accuracy"] == pytest.approx(right.mean().item())
    agreed = (answers == behaviour.log_probs.argmax(-1)).double().mean().item()
    assert fidelity["agreement"] == pytest.approx(agreed)


def test_networks_without_right_answers_are_refused_before_anything_is_trained(automata, tmp_path, monkeypatch):
    data = load_data(automata)
    behaviour = data.splits["test"].behaviour
    for classes in (None, torch.full((1, 1, 1), -1)):
        changed = lambda *rows, classes=classes: replace(behaviour(*rows), classes=classes)  # noqa: E731
        monkeypatch.setattr(data.splits["test"], "behaviour", changed)
        with pytest.raises(FormatError, match="of this automata zoo have no right answers"):
            run_encoder(data, "statistics", 0, "cpu", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_family_without_a_task_has_no_reference_that_knows_it(automata, tmp_path, short, monkeypatch):
    benchmark = Automata.benchmark
    monkeypatch.setattr(references, "benchmark_of", lambda zoo: replace(benchmark, targets={"step": 1}))
    assert references.references_of("automata") == ["constant", "step-known"]
    data, settings = load_data(automata), short.settings_of("automata")
    assert (
        EmulationRun(data, "step-known", 0, settings, tmp_path / "known").embedder.embeddings("test").isfinite().all()
    )
    with pytest.raises(EncoderError, match="automata has no target `task`, .* Use constant, step-known"):
        EmulationRun(data, "step-and-task-known", 0, settings, tmp_path / "run")


@pytest.mark.long
def test_automata_are_benchmarked_with_table_and_figures(automata, tmp_path, short):
    data = load_data(automata)
    for name in ("interactive", "probegen", "data-probes", "dws", "step-and-task-known"):
        path = run_encoder(data, name, 0, "cpu", tmp_path)
        result = json.loads(path.read_text())
        assert 0 < result["emulation"]["test"]["total_variation"] < 1
    assert result["downstream"].keys()
    run_control(data, "step only", tmp_path)
    table = leaderboard(read_results(tmp_path))
    assert "### automata" in table and "num_states" in table and "own snapshot, top-1" in table
    assert draw_results(read_results(tmp_path), tmp_path / "figures")


def test_encoders_ask_automata_symbols_and_do_not_begin_with_bos(short):
    sizes = short.sizes_of("interactive", "automata")
    assert sizes == {"inputs": "symbols", "hidden": 8, "sequences": 2, "steps": 3}
    assert "inputs" not in short.sizes_of("interactive", "formal-languages")
    from rnn_zoos.baselines.encoders.registry import make_encoder

    encoder = make_encoder("interactive", Automata().architecture("lstm", 1, 5), **sizes)
    assert encoder.questions_form == "symbols" and not encoder.starts_with_bos
    assert short.sizes_of(f"{__name__}:OwnProbing", "automata") == {"inputs": "symbols"}
    assert short.sizes_of(f"{__name__}:OwnModule", "automata") == short.sizes_of("constant", "automata") == {}
    with pytest.raises(EncoderError, match="Picky cannot query networks of automata"):
        short.sizes_of(f"{__name__}:Picky", "automata")


@pytest.fixture
def foreign(tmp_path, monkeypatch) -> Callable[..., ZooData]:
    """Return a function: name, edits -> a zoo of the family of docs/extending.md under another name, with edits."""

    def make(name: str, edits: dict[str, str] | None = None) -> ZooData:
        family, preset = (text.replace("counting", name) for text in (FAMILY, PRESET))
        for old, new in (edits or {}).items():
            assert old in family + preset
            family, preset = family.replace(old, new), preset.replace(old, new)
        (tmp_path / f"{name}.py").write_text(family)
        (tmp_path / f"{name}.yaml").write_text(preset)
        install(tmp_path, name, f"{name}:Counting")
        monkeypatch.syspath_prepend(tmp_path)
        generate_in_process(tmp_path / "zoo", make_plan(name, str(tmp_path / f"{name}.yaml")))
        return load_data(tmp_path / "zoo")

    return make


def test_a_family_of_another_package_is_benchmarked(foreign, tmp_path, short):
    data = foreign("counting", {"[0, 100, 300]": "[0, 2, 3]"})
    result = json.loads(run_encoder(data, "interactive", 0, "cpu", tmp_path / "out").read_text())
    assert result["sizes"] == {"inputs": "numbers", "hidden": 8, "sequences": 2, "steps": 3}
    table = leaderboard(read_results(tmp_path / "out"))
    assert "nearest task" in table and "Trajectories, early snapshots at step 2" in table


def test_a_family_without_a_task_to_predict_has_no_columns_of_it(foreign, tmp_path, short):
    """Neither has one that predicts the step alone columns of accuracy."""
    named = '{"task": TargetColumns("classes", ("modulus",)), **SHARED_TARGETS}'
    data = foreign("tallying", {named: '{"step": SHARED_TARGETS["step"]}', "[0, 100, 300]": "[0, 3]"})
    assert list(family_targets("tallying")) == ["step"] and task_targets("tallying") == {}
    result = json.loads(run_encoder(data, "statistics", 0, "cpu", tmp_path / "out").read_text())
    run_control(data, "step only", tmp_path / "out")
    assert result["retrieval"] == {} and list(result["downstream"]["strict"]["mlp"]) == ["step"]
    results = read_results(tmp_path / "out")
    for table in (leaderboard(results), leaderboard(results, brief=True)):
        assert "### tallying" in table and "statistics" in table
        assert "task" not in table and "accuracy R²" not in table
    assert "step accuracy" in leaderboard(results)
    drawn = {path.name for path in draw_results(results, tmp_path / "figures")}
    assert {"emulation-tallying.png", "downstream-tallying.png"} <= drawn and "retrieval-tallying.png" not in drawn


WRITING = {  # networks that write strings of 3 symbols, the first of which is 2
    "drawn[..., None].float(), drawn.cumsum(dim=-1) % self.moduli[:, None, None]": "one_hot(drawn, 3), drawn",
    'rollouts["bits"].cumsum(dim=-1) % torch.from_numpy(labels("modulus"))[:, None, None]': "None",
    'rollouts["bits"][..., None].float()': 'one_hot(rollouts["bits"], 3)',
    "1, 29": "3, 3",
    '"numbers", STEPS)': '"written", STEPS, accepts=even)',
    "logits = network(bits[..., None].float())": "bits[:, 0] = 2; logits = network(one_hot(bits, 3))",
    "class Counting(": """def one_hot(symbols, count):
    return torch.nn.functional.one_hot(symbols.long(), count).float()


def even(strings, labels):
    assert strings.shape[2] == 1 + STEPS and (strings[:, :, 0] == 2).all() and len(labels("modulus")) == len(strings)
    return strings.sum(dim=2) % 2 == 0


class Counting(""",
    "[0, 100, 300]": "[0, 3]",
}


@pytest.mark.parametrize("name", ["statistics", "interactive", "probegen"])
def test_a_family_whose_networks_write_other_symbols_is_benchmarked(name, foreign, tmp_path, short):
    data = foreign("writing", WRITING)
    result = json.loads(run_encoder(data, name, 0, "cpu", tmp_path / "out").read_text())
    assert 0 < result["clones"]["test"]["accuracy"] < 1


def test_a_family_without_accuracies_is_refused_before_anything_is_trained(foreign, tmp_path, short):
    edits = {
        'label_columns = {"accuracy"': 'label_columns = {"score"',
        'Measurement({"accuracy"': 'Measurement({"score"',
    }
    data = foreign("scoring", {**edits, ", **SHARED_TARGETS}": "}", "[0, 100, 300]": "[0, 3]"})
    with pytest.raises(UnknownNameError, match="Unknown label 'accuracy'"):
        run_encoder(data, "statistics", 0, "cpu", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_networks_none_of_whose_answers_count_are_left_out_of_scores_of_clones(foreign, tmp_path, short):
    """Those of step 0, among them the first of the split."""
    counts = 'torch.from_numpy(labels("modulus"))[:, None, None]'
    edits = {f"% {counts}": f"% {counts}\n    counts[labels('step') == 0] = -1", "[0, 100, 300]": "[0, 3]"}
    data = foreign("parting", edits)
    path = run_encoder(data, "statistics", 0, "cpu", tmp_path / "out")
    assert "NaN" not in path.read_text()
    run = EmulationRun(data, "statistics", 0, short.settings_of("parting"), tmp_path / "run")
    fidelity, clones = clone_fidelity(run, "test")
    judged, split = ~np.isnan(clones), data.splits["test"]
    assert judged.tolist() == (split.labels("step") > 0).tolist() and 0 < judged.sum() < len(judged)
    assert fidelity["accuracy"] == pytest.approx(clones[judged].mean())
    assert fidelity["accuracy_of_originals"] == pytest.approx(split.labels("accuracy")[judged].mean())
    result = json.loads(path.read_text())
    assert len(result["clone_points"]["step"]) == len(result["clone_points"]["clone"]) == judged.sum()


def test_a_family_that_does_not_say_what_to_imitate_is_named(automata, monkeypatch):
    monkeypatch.setattr(Automata, "benchmark", None)
    with pytest.raises(FormatError, match="The family automata has no `benchmark`"):
        load_data(automata).splits["test"].behaviour(torch.tensor([0]), torch.tensor([[0]]))
