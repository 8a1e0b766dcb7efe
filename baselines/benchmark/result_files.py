"""Result files of the benchmark: where they are, writing, reading and grouping them, looking up scores in them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rnn_zoos.baselines.benchmark.result_format import REFERENCE, check_result, targets_in
from rnn_zoos.baselines.downstream.controls import CONTROLS
from rnn_zoos.baselines.downstream.protocols import EVALUATED_SPLITS, PROTOCOLS
from rnn_zoos.baselines.downstream.targets import Target
from rnn_zoos.baselines.emulation.data import Biases
from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.families.registry import zoo_names
from rnn_zoos.format.files import read_error, write_atomically

Result: TypeAlias = Mapping[str, Any]
"""The content of a result file."""

Group: TypeAlias = Sequence[Result]
"""Results of one encoder, a file per seed; or the one result of a control."""

END_TO_END = "end-to-end"
PREDICTOR_CHOICES = ("linear", "mlp", END_TO_END)
"""What scores can be shown of: predictors on frozen embeddings, or encoders trained on the labels."""


@dataclass(frozen=True)
class ScoreSelection:
    """Which of the stored scores to show.

    Attributes:
        protocol: One of `PROTOCOLS`.
        predictor: One of `PREDICTOR_CHOICES`.
        split: One of `EVALUATED_SPLITS`.
    """

    protocol: str = "strict"
    predictor: str = "linear"
    split: str = "test"

    def __post_init__(self) -> None:
        """Raise UnknownNameError for what is not there to be selected."""
        choices = {"protocol": PROTOCOLS, "predictor": PREDICTOR_CHOICES, "split": EVALUATED_SPLITS}
        for kind, known in choices.items():
            if getattr(self, kind) not in known:
                raise UnknownNameError.among(kind, getattr(self, kind), known)


def result_path(out: Path, zoo: str, name: str, seed: int | None, biases: Biases = "apart") -> Path:
    """Return the path of the result file of an encoder and seed, or of a control (`seed` None)."""
    file = name.replace(":", ".").replace(" ", "-").replace(",", "")
    file += ".merged" if biases == "merged" else ""
    return out / zoo / (f"control.{file}.json" if seed is None else f"{file}.{seed}.json")


def write_result(path: Path, identity: Result, measured: Result) -> None:
    """Write a result file atomically: JSON with one line per entry.

    Args:
        path: The file.
        identity: Entries that tell which result it is; written as they are, because they are compared later.
        measured: The other entries; numbers get five significant digits, so that files stay small.
    """
    entries = {**identity, **_rounded(measured)}
    lines = (f"{json.dumps(key)}:{json.dumps(entry, separators=(',', ':'))}" for key, entry in entries.items())
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_entries(path: Path) -> dict[str, Any]:
    """Return the JSON object in an existing result file, unchecked.

    Raises FormatError if it is not one, StorageError if the file cannot be read.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise read_error(path, error) from error
    except ValueError as error:
        raise FormatError(f"{path} is not a readable result ({error}). Delete it to make it again.") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path} is not a result, but {type(content).__name__}. Delete it to make it again.")
    return content


def _rounded(content: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON whose numbers have at most five significant digits."""
    if isinstance(content, Mapping):
        return {key: _rounded(entry) for key, entry in content.items()}
    if isinstance(content, (list, tuple)):
        return [_rounded(entry) for entry in content]
    return float(f"{content:.5g}") if isinstance(content, float) else content


def read_results(directory: str | Path) -> list[dict[str, Any]]:
    """Read all result files below a directory, check them, and check that they can be compared.

    Args:
        directory: The `out` of `run_encoder` and `run_control`, or the `--out` of `rnn-zoos benchmark`.

    Returns:
        The contents of the files, sorted by path.

    Raises:
        FormatError: There is no result file; a file does not conform to the format; or results cannot be compared: they
            were made on different zoos of the same name, or with different settings, or two of them have the same
            encoder and seed.

    Example:
        >>> from rnn_zoos.baselines import read_results
        >>> results = read_results("results")
        >>> losses = {r["encoder"]: r["emulation"]["test"]["total_variation"] for r in results if "encoder" in r}
    """
    paths = sorted(Path(directory).rglob("*.json"))
    if not paths:
        raise FormatError(f"{directory} has no result files. Expected the --out of `rnn-zoos benchmark`.")
    results = []
    for path in paths:
        problems = check_result(path)
        if problems:
            raise FormatError(f"{path}: {problems[0]} `rnn-zoos leaderboard {directory} --check` lists all problems.")
        results.append(json.loads(path.read_text()))
    for path, problem in _conflicts(paths, results):
        raise FormatError(f"{path} {problem}. Put results that cannot be compared into separate folders.")
    return results


def _conflicts(paths: Sequence[Path], results: Sequence[Result]) -> Iterator[tuple[Path, str]]:
    """Yield the results that cannot be compared with those before them, and why."""
    seen: dict[tuple[Any, ...], tuple[Path, Any]] = {}
    for path, result in zip(paths, results, strict=True):
        zoo = result["zoo"]["name"]
        for problem, among, value in _shared(result):
            first, expected = seen.setdefault((problem, zoo, among), (path, value))
            if value != expected:
                yield path, f"{problem} {first}"
        first, _ = seen.setdefault(("entry", zoo, display_name(result), result.get("seed")), (path, None))
        if first != path:
            yield path, f"has the same encoder and seed as {first}"


def _shared(result: Result) -> Iterator[tuple[str, str, Any]]:
    """Yield what must agree for results to be comparable: (problem if it does not, which results, value)."""
    yield "was made on a different zoo than", "all", result["zoo"]["sha256"]
    yield "is of another transfer than", "all", result.get("transfer")
    if "encoder" in result:
        yield "has different settings than", "all", [result["preset"], result["settings"]]
        sizes = [result[key] for key in ("sizes", "parameters", "queries")]
        yield "is of an encoder of another size than", display_name(result), sizes
        yield "is of an encoder with other code than", display_name(result), result.get("code")
    if "end_to_end_settings" in result:
        yield "has different settings of end-to-end training than", "all", result["end_to_end_settings"]


def display_name(result: Result) -> str:
    """Return the name that the leaderboard shows; the results of all seeds of an encoder share it."""
    name = f"control: {result['control']}" if is_control(result) else str(result["encoder"])
    name = f"reference: {name}" if is_reference(result) else name
    return name + (", merged biases" if result["biases"] == "merged" else "")


def same_settings(a: Result, b: Result) -> bool:
    """Tell whether two results were trained in the same way: preset, settings, biases and transfer."""
    return all(a.get(key) == b.get(key) for key in ("preset", "settings", "biases", "transfer"))


def is_same_plan(a: Result, b: Result) -> bool:
    """Tell whether the zoos of two results are copies of each other: the same preset, the same runs of the same tasks.

    Zoos that processors of different kinds make from one preset have other roundings, and so another hash.
    """
    zoos = [{**result["zoo"], "sha256": ""} for result in (a, b)]
    return zoos[0] == zoos[1] and all(
        a["by_run"][split][column] == b["by_run"][split][column]
        for split in EVALUATED_SPLITS
        for column in ("run", "task")
    )


def only_one_zoo(results: Sequence[Result], zoo: Mapping[str, str]) -> list[Result]:
    """Keep the results of one zoo among those of its copies: of `zoo` (by hash), else of the first copy found."""
    hashes = [result["zoo"]["sha256"] for result in results]
    chosen = zoo["sha256"] if zoo["sha256"] in hashes else next(iter(hashes), "")
    return [result for result, own in zip(results, hashes, strict=True) if own == chosen]


def is_control(result: Result) -> bool:
    """Tell whether a result is that of a control, not of an encoder."""
    return "control" in result


def group_by_zoo(results: Sequence[Result]) -> dict[str, dict[str, Group]]:
    """Return zoo -> display name -> results of all seeds."""
    groups: dict[str, dict[str, list[Result]]] = {}
    for zoo in zoo_names():
        for result in results:
            if result["zoo"]["name"] == zoo:
                groups.setdefault(zoo, {}).setdefault(display_name(result), []).append(result)
    return {zoo: dict(named) for zoo, named in groups.items()}


def shown_targets(groups: Mapping[str, Group]) -> dict[str, Target]:
    """Return the targets that tables and figures of the results of a zoo show: all that any of them has scores of.

    Results that name their targets decide what a target is; those of older versions do not.
    """
    results = [result for group in groups.values() for result in group]
    targets: dict[str, Target] = {}
    for result in sorted(results, key=lambda result: "targets" not in result):
        targets = {**targets, **{name: own for name, own in targets_in(result).items() if name not in targets}}
    return targets


def is_reference(result: Result) -> bool:
    """Tell whether a result is that of a reference, which is trained like an encoder but reads labels."""
    return result.get("information") == REFERENCE


def mean_test_loss(group: Group) -> float:
    """Return the emulation loss of an encoder on unseen tasks that tables show: the mean over its seeds and runs.

    The mean over snapshots, `emulation` in a result, is another one where runs have different numbers of snapshots.
    """
    return statistics.fmean(loss for result in group for loss in result["by_run"]["test"]["total_variation"])


def clone_correlation(group: Group, split: str) -> float:
    """Return the correlation of the accuracies of clones and networks of a split, the mean over seeds."""
    return float(statistics.mean(result["clones"][split]["correlation"] for result in group))


def sort_by_loss(groups: Mapping[str, Group]) -> dict[str, Group]:
    """Return groups in the order of tables and figures.

    First encoders, then references, each with the lowest emulation loss on `test` first; then controls, as given.
    """

    def place(entry: tuple[str, Group]) -> tuple[int, float]:
        result = entry[1][0]
        if is_control(result):
            return 2, 0.0
        return int(is_reference(result)), mean_test_loss(entry[1])

    return dict(sorted(groups.items(), key=place))


def used_predictor(result: Result, selection: ScoreSelection) -> str | None:
    """Return the predictor whose scores a result has for a selection, or None if there is none.

    That is the selected one, with two exceptions. Controls and references are not trained end to end. A control that is
    defined by its predictor, such as `weight statistics, boosted trees`, always has the scores of that one. Raises
    FormatError if a result lacks the predictor.
    """
    if selection.predictor == END_TO_END:
        return END_TO_END if "end_to_end" in result else None
    stored = list(result["downstream"][selection.protocol])
    predictor = defining_predictor(result) or selection.predictor
    if predictor in stored:
        return predictor
    raise FormatError(
        f"The result of {display_name(result)} on {result['zoo']['name']} has no predictor {predictor!r}; "
        f"it has {', '.join(stored)}. Run the benchmark again, or select one of these."
    )


def defining_predictor(result: Result) -> str | None:
    """Return the predictor that a control is defined by and named after; None for all other results."""
    control = CONTROLS.get(result.get("control", ""))
    return control.predictors[0] if control is not None and len(control.predictors) == 1 else None


def score_of(
    result: Result, target: str, selection: ScoreSelection, measure: str | None = None
) -> Mapping[str, float | None] | None:
    """Return value, low and high of a measure of a target, by default of the first that is shown.

    None if end-to-end scores are selected and the result has none, or if it has no such target or measure, because
    results of an older version do not have all targets.
    """
    predictor = used_predictor(result, selection)
    if predictor is None:
        return None
    scores = result["end_to_end"] if predictor == END_TO_END else result["downstream"]
    targets = scores[selection.protocol] if predictor == END_TO_END else scores[selection.protocol][predictor]
    if target not in targets:
        return None
    shown = measure or targets_in(result)[target].shown[0]
    score: Mapping[str, float | None] | None = targets[target][selection.split].get(shown)
    return score
