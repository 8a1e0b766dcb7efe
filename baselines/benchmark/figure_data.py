"""What a result file stores of a trained encoder for the figures: projected embeddings, and example probe sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA

from rnn_zoos.baselines.downstream.protocols import Features
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.embedding import Embedder
from rnn_zoos.baselines.encoders.probing import InteractiveProbing


def embedding_map(data: ZooData, features: Features, split: str = "test") -> dict[str, Any]:
    """Return the embeddings of a split, projected on two principal components, with labels to colour them by.

    The components are those of the training rows; `explained` are their fractions of the variance.
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
            "questions": np.round(probe.double().cpu().numpy(), 3).tolist(),
        }
        for row, probe in zip(rows.tolist(), probes[:, 0], strict=True)
    ]
