"""End-to-end training: encoders trained on the labels themselves, all targets at once.

The comparison with predictors on frozen embeddings shows what training by emulation costs or gains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnn_zoos.baselines.downstream.predictors import Scores, score_predictions
from rnn_zoos.baselines.downstream.protocols import protocol_rows
from rnn_zoos.baselines.downstream.targets import TARGETS, Kind
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.embedding import SEED_STRIDE, Embedder
from rnn_zoos.baselines.emulation.optimisation import Optimisation, one_cycle
from rnn_zoos.baselines.encoders.layers import mlp
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.format.files import Array


@dataclass(frozen=True)
class EndToEndSettings:
    """Settings of end-to-end training.

    Attributes:
        updates: Number of updates.
        networks: M, networks per batch.
        hidden: Hidden units of a head.
        learning_rate: Highest learning rate of the one-cycle schedule.
        weight_decay: Weight decay of AdamW.
        clip: Largest norm of the gradient of encoder and heads together.
    """

    updates: int
    networks: int = 64
    hidden: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 1.0

    def rate(self, update: int) -> float:
        """Return the learning rate of an update, counted from 0."""
        return one_cycle(self.learning_rate, self.updates, update)


class Head(nn.Module):
    """Predicts one column of labels from embeddings [M, Z], by an MLP with one hidden layer.

    The MLP's outputs are a standardised number, the logits of classes, or the sine and cosine of an angle in degrees.
    """

    def __init__(self, kind: Kind, labels: Array, embedding_size: int, hidden: int) -> None:
        super().__init__()
        self.kind, self.classes = kind, np.unique(labels)
        self.mean, self.scale = float(labels.mean()), float(labels.std()) or 1.0
        outputs = {"number": 1, "classes": len(self.classes), "angle": 2}[kind]
        self.mlp = mlp(embedding_size, hidden, 1, outputs)

    def targets(self, labels: Array) -> Tensor:
        """Return labels [R] as `loss` takes them: numbers of classes [R], or floats [R, outputs]."""
        if self.kind == "classes":
            return torch.from_numpy(np.searchsorted(self.classes, labels))
        if self.kind == "angle":
            radians = np.deg2rad(labels)
            return torch.from_numpy(np.stack([np.sin(radians), np.cos(radians)], axis=1)).float()
        return torch.from_numpy((labels - self.mean) / self.scale).float()[:, None]

    def loss(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, scaled to about 1 for uninformed predictions."""
        if self.kind == "classes":
            return F.cross_entropy(self.mlp(embeddings), targets) / max(1.0, math.log(len(self.classes)))
        return F.mse_loss(self.mlp(embeddings), targets)

    @torch.no_grad()
    def predict(self, embeddings: Tensor) -> Array:
        """Return predicted labels [M]."""
        outputs = self.mlp(embeddings).cpu().double().numpy()
        if self.kind == "classes":
            return np.asarray(self.classes[outputs.argmax(axis=1)])
        if self.kind == "angle":
            return np.asarray(np.rad2deg(np.arctan2(outputs[:, 0], outputs[:, 1])) % 360)
        return np.asarray(outputs[:, 0] * self.scale + self.mean)


def train_end_to_end(
    data: ZooData,
    encoder: str,
    seed: int,
    settings: EndToEndSettings,
    sizes: Mapping[str, Any],
    repeats: int,
    report: Callable[[int, float], None] = lambda update, loss: None,
) -> dict[str, Scores]:
    """Train a new encoder with a head per label on `train`; return target -> split -> measure -> score.

    There is no model selection: the state after the last update is evaluated. Raises EncoderError if the loss is not
    finite.

    Args:
        data: The zoo.
        encoder: Name of the encoder, as for `make_encoder`.
        seed: Seed of initial parameters, batches and bootstrap.
        settings: Settings of the training.
        sizes: Further keyword arguments of the encoder.
        repeats: Bootstrap samples of the confidence intervals.
        report: Called after every update with the number of updates done and the loss.
    """
    kinds = {column: target.kind for target in TARGETS[data.zoo.manifest.zoo].values() for column in target.columns}
    labels = {name: np.asarray(data.splits["train"].labels(name), np.float64) for name in kinds}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        embedder = Embedder(data, make_encoder(encoder, data.architecture, **sizes), seed)
        size = embedder.encoder.embedding_size
        heads = {name: Head(kind, labels[name], size, settings.hidden) for name, kind in kinds.items()}
    modules = nn.ModuleDict({"encoder": embedder.encoder, "heads": nn.ModuleDict(heads).to(data.device)})
    optimisation = Optimisation([modules], settings, f"{encoder} with seed {seed}")
    targets = {name: head.targets(labels[name]).to(data.device) for name, head in heads.items()}
    for update in range(settings.updates):
        generator = torch.Generator().manual_seed(seed * SEED_STRIDE + update)
        loss = _loss(embedder, heads, targets, settings.networks, generator)
        report(update + 1, optimisation.step(loss, update))
    modules.eval()
    return _scores(embedder, heads, repeats, seed)


def _loss(
    embedder: Embedder,
    heads: Mapping[str, Head],
    targets: Mapping[str, Tensor],
    networks: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the mean loss of all heads on a batch of training networks, drawn with replacement."""
    rows = torch.randint(len(embedder.data.splits["train"]), (networks,), generator=generator)
    embeddings = embedder.embed("train", rows, generator)
    return torch.stack([head.loss(embeddings, targets[name][rows]) for name, head in heads.items()]).mean()


def _scores(embedder: Embedder, heads: Mapping[str, Head], repeats: int, seed: int) -> dict[str, Scores]:
    """Return target -> scores of the heads' predictions on the evaluated splits."""
    data, scores = embedder.data, {}
    embeddings = {split: embedder.embeddings(split) for split in data.splits}
    features = {split: found.cpu().numpy() for split, found in embeddings.items()}
    labels = {split: {name: heads[name].predict(found) for name in heads} for split, found in embeddings.items()}
    for name, target in TARGETS[data.zoo.manifest.zoo].items():
        _, tested = protocol_rows(data, features, target)
        predicted = [np.stack([labels[split][column] for column in target.columns], axis=1) for split in tested]
        scores[name] = score_predictions(target, tested, predicted, repeats, seed)
    return scores
