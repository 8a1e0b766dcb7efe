"""The layout of the .npy files that the paper's authors released: what each file holds, and which rows form a run.

One folder per zoo, or per part of a zoo. All files share their first axis: one row per snapshot, the snapshots of a run
next to each other in order of their steps. N is the number of rollouts per snapshot.

| file | formal-languages | sequential-mnist |
| --- | --- | --- |
| parameters.npy | float32 [rows, P]: torch.nn.LSTM, then the readout, in the order of `.parameters()` | the same |
| sequences.npy | int16 [rows, N, 42]: symbols | float16 [rows, N, 50, 16]: inputs, the BOS tile first |
| logits.npy | float16 [rows, N, 41, 6]: log-probabilities | float16 [rows, N, 50, 10]: logits |
| tasks.npy | int64 [rows, 4]: 0, m_b, m_c, m_d | float64 [rows, 1]: the angle in degrees |
| num_step_correct.npy | int64 [rows, 3]: run, step, strings of 1,000 with the right counts | absent |
| num_step.npy | absent | int64 [rows, 2]: run, step |
| accuracy_losses.npy | absent | float64 [rows, 4]: accuracy, train loss, eval loss, weight decay |

args.json, if present, holds the arguments of the training script. The size of the network is read from it; without it
the network has 2 layers of 32 units.
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
from rnn_zoos.families.digit_inputs import NUM_CLASSES
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.language_strings import LENGTH, NUM_SYMBOLS, OFFSETS
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.rotation import NUM_TILES, TILE
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.paper.npy import ANY_INTEGER, NpyType, map_npy
from rnn_zoos.networks.architecture import Architecture

ARGUMENTS = "args.json"
UPDATES_AT_STEP_0 = "updates_at_step_0"
"""Entry of args.json that `export_paper` adds: the number of updates done at step 0. If it is missing, 1: the paper's
code stores the first snapshot after its first update and calls it step 0."""
WEIGHT_DECAY = "weight_decay"
"""Entry of args.json that `export_paper` adds for languages, whose files do not hold it. If it is missing, 1e-4."""
NUM_STRINGS = 1000
"""Number of sampled strings of which num_step_correct counts those with the right counts."""
REMEDY = "Download or generate these files again."
ZOOS = (FormalLanguages.name, SequentialMnist.name)
"""The task families that the layout has."""
_MAX_ARGUMENTS = 1 << 20  # bytes of args.json that are read; that of the paper's script has a few hundred
_MAX_LAYERS, _MAX_HIDDEN = 64, 1 << 16


@dataclass(frozen=True)
class SourceRun:
    """A run in a part: its number and steps as the source counts them, and the row of its first snapshot."""

    original_run: int
    first: int
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A folder in the paper's layout: file name (without .npy) -> mapped array [rows, ...], and args.json."""

    directory: Path
    zoo: str
    architecture: Architecture
    arrays: Mapping[str, Array]
    arguments: Mapping[str, Any]

    @property
    def num_rows(self) -> int:
        """Number of rows: one per snapshot."""
        return len(self.arrays["parameters"])

    @property
    def num_rollouts(self) -> int:
        """Number N of rollouts per snapshot."""
        return int(self.arrays["sequences"].shape[1])

    @property
    def updates_at_step_0(self) -> int:
        """The difference between the number of updates done and the step that the source gives."""
        return _integer(self.directory, self.arguments, UPDATES_AT_STEP_0, 1, 0, 1)

    def numbers(self, name: str) -> Array:
        """Return num_step_correct or num_step as int64 [columns, rows]."""
        return np.asarray(self.arrays[name], np.int64).T

    def runs(self) -> Iterator[SourceRun]:
        """Yield the runs: consecutive rows with the same run number and task, and increasing steps."""
        if not self.num_rows:
            return
        ids, steps = self.numbers(_steps_file(self.zoo))[:2]
        same = (ids[1:] == ids[:-1]) & (steps[1:] > steps[:-1])
        same &= (self.arrays["tasks"][1:] == self.arrays["tasks"][:-1]).all(axis=1)
        starts = [0, *(np.nonzero(~same)[0] + 1).tolist()]
        for first, last in zip(starts, [*starts[1:], self.num_rows], strict=True):
            yield SourceRun(int(ids[first]), first, tuple(steps[first:last].tolist()))


def _steps_file(zoo: str) -> str:
    """Return the name of the file with the columns run and step."""
    return "num_step_correct" if zoo == FormalLanguages.name else "num_step"


def require_zoo(zoo: str) -> None:
    """Raise FormatError unless the layout has zoos of this task family."""
    if zoo not in ZOOS:
        raise FormatError(
            f"The paper's layout has only zoos of {' and '.join(ZOOS)}; this is a zoo of {zoo}. Export it to parquet."
        )


def layout(zoo: str, num_parameters: int, num_rollouts: int | None = None) -> dict[str, NpyType]:
    """Return file name (without .npy) -> dtype and row shape.

    Args:
        zoo: formal-languages or sequential-mnist.
        num_parameters: P, the number of parameters per network.
        num_rollouts: N, the number of rollouts per snapshot; None allows any.

    Raises FormatError for another zoo.
    """
    require_zoo(zoo)
    shared = {"parameters": NpyType("float32", (num_parameters,))}
    if zoo == FormalLanguages.name:
        return shared | {
            "sequences": NpyType(ANY_INTEGER, (num_rollouts, LENGTH)),
            "logits": NpyType("float16", (num_rollouts, LENGTH - 1, NUM_SYMBOLS)),
            "tasks": NpyType(ANY_INTEGER, (4,)),
            "num_step_correct": NpyType(ANY_INTEGER, (3,)),
        }
    return shared | {
        "sequences": NpyType("float16", (num_rollouts, NUM_TILES + 1, TILE**2)),
        "logits": NpyType("float16", (num_rollouts, NUM_TILES + 1, NUM_CLASSES)),
        "tasks": NpyType("float64", (1,)),
        "num_step": NpyType(ANY_INTEGER, (2,)),
        "accuracy_losses": NpyType("float64", (4,)),
    }


def open_parts(source: Path) -> list[Part]:
    """Open a folder in the paper's layout, or a folder whose subfolders are parts of one zoo, in order of their names.

    Files are memory-mapped. Only the small ones are read, to check the ranges of their values.

    Raises:
        FormatError: if a file is missing, malformed or holds impossible values, or the parts do not form one zoo.
    """
    if not source.is_dir():
        raise FormatError(
            f"{source} is not a directory. Expected one with parameters.npy, as the paper's code writes it."
        )
    folders = [source] if (source / "parameters.npy").exists() else sorted(source.iterdir())
    parts = [_open_part(folder) for folder in folders if (folder / "parameters.npy").exists()]
    if not sum(part.num_rows for part in parts):
        problem = "has no snapshots" if parts else "has no parameters.npy, and neither has any of its subfolders"
        raise FormatError(f"{source} {problem}. Expected the .npy files that the paper's code writes.")
    kinds = [(p.zoo, p.architecture, p.num_rollouts, p.updates_at_step_0) for p in parts]
    for part, kind in zip(parts, kinds, strict=True):
        if kind != kinds[0]:
            raise FormatError(
                f"{part.directory} holds {kind}, {parts[0].directory} holds {kinds[0]} (zoo, network, rollouts per "
                "snapshot, updates at step 0); expected parts of one zoo. Import them separately."
            )
    return parts


def _open_part(folder: Path) -> Part:
    languages, digits = ((folder / f"{_steps_file(zoo)}.npy").exists() for zoo in ZOOS)
    if languages == digits:
        found = "both" if languages else "neither"
        raise FormatError(
            f"{folder} has {found} num_step_correct.npy (formal-languages) and num_step.npy (sequential-mnist); "
            "expected exactly one of them. Give a directory in the paper's layout."
        )
    zoo = ZOOS[0] if languages else ZOOS[1]
    arguments = _read_arguments(folder)
    layers = _integer(folder, arguments, "rnn_num_layers", 2, 1, _MAX_LAYERS)
    hidden = _integer(folder, arguments, "rnn_hidden_size", 32, 1, _MAX_HIDDEN)
    architecture = task_family(zoo).architecture("lstm", layers, hidden)
    types = layout(zoo, architecture.num_parameters)
    arrays = {name: map_npy(folder / f"{name}.npy", expected) for name, expected in types.items()}
    for name in types:
        if len(arrays[name]) != len(arrays["parameters"]):
            raise FormatError(
                f"{folder / name}.npy has {len(arrays[name])} rows, parameters.npy has {len(arrays['parameters'])}; "
                f"expected one row per snapshot in every file. {REMEDY}"
            )
    if arrays["logits"].shape[1] != arrays["sequences"].shape[1]:
        raise FormatError(
            f"{folder}/logits.npy has {arrays['logits'].shape[1]} rollouts per snapshot, sequences.npy has "
            f"{arrays['sequences'].shape[1]}; expected the same. {REMEDY}"
        )
    _check_ranges(folder, arrays)
    return Part(folder, zoo, architecture, arrays, arguments)


def _read_arguments(folder: Path) -> dict[str, Any]:
    path = folder / ARGUMENTS
    if not path.exists():
        return {}
    try:
        with open(path, "rb") as file:
            arguments = json.loads(file.read(_MAX_ARGUMENTS))
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}. Fix its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not readable JSON ({error}). Fix or remove it.") from error
    if not isinstance(arguments, dict):
        raise FormatError(f"{path} holds {type(arguments).__name__}; expected an object. Fix or remove it.")
    return arguments


def _integer(folder: Path, arguments: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = arguments.get(key, default)
    if not isinstance(value, int) or not low <= value <= high:
        raise FormatError(
            f"{folder / ARGUMENTS}: {key} is {value!r}; expected an integer from {low} to {high}. Fix it."
        )
    return value


def _check_ranges(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Raise FormatError, with file and row, for an impossible value in the small files."""

    def require(name: str, valid: Array, expected: str) -> None:
        if not valid.all():
            row = int(np.argmin(valid.all(axis=1)))
            values = arrays[name][row].tolist()
            raise FormatError(f"{folder / name}.npy: row {row} holds {values}; expected {expected}. {REMEDY}")

    def between(values: Array, low: float, high: float) -> Array:
        inside: Array = (values >= low) & (values <= high)
        return inside

    tasks = arrays["tasks"]
    if "num_step" in arrays:
        require("tasks", (tasks >= 0) & (tasks < 360), "an angle of at least 0 and below 360 degrees")
        require(
            "num_step", between(arrays["num_step"], 0, 2**31 - 2), "a run and a step of at least 0 and below 2**31 - 1"
        )
        measured = arrays["accuracy_losses"]
        require("accuracy_losses", between(measured[:, :1], 0, 1), "an accuracy from 0 to 1 in column 0")
        require("accuracy_losses", ~(measured[:, 1:3] < 0), "losses of at least 0 in columns 1 and 2")
        require("accuracy_losses", between(measured[:, 3:], 0, 1e30), "a finite weight decay of at least 0 in column 3")
        return
    require("tasks", between(tasks[:, :1], 0, 0), "0 in column 0, the offset of a")
    require("tasks", between(tasks, OFFSETS[0], OFFSETS[-1]), f"offsets from {OFFSETS[0]} to {OFFSETS[-1]}")
    numbers = arrays["num_step_correct"]
    require(
        "num_step_correct", between(numbers[:, :2], 0, 2**31 - 2), "a run and a step of at least 0 and below 2**31 - 1"
    )
    require(
        "num_step_correct",
        between(numbers[:, 2:], 0, NUM_STRINGS),
        f"0 to {NUM_STRINGS} strings with the right counts in column 2",
    )


def common_steps(runs: list[SourceRun]) -> tuple[int, ...]:
    """Return the list of steps that most runs have. Raises FormatError unless at least half of the runs have it."""
    steps, count = Counter(run.steps for run in runs).most_common(1)[0]
    if 2 * count < len(runs):
        raise FormatError(
            f"Only {count} of {len(runs)} runs have the same steps, {list(steps)}; expected most runs to. "
            "The rows of a run must be next to each other, in order of their steps."
        )
    return steps
