"""The MLP: whole tasks are held out to decide when to stop, and the best weights on them are kept."""

import numpy as np
import pytest
import sklearn.neural_network

from rnn_zoos.baselines.downstream.mlp import EarlyStoppedMLP, held_out_rows
from rnn_zoos.errors import FormatError


def test_no_task_is_both_trained_on_and_held_out():
    tasks = np.random.default_rng(0).integers(100, 143, size=900).astype(str)
    held_out = held_out_rows(tasks, 1)
    assert not set(tasks[held_out]) & set(tasks[~held_out])
    assert len(set(tasks[held_out])) == 4 and not np.array_equal(held_out, held_out_rows(tasks, 2))
    with pytest.raises(FormatError, match="The training rows are of 1 task; an MLP needs at least two"):
        held_out_rows(np.zeros(5), 0)


def test_training_stops_when_other_tasks_are_predicted_worse():
    """Every task has a random label and features that identify it: only rows of the same task could be predicted."""
    random = np.random.default_rng(0)
    tasks = np.repeat(np.arange(60), 20)
    features = random.normal(size=(60, 12))[tasks] + 0.01 * random.normal(size=(1200, 12))
    labels = random.normal(size=60)[tasks]
    known = EarlyStoppedMLP(False, 0).fit(features, labels, np.arange(1200)).predict(features)
    stopped = EarlyStoppedMLP(False, 0).fit(features, labels, tasks).predict(features)
    assert ((known - labels) ** 2).mean() < 0.1 < 0.4 < ((stopped - labels) ** 2).mean()


@pytest.mark.parametrize("classes", [pytest.param(True, marks=pytest.mark.long), False])
def test_the_weights_of_the_best_epoch_are_kept_and_seeds_decide_everything(classes, monkeypatch):
    random = np.random.default_rng(0)
    features, tasks = random.normal(size=(300, 3)), np.repeat(np.arange(30), 10)
    labels = (features[:, 0] > 0).astype(float) if classes else 1000 + 5 * features[:, 0]
    losses, loss = [], EarlyStoppedMLP._loss

    def recorded(self, inputs, targets):
        losses.append(loss(self, inputs, targets))
        return losses[-1]

    monkeypatch.setattr(EarlyStoppedMLP, "_loss", recorded)
    model = EarlyStoppedMLP(classes, 2).fit(features, labels, tasks)
    held_out = held_out_rows(tasks, 2)
    scaled = model._inputs.transform(features[held_out]).astype(np.float32)
    targets = labels if classes else model._labels.transform(labels[:, None])[:, 0]
    assert loss(model, scaled, targets[held_out]) <= min(losses) + 1e-4 and len(losses) > 15
    error = np.abs(model.predict(features) - labels).mean()
    assert error < (0.1 if classes else 1)
    again = EarlyStoppedMLP(classes, 2).fit(features, labels, tasks)
    assert np.array_equal(again.predict(features), model.predict(features))


def test_every_epoch_has_its_own_order_of_rows(monkeypatch):
    orders = []
    shuffle = sklearn.neural_network._multilayer_perceptron.shuffle
    recorded = lambda rows, random_state: orders.append(shuffle(rows, random_state=random_state)) or orders[-1]  # noqa: E731
    monkeypatch.setattr(sklearn.neural_network._multilayer_perceptron, "shuffle", recorded)
    features = np.random.default_rng(0).normal(size=(300, 3))
    EarlyStoppedMLP(False, 2).fit(features, features[:, 0], np.repeat(np.arange(30), 10))
    assert len({order.tobytes() for order in orders}) == len(orders) > 10


def test_a_class_without_training_rows_has_a_finite_loss():
    tasks = np.repeat(np.arange(10), 6)
    (rare,) = set(tasks[held_out_rows(tasks, 0)])
    labels = np.where(tasks == rare, 2.0, tasks % 2)
    features = np.stack([labels, np.random.default_rng(0).normal(size=60)], axis=1)
    assert set(EarlyStoppedMLP(True, 0).fit(features, labels, tasks).predict(features)) <= {0, 1, 2}
