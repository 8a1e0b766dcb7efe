"""The data of the explorer's leaderboard page: every number of the leaderboard, and curves of training, as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnn_zoos.baselines.benchmark.comparison import history, total_variation_estimate
from rnn_zoos.baselines.benchmark.result_files import (
    Group,
    Result,
    ScoreSelection,
    clone_correlation,
    group_by_zoo,
    is_control,
    is_reference,
    score_of,
    shown_targets,
    sort_by_loss,
)
from rnn_zoos.baselines.benchmark.tables import mean_score
from rnn_zoos.baselines.benchmark.transfer_table import transfer_conditions, transfer_of
from rnn_zoos.baselines.downstream.targets import Target, measure_title, target_title
from rnn_zoos.errors import FormatError

Value = tuple[float, float, float]
"""A mean over seeds and the bounds of its 95% interval, nan if they are undefined."""


@dataclass(frozen=True)
class _Column:
    key: str
    title: str
    lower_is_better: bool
    digits: int  # after the point
    value: Callable[[Group], Value | None]
    encoders_only: bool = True


def leaderboard_data(results: Sequence[Result], zoo: str, maps: Mapping[str, str]) -> dict[str, Any]:
    """Return the leaderboard of one zoo as JSON.

    Args:
        results: As `read_results` returns them.
        zoo: Name of the zoo.
        maps: Encoder -> name of its map in the explorer's page.

    Returns:
        `zoo`; `columns`, each with `key`, `title`, `lower` (whether lower is better) and `digits` (after the point);
        and `rows`, the lowest loss first: `name`, `kind` (encoder, reference or control), `access`, `seeds`, `cells`
        (key -> value, low, high), `curve` (per evaluation `update`, `seconds` and validation loss `loss`, means over
        seeds) and `map`; and `notes`, lines about all results.

    Raises:
        FormatError: There is no result of this zoo.
    """
    groups = group_by_zoo(results).get(zoo)
    if groups is None:
        raise FormatError(f"There is no result of the zoo {zoo}. Give --results the results of this zoo.")
    columns, transfer = _columns(groups), transfer_of(groups)
    trained, others = ("", "") if transfer is None else transfer_conditions(transfer)
    return {
        "zoo": zoo,
        "notes": [f"Results of a transfer: trained on {trained}; tested on {others}, too."] if transfer else [],
        "columns": [
            {"key": column.key, "title": column.title, "lower": column.lower_is_better, "digits": column.digits}
            for column in columns
        ],
        "rows": [_row(name, group, columns, maps) for name, group in sort_by_loss(groups).items()],
    }


def _columns(groups: Mapping[str, Group]) -> list[_Column]:
    columns = [
        _Column("test", "TV per step, test", True, 4, lambda group: _loss(group, "test")),
        _Column("ood", "TV per step, ood", True, 4, lambda group: _loss(group, "ood")),
        _Column("queries", "queries", True, 0, lambda group: _exact(float(group[0]["queries"]))),
        _Column("parameters", "parameters", True, 0, lambda group: _exact(float(group[0]["parameters"]))),
        _Column("seconds", "seconds of training", True, 0, _seconds),
        _Column("clones", "clone correlation, test", False, 2, _clones),
    ]
    return columns + [_target_column(name, target) for name, target in shown_targets(groups).items()]


def _target_column(name: str, target: Target) -> _Column:
    measure, selection = target.shown[0], ScoreSelection()

    def value(group: Group) -> Value | None:
        scores = [score_of(result, name, selection, measure) for result in group]
        return mean_score([score for score in scores if score is not None], measure)

    title = f"{target_title(name)} {measure_title(target, measure)}, test"
    angle = target.kind == "angle"
    return _Column(f"target {name}", title, angle, 1 if angle else 3, value, encoders_only=False)


def _loss(group: Group, split: str) -> Value:
    estimate = total_variation_estimate(group, split)
    return estimate.value, estimate.low, estimate.high


def _exact(value: float) -> Value:
    return value, value, value


def _seconds(group: Group) -> Value:
    return _exact(statistics.mean(result["seconds"]["emulation"] for result in group))


def _clones(group: Group) -> Value:
    return _exact(clone_correlation(group, "test"))


def _row(name: str, group: Group, columns: Sequence[_Column], maps: Mapping[str, str]) -> dict[str, Any]:
    control = is_control(group[0])
    shown = [column for column in columns if not (control and column.encoders_only)]
    return {
        "name": name,
        "kind": "control" if control else "reference" if is_reference(group[0]) else "encoder",
        "access": "" if control else group[0]["information"],
        "seeds": len(group),
        "cells": {column.key: value for column in shown if (value := column.value(group)) is not None},
        "curve": {} if control else _curve(group),
        "map": maps.get(str(group[0].get("encoder"))),
    }


def _curve(group: Group) -> dict[str, list[float]]:
    """Return the course of training, means over seeds."""
    keys = {"update": "update", "seconds": "seconds", "loss": "total_variation"}
    return {name: history(group, key).tolist() for name, key in keys.items()}
