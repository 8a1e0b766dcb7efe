"""`export_paper`: write a zoo as .npy files in the layout of the paper's code.

The files are described in `rnn_zoos.loaders.paper.layout`. For zoos as the paper has them it is the inverse of
`import_paper`; of others, `export_paper` says what an import leaves out, or why it refuses the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnn_zoos import __version__
from rnn_zoos.errors import FormatError
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.language_strings import LENGTH, NUM_SYMBOLS
from rnn_zoos.families.rotation import TILE
from rnn_zoos.format.columns import require_labels
from rnn_zoos.format.files import Array, new_directory, write_json
from rnn_zoos.format.manifest import Manifest
from rnn_zoos.loaders.paper.layout import ARGUMENTS, NUM_STRINGS, UPDATES_AT_STEP_0, WEIGHT_DECAY, layout, require_zoo
from rnn_zoos.loaders.paper.npy import ANY_INTEGER, npy_writers
from rnn_zoos.loaders.rollouts import decode_rollouts
from rnn_zoos.loaders.zoo import Zoo, open_zoo
from rnn_zoos.networks.weights import flatten

_EXPORTED_COLUMNS = {
    "formal-languages": {"run", "step", "task", "m_b", "m_c", "m_d", "shard", "row"},
    "sequential-mnist": {"run", "step", "task", "angle", "generalization_gap", "weight_decay", "shard", "row"},
}  # of every zoo; `_left_out` adds the others


def export_paper(directory: str | Path, out: str | Path) -> str:
    """Write a zoo as .npy files in the layout of the paper's code.

    `rnn_zoos.loaders.paper.layout` describes the files. Rows are sorted by run and step. The step is the number of
    updates done, and args.json records this, so that `import_paper` restores weights, sequences, outputs, tasks and
    steps bit for bit, if all runs have the same steps and, of languages, the same weight decay. (The inputs of digits
    are rounded to float16 in the files; their outputs were computed from float32 inputs.) The export of an imported zoo
    keeps the steps of its source.

    `import_paper` leaves out runs without the steps that most have, and refuses files in which less than half of the
    runs have the same steps, or languages with several weight decays, which the files cannot hold. Such zoos are
    exported nevertheless, for other readers of the layout.

    Args:
        directory: a zoo of LSTMs, of formal-languages or sequential-mnist.
        out: new directory for the files.

    Returns:
        One line that says what the files cannot hold, and what an import leaves out or why it refuses them.

    Raises:
        FormatError: if the zoo is of another task family, has other cells than LSTMs or several architectures, no
            snapshots, or not the labels that the files hold.
        IntegrityError: if a file of the zoo is damaged.
        StorageError: if `out` is not new or cannot be written. After an error nothing is left behind.

    Example:
        >>> from rnn_zoos.loaders import export_paper
        >>> summary = export_paper("zoos/formal-languages", "languages-npy")
    """
    zoo = open_zoo(directory)
    manifest = zoo.manifest
    require_zoo(manifest.zoo)
    if manifest.architecture.cell != "lstm":
        raise FormatError(
            f"{directory} has networks of the cell {manifest.architecture.cell}; the paper's layout holds only lstm."
        )
    require_labels(manifest, _measured(manifest))
    rows = sorted(zoo.index().to_pylist(), key=lambda row: (row["run"], row["step"]))
    if not rows:
        raise FormatError(f"{directory} has no snapshots, so there is nothing to export.")
    decays = _weight_decays(manifest, rows)
    with new_directory(Path(out)) as temporary:
        with npy_writers(temporary, len(rows), _types(manifest)) as writers:
            for run_rows in _by_run(rows):
                for name, array in _arrays(zoo, run_rows).items():
                    writers[name].append(array)
        write_json(temporary / ARGUMENTS, _arguments(manifest, decays))
    return " ".join([_left_out(manifest, decays), *_not_imported(manifest, list(_by_run(rows)), decays)])


def _types(manifest: Manifest) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return file name -> (dtype, shape of a row), with the integer widths that the paper's code writes."""
    num_rollouts = next(iter(manifest.rollouts.values()))[1][0]
    types = layout(manifest.zoo, manifest.architecture.num_parameters, num_rollouts)
    widths = {name: "int16" if name == "sequences" else "int64" for name in types}
    return {
        name: (widths[name] if kind.dtype == ANY_INTEGER else kind.dtype, tuple(size or 0 for size in kind.row))
        for name, kind in types.items()
    }


def _by_run(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each run, given rows sorted by run."""
    starts = [i for i in range(len(rows)) if i == 0 or rows[i]["run"] != rows[i - 1]["run"]]
    for first, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield rows[first:end]


def _arrays(zoo: Zoo, rows: list[dict[str, Any]]) -> dict[str, Array]:
    """Return the rows of each file for the snapshots of one run: file name -> [rows, ...]."""
    manifest, batch = zoo.manifest, {name: [row[name] for row in rows] for name in rows[0]}
    rollouts = decode_rollouts(zoo, zoo.take("rollouts", batch), batch.get("angle"))
    steps = [row["original_step" if manifest.imported else "step"] for row in rows]
    numbers = np.array([[row["run"] for row in rows], steps], np.int64).T
    arrays: dict[str, Array] = {
        "parameters": flatten(manifest.architecture, zoo.stack(rows).weights).numpy(),
        "sequences": rollouts["sequences"],
    }
    if manifest.zoo == FormalLanguages.name:
        (label,) = _measured(manifest)
        correct = np.rint([[row[label] * NUM_STRINGS] for row in rows]).astype(np.int64)
        return arrays | {
            "logits": rollouts["log_probs"],
            "tasks": np.array([[0, row["m_b"], row["m_c"], row["m_d"]] for row in rows], np.int64),
            "num_step_correct": np.concatenate([numbers, correct], axis=1),
        }
    measured = (*_measured(manifest), "weight_decay")
    return arrays | {
        "logits": rollouts["logits"],
        "tasks": np.array([[row["angle"]] for row in rows], np.float64),
        "num_step": numbers,
        "accuracy_losses": np.array([[row[name] for name in measured] for row in rows], np.float64),
    }


def _measured(manifest: Manifest) -> tuple[str, ...]:
    """Return the labels that the files hold."""
    if manifest.zoo == FormalLanguages.name:
        return ("original_accuracy" if manifest.imported else "count_accuracy",)
    return ("accuracy", "train_loss", "eval_loss")


def _weight_decays(manifest: Manifest, rows: list[dict[str, Any]]) -> list[float]:
    """Return the different weight decays of rows, as in the settings, which have more digits than the index."""
    known = {float(np.float32(decay)): float(decay) for decay in manifest.settings["weight_decay"]}
    return sorted(known.get(decay, decay) for decay in {row["weight_decay"] for row in rows})


def _arguments(manifest: Manifest, decays: list[float]) -> dict[str, Any]:
    """Return the content of args.json: arguments of the paper's scripts, and the entries that `import_paper` needs."""
    architecture, imported = manifest.architecture, manifest.imported
    shared = {
        "num_training_runs": manifest.runs,
        "rnn_hidden_size": architecture.hidden_size,
        "rnn_num_layers": architecture.num_layers,
        "made_by": f"rnn-zoos {__version__}",
        UPDATES_AT_STEP_0: imported["parts"][0]["arguments"].get(UPDATES_AT_STEP_0, 1) if imported else 0,
    }
    if manifest.zoo != FormalLanguages.name:
        return shared | {"tile_size": TILE}
    decay = decays[0] if len(decays) == 1 else None
    return shared | {"num_tokens": NUM_SYMBOLS - 2, "sequence_length": LENGTH, "one_hot_input": 1, WEIGHT_DECAY: decay}


def _left_out(manifest: Manifest, decays: list[float]) -> str:
    """Return one line that lists what the files cannot hold, given the different weight decays of the rows."""
    held = _EXPORTED_COLUMNS[manifest.zoo] | {*_measured(manifest)}
    if manifest.imported:
        held.add("original_step")
    if len(decays) == 1:
        held.add("weight_decay")
    columns = ", ".join(name for name in manifest.columns if name not in held)
    parts = [f"The paper's layout cannot hold {columns}"]
    if manifest.zoo != FormalLanguages.name:
        parts.append("rollouts hold the inputs as float16, without the numbers and classes of the digits")
    elif not manifest.imported:  # whose numbers are multiples already
        parts.append(f"num_step_correct holds count_accuracy rounded to a multiple of 1/{NUM_STRINGS}")
    return "; ".join([*parts, "the paper's code makes its own splits."])


def _not_imported(manifest: Manifest, runs: list[list[dict[str, Any]]], decays: list[float]) -> Iterator[str]:
    """Yield a sentence per reason why `import_paper` leaves out runs, given their rows, or refuses all files."""
    ((_, same),) = Counter(tuple(row["step"] for row in rows) for rows in runs).most_common(1)
    if 2 * same < len(runs):
        yield f"`rnn-zoos import` refuses these files: only {same} of {len(runs)} runs have the same steps."
    elif same < len(runs):
        yield f"`rnn-zoos import` leaves out {len(runs) - same} of {len(runs)} runs: they lack steps of the others."
    if manifest.zoo == FormalLanguages.name and len(decays) > 1:
        yield f"`rnn-zoos import` refuses these files, which cannot hold the {len(decays)} weight decays of the runs."
