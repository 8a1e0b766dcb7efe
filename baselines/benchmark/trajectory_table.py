"""The table of trajectory tasks: scores at the first early step, the hardest one; others are in result files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rnn_zoos.baselines.benchmark.result_files import END_TO_END, Group, Result, ScoreSelection, used_predictor
from rnn_zoos.baselines.benchmark.tables import TableColumn, over_seeds, table
from rnn_zoos.baselines.downstream.controls import CONTROLS
from rnn_zoos.baselines.downstream.trajectory_tasks import (
    LEFT_OUT,
    RANK_MEASURES,
    RETRIEVED,
    TRAJECTORY_TASKS,
    at_step,
)

_SHOWN = (
    ("final_accuracy", "r_squared"),
    ("order", "accuracy"),
    ("own_snapshot", "top_1"),
    ("own_snapshot", "mean_reciprocal_rank"),
    ("own_snapshot_of_task", "top_1"),
    ("diverged", "area_under_curve"),
)
_TITLES = {
    "final_accuracy": "final accuracy",
    "order": "order of successive snapshots",
    "own_snapshot": "own snapshot",
    "own_snapshot_of_task": "own snapshot within the task",
    "diverged": "diverged",
}


@dataclass(frozen=True)
class TrajectoryColumn:
    """A measure of a trajectory task that tables and figures show.

    Attributes:
        title: Its name there.
        task: Name of the scores in result files, such as `final_accuracy@100`.
        measure: Name of the measure.
        chance: The value that features without information have; None if it depends on them.
    """

    title: str
    task: str
    measure: str
    chance: float | None


def with_trajectories(groups: Mapping[str, Group]) -> dict[str, Group]:
    """Return the encoders and controls whose results have trajectory tasks; those made before there were any do not."""
    return {name: group for name, group in groups.items() if all("trajectories" in result for result in group)}


def trajectory_score(
    result: Result, task: str, measure: str, selection: ScoreSelection
) -> Mapping[str, float | None] | None:
    """Return value, low and high of a measure of a trajectory task; None if the split is left out."""
    return _scores(result, task, selection).get(measure)


def shown_trajectories(groups: Mapping[str, Group], selection: ScoreSelection) -> list[TrajectoryColumn]:
    """Return what is shown of groups with trajectory tasks: measures that have a value for one of them."""
    if not groups:
        return []
    first = next(iter(groups.values()))[0]
    found = []
    for name, measure in _SHOWN:
        task = _task_name(first, name)
        if task is not None and any(defined_scores(group, task, measure, selection) for group in groups.values()):
            found.append(
                TrajectoryColumn(_title(name, measure), task, measure, _chance(first, task, measure, selection))
            )
    return found


def defined_scores(
    group: Group, task: str, measure: str, selection: ScoreSelection
) -> list[Mapping[str, float | None]]:
    """Return the scores of all seeds that are defined."""
    found = [trajectory_score(result, task, measure, selection) for result in group]
    return [score for score in found if score is not None and score["value"] is not None]


def trajectory_tables(groups: Mapping[str, Group], selection: ScoreSelection) -> list[str]:
    """Return the table of trajectory tasks and notes on what is left out, if there are results of such tasks.

    Encoders that are trained on the labels are not asked, so that there is no table if they are selected.
    """
    shown_groups = with_trajectories(groups)
    if not shown_groups or selection.predictor == END_TO_END:
        return []
    first = next(iter(shown_groups.values()))[0]
    columns = [_column(shown, selection) for shown in shown_trajectories(shown_groups, selection)]
    steps = first["trajectories"]["early_steps"]
    early = f"early snapshots at step {steps[0]}" if steps else "no early snapshots"
    read = f"predictor {selection.predictor}, protocol {selection.protocol}, split {selection.split}"
    notes = "\n".join(f"- {_TITLES[name]}: left out. {reason}." for name, reason in _left_out(first, selection).items())
    tables = [f"Trajectories, {early}, {read}:\n\n{table(columns, shown_groups)}"] if columns else []
    return [*tables, notes] if notes else tables


def _scores(result: Result, task: str, selection: ScoreSelection) -> Mapping[str, Mapping[str, float | None]]:
    """Return measure -> score of a task for the selected split; empty if it is left out.

    What is retrieved depends on features alone: controls that differ by their predictor or labels do not have it.
    """
    control = CONTROLS.get(result.get("control", ""))
    if control is not None and task in result["trajectories"]["retrieved"] and control.shares_features:
        return {}
    of_split = _of_split(result, task, selection)
    return {} if LEFT_OUT in of_split else of_split


def _of_split(result: Result, task: str, selection: ScoreSelection) -> Mapping[str, Mapping[str, float | None]]:
    stored = result["trajectories"]
    tasks = stored["retrieved"]
    if task not in tasks:
        tasks = stored["predicted"][selection.protocol][used_predictor(result, selection)]
    of_split: Mapping[str, Mapping[str, float | None]] = tasks[task][selection.split]
    return of_split


def _task_name(result: Result, name: str) -> str | None:
    """Return the name of a task's scores at the first early step; None if the zoo has no early step."""
    if name in TRAJECTORY_TASKS and not TRAJECTORY_TASKS[name].from_early:
        return name
    return next((at_step(name, step) for step in result["trajectories"]["early_steps"]), None)


def _column(shown: TrajectoryColumn, selection: ScoreSelection) -> TableColumn:
    chance = "" if shown.chance is None else f" (chance {shown.chance:.3g})"
    return TableColumn(
        f"{shown.title}{chance}",
        lambda group: over_seeds(defined_scores(group, shown.task, shown.measure, selection), shown.measure),
        encoders_only=False,
    )


def _title(name: str, measure: str) -> str:
    measures = RANK_MEASURES if name in RETRIEVED else TRAJECTORY_TASKS[name].measures
    return f"{_TITLES[name]}, {measures[measure].title}"


def _chance(result: Result, task: str, measure: str, selection: ScoreSelection) -> float | None:
    score = trajectory_score(result, task, f"chance_{measure}", selection)
    if score is not None:
        return score["value"]
    return None if measure == "r_squared" else 0.5


def _left_out(result: Result, selection: ScoreSelection) -> dict[str, str]:
    """Return name of a task -> why it is left out, for those that are shown and have no scores."""
    reasons = {}
    for name in _TITLES:
        task = _task_name(result, name)
        reason = None if task is None else _of_split(result, task, selection).get(LEFT_OUT)
        if reason is not None:
            reasons[name] = str(reason)
    return reasons
