"""Comparison of encoders: intervals over tasks and seeds, paired differences, and where a new encoder stands."""

import time
from collections.abc import Mapping

import numpy as np
import pytest
from synthetic_results import DIGITS, LANGUAGES, Fake, many_results, synthetic, synthetic_control

from rnn_zoos.baselines.benchmark.comparison import (
    Estimate,
    compare,
    rank_report,
    total_variation_estimate,
    with_interval,
)
from rnn_zoos.errors import FormatError

GOOD, CLOSE, BAD = (Fake(name, loss) for name, loss in (("good", 0.0200), ("close", 0.0202), ("bad", 0.024)))


def group(fake: Fake, seeds: int = 3, zoo: str = LANGUAGES) -> list[dict]:
    return [synthetic(zoo, fake, seed) for seed in range(seeds)]


def planted(losses: Mapping[str, list[float]], name: str = "planted", seed: int = 0) -> dict:
    """Return a result whose test runs have these losses, by task."""
    table = {
        "run": [*range(sum(map(len, losses.values())))],
        "task": [task for task, values in losses.items() for _ in values],
        "total_variation": [value for values in losses.values() for value in values],
    }
    result = synthetic(LANGUAGES, Fake(name, 0.02), seed)
    result["by_run"]["test"] = table
    return result


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_interval_is_that_of_naive_resampling_of_tasks(seeds):
    """Reference: tasks are drawn one by one with all their runs. The three seeds have the same mean."""
    results, random, means = group(GOOD, seeds), np.random.default_rng(0), []
    tables = [result["by_run"]["test"] for result in results]
    for table in tables:
        table["total_variation"] = np.array(table["total_variation"]) - np.mean(table["total_variation"]) + 0.02
    losses = np.mean([table["total_variation"] for table in tables], axis=0)
    tasks = np.array(tables[0]["task"])
    for _ in range(2000):
        drawn = random.choice(np.unique(tasks), 19)
        means.append(np.concatenate([losses[tasks == task] for task in drawn]).mean())
    found = total_variation_estimate(results, "test")
    assert found.value == pytest.approx(0.02)
    low, high = np.percentile(means, [1.55, 98.45])  # further out than 2.5 and 97.5, for 19 tasks
    assert found.low == pytest.approx(low, rel=0.02) and found.high == pytest.approx(high, rel=0.02)


def test_tasks_are_resampled_with_all_their_runs():
    """Runs of a task are equal: 40 runs of 4 tasks are as uncertain as 4 runs of 4 tasks."""
    many = total_variation_estimate([planted({f"t{n}": [0.01 * n] * 10 for n in range(4)})], "test")
    few = total_variation_estimate([planted({f"t{n}": [0.01 * n] for n in range(4)})], "test")
    assert (many.value, many.low, many.high) == pytest.approx((few.value, few.low, few.high))
    apart = total_variation_estimate([planted({f"t{n}": [0.01 * (n % 4)] for n in range(40)})], "test")
    assert apart.high - apart.low < 0.5 * (many.high - many.low)


def test_seeds_widen_an_interval():
    narrow = total_variation_estimate([planted({"a": [0.02], "b": [0.022]}, seed=seed) for seed in range(3)], "test")
    losses = (0.01, 0.02, 0.03)
    wide = [planted({"a": [loss], "b": [loss + 0.002]}, seed=seed) for seed, loss in enumerate(losses)]
    found = total_variation_estimate(wide, "test")
    assert found.high - found.low > 5 * (narrow.high - narrow.low)
    assert found.low == 0, "a total variation is not negative"


def test_a_paired_difference_is_known_better_than_either_value():
    a, b = group(GOOD), group(BAD)
    difference = compare(b, a)
    assert difference.low < difference.value < difference.high and difference.excludes_zero
    values = [total_variation_estimate(results, "test") for results in (a, b)]
    assert difference.value == pytest.approx(values[1].value - values[0].value)
    assert values[0].high > values[1].low  # these intervals overlap, that of the difference excludes 0
    assert compare(a, b).value == -difference.value


def test_a_difference_within_the_noise_of_seeds_includes_zero():
    assert not compare(group(GOOD), group(CLOSE)).excludes_zero
    same = compare(group(GOOD), group(GOOD), "ood")
    assert same.value == 0 and same.low < 0 < same.high


@pytest.mark.parametrize(("seeds", "noise"), [(3, 0.0005), (2, 0.0005), (2, 0.003), (3, 0.003)])
def test_the_interval_of_a_difference_contains_the_true_one_about_as_often_as_claimed(seeds, noise):
    """With `noise` 0.003, seeds vary far more than tasks, and resamples of them alone contain it in 83 to 90%."""
    random, contained = np.random.default_rng(0), 0
    for _ in range(200):
        hardness = np.exp(0.3 * random.normal(size=19))

        def losses(scale, hardness=hardness):
            """Return results of all seeds; tasks differ in how much harder they are for one than the other."""
            own = 0.001 * random.normal(size=19)
            return [
                planted({f"t{n}": [scale + 0.01 * hardness[n] + own[n] + seed] * 2 for n in range(19)})
                for seed in noise * random.normal(size=seeds)
            ]

        difference = compare(losses(0.012), losses(0.01))
        contained += difference.low <= 0.002 <= difference.high
    assert 0.92 <= contained / 200 <= 0.99


def test_results_of_other_runs_are_not_compared():
    with pytest.raises(FormatError, match="good and bad were not evaluated on the same runs of test"):
        compare(group(GOOD), group(BAD, zoo=DIGITS))
    other = group(GOOD)
    other[1]["by_run"]["test"]["run"] = other[1]["by_run"]["test"]["run"][::-1]
    with pytest.raises(FormatError, match="The results of good are of different runs"):
        total_variation_estimate(other, "test")


def test_an_interval_of_a_single_task_is_undefined_and_not_printed():
    found = total_variation_estimate([planted({"a": [0.1, 0.3]})], "test")
    assert str(found) == "0.2000" and not found.excludes_zero


def test_numbers_with_intervals_are_short():
    assert str(Estimate(0.011, 0.01014, 0.012)) == "0.0110 [.0101, .0120]"
    assert with_interval(0.5, -0.25, 1.05, 2) == "0.50 [-.25, 1.05]"
    assert with_interval(12.34, 9.96, 15.0, 1) == "12.3 [10.0, 15.0]"
    assert with_interval(-0.00001, -0.00002, 0.0) == "0.0000 [.0000, .0000]"


def test_a_comparison_takes_milliseconds():
    a, b = group(GOOD, zoo=DIGITS), group(BAD, zoo=DIGITS)
    started = time.perf_counter()
    compare(a, b)
    assert time.perf_counter() - started < 0.2


def test_standing_gives_rank_value_and_whom_a_new_encoder_beats_and_loses_to():
    new = group(Fake("module:Mine", 0.0183, 30, "queries"), seeds=1)
    text = rank_report(new, many_results(LANGUAGES))
    lines = {line.split(":")[0].strip(): line for line in text.splitlines()[1:]}
    first = text.splitlines()[0]
    assert first.startswith("module:Mine on formal-languages: rank 7 of 20, total variation per step 0.0190 [.01")
    assert first.endswith("on unseen tasks (1 seed).")
    assert "data-probes (-0.00" in lines["beats"] and "reference: constant" in lines["beats"]
    assert "non-interactive" in lines["level with"] and "interactive (+0.0" in lines["loses to"]
    named = sum(lines[key].count(",") + 1 for key in ("beats", "level with", "loses to"))
    assert named == 22 and "A single seed of module:Mine: " in text
    assert "A single seed of bad: " in rank_report(group(GOOD), group(BAD, seeds=1))


def test_standing_names_a_copy_of_the_zoo_where_there_are_no_results_of_the_zoo_itself():
    copy = synthetic(LANGUAGES, BAD) | {"zoo": {**synthetic(LANGUAGES, BAD)["zoo"], "sha256": "cd" * 32}}
    text = rank_report(group(GOOD), [copy])
    assert "rank 1 of 2" in text and "beats:     bad (-0.00" in text
    assert "another copy of this zoo" in text
    both = rank_report(group(GOOD), [copy, *group(CLOSE)])
    assert "rank 1 of 2" in both and "another copy" not in both and "bad" not in both


@pytest.mark.parametrize("column", ["run", "task"])
@pytest.mark.parametrize("split", ["validation", "test", "ood"])
def test_zoos_with_other_runs_are_not_copies(split, column):
    other = synthetic(LANGUAGES, BAD)
    other["by_run"][split][column] = other["by_run"][split][column][::-1]
    assert "No stored result is of the same zoo" in rank_report(group(GOOD), [other])


def test_standing_ignores_results_of_other_zoos_settings_and_of_the_encoder_itself():
    new = group(GOOD)
    others = [
        *group(BAD, zoo=DIGITS),
        synthetic(LANGUAGES, BAD, settings={"updates": 1}),
        synthetic(LANGUAGES, CLOSE) | {"zoo": {"name": LANGUAGES, "preset": "small", "sha256": "cd" * 32}},
        *group(GOOD),
        synthetic_control(LANGUAGES, "mean"),
    ]
    assert "No stored result is of the same zoo and settings" in rank_report(new, others)
    text = rank_report(new, [*others, *group(BAD)])
    assert "rank 1 of 2" in text and "beats:     bad (-0.00" in text and "loses to:  none" in text
    assert "single seed" not in text
    assert rank_report([synthetic_control(LANGUAGES, "mean")], others) == "There is no result of an encoder."
    assert len(rank_report([*new, *group(CLOSE)], group(BAD)).split("\n\n")) == 2
