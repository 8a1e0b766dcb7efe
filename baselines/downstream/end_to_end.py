"""Encoders trained on the labels themselves, all downstream tasks at once: what emulation and freezing cost or gain."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnn_zoos.baselines.downstream.predictors import measured, protocol_rows
from rnn_zoos.baselines.downstream.targets import TARGETS, Kind
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.embedding import SEEDS_APART, Embedder
from rnn_zoos.baselines.emulation.training import one_cycle
from rnn_zoos.baselines.encoders.encoder import mlp
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.errors import EncoderError
from rnn_zoos.format.files import Array


@dataclass(frozen=True)
class EndToEndSettings:
    """Updates and rates; `networks` a batch."""

    updates: int
    networks: int = 64
    hidden: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 1.0


class Head(nn.Module):
    """Reads one column of labels from embeddings: a number, standardised; a class; an angle as its sine and cosine."""

    def __init__(self, kind: Kind, labels: Array, embedding_size: int, hidden: int) -> None:
        super().__init__()
        self.kind, self.classes = kind, np.unique(labels)
        self.mean, self.scale = float(labels.mean()), float(labels.std()) or 1.0
        outputs = {"number": 1, "classes": len(self.classes), "angle": 2}[kind]
        self.read = mlp(embedding_size, hidden, 1, outputs)

    def targets(self, labels: Array) -> Tensor:
        """Return training labels [R] as `loss` wants them."""
        if self.kind == "classes":
            return torch.from_numpy(np.searchsorted(self.classes, labels))
        if self.kind == "angle":
            radians = np.deg2rad(labels)
            return torch.from_numpy(np.stack([np.sin(radians), np.cos(radians)], axis=1)).float()
        return torch.from_numpy((labels - self.mean) / self.scale).float()[:, None]

    def loss(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss, about 1 for answers that know nothing."""
        if self.kind == "classes":
            return F.cross_entropy(self.read(embeddings), targets) / max(1.0, math.log(len(self.classes)))
        return F.mse_loss(self.read(embeddings), targets)

    def answer(self, embeddings: Tensor) -> Array:
        """Return predicted labels [M]."""
        read = self.read(embeddings).cpu().double().numpy()
        if self.kind == "classes":
            return np.asarray(self.classes[read.argmax(axis=1)])
        if self.kind == "angle":
            return np.asarray(np.rad2deg(np.arctan2(read[:, 0], read[:, 1])) % 360)
        return np.asarray(read[:, 0] * self.scale + self.mean)


def train_end_to_end(
    data: ZooData,
    encoder: str,
    seed: int,
    settings: EndToEndSettings,
    sizes: Mapping[str, Any],
    repeats: int,
    report: Callable[[int, float], None] = lambda update, loss: None,
) -> dict[str, Any]:
    """Train a new encoder, and heads for all labels, on `train`; return target -> split -> measure -> value, low, high.

    Nothing is chosen on other rows: the last state is measured. Raises EncoderError for a loss that is not finite.
    """
    targets = TARGETS[data.zoo.manifest.zoo]
    kinds = {column: target.kind for target in targets.values() for column in target.columns}
    labels = {name: np.asarray(data.splits["train"].labels(name), np.float64) for name in kinds}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        embedder = Embedder(data, make_encoder(encoder, data.architecture, **sizes), seed)
        size = embedder.encoder.embedding_size
        heads = {name: Head(kind, labels[name], size, settings.hidden) for name, kind in kinds.items()}
    both = nn.ModuleDict({"encoder": embedder.encoder, "heads": nn.ModuleDict(heads).to(data.device)})
    _train(both, embedder, heads, labels, seed, settings, report)
    both.eval()
    embeddings = {split: embedder.embeddings(split) for split in data.splits}
    with torch.no_grad():
        answers = {split: {c: heads[c].answer(found) for c in heads} for split, found in embeddings.items()}
    features, told = {split: found.cpu().numpy() for split, found in embeddings.items()}, {}
    for name, target in targets.items():
        _, tested = protocol_rows(data, features, target)
        predicted = [np.stack([answers[split][c] for c in target.columns], axis=1) for split in tested]
        told[name] = measured(target, tested, predicted, repeats, seed)
    return told


def _train(
    both: nn.ModuleDict,
    embedder: Embedder,
    heads: Mapping[str, Head],
    labels: Mapping[str, Array],
    seed: int,
    settings: EndToEndSettings,
    report: Callable[[int, float], None],
) -> None:
    optimizer = torch.optim.AdamW(both.parameters(), weight_decay=settings.weight_decay)
    wanted = {name: head.targets(labels[name]).to(embedder.data.device) for name, head in heads.items()}
    count = len(next(iter(labels.values())))
    for update in range(settings.updates):
        generator = torch.Generator().manual_seed(seed * SEEDS_APART + update)
        rows = torch.randint(count, (settings.networks,), generator=generator)
        embeddings = embedder.embed("train", rows, generator)
        loss = torch.stack([head.loss(embeddings, wanted[name][rows]) for name, head in heads.items()]).mean()
        if not bool(loss.isfinite()):
            raise EncoderError(f"The loss of {type(embedder.encoder).__name__} is {loss.item()} at update {update}.")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(both.parameters(), settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = one_cycle(settings.learning_rate, settings.updates, update)
        optimizer.step()
        report(update + 1, loss.item())
