"""The .npy layout in which the authors of the paper released their zoos: what its files hold, and which rows are a run.

One folder a zoo (or a part of one); files share their first axis, one row a snapshot, the snapshots of a run in order:

parameters        float32 [rows, P]           the parameters of torch.nn.LSTM, then of the readout, as `.parameters()`
sequences         languages: int16 [rows, N, 42] symbols; digits: float16 [rows, N, 50, 16] inputs, BOS tile first
logits            float16 [rows, N, 41, 6] log-probabilities; digits: [rows, N, 50, 10] logits
tasks             languages: int64 [rows, 4], 0 m_b m_c m_d; digits: float64 [rows, 1], the angle in degrees
num_step_correct  languages: int64 [rows, 3]: run, step, how many of 1,000 strings have the right counts
num_step          digits: int64 [rows, 2]: run, step
accuracy_losses   digits: float64 [rows, 4]: accuracy, train loss, eval loss, weight decay
args.json         the arguments of the script, of which the sizes of the network are read; without it 2 layers of 32
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_zoos.errors import FormatError
from rnn_zoos.families.formal_languages import LENGTH, NUM_SYMBOLS, OFFSETS, FormalLanguages
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.rotation import NUM_TILES, TILE
from rnn_zoos.families.sequential_mnist import NUM_CLASSES, SequentialMnist
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.paper.npy import WHOLE, NpyType, map_npy
from rnn_zoos.networks.architecture import Architecture

ARGUMENTS = "args.json"
UPDATES_AT_STEP_0 = "updates_at_step_0"
"""Entry of args.json that we add: how many updates step 0 is after. The paper's code has none, and means 1."""
WEIGHT_DECAY = "weight_decay"
"""Entry of args.json that we add for languages, which store none; the paper's code has none, and uses 1e-4."""
JUDGED = 1000
"""Strings of which num_step_correct counts the right ones."""
REMEDY = "Fetch or make these files again."
_MAX_ARGUMENTS = 1 << 20  # bytes of args.json that are read; the script's has a few hundred
_MAX_LAYERS, _MAX_HIDDEN = 64, 1 << 16


@dataclass(frozen=True)
class SourceRun:
    """A run: rows first..last-1 of a part, its number in the source, its steps as the source counts them."""

    original_run: int
    first: int
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A folder in the paper's layout: name -> mapped array [rows, ...], and what args.json says."""

    directory: Path
    zoo: str
    architecture: Architecture
    arrays: Mapping[str, Array]
    arguments: Mapping[str, Any]

    @property
    def num_rows(self) -> int:
        """Number of snapshots."""
        return len(self.arrays["parameters"])

    @property
    def num_rollouts(self) -> int:
        """Number of sequences of a snapshot, N."""
        return int(self.arrays["sequences"].shape[1])

    @property
    def updates_at_step_0(self) -> int:
        """What to add to a step to have the number of updates done."""
        return _whole(self.directory, self.arguments, UPDATES_AT_STEP_0, 1, 0, 1)

    def numbers(self, name: str) -> Array:
        """Return the columns of num_step_correct or num_step as int64 [columns, rows]."""
        return np.asarray(self.arrays[name], np.int64).T

    def runs(self) -> Iterator[SourceRun]:
        """Yield the runs: rows next to each other of one number and task whose steps go up."""
        if not self.num_rows:
            return
        ids, steps = self.numbers(_steps_file(self.zoo))[:2]
        same = (ids[1:] == ids[:-1]) & (steps[1:] > steps[:-1])
        same &= (self.arrays["tasks"][1:] == self.arrays["tasks"][:-1]).all(axis=1)
        starts = [0, *(np.nonzero(~same)[0] + 1).tolist()]
        for first, last in zip(starts, [*starts[1:], self.num_rows], strict=True):
            yield SourceRun(int(ids[first]), first, tuple(steps[first:last].tolist()))


def _steps_file(zoo: str) -> str:
    return "num_step_correct" if zoo == FormalLanguages.name else "num_step"


def layout(zoo: str, num_parameters: int, num_rollouts: int | None = None) -> dict[str, NpyType]:
    """Return file name (without .npy) -> what it holds, for networks of P parameters and N rollouts (None: any)."""
    shared = {"parameters": NpyType("float32", (num_parameters,))}
    if zoo == FormalLanguages.name:
        return shared | {
            "sequences": NpyType(WHOLE, (num_rollouts, LENGTH)),
            "logits": NpyType("float16", (num_rollouts, LENGTH - 1, NUM_SYMBOLS)),
            "tasks": NpyType(WHOLE, (4,)),
            "num_step_correct": NpyType(WHOLE, (3,)),
        }
    return shared | {
        "sequences": NpyType("float16", (num_rollouts, NUM_TILES + 1, TILE**2)),
        "logits": NpyType("float16", (num_rollouts, NUM_TILES + 1, NUM_CLASSES)),
        "tasks": NpyType("float64", (1,)),
        "num_step": NpyType(WHOLE, (2,)),
        "accuracy_losses": NpyType("float64", (4,)),
    }


def open_parts(source: Path) -> list[Part]:
    """Open a folder in the paper's layout, or one whose subfolders are parts of a zoo, in order of their names.

    Files are mapped, not read, but for the small ones, whose ranges are checked. Raises FormatError.
    """
    if not source.is_dir():
        raise FormatError(f"{source} is not a directory. Expected one with parameters.npy, as the paper's code writes.")
    folders = [source] if (source / "parameters.npy").exists() else sorted(source.iterdir())
    parts = [_open(folder) for folder in folders if (folder / "parameters.npy").exists()]
    if not sum(part.num_rows for part in parts):
        what = "no snapshots" if parts else "no parameters.npy, nor has one of its folders"
        raise FormatError(f"{source} has {what}. Expected the .npy files that the paper's code writes.")
    kinds = [(p.zoo, p.architecture, p.num_rollouts, p.updates_at_step_0) for p in parts]
    for part, kind in zip(parts, kinds, strict=True):
        if kind != kinds[0]:
            raise FormatError(
                f"{part.directory} holds {kind}, {parts[0].directory} holds {kinds[0]} (zoo, network, rollouts of a "
                "snapshot, updates at step 0); expected parts of one zoo. Import them one by one."
            )
    return parts


def _open(folder: Path) -> Part:
    languages, digits = ((folder / f"{_steps_file(zoo)}.npy").exists() for zoo in _ZOOS)
    if languages == digits:
        found = "both num_step_correct.npy and num_step.npy" if languages else "neither num_step_correct.npy"
        wanted = "only one of them" if languages else "that of languages, or num_step.npy, that of digits"
        raise FormatError(f"{folder} has {found}; expected {wanted}. Give a directory of the paper's layout.")
    zoo = _ZOOS[0] if languages else _ZOOS[1]
    arguments = _read_arguments(folder)
    layers = _whole(folder, arguments, "rnn_num_layers", 2, 1, _MAX_LAYERS)
    hidden = _whole(folder, arguments, "rnn_hidden_size", 32, 1, _MAX_HIDDEN)
    architecture = task_family(zoo).architecture("lstm", layers, hidden)
    types = layout(zoo, architecture.num_parameters)
    arrays = {name: map_npy(folder / f"{name}.npy", expected) for name, expected in types.items()}
    for name in types:
        if len(arrays[name]) != len(arrays["parameters"]):
            raise FormatError(
                f"{folder / name}.npy has {len(arrays[name])} rows, parameters.npy has {len(arrays['parameters'])}; "
                f"expected one a snapshot in every file. {REMEDY}"
            )
    if arrays["logits"].shape[1] != arrays["sequences"].shape[1]:
        raise FormatError(
            f"{folder}/logits.npy has {arrays['logits'].shape[1]} rollouts a snapshot, sequences.npy has "
            f"{arrays['sequences'].shape[1]}; expected the same. {REMEDY}"
        )
    _check_ranges(folder, arrays)
    return Part(folder, zoo, architecture, arrays, arguments)


_ZOOS = (FormalLanguages.name, SequentialMnist.name)


def _read_arguments(folder: Path) -> dict[str, Any]:
    path = folder / ARGUMENTS
    if not path.exists():
        return {}
    try:
        with open(path, "rb") as file:
            arguments = json.loads(file.read(_MAX_ARGUMENTS))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not readable JSON ({error}). Mend or remove it.") from error
    if not isinstance(arguments, dict):
        raise FormatError(f"{path} holds {type(arguments).__name__}; expected an object. Mend or remove it.")
    return arguments


def _whole(folder: Path, arguments: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = arguments.get(key, default)
    if not isinstance(value, int) or not low <= value <= high:
        raise FormatError(
            f"{folder / ARGUMENTS}: {key} is {value!r}; expected a whole number from {low} to {high}. Mend it."
        )
    return value


def _check_ranges(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Raise FormatError, naming file and row, for a number that cannot be in the small files."""

    def demand(name: str, right: Array, expected: str) -> None:
        if not right.all():
            row = int(np.argmin(right.all(axis=1)))
            held = arrays[name][row].tolist()
            raise FormatError(f"{folder / name}.npy: row {row} holds {held}; expected {expected}. {REMEDY}")

    def between(values: Array, low: float, high: float) -> Array:
        inside: Array = (values >= low) & (values <= high)
        return inside

    tasks = arrays["tasks"]
    if "num_step" in arrays:
        demand("tasks", (tasks >= 0) & (tasks < 360), "an angle of 0 to below 360 degrees")
        demand("num_step", between(arrays["num_step"], 0, 2**31 - 2), "a run and a step, at least 0, below 2**31 - 1")
        measured = arrays["accuracy_losses"]
        demand("accuracy_losses", between(measured[:, :1], 0, 1), "an accuracy of 0 to 1 in column 0")
        demand("accuracy_losses", ~(measured[:, 1:3] < 0), "losses of at least 0 in columns 1 and 2")
        demand("accuracy_losses", between(measured[:, 3:], 0, 1e30), "a finite weight decay of at least 0 in column 3")
        return
    demand("tasks", between(tasks[:, :1], 0, 0), "0 in column 0, the offset of a")
    demand("tasks", between(tasks, OFFSETS[0], OFFSETS[-1]), f"offsets from {OFFSETS[0]} to {OFFSETS[-1]}")
    numbers = arrays["num_step_correct"]
    demand("num_step_correct", between(numbers[:, :2], 0, 2**31 - 2), "a run and a step, at least 0, below 2**31 - 1")
    demand("num_step_correct", between(numbers[:, 2:], 0, JUDGED), f"0 to {JUDGED} right strings in column 2")


def common_steps(runs: list[SourceRun]) -> tuple[int, ...]:
    """Return the steps that most runs have. Raises FormatError if no list of steps is that of at least half of them."""
    steps, count = Counter(run.steps for run in runs).most_common(1)[0]
    if 2 * count < len(runs):
        raise FormatError(
            f"Only {count} of {len(runs)} runs have the same steps, {list(steps)}; expected that of a zoo. Rows "
            "of a run have to be next to each other, in order of their steps."
        )
    return steps
