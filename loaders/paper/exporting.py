"""Writing a zoo as the .npy files of the paper's code. Inverse of `rnn_zoos.loaders.paper.importing`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnn_zoos import __version__
from rnn_zoos.errors import FormatError
from rnn_zoos.families.formal_languages import LENGTH, NUM_SYMBOLS, FormalLanguages
from rnn_zoos.families.rotation import TILE
from rnn_zoos.format.files import Array, new_directory, write_json
from rnn_zoos.format.manifest import Manifest
from rnn_zoos.loaders.dataset import Gather
from rnn_zoos.loaders.paper.layout import ARGUMENTS, JUDGED, UPDATES_AT_STEP_0, WEIGHT_DECAY, layout
from rnn_zoos.loaders.paper.npy import WHOLE, npy_writers
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.weights import flatten

_HELD = {
    "formal-languages": {"run", "step", "task", "m_b", "m_c", "m_d", "shard", "row"},
    "sequential-mnist": {"run", "step", "task", "angle", "accuracy", "train_loss", "eval_loss", "generalization_gap",
                         "weight_decay", "shard", "row"},
}  # fmt: skip


def export_paper(directory: Path, out: Path) -> str:
    """Write a zoo to the new directory `out` as the .npy files of the paper's code; return what these cannot hold.

    Files, dtypes and shapes: `rnn_zoos.loaders.paper.layout`. Rows are in order of run and step; the step is ours, that
    is the number of updates, and args.json says so, so that `import_paper` is the inverse for weights, sequences,
    outputs, tasks and steps, bit for bit (outputs of digits are read from float32 inputs, which are rounded to float16
    here). An imported zoo keeps the source's steps. Raises FormatError for a zoo of other cells than LSTMs or without
    snapshots, StorageError for what cannot be written; then nothing is left behind.
    """
    zoo = open_zoo(directory)
    manifest = zoo.manifest
    if manifest.architecture.cell != "lstm":
        raise FormatError(
            f"{directory} has networks of the cell {manifest.architecture.cell}; the paper's layout holds lstm only."
        )
    rows = sorted(zoo.index().to_pylist(), key=lambda row: (row["run"], row["step"]))
    if not rows:
        raise FormatError(f"{directory} has no snapshots; nothing to export.")
    with new_directory(out) as temporary:
        with npy_writers(temporary, len(rows), _types(manifest)) as writers:
            gather = Gather(zoo.source, rollouts=True, tensors="torch")
            for run_rows in _by_run(rows):
                for name, array in _arrays(manifest, gather, run_rows).items():
                    writers[name].append(array)
        write_json(temporary / ARGUMENTS, _arguments(manifest))
    return _left_out(manifest)


def _types(manifest: Manifest) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return file name -> (dtype, shape of a row), with the widths of whole numbers that the paper's code writes."""
    num_rollouts = next(iter(manifest.rollouts.values()))[1][0]
    types = layout(manifest.zoo, manifest.architecture.num_parameters, num_rollouts)
    widths = {name: "int16" if name == "sequences" else "int64" for name in types}
    return {
        name: (widths[name] if kind.dtype == WHOLE else kind.dtype, tuple(size or 0 for size in kind.row))
        for name, kind in types.items()
    }


def _by_run(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of one run after the other."""
    starts = [place for place in range(len(rows)) if place == 0 or rows[place]["run"] != rows[place - 1]["run"]]
    for first, last in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield rows[first:last]


def _arrays(manifest: Manifest, gather: Gather, rows: list[dict[str, Any]]) -> dict[str, Array]:
    """Return what the files hold of the snapshots of a run: file name -> [rows, ...]."""
    batch = gather({name: [row[name] for row in rows] for name in rows[0]})
    steps = [row["original_step" if manifest.imported else "step"] for row in rows]
    numbers = np.array([[row["run"] for row in rows], steps], np.int64).T
    arrays: dict[str, Array] = {
        "parameters": flatten(manifest.architecture, batch["weights"]).numpy(),
        "sequences": batch["sequences"].numpy(),
    }
    if manifest.zoo == FormalLanguages.name:
        label = "original_accuracy" if manifest.imported else "count_accuracy"
        right = np.rint([[row[label] * JUDGED] for row in rows]).astype(np.int64)
        return arrays | {
            "logits": batch["log_probs"].numpy(),
            "tasks": np.array([[0, row["m_b"], row["m_c"], row["m_d"]] for row in rows], np.int64),
            "num_step_correct": np.concatenate([numbers, right], axis=1),
        }
    measured = ("accuracy", "train_loss", "eval_loss", "weight_decay")
    return arrays | {
        "logits": batch["logits"].numpy(),
        "tasks": np.array([[row["angle"]] for row in rows], np.float64),
        "num_step": numbers,
        "accuracy_losses": np.array([[row[name] for name in measured] for row in rows], np.float64),
    }


def _arguments(manifest: Manifest) -> dict[str, Any]:
    """Return args.json: the arguments of the paper's scripts that apply, and what an import has to know besides."""
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
    decays = manifest.settings["weight_decay"]
    decay = decays[0] if len(decays) == 1 else None
    return shared | {"num_tokens": NUM_SYMBOLS - 2, "sequence_length": LENGTH, "one_hot_input": 1, WEIGHT_DECAY: decay}


def _left_out(manifest: Manifest) -> str:
    """Return one line: what the layout has no place for."""
    columns = [name for name in manifest.columns if name not in _HELD[manifest.zoo]]
    if manifest.zoo == FormalLanguages.name:
        also = f"num_step_correct has count_accuracy in {JUDGED}ths"
    else:
        also = "rollouts hold the inputs as float16, not the digits' numbers and classes"
    return (
        f"The paper's layout has no place for {', '.join(columns)}; {also}; the paper's code makes splits of its own."
    )
