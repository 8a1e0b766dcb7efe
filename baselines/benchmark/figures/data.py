"""What a result file stores of a trained encoder for the figures: projected embeddings, clones, example probes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rnn_zoos.baselines.downstream.protocols import Features
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.embedding import Embedder
from rnn_zoos.baselines.encoders.probes.probing import InteractiveProbing
from rnn_zoos.format.files import Array

MOST_POINTS = 300
"""Networks that are stored for a figure; more would not be seen in its small panels."""


def drawn_rows(data: ZooData, split: str) -> Array:
    """Return the numbers of the rows of a split that figures show, [R'], at most 300: the same for all encoders."""
    rows = np.random.default_rng(0).permutation(len(data.splits[split]))
    return np.sort(rows[:MOST_POINTS])


def embedding_map(data: ZooData, features: Features, split: str = "test") -> dict[str, Any]:
    """Return embeddings of a split, projected on two principal components, with labels to colour them by.

    The components are those of the training rows; `explained` are their fractions of the variance. `task` has numbers
    of entries of `tasks`.
    """
    mean = features["train"].mean(axis=0, dtype=np.float64)
    _, sizes, components = np.linalg.svd(features["train"] - mean, full_matrices=False)
    rows = drawn_rows(data, split)
    tasks, numbers = np.unique(data.splits[split].labels("task")[rows].astype(str), return_inverse=True)
    return {
        "split": split,
        "explained": (sizes[:2] ** 2 / max((sizes**2).sum(), 1e-12)).tolist(),
        "places": np.round((features[split][rows] - mean) @ components[:2].T, 3).tolist(),
        "tasks": tasks.tolist(),
        "task": numbers.tolist(),
        "step": data.splits[split].labels("step")[rows].tolist(),
        "accuracy": _short(data.splits[split].labels("accuracy")[rows]),
    }


def clone_points(data: ZooData, clones: Array, split: str = "test") -> dict[str, Any]:
    """Return accuracies of single networks of a split and of their clones.

    `clones` [R] has those of all clones; networks whose clone's is NaN are left out.
    """
    rows = drawn_rows(data, split)
    rows = rows[~np.isnan(clones[rows])]
    return {
        "split": split,
        "step": data.splits[split].labels("step")[rows].tolist(),
        "accuracy": _short(data.splits[split].labels("accuracy")[rows]),
        "clone": _short(clones[rows]),
    }


def _short(numbers: Array) -> list[float]:
    """Return numbers with three digits after the point."""
    return [round(number, 3) for number in numbers.tolist()]


@torch.no_grad()
def example_probes(embedder: Embedder, split: str = "test", networks: int = 3) -> list[dict[str, Any]] | None:
    """Return the first probe sequence [T, I] that interactive probing feeds to some networks; None for other encoders.

    The networks are an untrained one and fully trained ones of different runs; their labels are returned, too.
    """
    if not isinstance(embedder.encoder, InteractiveProbing):
        return None
    data = embedder.data.splits[split]
    steps, runs = data.labels("step"), data.labels("run")
    trained = np.flatnonzero(steps == steps.max())
    spread = trained[np.linspace(0, len(trained) - 1, min(networks - 1, len(trained))).astype(int)]
    untrained = np.flatnonzero((runs == runs[spread[0]]) & (steps == steps.min()))[:1]
    rows = torch.from_numpy(np.concatenate([untrained, spread]))
    probes, _ = embedder.encoder.interrogate(data.stack(rows))
    return [
        {
            **{name: data.labels(name)[row].item() for name in ("run", "step", "accuracy")},
            "task": str(data.labels("task")[row]),
            "questions": np.round(probe.double().cpu().numpy(), 2).tolist(),
        }
        for row, probe in zip(rows.tolist(), probes[:, 0], strict=True)
    ]
