"""The table of runs: deals of architectures and draws of hyperparameters against slow, obvious versions of them."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from conftest import ALL_ZOOS

from rnn_zoos.families.registry import task_family
from rnn_zoos.families.run_table import RUN_FIELDS, _deal, _occurrences, run_table, varied_values
from rnn_zoos.generation.presets import load_preset

SETTINGS = {
    "seed": 3,
    "runs": 700,
    "weight_decay": [0.1, 0.2],
    "batch_size": 5,
    "snapshots": [0, 10, 20, 40],
    "learning_rate": {"0": 0.002, "10": 0.01, "40": 0.001},
}
ARCHITECTURES = [
    {"cell": "lstm", "num_layers": 2, "hidden_size": 8, "weight": 2},
    {"cell": "gru", "num_layers": 1, "hidden_size": 8},
    {"cell": "rnn", "num_layers": 1, "hidden_size": 8},
]
VARY = {
    "learning_rate": {"low": 0.0001, "high": 0.1},
    "batch_size": [2, 3, 5],
    "weight_decay": {"low": 1e-5, "high": 1.0},
    "initial_scale": [0.5, 1.0, 2.0],
    "num_updates": [10, 40],
}


@pytest.mark.parametrize("zoo", ALL_ZOOS)
def test_without_variation_every_run_has_the_values_of_the_settings(zoo):
    family = task_family(zoo)
    table = run_table(family, SETTINGS)
    assert table["run"].tolist() == list(range(700))
    own = {"architecture": 0, "rate_scale": 1, "initial_scale": 1, "batch_size": 0, "num_updates": 0}
    for name, value in own.items():
        assert set(table[name].tolist()) == {value}
    assert set(table["weight_decay"].tolist()) == {0.1, 0.2}
    some = run_table(family, SETTINGS, np.array([5, 699, 30]))
    assert (some == table[[5, 699, 30]]).all()


@pytest.mark.parametrize("zoo", ALL_ZOOS)
@pytest.mark.parametrize("stratified", [False, True])
def test_architectures_are_dealt_evenly_to_each_task_and_to_all_runs(zoo, stratified):
    family = task_family(zoo)
    settings = {**SETTINGS, "stratified_tasks": stratified, "architectures": ARCHITECTURES}
    table = run_table(family, settings)
    of_task = defaultdict(Counter)
    for record in table:
        of_task[int(record["task"])][int(record["architecture"])] += 1
    for task, counts in of_task.items():
        rounds, rest = divmod(counts.total(), 4)
        for number, weight in enumerate([2, 1, 1]):
            assert rounds * weight <= counts[number] <= rounds * weight + min(rest, weight), (task, counts)
    total = Counter(table["architecture"].tolist())
    assert total[0] == pytest.approx(350, abs=40) and total[1] == pytest.approx(175, abs=40)


def test_new_tasks_get_whole_cycles_and_the_order_within_a_cycle_is_shuffled():
    dealt = _deal(7, np.arange(400), [2, 1, 1])
    cycles = dealt.reshape(100, 4)
    assert all(sorted(cycle) == [0, 0, 1, 2] for cycle in cycles.tolist())
    assert len({tuple(cycle) for cycle in cycles.tolist()}) == 12, "all orders occur: no period of tasks matches"


def test_a_deal_is_what_a_slow_version_of_it_gives_and_more_runs_do_not_change_it():
    tasks = np.random.default_rng(0).integers(0, 23, 300)
    dealt = _deal(7, tasks, [1, 2])
    first = _deal(7, np.arange(23), [1, 2])  # every task once: the start of each in order of appearance
    slots, starts, seen = [0, 1, 1], {}, Counter()
    for position, task in enumerate(tasks.tolist()):
        starts.setdefault(task, len(starts))
        if not seen[task]:
            assert dealt[position] == first[starts[task]]
        seen[task] += 1
    for task in set(tasks.tolist()):
        own = dealt[tasks == task].tolist()
        rotations = [[slots[(start + k) % 3] for k in range(len(own))] for start in range(3)]
        assert own in rotations
    for count in (1, 100, 299):
        assert (_deal(7, tasks[:count], [1, 2]) == dealt[:count]).all()
    assert (_deal(8, tasks, [1, 2]) != dealt).any()


def test_occurrences_are_counted_in_order():
    values = np.array([4, 4, 1, 4, 1, 9])
    assert _occurrences(values).tolist() == [0, 1, 0, 2, 1, 0]


def test_hyperparameters_are_drawn_from_what_the_settings_say_and_independently():
    family = task_family("automata")
    settings = {**SETTINGS, "vary": VARY}
    table = run_table(family, settings)
    rates = table["rate_scale"] * 0.01
    assert rates.min() >= 0.0001 and rates.max() <= 0.1
    fractions = np.log(rates / 0.0001) / np.log(1000)
    assert np.histogram(fractions, 4, (0, 1))[0] == pytest.approx([175] * 4, abs=45), "the logarithms are uniform"
    assert Counter(table["batch_size"].tolist()).keys() == {2, 3, 5}
    assert Counter(table["num_updates"].tolist()).keys() == {10, 40}
    assert Counter(table["initial_scale"].tolist()).keys() == {0.5, 1.0, 2.0}
    decays = np.log10(table["weight_decay"])
    assert decays.min() >= -5 and decays.max() <= 0 and decays.std() > 1
    columns = np.stack([fractions, table["batch_size"], decays, table["initial_scale"], table["num_updates"]])
    assert np.abs(np.corrcoef(columns) - np.eye(5)).max() < 0.15
    for name, choices in VARY.items():  # what is drawn for one does not depend on what else is varied
        alone = run_table(family, {**SETTINGS, "vary": {name: choices}})
        field = "rate_scale" if name == "learning_rate" else name
        assert (alone[field] == table[field]).all()
    assert (run_table(family, {**settings, "runs": 90}) == table[:90]).all()


def test_the_learning_rate_of_a_run_is_the_highest_that_it_uses():
    """Compared with the rates of all of its updates."""
    family, lengths = task_family("automata"), [1, 2, 10, 11, 12, 25, 40, 41, 60]
    for schedule in ({0: 0.0, 25: 0.01, 40: 0.001}, {10: 0.01, 11: 0.003}, {5: 0.001, 40: 0.002}, {100: 0.1}):
        vary = {"learning_rate": [0.01, 0.5], "num_updates": lengths[1:]}
        given = {str(update): rate for update, rate in schedule.items()}
        settings = {**SETTINGS, "learning_rate": given, "snapshots": [0, *lengths], "vary": vary}
        for record in run_table(family, settings)[:80]:
            used = np.interp(np.arange(record["num_updates"]), list(schedule), list(schedule.values()))
            found = varied_values(settings, record)["learning_rate"]
            assert found == pytest.approx(used.max() * record["rate_scale"], rel=1e-12)
    without = {**settings, "vary": {"learning_rate": [0.5]}, "snapshots": [0, 60], "learning_rate": {0: 0.0, 120: 1.0}}
    assert varied_values(without, run_table(family, without)[0]) == {"learning_rate": pytest.approx(0.5 * 59 / 120)}


@pytest.mark.parametrize("zoo", ALL_ZOOS)
def test_the_runs_of_the_preset_diverse_have_the_learning_rates_that_they_drew_to_the_last_bit(zoo):
    settings = load_preset("diverse", zoo).as_data()
    table = run_table(task_family(zoo), settings)
    highest = max(settings["learning_rate"].values())
    for record in table[:200]:
        assert varied_values(settings, record)["learning_rate"] == float(record["rate_scale"]) * highest


def test_values_for_the_index_have_three_digits_and_only_what_is_varied():
    family = task_family("automata")
    settings = {**SETTINGS, "vary": VARY}
    for record in run_table(family, settings)[:50]:
        values = varied_values(settings, record)
        assert list(values) == ["learning_rate", "batch_size", "initial_scale", "num_updates"]
        if values["num_updates"] == 10:  # it ends before the schedule is at its highest
            continue
        assert values["learning_rate"] == pytest.approx(float(f"{values['learning_rate']:.3g}"), rel=1e-12)
    one = {**SETTINGS, "vary": {"batch_size": [2]}}
    assert varied_values(one, run_table(family, one)[0]) == {"batch_size": 2}
    assert varied_values(SETTINGS, run_table(family, SETTINGS)[0]) == {}
    assert RUN_FIELDS.names[:3] == ("run", "task", "weight_decay")
