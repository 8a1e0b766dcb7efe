"""Can a zoo be reproduced? Some of its runs are trained again and compared."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_zoos.errors import DigitsError, WorkerError
from rnn_zoos.files import Array
from rnn_zoos.generation.backends import make_trainer
from rnn_zoos.generation.plan import Plan, plan_of_zoo
from rnn_zoos.generation.records import making
from rnn_zoos.generation.shards import Tensors, measure_run
from rnn_zoos.generation.training import Run
from rnn_zoos.loaders.zoo import Zoo, open_zoo
from rnn_zoos.manifest import Manifest
from rnn_zoos.workers import Crew, Seat, available_cores

CLOSE_STEP, CLOSE = 100, 1e-3
"""Elsewhere, the distance of weights over what training moved them: at most this, up to this step. Training is chaotic:
rounding grows until, after thousands of updates, equal runs are different networks with the same task."""
_DECIDES = ("torch", "numpy", "instruction set")  # versions that have to be equal for equal bits

Made = tuple[list[dict[str, Any]], Tensors]


@dataclass(frozen=True)
class Verdict:
    """What was compared and how: `rows` for people, one a snapshot; `findings` say what could not be reproduced."""

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

    With the backend and on a machine of the zoo, bit for bit; elsewhere the weights up to step `CLOSE_STEP` have to
    be within `CLOSE` of those of the zoo, and later snapshots are only shown. Raises FormatError for an imported zoo,
    DigitsError for other digits than the zoo's, BackendError, WorkerError.
    """
    zoo = open_zoo(directory)
    plan = plan_of_zoo(zoo.manifest, backend, mnist)
    make_trainer(plan.backend)
    if plan.digits() != zoo.manifest.digits:
        raise DigitsError(f"The zoo was made with the digits {zoo.manifest.digits}; these are {plan.digits()}.")
    differences = list(_differences(zoo.manifest, plan))
    chosen = sorted(random.Random(seed).sample(range(plan.settings.runs), min(runs, plan.settings.runs)))
    wanted = [(run, split) for run, split in plan.runs() if run.run in set(chosen)]
    rows, findings = [], []
    for (run, _), made in _trained(plan, wanted, workers):
        for row, finding in _compare(zoo, run, made, exact=not differences):
            rows.append(row)
            findings += [finding] if finding else []
    rows.sort(key=lambda row: (row["run"], row["step"]))
    claim = "same backend and machine: every bit has to be equal."
    if differences:
        claim = (
            f"not made as it would be here ({'; '.join(differences)}): up to step {CLOSE_STEP} weights have to be "
            f"within {CLOSE:g} of what training moved them."
        )
    return Verdict(claim, chosen, rows, findings)


def _differences(manifest: Manifest, plan: Plan) -> Iterator[str]:
    here, there = making(plan.backend), manifest.made
    for key in ("backend", "machine"):
        if here[key] != there[key]:
            yield f"{key} {there[key]} there, {here[key]} here"
    for key in _DECIDES:
        if here["versions"].get(key) != there["versions"].get(key):
            yield f"{key} {there['versions'].get(key)} there, {here['versions'].get(key)} here"


def _trained(plan: Plan, wanted: list[tuple[Run, str]], workers: int | None) -> Iterator[tuple[tuple[Run, str], Made]]:
    """Yield every run, trained and measured, as they are finished; one process a core, one on a GPU."""
    from rnn_zoos.console import share_bar

    on_gpu = make_trainer(plan.backend).at_once is not None
    size = min(1 if on_gpu else workers or available_cores(), len(wanted))
    waiting, done, total = wanted[::-1], 0, len(wanted) * plan.settings.num_updates
    with share_bar(f"training {len(wanted)} runs again") as progress:

        def advance(task: tuple[Run, str], updates: int) -> None:
            nonlocal done
            done += updates
            progress(done / max(total, 1))

        with Crew[tuple[Run, str], Made](size, _train_one, plan, advance=advance) as crew:
            while waiting or crew.busy:
                while waiting and crew.idle:
                    crew.give(waiting.pop())
                for task, future in crew.collect():
                    yield task, _result(future, task[0])


def _train_one(plan: Plan, task: tuple[Run, str], seat: Seat) -> Made:
    run, split = task
    (trained,) = make_trainer(plan.backend).train(plan.family, plan.settings, [run], seat.report)
    return measure_run(plan, split, trained, seat.report)


def _result(future: Future[Made], run: Run) -> Made:
    try:
        return future.result()
    except RuntimeError as error:
        raise WorkerError(f"Run {run.run} could not be trained: {error}.") from error


def _compare(zoo: Zoo, run: Run, made: Made, *, exact: bool) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield a row for people and a finding, or None, for every snapshot that the zoo or the new training has."""
    rows, tensors = made
    stored = zoo.index(where=[("run", "==", run.run)]).to_pylist()
    places = {name: [row[name] for row in stored] for name in ("split", "shard", "row")}
    weights, rollouts = (zoo.take(kind, places) for kind in ("shards", "rollouts"))
    old, new = _flat(weights), _flat(tensors["shards"])
    new_rows = {row["step"]: (place, row) for place, row in enumerate(rows)}
    for place, row in enumerate(stored):
        step = row["step"]
        shown = {"run": run.run, "step": step, "weights": "missing", "rollouts": "", "labels": ""}
        if step not in new_rows:
            yield shown, f"Run {run.run}, step {step}: diverges before, when it is trained here." if exact else None
            continue
        other, new_row = new_rows[step]
        moved = float(np.linalg.norm(old[place] - old[0])) or float(np.linalg.norm(old[place]))
        distance = float(np.linalg.norm(old[place] - new[other])) / moved
        equal = {
            "weights": np.array_equal(old[place].view(np.int32), new[other].view(np.int32)),
            "rollouts": all(_same_bytes(rollouts[n][place], tensors["rollouts"][n][other]) for n in rollouts),
            "labels": all(_close(row[name], value) for name, value in new_row.items()),
        }
        shown |= {name: "equal" if same else "other" for name, same in equal.items()}
        if not equal["weights"]:
            shown["weights"] = f"{distance:.1e} apart"
        wrong = not all(equal.values()) if exact else step <= CLOSE_STEP and distance > CLOSE
        yield shown, f"Run {run.run}, step {step}: weights {shown['weights']}, {_words(equal)}." if wrong else None


def _words(equal: Mapping[str, bool]) -> str:
    return ", ".join(f"{name} {'equal' if equal[name] else 'not equal'}" for name in ("rollouts", "labels"))


def _flat(tensors: Mapping[str, Array]) -> Array:
    """Return named weights [S, ...] as [S, P]."""
    return np.concatenate([tensor.reshape(len(tensor), -1) for tensor in tensors.values()], axis=1)


def _same_bytes(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def _close(stored: Any, new: Any) -> bool:  # noqa: ANN401 - a number, a string or a flag
    """Compare a label with what was written of it: the index holds float32."""
    return float(np.float32(stored)) == float(np.float32(new)) if isinstance(new, float) else stored == new
