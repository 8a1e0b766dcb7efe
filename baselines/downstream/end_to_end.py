"""End-to-end training: encoders trained on the labels themselves, all targets at once.

The comparison with predictors on frozen embeddings shows what training by emulation costs or gains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnn_zoos.baselines.downstream.measures import Kind
from rnn_zoos.baselines.downstream.predictors import Scores, score_predictions
from rnn_zoos.baselines.downstream.protocols import (
    EVALUATED_SPLITS,
    PROTOCOLS,
    outlier_threshold,
    protocol_rows,
    row_numbers,
)
from rnn_zoos.baselines.downstream.settings import EndToEndSettings
from rnn_zoos.baselines.downstream.targets import targets_of
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.embedding import SEED_STRIDE, Embedder
from rnn_zoos.baselines.emulation.optimisation import Optimisation, seeded
from rnn_zoos.baselines.encoders.layers import mlp
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.format.files import Array

MISSING = float("inf")
"""Stands for a number that is unusually large; see `outlier_threshold`."""


class Head(nn.Module):
    """Predicts one column of labels from embeddings [M, Z], by an MLP with one hidden layer.

    The MLP's outputs are a standardised number, the logits of classes, or the sine and cosine of an angle in degrees.
    """

    def __init__(self, kind: Kind, labels: Array, embedding_size: int, hidden: int) -> None:
        super().__init__()
        self.kind, self.classes = kind, np.unique(labels)
        known = labels[labels != MISSING]
        self.mean, self.scale = float(known.mean()), float(known.std()) or 1.0
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
        """Return the mean loss of a batch, scaled to about 1 for uninformed predictions, without missing targets."""
        if self.kind == "classes":
            return F.cross_entropy(self.mlp(embeddings), targets) / max(1.0, math.log(len(self.classes)))
        known = targets != MISSING
        if bool(known.all()):
            return F.mse_loss(self.mlp(embeddings), targets)
        errors: Tensor = (self.mlp(embeddings) - targets.where(known, 0)) * known
        return errors.square().sum() / known.sum().clamp(min=1)

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
) -> dict[str, dict[str, Scores]]:
    """Train a new encoder with a head per label, once per protocol; return protocol -> target -> split -> score.

    Both trainings start from the same initial parameters of the encoder, and do the same number of updates on the
    training rows of their protocol; features that do not change are computed once. There is no model selection: the
    state after the last update is evaluated. Raises EncoderError if the loss is not finite.

    Args:
        data: The zoo.
        encoder: Name of the encoder, as for `make_encoder`.
        seed: Seed of initial parameters and batches.
        settings: Settings of the training.
        sizes: Further keyword arguments of the encoder.
        repeats: Bootstrap resamples of the intervals.
        report: Called after every update with the number of updates done, over both protocols, and the loss.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        embedder = Embedder(data, make_encoder(encoder, data.architectures, **sizes), seed)
    initial = {name: tensor.clone() for name, tensor in embedder.encoder.state_dict().items()}
    scores = {}
    for number, protocol in enumerate(PROTOCOLS):
        embedder.encoder.load_state_dict(initial)
        training = _Training(embedder, protocol, seed, settings, f"{encoder} with seed {seed}")
        for update in range(settings.updates):
            loss = training.step(update)
            report(number * settings.updates + update + 1, loss)
        scores[protocol] = training.scores(repeats)
    return scores


class _Training:
    """The training of an encoder and of new heads on the training rows of a protocol."""

    def __init__(self, embedder: Embedder, protocol: str, seed: int, settings: EndToEndSettings, name: str) -> None:
        self.embedder, self.protocol, self.seed, self.settings = embedder, protocol, seed, settings
        data, (trained, _) = embedder.data, row_numbers(embedder.data, protocol)
        self.rows = {split: torch.from_numpy(rows) for split, rows in trained.items()}
        self.zoo_targets = targets_of(data.zoo.manifest.zoo, data.zoo.manifest.settings)
        kinds, labels = dict[str, Kind](), dict[str, Array]()
        for target in self.zoo_targets.values():
            values = np.concatenate([target.values(data.splits[split])[rows] for split, rows in trained.items()])
            values[np.abs(values) > outlier_threshold(target, values)] = MISSING
            kinds |= dict.fromkeys(target.columns, target.kind)
            labels |= dict(zip(target.columns, values.T, strict=True))
        with torch.random.fork_rng():
            torch.manual_seed(seed + 1)
            size = embedder.encoder.embedding_size
            self.heads = {column: Head(kind, labels[column], size, settings.hidden) for column, kind in kinds.items()}
        self.modules = nn.ModuleDict({"encoder": embedder.encoder, "heads": nn.ModuleDict(self.heads).to(data.device)})
        self.targets = {column: head.targets(labels[column]).to(data.device) for column, head in self.heads.items()}
        self.optimisation = Optimisation([self.modules], settings, name)
        self.modules.train()

    def step(self, update: int) -> float:
        """Minimise the mean loss of all heads on a batch, drawn with replacement; return it."""
        generator = torch.Generator().manual_seed(self.seed * SEED_STRIDE + update)
        number = sum(len(rows) for rows in self.rows.values())
        drawn = torch.randint(number, (self.settings.networks,), generator=generator).sort().values
        with seeded(generator.initial_seed(), self.embedder.data.device):
            embeddings = torch.cat(list(self._embed(drawn, generator)))
        losses = [head.loss(embeddings, self.targets[column][drawn]) for column, head in self.heads.items()]
        return self.optimisation.step(torch.stack(losses).mean(), update)

    def _embed(self, drawn: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the embeddings of drawn rows, in order, split by split; rows are numbered over all splits."""
        first = 0
        for split, rows in self.rows.items():
            local = drawn[(drawn >= first) & (drawn < first + len(rows))] - first
            if len(local):
                permutation = self.embedder.draw_permutation(len(local), generator)
                yield self.embedder.embed(split, rows[local], permutation)
            first += len(rows)

    def scores(self, repeats: int) -> dict[str, Scores]:
        """Return target -> scores of the heads' predictions on the tested rows of the protocol."""
        self.modules.eval()
        data, scores = self.embedder.data, {}
        labels: dict[str, dict[str, Array]] = {}
        for split in EVALUATED_SPLITS:
            embeddings = self.embedder.embeddings(split)
            labels[split] = {column: head.predict(embeddings) for column, head in self.heads.items()}
        # Heads have read the embeddings: the numbers of the rows stand for them.
        features = {split: np.arange(len(rows))[:, None] for split, rows in data.splits.items()}
        for name, target in self.zoo_targets.items():
            _, tested = protocol_rows(data, features, target, self.protocol)
            predicted = [
                np.stack([labels[split][column][rows.features[:, 0].astype(int)] for column in target.columns], axis=1)
                for split, rows in tested.items()
            ]
            scores[name] = score_predictions(target, tested, predicted, repeats)
        return scores
