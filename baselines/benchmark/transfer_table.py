"""The table of a transfer across architectures: what encoders keep on architectures that they were not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rnn_zoos.baselines.benchmark.comparison import total_variation_estimate
from rnn_zoos.baselines.benchmark.result_files import (
    Group,
    ScoreSelection,
    clone_correlation,
    is_control,
    score_of,
    shown_targets,
)
from rnn_zoos.baselines.benchmark.tables import TableColumn, mean_score, table
from rnn_zoos.baselines.downstream.targets import Target, measure_title, target_title
from rnn_zoos.baselines.emulation.data import TRANSFERS

KNOWN, OTHERS = "test", "ood"
"""The splits of a transfer: architectures of the training networks, and others; the tasks are the same."""

Interval = tuple[float, float, float]
"""A mean over seeds with its 95% interval: value, low, high."""


@dataclass(frozen=True)
class TransferColumn:
    """What tables and figures of a transfer show.

    Attributes:
        title: Its name there.
        target: Name of the target; None for what emulation gives.
        measure: Name of the measure.
        digits: Digits after the point.
    """

    title: str
    target: str | None
    measure: str
    digits: int = 2


def transfer_of(groups: Mapping[str, Group]) -> str | None:
    """Return the name of the transfer that results are of, a key of `TRANSFERS`; None if they are of none."""
    return next(iter(groups.values()))[0].get("transfer")


def transfer_conditions(name: str) -> tuple[str, str]:
    """Return what architectures a transfer trains on, and which others it tests on, for people to read."""
    known, others = (_in_words(*condition) for condition in TRANSFERS[name])
    return known, others


def _in_words(column: str, operator: str, value: object) -> str:
    words = {"==": "", "in": "", "<=": "at most ", ">=": "at least "}
    listed = " or ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{column} {words[operator]}{listed}"


def shown_transfers(groups: Mapping[str, Group]) -> list[TransferColumn]:
    """Return what is shown of a transfer: emulation, if encoders are among the results, and labels."""
    trained = [group for group in groups.values() if not is_control(group[0])]
    emulation = [
        TransferColumn("TV per step", None, "total_variation", digits=4),
        TransferColumn("clone correlation", None, "clone_correlation"),
    ]
    labels = [
        TransferColumn(_title(name, target, measure), name, measure)
        for name, target in shown_targets(groups).items()
        for measure in target.shown
    ]
    return [*(emulation if trained else []), *labels]


def _title(name: str, target: Target, measure: str) -> str:
    return f"{target_title(name)} {measure_title(target, measure)}"


def transferred_score(group: Group, shown: TransferColumn, selection: ScoreSelection) -> Interval | None:
    """Return the mean over seeds of a score on the split of the selection, with its interval; None if undefined."""
    if shown.target is not None:
        found = [score_of(result, shown.target, selection, shown.measure) for result in group]
        return mean_score([score for score in found if score is not None], shown.measure)
    if is_control(group[0]):
        return None
    if shown.measure == "total_variation":
        estimate = total_variation_estimate(group, selection.split)
        return estimate.value, estimate.low, estimate.high
    correlation = clone_correlation(group, selection.split)
    return correlation, correlation, correlation


def transfer_tables(groups: Mapping[str, Group], selection: ScoreSelection) -> list[str]:
    """Return the table of a transfer below a line that says what it shows; none for results without a transfer."""
    if transfer_of(groups) is None:
        return []
    columns: Sequence[TableColumn] = [
        TableColumn(shown.title, partial(_cell, shown, selection), encoders_only=shown.target is None)
        for shown in shown_transfers(groups)
    ]
    title = f"Transfer, known architectures → others (`{KNOWN}` → `{OTHERS}`), predictor {selection.predictor}:"
    return [f"{title}\n\n{table(columns, groups)}"]


def _cell(shown: TransferColumn, selection: ScoreSelection, group: Group) -> str:
    both = [transferred_score(group, shown, replace(selection, split=split)) for split in (KNOWN, OTHERS)]
    return " → ".join("-" if score is None else f"{score[0]:.{shown.digits}f}" for score in both)
