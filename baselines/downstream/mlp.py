"""An MLP that predicts one column of labels; it stops early by its loss on tasks that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from rnn_zoos.baselines.downstream.scaling import FeatureScaler
from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array

HELD_OUT = 0.1
"""Fraction of the training tasks that is held out to decide when to stop."""
_MOST_EPOCHS, _PATIENCE, _GAIN = 300, 15, 1e-4
_HIDDEN = (128, 128)
_SMALLEST = 1e-6  # probability; a class that no training row has would have an infinite loss


def held_out_rows(tasks: Array, seed: int) -> Array:
    """Return which rows to hold out, bool [R]: those of a tenth of the tasks, drawn at random, at least of one.

    Raises FormatError if there are fewer than two tasks.
    """
    names = np.unique(tasks)
    if len(names) < 2:
        raise FormatError(
            f"The training rows are of {len(names)} task; an MLP needs at least two, one to decide when to stop. Use a "
            "zoo with more runs."
        )
    drawn = np.random.default_rng(seed).permutation(names)[: max(1, round(HELD_OUT * len(names)))]
    return np.isin(tasks, drawn)


class EarlyStoppedMLP:
    """An MLP with two hidden layers of 128, trained by Adam in batches of 200 rows.

    Training ends when the loss on held-out tasks (cross-entropy, or the squared error of standardised labels) has not
    improved by 1e-4 for 15 epochs, or after 300; the weights of the best epoch are kept. All runs of a held-out task
    are held out: other snapshots of the same run, or runs of the same task, would hide that the MLP learns training
    tasks by heart. scikit-learn's own early stopping holds out rows.

    Args:
        classes: Whether labels are numbers of classes; otherwise they are numbers to regress on.
        seed: Seed of the initial weights, of the order of the rows, and of the draw of held-out tasks.
    """

    def __init__(self, classes: bool, seed: int) -> None:
        self.classes, self.seed = classes, seed
        model = MLPClassifier if classes else MLPRegressor
        # A generator, which goes on from epoch to epoch: by a number, every epoch would have the same order of rows.
        self._model: Any = model(hidden_layer_sizes=_HIDDEN, random_state=np.random.RandomState(seed))
        self._inputs, self._labels = FeatureScaler(), StandardScaler()

    def fit(self, features: Array, labels: Array, tasks: Array) -> EarlyStoppedMLP:
        """Fit to features [R, F], labels [R] and names of tasks [R], and return itself."""
        inputs = self._inputs.fit_transform(features).astype(np.float32)
        targets = labels if self.classes else self._labels.fit_transform(labels[:, None])[:, 0]
        held_out = held_out_rows(tasks, self.seed)
        known = {"classes": np.unique(labels)} if self.classes else {}
        best, best_epoch, kept = np.inf, 0, None
        for epoch in range(_MOST_EPOCHS):
            self._model.partial_fit(inputs[~held_out], targets[~held_out], **known)
            loss = self._loss(inputs[held_out], targets[held_out])
            if loss < best - _GAIN:
                best, best_epoch, kept = loss, epoch, self._weights()
            elif epoch - best_epoch >= _PATIENCE:
                break
        if kept is not None:
            self._model.coefs_, self._model.intercepts_ = kept
        return self

    def predict(self, features: Array) -> Array:
        """Return the predicted labels [R'] of features [R', F]."""
        predicted = self._model.predict(self._inputs.transform(features).astype(np.float32))
        return np.asarray(
            predicted if self.classes else self._labels.inverse_transform(predicted[:, None])[:, 0], np.float64
        )

    def predict_proba(self, features: Array) -> Array:
        """Return the predicted probabilities [R', C] of C classes, in ascending order, of features [R', F]."""
        return np.asarray(self._model.predict_proba(self._inputs.transform(features).astype(np.float32)), np.float64)

    def _loss(self, inputs: Array, targets: Array) -> float:
        """Return the mean cross-entropy in nats, or the mean squared error of standardised labels."""
        if not self.classes:
            return float(((self._model.predict(inputs) - targets) ** 2).mean())
        places = np.searchsorted(self._model.classes_, targets)
        probabilities = self._model.predict_proba(inputs)[np.arange(len(targets)), places]
        return float(-np.log(np.maximum(probabilities, _SMALLEST)).mean())

    def _weights(self) -> tuple[list[Array], list[Array]]:
        return [array.copy() for array in self._model.coefs_], [array.copy() for array in self._model.intercepts_]
