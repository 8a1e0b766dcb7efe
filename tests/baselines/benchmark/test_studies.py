"""Studies: trainings that differ in one thing at a time, their files, and their table."""

import json
from dataclasses import replace

import pytest
from command import run_command
from conftest import ROOT

from rnn_zoos.baselines.benchmark import study_list
from rnn_zoos.baselines.benchmark.figures.studies import _by_training_runs, _dots, _during_training, draw_study
from rnn_zoos.baselines.benchmark.presets import preset_of
from rnn_zoos.baselines.benchmark.schedule import make_results
from rnn_zoos.baselines.benchmark.studies import Study, StudyRuns, Variant, read_study, study_of, study_table
from rnn_zoos.errors import FormatError, PlanMismatchError, UnknownNameError

TINY = Study(
    "which is better?",
    "formal-languages",
    seeds=2,
    splits=("validation",),
    settings={"updates": 4, "evaluate_every": 2, "networks": 5, "hidden": 8},
    variants={"small": Variant("statistics"), "first-step": Variant("statistics", settings={"conditioning": "first"})},
)


@pytest.fixture
def work(edited_zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(study_list, "STUDIES", {"tiny": TINY})
    directory = edited_zoo("formal-languages", {"runs: 7": "runs: 16", "runs: 5": "runs: 12"})
    return StudyRuns("tiny", str(directory), tmp_path)


def test_every_variant_and_seed_has_a_file_and_the_table_has_their_means(work):
    finished, fractions = [], []
    make_results(work, work.jobs(), 1, lambda job, path: finished.append((str(job), path)), fractions.append)
    assert [name for name, _ in finished] == [
        "small, seed 0",
        "first-step, seed 0",
        "small, seed 1",
        "first-step, seed 1",
    ]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    files = {path.name: json.loads(path.read_text()) for _, path in finished}
    losses = [files[f"small.{seed}.json"]["losses"]["validation"]["total_variation"] for seed in (0, 1)]
    assert list(files["small.0.json"]["losses"]) == ["validation"], "nothing is evaluated on test"
    assert files["first-step.0.json"]["settings"]["conditioning"] == "first" and losses[0] != losses[1]
    line = next(line for line in study_table(work.out / "tiny").splitlines() if line.startswith("| small"))
    assert line.startswith(f"| small | 2 | {sum(losses) / 2:.4f} ± ") and "which is better?" in study_table(
        work.out / "tiny"
    )
    assert not list((work.out / "tiny").glob("*.0/")), "checkpoints are deleted"


def test_the_stored_trainings_of_probing_are_those_of_the_variants():
    """Otherwise the study could not be resumed, and its table would not be of what the command trains."""
    name = "probing-languages"
    study = study_of(name)
    stored = [json.loads(path.read_text()) for path in (ROOT / "baselines" / "studies" / name).glob("*.json")]
    assert {result["variant"] for result in stored} == set(study.variants)
    for result in stored:
        variant = study.variants[result["variant"]]
        sizes = {**preset_of("cpu").sizes_of(variant.encoder, study.zoo), **variant.sizes}
        assert (result["encoder"], result["sizes"]) == (variant.encoder, sizes), result["variant"]


def drawn_points(figure):
    """Return the offsets of all dots of a figure, [N, 2]."""
    return [
        list(map(float, point)) for axes in figure.axes for dots in axes.collections for point in dots.get_offsets()
    ]


def test_the_figure_has_a_dot_per_seed_and_their_mean(work):
    for job in work.jobs():
        work.run(work.load(), job, lambda update, loss: None)
    _, study, groups = read_study(work.out / "tiny")
    points = drawn_points(_dots(study, groups))
    for line, group in enumerate(groups.values()):
        losses = [result["losses"]["validation"]["total_variation"] for result in group]
        found = [x for x, y in points if round(y) == line]
        assert sorted(found) == pytest.approx(sorted([*losses, sum(losses) / 2]))
    assert len(points) == 2 * 3
    printed = run_command("study", "tiny", "--out", work.out, "--figures", work.out / "figures")
    assert printed.status == 0 and (work.out / "figures" / "study-tiny.png").read_bytes()[1:4] == b"PNG"


def test_variants_with_other_numbers_of_training_runs_are_drawn_as_curves(work, monkeypatch, tmp_path):
    few = {f"{encoder}-{runs}": Variant(encoder, settings={"training_runs": runs})
           for encoder in ("statistics", "flat") for runs in (9, 4)}  # fmt: skip
    monkeypatch.setattr(study_list, "STUDIES", {"tiny": replace(TINY, seeds=1, splits=("test", "ood"), variants=few)})
    for job in work.jobs():
        work.run(work.load(), job, lambda update, loss: None)
    _, study, groups = read_study(work.out / "tiny")
    panels = _by_training_runs(study, groups).axes
    assert [axes.get_title() for axes in panels] == ["test", "ood"]
    for axes, split in zip(panels, study.splits, strict=True):
        for line, encoder in zip(axes.get_lines(), ("statistics", "flat"), strict=True):
            assert line.get_label() == encoder and list(line.get_xdata()) == [4, 9]
            losses = [groups[f"{encoder}-{runs}"][0]["losses"][split]["total_variation"] for runs in (4, 9)]
            assert list(line.get_ydata()) == pytest.approx(losses)
    paths = draw_study(work.out / "tiny", tmp_path / "figures")
    assert [path.name for path in paths] == ["study-tiny.png", "study-tiny-training.png"]


def test_the_second_figure_has_the_losses_of_every_seed_during_training(work):
    for job in work.jobs():
        work.run(work.load(), job, lambda update, loss: None)
    groups = read_study(work.out / "tiny")[2]
    means = {
        name: sum(result["history"][-1]["total_variation"] for result in group) / 2 for name, group in groups.items()
    }
    (axes,) = _during_training(groups).axes
    order = sorted(groups, key=means.__getitem__, reverse=True)
    expected = [result for name in order for result in groups[name]]
    assert len(axes.get_lines()) == len(expected) == 4
    for line, result in zip(axes.get_lines(), expected, strict=True):
        assert list(line.get_xdata()) == [entry["update"] for entry in result["history"]] == [2, 4]
        assert list(line.get_ydata()) == [entry["total_variation"] for entry in result["history"]]
    assert axes.get_legend_handles_labels()[1] == [f"{name} ({means[name]:.4f})" for name in order]


def test_finished_trainings_are_kept_and_those_with_other_settings_refused(work, monkeypatch):
    data, job = work.load(), work.jobs()[0]
    path = work.run(data, job, lambda update, loss: None)
    made = path.stat().st_mtime_ns
    work.run(data, job, lambda update, loss: pytest.fail("trained again"))
    assert path.stat().st_mtime_ns == made and work.updates(data, job) == 4
    longer = Study(TINY.question, TINY.zoo, 2, TINY.splits, {**TINY.settings, "updates": 6}, TINY.variants)
    monkeypatch.setattr(study_list, "STUDIES", {"tiny": longer})
    with pytest.raises(PlanMismatchError, match="is a result with different settings"):
        work.run(data, job, lambda update, loss: None)


@pytest.mark.parametrize(
    "change",
    [
        lambda result: result.update(seed=0),
        lambda result: result["zoo"].update(sha256="ab"),
        lambda result: result["settings"].update(updates=60),
        lambda result: result["sizes"].update(hidden=60),
        lambda result: result.update(study="another"),
    ],
)
def test_files_that_cannot_be_compared_have_no_table(change, work, tmp_path):
    path = work.run(work.load(), work.jobs()[0], lambda update, loss: None)
    other = {**json.loads(path.read_text()), "seed": 1}
    (path.parent / "other.json").write_text(json.dumps(other))
    assert "| small | 2 |" in study_table(path.parent)
    change(other)
    (path.parent / "other.json").write_text(json.dumps(other))
    with pytest.raises(FormatError, match="is of another study, zoo, sizes or settings than the others, or a copy"):
        study_table(path.parent)


@pytest.mark.parametrize("entry", ["losses", "history", "seconds"])
def test_a_file_that_lacks_an_entry_is_refused(entry, work):
    path = work.run(work.load(), work.jobs()[0], lambda update, loss: None)
    result = json.loads(path.read_text())
    del result[entry]
    path.write_text(json.dumps(result))
    with pytest.raises(FormatError, match="has no results of a study, or other files"):
        study_table(path.parent)


def test_a_study_needs_its_zoo_its_name_and_results(work, edited_zoo, tmp_path):
    with pytest.raises(UnknownNameError, match="Unknown study 'tin'; known: tiny"):
        study_of("tin")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "base.0.json").write_text("{")
    with pytest.raises(FormatError, match="base.0.json is not a readable result"):
        study_table(tmp_path / "damaged")
    with pytest.raises(FormatError, match="has no results of a study"):
        study_table(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    for content in ('{"a": 1}', '{"study": "tiny", "seed": 0}'):
        (tmp_path / "other" / "some.json").write_text(content)
        with pytest.raises(FormatError, match="or other files. Expected .* rnn-zoos study other --zoo"):
            study_table(tmp_path / "other")
    digits = edited_zoo("sequential-mnist", {"runs: 7": "runs: 16", "runs: 5": "runs: 12"})
    with pytest.raises(PlanMismatchError, match="is about formal-languages, but .* is sequential-mnist"):
        StudyRuns("tiny", str(digits), tmp_path).load()


def test_all_studies_are_of_known_variants_and_searches_do_not_see_test(monkeypatch):
    for name, study in study_list.STUDIES.items():
        work = StudyRuns(name, "zoo", None)
        for job in work.jobs():
            assert work._settings(job).updates >= 4000, "settings have the names that emulation knows"
        assert study.seeds == 3 or name.startswith("low-data") or "test" not in study.splits


def test_options_without_the_name_of_a_study_are_refused(tmp_path):
    for options in (["--zoo", tmp_path], ["--figures", tmp_path], ["--workers", 2]):
        refused = run_command("study", *options)
        assert refused.status == 2 and "Give the name of a study" in refused.err
    refused = run_command("study", "emulator-languages", "--workers", 2)
    assert refused.status == 2 and "--workers is the number of trainings in parallel. Give --zoo" in refused.err


def test_the_command_lists_studies_and_prints_tables(work, tmp_path):
    assert run_command("study").out == "tiny: which is better? (2 variants, zoo formal-languages)\n"
    work.run(work.load(), work.jobs()[0], lambda update, loss: None)
    printed = run_command("study", "tiny", "--out", tmp_path)
    assert printed.status == 0 and printed.out == study_table(tmp_path / "tiny")
