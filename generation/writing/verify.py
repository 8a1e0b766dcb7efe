"""Can a zoo be reproduced? Some of its runs are trained again and compared."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnn_zoos.errors import DigitsError, WorkerError
from rnn_zoos.format.files import Array
from rnn_zoos.format.manifest import Manifest
from rnn_zoos.generation.plan import Plan, plan_of_zoo
from rnn_zoos.generation.trainers.backends import make_trainer
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun
from rnn_zoos.generation.writing.records import making
from rnn_zoos.generation.writing.shards import Tensors, measure_run
from rnn_zoos.loaders.zoo import Zoo, open_zoo
from rnn_zoos.processes import Worker, WorkerPool, available_cores
from rnn_zoos.progress import progress_bar

CLOSE = 1e-3
"""Elsewhere: how far labels that are computed from stored weights may be from those of the zoo, and initial weights.

Later weights cannot be compared. Training is chaotic: with `native` and `loop` on one machine, after 100 updates of the
preset `small` the same runs were .01 to .04 (languages) and .4 to .6 (digits) of the way apart that training had moved
them, and .65 to 1.25 after 20,000: other networks of the same task.
"""
_SHARES = 0.01  # the same for shares of strings or digits, of which rounding flips a few
_DECIDES = ("torch", "numpy", "instruction set")  # versions that have to be equal for equal bits

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """A run to be trained again, with the weights that the zoo has of it if their labels are to be computed, too."""

    run: Run
    split: str
    stored: TrainedRun | None

    def __str__(self) -> str:
        return f"run {self.run.run}"


@dataclass(frozen=True)
class Again:
    """What a run is now: rows and tensors of its new training, and the rows of its stored weights if asked for."""

    rows: Rows
    tensors: Tensors
    measured: Rows


@dataclass(frozen=True)
class Verdict:
    """What was compared and how: `rows` for people, one a snapshot; `findings` say what could not be reproduced.

    `exact`: whether every bit had to be equal; `claim` says why, or why not.
    """

    exact: bool
    claim: str
    runs: list[int]
    rows: list[dict[str, Any]]
    findings: list[str]


def verify(
    directory: Path | str,
    runs: int = 3,
    seed: int | None = None,
    workers: int | None = None,
    backend: str | None = None,
    mnist: str | None = None,
) -> Verdict:
    """Train some runs of a zoo again, chosen by chance, and compare weights, rollouts and labels of every snapshot.

    With the backend and on a machine of the zoo, bit for bit. Elsewhere, the initial weights have to be equal and the
    labels those of the stored weights (see `CLOSE`); how far apart training ends is only shown. Raises FormatError
    for an imported zoo, DigitsError for other digits than the zoo's, BackendError, WorkerError.
    """
    zoo = open_zoo(directory)
    plan = plan_of_zoo(zoo.manifest, backend, mnist)
    make_trainer(plan.backend)
    if plan.digits() != zoo.manifest.digits:
        raise DigitsError(
            f"The zoo was made with the digits {zoo.manifest.digits}; these are {plan.digits()}. Give their --mnist."
        )
    differences = list(_differences(zoo.manifest, plan))
    chosen = chosen_runs(plan.settings.runs, runs, seed)
    wanted = [
        Task(run, split, _stored(zoo, run) if differences else None)
        for run, split in plan.runs()
        if run.run in set(chosen)
    ]
    rows, findings = [], []
    for task, again in _trained(plan, wanted, workers):
        for row, finding in _compare(zoo, task, again):
            rows.append(row)
            findings += [finding] if finding else []
    rows.sort(key=lambda row: (row["run"], row["step"]))
    claim = "same backend and machine: every bit has to be equal."
    if differences:
        claim = (
            f"not made as it would be here ({'; '.join(differences)}): initial weights have to be equal and labels "
            "those of the stored weights; training ends elsewhere, because rounding grows."
        )
    return Verdict(not differences, claim, chosen, rows, findings)


def chosen_runs(total: int, runs: int, seed: int | None) -> list[int]:
    """Return the numbers of `runs` different runs of `total`, or all, in order; without a seed others every time."""
    return sorted(random.Random(seed).sample(range(total), min(runs, total)))


def _stored(zoo: Zoo, run: Run) -> TrainedRun:
    rows = zoo.index(where=[("run", "==", run.run)]).to_pylist()
    places = {name: [row[name] for row in rows] for name in ("split", "shard", "row")}
    weights = {name: torch.from_numpy(array) for name, array in zoo.take("shards", places).items()}
    return TrainedRun(run, tuple(row["step"] for row in rows), weights, any(row["diverged"] for row in rows))


def _differences(manifest: Manifest, plan: Plan) -> Iterator[str]:
    here, there = making(plan.backend), manifest.made
    for key in ("backend", "machine"):
        if here[key] != there[key]:
            yield f"{key} {there[key]} there, {here[key]} here"
    for key in _DECIDES:
        if here["versions"].get(key) != there["versions"].get(key):
            yield f"{key} {there['versions'].get(key)} there, {here['versions'].get(key)} here"


def _trained(plan: Plan, wanted: list[Task], workers: int | None) -> Iterator[tuple[Task, Again]]:
    """Yield every run, trained and measured, as they are finished; one process a core, one on a GPU."""
    on_gpu = make_trainer(plan.backend).at_once is not None
    size = min(1 if on_gpu else workers or available_cores(), len(wanted))
    done, total = 0, len(wanted) * plan.settings.num_updates
    with progress_bar(f"training {len(wanted)} runs again") as progress:

        def advance(task: Task, updates: int) -> None:
            nonlocal done
            done += updates
            progress(done / max(total, 1))

        with WorkerPool[Task, Again](size, train_again, plan, advance=advance) as pool:
            for task, future in pool.work_through(wanted):
                yield task, _result(future, task)


def train_again(plan: Plan, task: Task, worker: Worker) -> Again:
    """Train and measure a run, in a worker process."""
    (trained,) = make_trainer(plan.backend).train(plan.family, plan.settings, [task.run], worker.report)
    rows, tensors = measure_run(plan, task.split, trained, worker.report)
    measured = [] if task.stored is None else measure_run(plan, task.split, task.stored, worker.report)[0]
    return Again(rows, tensors, measured)


def _result(future: Future[Again], task: Task) -> Again:
    try:
        return future.result()
    except RuntimeError as error:
        raise WorkerError(f"{task} could not be trained: {error}.") from error


def _compare(zoo: Zoo, task: Task, again: Again) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield a row for people and a finding, or None, for every snapshot of a run that the zoo has."""
    stored = zoo.index(where=[("run", "==", task.run.run)]).to_pylist()
    places = {name: [row[name] for row in stored] for name in ("split", "shard", "row")}
    weights, rollouts = _flat(zoo.take("shards", places)), zoo.take("rollouts", places)
    new, new_rollouts = _flat(again.tensors["shards"]), again.tensors["rollouts"]
    steps = {row["step"]: place for place, row in enumerate(again.rows)}
    measured = {row["step"]: row for row in again.measured}
    for place, row in enumerate(stored):
        step, other = row["step"], steps.get(row["step"])
        shown = {"run": task.run.run, "step": step, "weights": "diverged here", "rollouts": "", "labels": ""}
        fault = "its training diverges before that" if task.stored is None else None
        if other is not None:
            equal = {
                "weights": _same_bytes(weights[place], new[other]),
                "rollouts": all(_same_bytes(rollouts[name][place], new_rollouts[name][other]) for name in rollouts),
                "labels": _same_labels(row, again.rows[other]),
            }
            shown |= {name: "equal" if same else "other" for name, same in equal.items()}
            fault = None if all(equal.values()) else ", ".join(f"{name} differ" for name in equal if not equal[name])
            distance = float(np.linalg.norm(weights[place] - new[other]))
            moved = float(np.linalg.norm(weights[place] - weights[0]))
            if distance:
                shown["weights"] = f"{distance / (moved or 1):.1e} apart"
            if task.stored is not None:
                fault = "the initial weights are not those of its name" if not moved and distance > CLOSE else None
        if task.stored is not None:
            close = step in measured and _close_labels(row, measured[step])
            shown["labels"] = "those of the weights" if close else "not those of the weights"
            fault = fault or (None if close else "its labels are not those of its weights")
        yield shown, f"Run {task.run.run}, step {step}: {fault}." if fault else None


def _flat(tensors: Mapping[str, Array]) -> Array:
    """Return named weights [S, ...] as [S, P]."""
    return np.concatenate([tensor.reshape(len(tensor), -1) for tensor in tensors.values()], axis=1)


def _same_bytes(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def _same_labels(stored: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Compare a row with what was written of it: the index holds float32."""
    return all(
        np.float32(stored[name]) == np.float32(value) if isinstance(value, float) else stored[name] == value
        for name, value in new.items()
    )


def _close_labels(stored: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return all(
        abs(stored[name] - value) <= (CLOSE * (1 + abs(value)) if name.endswith(("loss", "gap")) else _SHARES)
        for name, value in new.items()
        if isinstance(value, float)
    )
