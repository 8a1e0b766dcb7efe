"""The leaderboard: encoders, references and controls in their places, values with intervals, supported orders."""

import math
import statistics

import pytest
from synthetic_results import DIGITS, LANGUAGES, MANY, Fake, many_results, synthetic

from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
from rnn_zoos.baselines.benchmark.tables import mean_score
from rnn_zoos.baselines.downstream.controls import CONTROLS
from rnn_zoos.baselines.downstream.measures import LIMITS, MEASURES
from rnn_zoos.baselines.downstream.trajectory_tasks import RANK_MEASURES, TRAJECTORY_TASKS
from rnn_zoos.errors import FormatError, UnknownNameError

ENCODERS = [fake for fake in MANY if fake.information != "labels"]


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of all tables of a text, without the rules below headers."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("| ---"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1] and not line.startswith("|"):
            found.append([])
    return [table for table in found if table]


@pytest.fixture(scope="module")
def results() -> list[dict]:
    return many_results(LANGUAGES) + many_results(DIGITS)


def test_a_zoo_has_tables_of_emulation_labels_and_supported_orders(results):
    text = leaderboard(results)
    assert text.startswith("### formal-languages\n\nEmulation:\n\n| encoder |") and text.endswith(" |\n")
    emulation, labels, runs, order, *digits = tables(text)
    assert (
        len(digits) == 4
        and len(runs) == len(labels)
        and len(emulation) == 1 + len(MANY)
        and len(order) == len(ENCODERS)
    )
    assert len(labels) == 1 + len(MANY) + len(CONTROLS)
    assert all(len({len(line) for line in table}) == 1 for table in tables(text))
    names = [line[0] for line in labels[1:]]
    assert [name.split(":")[0] for name in names[len(ENCODERS) :]] == ["reference"] * 3 + ["control"] * len(CONTROLS)
    losses = [float(line[5].split()[0]) for line in emulation[1 : 1 + len(ENCODERS)]]
    assert losses == sorted(losses)
    assert "accuracy R² within steps" in labels[0] and "task (steps >= 500) accuracy" in labels[0]
    assert "task (steps >= 500) error (degrees)" in digits[1][0]


@pytest.mark.parametrize("brief", [True, False])
def test_results_without_end_to_end_training_have_no_such_table(brief, results):
    references = [result for result in results if "end_to_end" not in result]
    with pytest.raises(FormatError, match="None of .* was trained end to end"):
        leaderboard(references, predictor="end-to-end", brief=brief)


def test_cells_are_means_over_seeds(results):
    emulation, labels, runs = tables(leaderboard(results, "paper", "mlp", "ood"))[:3]
    row = dict(zip(emulation[0], next(line for line in emulation if line[0] == "dws"), strict=True))
    seeds = [result for result in results if result.get("encoder") == "dws" and result["zoo"]["name"] == LANGUAGES]
    mean = statistics.mean(result["emulation"]["ood"]["total_variation"] for result in seeds)
    assert row["TV per step, ood"].startswith(f"{mean:.4f} [.0") and row["seeds"] == "3"
    mean = statistics.mean(result["clones"]["ood"]["correlation"] for result in seeds)
    assert row["clone correlation, ood"] == f"{mean:.2f}"
    row = dict(zip(labels[0], next(line for line in labels if line[0] == "dws"), strict=True))
    scores = [result["downstream"]["paper"]["mlp"]["m_b"]["ood"]["accuracy"]["value"] for result in seeds]
    assert row["m_b accuracy"].startswith(f"{statistics.mean(scores):.3f} [")
    row = dict(zip(runs[0], next(line for line in runs if line[0] == "dws"), strict=True))
    predicted = [result["trajectories"]["predicted"]["paper"]["mlp"] for result in seeds]
    mean = statistics.mean(tasks["final_accuracy@100"]["ood"]["r_squared"]["value"] for tasks in predicted)
    assert row["final accuracy, R²"].startswith(f"{mean:.3f} [")
    found = [result["trajectories"]["retrieved"]["own_snapshot@100"] for result in seeds]
    mean = statistics.mean(scores["ood"]["top_1"]["value"] for scores in found)
    assert row["own snapshot, top-1 (chance 0.0125)"].startswith(f"{mean:.3f} [")


def test_what_is_left_out_of_trajectories_has_no_column_but_a_reason(results):
    text = leaderboard(results)
    languages, digits = (tables(text)[place] for place in (2, 6))
    assert languages[0] == [
        "encoder", "final accuracy, R²", "order of successive snapshots, accuracy (chance 0.5)",
        "own snapshot, top-1 (chance 0.0125)", "own snapshot, mean reciprocal rank (chance 0.0125)",
        "own snapshot within the task, top-1 (chance 0.0125)",
    ]  # fmt: skip
    assert digits[0] == languages[0][:-1]
    assert text.count("- diverged: left out. test: there is none.") == 2
    assert text.count("- own snapshot within the task: left out. test: there is none.") == 1


def test_what_is_retrieved_by_features_is_shown_once_per_features(results):
    _, _, runs, *_ = tables(leaderboard(results))
    places = [place for place, header in enumerate(runs[0]) if header.startswith("own snapshot")]
    shown = {line[0]: {line[place] == "-" for place in places} for line in runs[1:]}
    assert places and shown.pop("control: weight statistics, permuted labels") == {True}
    assert shown.pop("control: weight statistics, boosted trees") == {True}
    assert set().union(*shown.values()) == {False}


def test_an_order_is_supported_if_the_paired_interval_excludes_zero():
    fakes = (Fake("a", 0.02), Fake("b", 0.0201), Fake("c", 0.03))
    text = leaderboard([synthetic(LANGUAGES, fake, seed) for fake in fakes for seed in range(3)])
    order = tables(text)[-1]
    assert {line[0]: line[-1] for line in order[1:] if "c" in line[:2]} == {"c": "supported"}
    assert [line[-1] for line in order[1:]] == ["open", "supported"]
    assert "Paired differences" not in leaderboard([synthetic(LANGUAGES, fakes[0])])


@pytest.mark.parametrize("wrong", [{"protocol": "lax"}, {"predictor": "forest"}, {"split": "train"}])
def test_what_cannot_be_selected_is_refused(wrong, results):
    ((kind, name),) = wrong.items()
    with pytest.raises(UnknownNameError, match=f"Unknown {kind} '{name}'; known: "):
        leaderboard(results, **wrong)


def test_of_a_single_seed_an_order_is_supported_over_tasks_only():
    a, c = (Fake("a", 0.02), 3), (Fake("c", 0.03), 1)
    for several, single in ((a, c), ((c[0], 3), (a[0], 1))):
        results = [synthetic(LANGUAGES, fake, seed) for fake, seeds in (several, single) for seed in range(seeds)]
        assert [line[-1] for line in tables(leaderboard(results))[-1][1:]] == ["over tasks only"]


def test_a_brief_leaderboard_is_one_narrow_table_per_zoo(results):
    languages, digits = tables(leaderboard(results, brief=True))
    assert languages[0] == [
        "encoder", "queries", "TV per step, test", "TV per step, ood", "clone correlation, test",
        "task (steps >= 500) accuracy", "accuracy R² within steps",
    ]  # fmt: skip
    assert digits[0][5] == "task (steps >= 500) error (degrees)"
    assert len(languages) == 1 + len(MANY) + len(CONTROLS) and languages[-1][1:5] == [""] * 4
    emulation, labels, *_ = tables(leaderboard(results))
    assert 3 * len("".join(languages[1])) < len("".join(emulation[1] + labels[1]))


def test_end_to_end_scores_have_encoders_alone(results):
    emulation, labels, order = tables(leaderboard(results, predictor="end-to-end"))[:3]
    assert order[0][1] == "behind"  # nothing is trained end to end on trajectories
    assert len(emulation) == len(labels) == 1 + len(ENCODERS)
    assert leaderboard(results, predictor="end-to-end") != leaderboard(results, "paper", "end-to-end")


def test_controls_alone_have_a_table_of_labels():
    controls = [result for result in many_results(LANGUAGES, seeds=1) if "control" in result]
    labels, runs = tables(leaderboard(controls))
    assert len(labels) == len(runs) == 1 + len(CONTROLS)


def test_the_interval_of_a_mean_over_seeds_adds_up_both_variances():
    same = [{"value": 0.5, "low": 0.4, "high": 0.7}] * 3
    assert mean_score(same, "r_squared") == pytest.approx((0.5, 0.4, 0.7))
    apart = [{"value": value, "low": value - 0.1, "high": value + 0.2} for value in (0.3, 0.5, 0.7)]
    mean, low, high = mean_score(apart, "r_squared")
    normal, least = 1.96 * math.hypot(0.2 / 1.96, 0.2 / math.sqrt(3)), 4.303 * 0.2 / math.sqrt(3)
    assert mean == pytest.approx(0.5) and normal < high - 0.5 < 0.5 - low < least
    undefined = {"value": None, "low": None, "high": None}
    assert mean_score([undefined], "r_squared") is None
    assert mean_score([undefined, *same], "r_squared") == pytest.approx((0.5, 0.4, 0.7))
    value, low, high = mean_score([{"value": 0.5, "low": None, "high": None}], "accuracy")
    assert value == 0.5 and math.isnan(low) and math.isnan(high)


def test_every_measure_says_where_it_ends_and_a_new_one_has_no_limits():
    measures = [name for of_kind in MEASURES.values() for name in of_kind]
    measures += [*RANK_MEASURES, *(name for task in TRAJECTORY_TASKS.values() for name in task.measures)]
    assert LIMITS.keys() == {*measures}
    assert mean_score([{"value": 7.0, "low": -3.0, "high": 9.0}], "new") == pytest.approx((7, -3, 9))


@pytest.mark.parametrize(
    ("measure", "low", "high"),
    [
        ("accuracy", 0, 1),
        ("mean_reciprocal_rank", 0, 1),
        ("r_squared", -0.7280, 1),
        ("kendall_tau", -0.7280, 1),
        ("degrees", 0, 1.7080),
    ],
)
def test_an_interval_ends_where_its_measure_does(measure, low, high):
    seeds = [{"value": value, "low": value, "high": value} for value in (0.01, 0.47, 0.99)]
    assert mean_score(seeds, measure) == pytest.approx((0.49, low, high), abs=1e-4)
