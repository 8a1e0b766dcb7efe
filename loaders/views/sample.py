"""`sample_network`: strings that a language network generates, or digits that a digit network classifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.formal_languages import (
    EOS,
    LENGTH,
    FormalLanguages,
    as_text,
    judge,
    sample_strings,
    task_number,
    task_offsets,
)
from rnn_zoos.families.rotation import rotation_table
from rnn_zoos.families.sequential_mnist import tile_inputs
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.randomness import Purpose, random_bits, to_uniform


def sample_network(
    name_or_dir: str | Path, run: int, step: int | None, count: int, revision: str | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """Run one network on a few inputs: generate strings, or classify digits that no network was trained on.

    Args:
        name_or_dir: directory of a zoo, or OWNER/NAME of a dataset repository on the Hub.
        run: number of the run.
        step: number of updates done; None is the last snapshot of the run.
        count: number of strings or digits.
        revision: branch, tag or commit hash on the Hub; None is the main branch.

    Returns:
        A title, and `count` table rows. The first column, whose name is empty, is "right" or "wrong".

    Raises:
        FormatError: if the directory or repository is not a zoo.
        UnknownNameError: for a run or step that the zoo does not have.
        IntegrityError: if a file is missing or damaged.
        HubError: if the Hub denies access, cannot be reached, or lacks the repository or revision.

    Example:
        >>> from rnn_zoos.loaders import sample_network
        >>> title, rows = sample_network("zoos/formal-languages", run=0, step=None, count=5)
    """
    zoo = open_zoo(name_or_dir, revision)
    if step is None:
        steps = zoo.index(where=[("run", "==", run)])["step"].to_pylist()
        step = max(steps or zoo.manifest.snapshots[-1:])
    row = zoo.row(run, step)
    network = RecurrentNetwork(zoo.manifest.architecture, zoo.weights(row)).eval()
    title = f"run {run}, step {step}, task {row['task']}, accuracy {row['accuracy']:.3f}"
    with torch.no_grad():
        if zoo.manifest.zoo == FormalLanguages.name:
            return title, _strings(network, zoo.manifest.seed, row, count)
        return f"{title}; digits that no network was trained on", _digits(network, row, count)


def _strings(network: RecurrentNetwork, seed: int, row: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return table rows for the first strings of those on which the accuracy of the snapshot was measured."""
    offsets = task_offsets(task_number((row["m_b"], row["m_c"], row["m_d"])))
    bits = random_bits(seed, [row["run"]], Purpose.EVALUATION, [row["step"]], count * (LENGTH - 1))
    sequences, _ = sample_strings(network, to_uniform(bits).view(count, LENGTH - 1))
    verdict = judge(sequences, offsets)
    rows = []
    for sequence, accepted, right_counts in zip(sequences, verdict.accepted, verdict.right_counts, strict=True):
        fault = "" if accepted else "order" if right_counts else "counts" if EOS in sequence else "no end"
        rows.append({"": "right" if accepted else "wrong", "string": as_text(sequence) or "(empty)", "fault": fault})
    return rows


def _digits(network: RecurrentNetwork, row: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return table rows with the prediction after the last tile, for embedded digits that are never trained on."""
    digits = load_digits("embedded")
    shown = digits.validation[:count]
    logits = network(tile_inputs(digits.images[shown], rotation_table(row["angle"])))
    probabilities = logits[:, -1].softmax(dim=-1)
    rows = []
    for number, label, distribution in zip(
        digits.numbers[shown].tolist(), digits.labels[shown].tolist(), probabilities, strict=True
    ):
        named = int(distribution.argmax())
        verdict = "right" if named == label else "wrong"
        rows.append(
            {
                "": verdict,
                "MNIST number": number,
                "digit": label,
                "named": named,
                "probability": distribution[named].item(),
            }
        )
    return rows
