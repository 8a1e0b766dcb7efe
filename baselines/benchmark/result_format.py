"""The format of a result file, and the check that a file conforms to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from rnn_zoos.baselines.downstream.measures import MEASURES
from rnn_zoos.baselines.downstream.protocols import EVALUATED_SPLITS, PROTOCOLS
from rnn_zoos.baselines.downstream.targets import Target, family_targets, task_targets
from rnn_zoos.baselines.downstream.trajectory_tasks import LEFT_OUT, RANK_MEASURES, RETRIEVED, asked_tasks, at_step
from rnn_zoos.baselines.emulation.data import TRANSFERS, Biases
from rnn_zoos.families.registry import zoo_names

FORMAT = 2
"""Version of the format, the entry `format` of every result file."""

REFERENCE = "labels"
"""`information` of references: they are trained like encoders, but read labels in place of weights."""

_CONTROL_KEYS = {"format", "control", "zoo", "biases", "downstream", "made"}
_ENCODER_KEYS = _CONTROL_KEYS - {"control"} | {
    "encoder", "seed", "preset", "settings", "sizes", "information", "parameters", "queries", "flop_per_network",
    "emulation", "by_run", "by_position", "history", "clones", "clone_points", "invariance", "retrieval", "map",
    "seconds",
}  # fmt: skip
_LOSSES = ("total_variation", "total_variation_unpadded", "reverse_kl", "reverse_kl_unpadded")
_HISTORY_KEYS = ("update", "seconds", "total_variation")
_TABLES = {
    "map": ("places", "task", "step", "accuracy"),
    "clone_points": ("clone", "step", "accuracy"),
    **{f"by_run.{split}": ("run", "task", "total_variation") for split in EVALUATED_SPLITS},
}
_TEXT_LISTS = ("columns", "shown")  # of a target
_NEEDED = {*_TEXT_LISTS, "kind"}
_MISSING = object()


def check_result(path: Path) -> list[str]:
    """Return the problems of a result file, one line each; none if it conforms to the format."""
    try:
        result = json.loads(path.read_text())
    except OSError as error:
        return [f"Cannot be read: {error.strerror or error}."]
    except ValueError as error:
        return [f"Not readable as JSON ({error})."]
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        return [f"Not a result of format {FORMAT}."]
    missing = _required_keys(result) - result.keys()
    if missing:
        return [f"Missing keys: {', '.join(sorted(missing))}."]
    zoo = _at(result, "zoo", "name")
    if zoo not in zoo_names():
        return [f"Unknown zoo {'(missing)' if zoo is _MISSING else repr(zoo)}; known: {', '.join(zoo_names())}."]
    if "targets" in result and not _are_targets(result["targets"]):
        expected = "name -> columns, kind, shown, from_step and log of each, as `rnn-zoos benchmark` writes them"
        return [f"targets is not a description of targets; expected {expected}."]
    if not _has_early_steps(result):
        return ["trajectories.early_steps is not a list of steps; expected one, which may be empty."]
    problems = [*_check_origin(result), *_check_numbers(zoo, result)]
    if problems or "control" in result:
        return problems
    return [*_check_ranges(result["emulation"]), *_check_tables(result), *_check_losses(result), *_check_series(result)]


def _check_origin(result: Mapping[str, Any]) -> list[str]:
    """Return the problems of the entries by which results are grouped and compared."""
    problems = []
    for key in ("preset", "sha256"):
        if not isinstance(_at(result, "zoo", key), str):
            problems.append(f"zoo.{key} is {_found(_at(result, 'zoo', key))}; expected a text.")
    for key, known in (("biases", get_args(Biases)), ("transfer", (None, *TRANSFERS))):
        if result.get(key) not in known:  # results from before there were transfers have none
            problems.append(f"{key} is {_found(result.get(key, _MISSING))}; expected one of {known}.")
    if "encoder" in result:
        for key in ("settings", "sizes", "seconds"):
            if not isinstance(result[key], dict):
                problems.append(f"{key} is {_found(result[key])}; expected names and values.")
    return problems


def _found(value: Any) -> str:  # noqa: ANN401 - JSON
    return "missing" if value is _MISSING else repr(value)


def targets_in(result: Mapping[str, Any]) -> Mapping[str, Target]:
    """Return the targets that a result has scores of: those that it names, or, if it is older, those of the family."""
    if "targets" not in result:
        return family_targets(result["zoo"]["name"])
    return {
        name: Target(**{**about, "columns": tuple(about["columns"]), "shown": tuple(about["shown"])})
        for name, about in result["targets"].items()
    }


def _are_targets(content: Any) -> bool:  # noqa: ANN401 - JSON
    """Return whether JSON describes targets."""
    return isinstance(content, dict) and all(map(_is_target, content.values()))


def _is_target(about: Any) -> bool:  # noqa: ANN401 - JSON
    if not isinstance(about, dict) or not _NEEDED <= about.keys() <= {field.name for field in fields(Target)}:
        return False
    texts = all(isinstance(about[key], list) and all(isinstance(t, str) for t in about[key]) for key in _TEXT_LISTS)
    known = isinstance(about["kind"], str) and about["kind"] in MEASURES
    shown = texts and known and bool(about["shown"]) and set(about["shown"]) <= MEASURES[about["kind"]].keys()
    return shown and type(about.get("from_step", 0)) is int and type(about.get("log", False)) is bool


def _has_early_steps(result: Mapping[str, Any]) -> bool:
    """Return whether the early steps of trajectory tasks can be read, or there are no such tasks."""
    steps = _at(result, "trajectories", "early_steps") if "trajectories" in result else []
    return isinstance(steps, list) and all(isinstance(step, int) for step in steps)


def _required_keys(result: Mapping[str, Any]) -> set[str]:
    """Return the keys that a result must have: references are not trained end to end."""
    if "control" in result:
        return _CONTROL_KEYS
    trained_on_labels = {"end_to_end", "end_to_end_settings"}
    return _ENCODER_KEYS if result.get("information") == REFERENCE else _ENCODER_KEYS | trained_on_labels


def _at(content: Any, *keys: str) -> Any:  # noqa: ANN401 - JSON
    """Return the entry at a path of nested JSON objects, or `_MISSING`."""
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            return _MISSING
        content = content[key]
    return content


def _check_numbers(zoo: str, result: Mapping[str, Any]) -> list[str]:
    problems = []
    for keys, nullable in _number_paths(zoo, result):
        value = _at(result, *keys)
        if not isinstance(value, (int, float, NoneType) if nullable else (int, float)):
            expected = f"a number{' or null' if nullable else ''}"
            problems.append(f"{'.'.join(keys)} is {_found(value)}; expected {expected}.")
    return problems


def _number_paths(zoo: str, result: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the paths of all numbers that a result must have, and whether each may be null (R² of equal labels is)."""
    if "encoder" in result:
        yield from ((("emulation", split, loss), False) for split in EVALUATED_SPLITS for loss in _LOSSES)
        yield from (
            (("clones", split, key), False) for split in EVALUATED_SPLITS for key in ("accuracy", "correlation")
        )
        yield from (((key,), False) for key in ("seed", "parameters", "queries", "flop_per_network"))
        yield ("seconds", "emulation"), False
        for name, target in task_targets(zoo).items():
            yield from _score_numbers(("retrieval", name), MEASURES[target.kind])
    for keys in _score_paths(result):
        for name, target in targets_in(result).items():
            yield from _score_numbers((*keys, name), MEASURES[target.kind])
    if "trajectories" in result:
        yield from _trajectory_numbers(result)


def _trajectory_numbers(result: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the paths of the numbers of trajectory tasks, except where a split is left out with a reason.

    Results that were made before there were such tasks have none.
    """
    steps = result["trajectories"]["early_steps"]
    asked = {name: task.measures for name, (task, _) in asked_tasks(steps).items()}
    found = {at_step(name, step): RANK_MEASURES for name in RETRIEVED for step in steps}
    places: dict[tuple[str, ...], Mapping[str, Iterable[str]]] = {("trajectories", "retrieved"): found}
    places |= {
        ("trajectories", "predicted", *keys[1:]): asked for keys in _score_paths(result) if keys[0] != "end_to_end"
    }
    for keys, measures in places.items():
        for name, of_task in measures.items():
            splits = [split for split in EVALUATED_SPLITS if not _is_left_out(result, *keys, name, split)]
            yield from _score_numbers((*keys, name), of_task, splits)


def _is_left_out(result: Mapping[str, Any], *path: str) -> bool:
    return isinstance(_at(result, *path, LEFT_OUT), str)


def _score_numbers(
    path: tuple[str, ...], measures: Iterable[str], splits: Iterable[str] = EVALUATED_SPLITS
) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the paths of the numbers of the scores below `path`."""
    for split in splits:
        for measure in measures:
            yield from (((*path, split, measure, key), True) for key in ("value", "low", "high"))


def _score_paths(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the paths below which there must be scores of all targets: each predictor, and end-to-end training."""
    for protocol in PROTOCOLS:
        predictors = _at(result, "downstream", protocol)
        names = list(predictors) if isinstance(predictors, dict) and predictors else ["linear"]
        yield from (("downstream", protocol, name) for name in names)
        if "end_to_end" in result:
            yield ("end_to_end", protocol)


def _check_ranges(emulation: Mapping[str, Any]) -> list[str]:
    """Return the losses that are out of range: a total variation is at most 1."""
    problems = []
    for split in EVALUATED_SPLITS:
        for loss in _LOSSES:
            value, highest = emulation[split][loss], 1 if loss.startswith("total_variation") else float("inf")
            if not 0 <= value <= highest:
                problems.append(f"emulation.{split}.{loss} is {value}; expected 0 to {highest}.")
    return problems


def _check_tables(result: Mapping[str, Any]) -> list[str]:
    """Return the tables whose columns are missing or differ in length; each must have at least one row."""
    problems = []
    for path, names in _TABLES.items():
        columns = {name: _at(result, *path.split("."), name) for name in names}
        lengths = {name: len(column) if isinstance(column, list) else 0 for name, column in columns.items()}
        if min(lengths.values()) == 0 or len(set(lengths.values())) > 1:
            problems.append(f"{path} has {lengths} entries; expected the same number of each, at least one.")
    return problems


def _check_losses(result: Mapping[str, Any]) -> list[str]:
    """Return the splits whose losses of runs, by which encoders are ranked, are not total variations."""
    problems = []
    for split in EVALUATED_SPLITS:
        losses = _at(result, "by_run", split, "total_variation")
        found = losses if isinstance(losses, list) else []  # what else it is, `_check_tables` reports
        wrong = [loss for loss in found if not (isinstance(loss, (int, float)) and 0 <= loss <= 1)]
        if wrong:
            problems.append(f"by_run.{split}.total_variation has {wrong[0]!r}; expected numbers from 0 to 1.")
    return problems


def _check_series(result: Mapping[str, Any]) -> list[str]:
    """Return the problems of the training history and of the losses by position, from which curves are drawn."""
    problems = []
    history = result["history"]
    if not isinstance(history, list) or not history:
        problems.append("history has no evaluations; expected at least one.")
    else:
        missing = [key for key in _HISTORY_KEYS if any(_at(entry, key) is _MISSING for entry in history)]
        problems += [f"history has an evaluation without {', '.join(missing)}."] if missing else []
    for split in EVALUATED_SPLITS:
        losses = _at(result, "by_position", split)
        if not isinstance(losses, list) or not losses:
            problems.append(f"by_position.{split} has no losses; expected one per step of a sequence.")
    return problems
