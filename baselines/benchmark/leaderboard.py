"""The leaderboard: Markdown tables of all results per zoo, made from result files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from rnn_zoos.baselines.benchmark.comparison import compare, total_variation_estimate
from rnn_zoos.baselines.benchmark.result_files import (
    END_TO_END,
    Group,
    ScoreSelection,
    clone_correlation,
    defining_predictor,
    group_by_zoo,
    is_control,
    is_reference,
    score_of,
    shown_targets,
    sort_by_loss,
)
from rnn_zoos.baselines.benchmark.tables import TableColumn, markdown, over_seeds, table
from rnn_zoos.baselines.benchmark.trajectory_table import trajectory_tables
from rnn_zoos.baselines.benchmark.transfer_table import transfer_conditions, transfer_of, transfer_tables
from rnn_zoos.baselines.downstream.targets import Target, measure_title, target_title, task_targets
from rnn_zoos.errors import FormatError, shortened

_QUERIES = TableColumn("queries", lambda group: f"{group[0]['queries']:,}")


def leaderboard(
    results: Sequence[Mapping[str, Any]],
    protocol: str = "strict",
    predictor: str = "linear",
    split: str = "test",
    brief: bool = False,
) -> str:
    """Return Markdown tables per zoo: encoders, the lowest emulation loss on `test` first, references, controls.

    Cells are means over seeds; `0.0110 [.0101, .0120]` has the 95% interval over tasks and seeds. A table of emulation,
    without controls, and one of labels have these columns:

    - access: what the encoder uses: `weights`; `queries`, also outputs of the network; `data`, also training data;
      `labels`, references that are trained like encoders but read labels in place of weights.
    - queries: time steps for which the encoder runs a network.
    - TV per step: emulation loss, the mean total variation between the outputs of a network and of its emulator.
    - clone correlation: Pearson's, over networks, between the accuracies of networks and of their emulators.
    - nearest task: whether the nearest embedding of another run is of a network of the same task, or how far its angle
      is from that; trained networks among trained networks.
    - the others: scores of predictors of the labels.

    A table of trajectory tasks, if results have them, says what an early snapshot tells about the run that it is of.
    Results of a transfer have one of every score on the architectures that were trained on, and on the others.

    The last table has the paired difference in TV per step of every encoder from the one above it: if the interval
    contains 0, the results do not support the order of the two.

    Args:
        results: As `read_results` returns them.
        protocol: `strict` (predictors are trained on `train`) or `paper` (also on half of the `ood` tasks).
        predictor: `linear` or `mlp`, on frozen embeddings, or `end-to-end`: encoders trained on the labels, without
            references and controls. A control that is named after its predictor has the scores of that one.
        split: `validation`, `test` or `ood`; the split of clone correlation and of the scores.
        brief: Return one narrow table per zoo, with few columns and intervals of TV per step only.

    Returns:
        Markdown text.

    Raises:
        UnknownNameError: There is no such protocol, predictor or split.
        FormatError: A result has no scores of the selected predictor, or no encoder was trained end to end.

    Example:
        >>> from rnn_zoos.baselines import leaderboard, read_results
        >>> table = leaderboard(read_results("results"), predictor="mlp", brief=True)
    """
    selection = ScoreSelection(protocol, predictor, split)
    parts = []
    for zoo, groups in group_by_zoo(results).items():
        shown = _shown(sort_by_loss(groups), selection)
        tables = _brief_table(shown, selection) if brief else _full_tables(zoo, shown, selection)
        parts.append("\n\n".join([f"### {zoo}", *_transfer(groups), *tables]))
    return "\n\n".join(parts) + "\n"


def _transfer(groups: Mapping[str, Group]) -> list[str]:
    """Return what the splits are, if they are those of a transfer across architectures."""
    name = transfer_of(groups)
    if name is None:
        return []
    known, others = transfer_conditions(name)
    return [
        f"Transfer {name}: trained, and tested on `test`, with networks of {known}; `ood` has networks of {others} on "
        "the tasks of `test`."
    ]


def _shown(groups: Mapping[str, Group], selection: ScoreSelection) -> dict[str, Group]:
    """Return the lines of the table: all, or those that are trained end to end if these scores are selected.

    Raises FormatError if there are none.
    """
    if selection.predictor != END_TO_END:
        return dict(groups)
    trained = {name: group for name, group in groups.items() if "end_to_end" in group[0]}
    if not trained:
        raise FormatError(
            f"None of {shortened(groups, 3)} was trained end to end: references and controls are not. Choose the "
            "predictor linear or mlp."
        )
    return trained


def _full_tables(zoo: str, groups: Mapping[str, Group], selection: ScoreSelection) -> list[str]:
    """Return the tables of a zoo, each below a line that says what it shows."""
    trained = {name: group for name, group in groups.items() if not is_control(group[0])}
    emulation = table(_emulation_columns(zoo, selection), trained)
    labels = table(_label_columns(groups, selection), groups)
    read = f"Labels, predictor {selection.predictor}, protocol {selection.protocol}, split {selection.split}:"
    tables = [f"Emulation:\n\n{emulation}"] if trained else []
    tables += [f"{read}\n\n{labels}", *_notes(groups, selection), *trajectory_tables(groups, selection)]
    tables += transfer_tables(groups, selection)
    return [*tables, *_order(trained)]


def _brief_table(groups: Mapping[str, Group], selection: ScoreSelection) -> list[str]:
    """Return the narrow table of a zoo, and notes on it."""
    targets = shown_targets(groups)
    columns = [
        _QUERIES,
        TableColumn("TV per step, test", partial(_total_variation, "test")),
        TableColumn("TV per step, ood", lambda group: f"{total_variation_estimate(group, 'ood').value:.4f}"),
        TableColumn(f"clone correlation, {selection.split}", partial(_clone_correlation, selection.split)),
        *(
            _score_column(name, targets[name], targets[name].shown[place], selection, intervals=False)
            for name, place in (("task_trained", 0), ("accuracy", -1))
            if name in targets
        ),
    ]
    return [table(columns, groups), *_notes(groups, selection)]


def _emulation_columns(zoo: str, selection: ScoreSelection) -> list[TableColumn]:
    """Return the columns of the table of emulation, after the first, which has the name of the encoder."""
    split = selection.split
    columns = [
        TableColumn("access", lambda group: str(group[0]["information"])),
        TableColumn("seeds", lambda group: str(len(group))),
        TableColumn("parameters", lambda group: f"{group[0]['parameters']:,}"),
        _QUERIES,
        TableColumn("TV per step, test", partial(_total_variation, "test")),
        TableColumn("TV per step, ood", partial(_total_variation, "ood")),
        TableColumn(f"clone correlation, {split}", partial(_clone_correlation, split)),
    ]
    task = task_targets(zoo).get("task_trained")
    if task is not None:
        nearest = f"nearest {target_title('task_trained')} {measure_title(task, task.shown[0])}, {split}"
        columns.append(TableColumn(nearest, partial(_retrieval, task, split)))
    return columns


def _label_columns(groups: Mapping[str, Group], selection: ScoreSelection) -> list[TableColumn]:
    """Return the columns of the table of labels, after the first, which has the name of the encoder or control."""
    return [
        _score_column(name, target, measure, selection, intervals=True)
        for name, target in shown_targets(groups).items()
        for measure in target.shown
    ]


def _score_column(name: str, target: Target, measure: str, selection: ScoreSelection, intervals: bool) -> TableColumn:
    header = f"{target_title(name)} {measure_title(target, measure)}"

    def cell(group: Group) -> str:
        scores = [score_of(result, name, selection, measure) for result in group]
        return over_seeds([score for score in scores if score is not None], measure, _digits(target), intervals)

    return TableColumn(header, cell, encoders_only=False)


def _total_variation(split: str, group: Group) -> str:
    return str(total_variation_estimate(group, split))


def _clone_correlation(split: str, group: Group) -> str:
    return f"{clone_correlation(group, split):.2f}"


def _retrieval(target: Target, split: str, group: Group) -> str:
    scores = [result["retrieval"]["task_trained"][split][target.shown[0]] for result in group]
    return over_seeds(scores, target.shown[0], _digits(target))


def _digits(target: Target) -> int:
    """Return how many digits after the point tables show of the scores of a target."""
    return 1 if target.kind == "angle" else 3


def _notes(groups: Mapping[str, Group], selection: ScoreSelection) -> list[str]:
    """Return a list of the controls whose scores are those of their own predictor, if there are any."""
    predictors = {name: defining_predictor(group[0]) for name, group in groups.items()}
    notes = [
        f"- {name}: always with its own predictor, `{predictor}`."
        for name, predictor in predictors.items()
        if predictor not in (None, selection.predictor)
    ]
    return ["\n".join(notes)] if notes else []


def _order(groups: Mapping[str, Group]) -> list[str]:
    """Return the table of paired differences between encoders that follow each other, if there are two.

    An order of encoders with a single seed is supported over tasks only: its interval lacks the variation over seeds.
    """
    ranked = [(name, group) for name, group in groups.items() if not is_reference(group[0])]
    if len(ranked) < 2:
        return []
    lines = [["encoder", "behind", "difference in TV, test", "difference in TV, ood", "order on test"]]
    for (above, better), (name, group) in pairwise(ranked):
        test, ood = (compare(group, better, split) for split in ("test", "ood"))
        supported = "supported" if min(len(group), len(better)) > 1 else "over tasks only"
        lines.append([name, above, str(test), str(ood), supported if test.low > 0 else "open"])
    return [f"Paired differences between neighbours:\n\n{markdown(lines)}"]
