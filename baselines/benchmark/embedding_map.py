"""What figures show of a trained encoder: where it puts networks, and what it asks them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA

from rnn_zoos.baselines.downstream.predictors import Features
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.embedding import Embedder
from rnn_zoos.baselines.encoders.probing import InteractiveProbing


def embedding_map(data: ZooData, features: Features, split: str = "test") -> dict[str, Any]:
    """Return the first two principal components of a split's embeddings, with labels for their colours.

    The components are those of the training rows; `explained` are their shares of the variance.
    """
    pca = PCA(n_components=2, random_state=0).fit(features["train"])
    rows = data.splits[split]
    return {
        "split": split,
        "explained": pca.explained_variance_ratio_.tolist(),
        "places": np.round(pca.transform(features[split]), 4).tolist(),
        **{name: rows.labels(name).tolist() for name in ("task", "step", "accuracy")},
    }


@torch.no_grad()
def asked(embedder: Embedder, split: str = "test", networks: int = 3) -> list[dict[str, Any]] | None:
    """Return what an interactive encoder asks a few networks of a split; None for others.

    An untrained network, and fully trained ones of different tasks: their labels, and the first sequence of questions
    [T, I].
    """
    if not isinstance(embedder.encoder, InteractiveProbing):
        return None
    data = embedder.data.splits[split]
    steps, runs = data.labels("step"), data.labels("run")
    trained = np.flatnonzero(steps == steps.max())
    spread = trained[np.linspace(0, len(trained) - 1, min(networks - 1, len(trained))).astype(int)]
    untrained = np.flatnonzero((runs == runs[spread[0]]) & (steps == steps.min()))[:1]
    rows = torch.from_numpy(np.concatenate([untrained, spread]))
    questions, _ = embedder.encoder.interrogate(data.stack(rows))
    labels = ("run", "step", "task", "accuracy")
    return [
        {
            **{name: data.labels(name)[row].item() for name in labels if name != "task"},
            "task": str(data.labels("task")[row]),
            "questions": np.round(own.double().cpu().numpy(), 3).tolist(),
        }
        for row, own in zip(rows.tolist(), questions[:, 0], strict=True)
    ]
