"""Watching one network work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.formal_languages import (
    LENGTH,
    FormalLanguages,
    judge,
    show,
    task_number,
    task_offsets,
    write_strings,
)
from rnn_zoos.families.rotation import rotation_table
from rnn_zoos.families.sequential_mnist import tile_inputs
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.randomness import Purpose, random_bits, to_uniform


def sample_network(
    name_or_dir: str | Path, run: int, step: int | None, count: int, revision: str | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """Return a title and `count` rows: strings that a language network writes, or digits that a digit network names.

    `step` None is the last snapshot of the run. Raises ZooError children.
    """
    zoo = open_zoo(name_or_dir, revision)
    if step is None:
        step = max(
            row["step"]
            for row in zoo.index(where=[("run", "==", run)]).to_pylist() or [{"step": zoo.manifest.snapshots[-1]}]
        )
    row = zoo.row(run, step)
    network = RecurrentNetwork(zoo.manifest.architecture, zoo.weights(row)).eval()
    title = f"run {run}, step {step}, task {row['task']}, accuracy {row['accuracy']:.3f}"
    with torch.no_grad():
        if zoo.manifest.zoo == FormalLanguages.name:
            return title, _strings(network, zoo.manifest.seed, row, count)
        return f"{title}; digits that no network was trained on", _digits(network, row, count)


def _strings(network: RecurrentNetwork, seed: int, row: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return strings and verdicts: the first of those by which the snapshot's accuracy was measured."""
    offsets = task_offsets(task_number((row["m_b"], row["m_c"], row["m_d"])))
    bits = random_bits(seed, [row["run"]], Purpose.EVALUATION, [row["step"]], count * (LENGTH - 1))
    sequences, _ = write_strings(network, to_uniform(bits).view(count, LENGTH - 1))
    verdict = judge(sequences, offsets)
    rows = []
    for sequence, accepted, right_counts in zip(sequences, verdict.accepted, verdict.right_counts, strict=True):
        fault = "" if accepted else "order" if right_counts else "counts" if 5 in sequence else "no end"
        rows.append({"": "right" if accepted else "wrong", "string": show(sequence) or "(empty)", "fault": fault})
    return rows


def _digits(network: RecurrentNetwork, row: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return predictions after the last tile for embedded digits that are held out in every zoo."""
    digits = load_digits("embedded")
    shown = digits.held_out[:count]
    logits = network(tile_inputs(digits.images[shown], rotation_table(row["angle"])))
    chances = logits[:, -1].softmax(dim=-1)
    rows = []
    for number, label, chance in zip(
        digits.numbers[shown].tolist(), digits.labels[shown].tolist(), chances, strict=True
    ):
        named = int(chance.argmax())
        verdict = "right" if named == label else "wrong"
        rows.append(
            {"": verdict, "MNIST number": number, "digit": label, "named": named, "probability": chance[named].item()}
        )
    return rows
