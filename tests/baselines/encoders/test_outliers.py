"""Networks whose weights exploded do not decide how all others are scaled, and get finite embeddings."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from rnn_zoos.baselines.downstream.predictors import PREDICTORS, Problem
from rnn_zoos.baselines.downstream.scaling import FeatureScaler
from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.layers import Standardise, StandardiseGates
from rnn_zoos.baselines.encoders.outliers import LINEAR, UNUSUAL, inlier_networks, inlier_rows, soft_clip
from rnn_zoos.baselines.encoders.registry import ENCODERS, encoder_class, make_encoder
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights

LSTM = Architecture("lstm", 2, 6, 7, 6)
OF_WEIGHTS = [name for name in ENCODERS if encoder_class(name).information == "weights"]


def networks(count: int, *factors: float) -> dict[str, torch.Tensor]:
    """Stacked initial weights of `count` networks, then one for each factor, with weights so many times as large."""
    plain = stack_weights([initial_weights(LSTM, 0, run) for run in range(count)])
    large = [{name: tensor[0] * factor for name, tensor in plain.items()} for factor in factors]
    return {name: torch.cat([tensor, *(own[name][None] for own in large)]) for name, tensor in plain.items()}


def test_compression_is_odd_and_monotonic_and_leaves_usual_values_as_they_are():
    values = torch.linspace(-LINEAR, LINEAR, 101)
    assert soft_clip(values) is values
    far = torch.tensor([LINEAR, LINEAR + 1e-2, 1e2, 1e3, 1e5, 3e38])
    found = soft_clip(far)
    assert torch.equal(soft_clip(-far), -found) and bool((found.diff() > 0).all()) and found[-1] <= 2 * LINEAR
    assert found[0] == LINEAR
    torch.testing.assert_close((found[1] - found[0]) / 1e-2, torch.tensor(1.0), atol=1e-3, rtol=0)


def test_rows_and_networks_count_unless_they_are_much_longer_than_the_median():
    features = torch.ones(5, 3) * torch.tensor([[1.0], [1.1], [UNUSUAL * 0.9], [UNUSUAL * 1.2], [1e30]])
    features[1] = 0
    assert inlier_rows(features[[0, 0, 0, 1, 2, 3, 4]]).tolist() == [True] * 5 + [False] * 2
    assert inlier_rows(torch.tensor([[0.0], [0], [0], [7]])).all(), "without a scale, all count"
    kept = inlier_networks(networks(5, 2.0, 30.0, 1e28))
    assert all(torch.equal(kept[name], tensor[:6]) for name, tensor in networks(5, 2.0, 30.0, 1e28).items())


def test_without_such_networks_nothing_changes_by_a_bit():
    weights, standardise = networks(9, 1.3), StandardiseGates(LSTM)
    standardise.fit(weights)
    tensor = weights["lstm.weight_hh_l1"].unflatten(1, (4, -1))
    expected = (tensor - tensor.mean(dim=(0, 2, 3))[:, None, None]) * (1 / tensor.std(dim=(0, 2, 3), correction=0))[
        :, None, None
    ]
    torch.testing.assert_close(standardise(weights)["lstm.weight_hh_l1"], expected)
    features, plain = torch.randn(11, 5), Standardise(5)
    plain.fit(features)
    assert torch.equal(plain.mean, features.mean(dim=0))
    numbers = features.numpy()
    assert np.array_equal(FeatureScaler().fit_transform(numbers), StandardScaler().fit_transform(numbers))


def test_features_of_predictors_may_be_near_zero_for_most_networks():
    accuracies = np.array([0.001] * 60 + [0.3, 0.6, 0.9] * 13)[:, None]
    assert np.array_equal(FeatureScaler().fit_transform(accuracies), StandardScaler().fit_transform(accuracies))
    exploded = np.concatenate([accuracies, np.full((9, 1), 1e30)])
    scaled = FeatureScaler().fit_transform(exploded)
    assert np.array_equal(scaled[:99], StandardScaler().fit_transform(accuracies)) and scaled.max() <= 2 * LINEAR


@pytest.mark.parametrize(("name", "sizes"), [*((name, {}) for name in OF_WEIGHTS), ("neural-graph", {"shared": True})])
def test_exploded_networks_do_not_make_all_others_look_the_same(name, sizes):
    torch.manual_seed(0)
    encoder = make_encoder(name, LSTM, **sizes)
    usual, all_networks = networks(12), networks(12, 300.0, 1e27)
    found = []
    for training in (usual, all_networks):
        encoder.fit_networks(NetworkStack(LSTM, training))
        with torch.no_grad():
            found.append(embeddings_of(encoder.eval(), all_networks, NetworkStack(LSTM, all_networks)))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)
    assert torch.cdist(found[1][:12], found[1][:12]).max() > 1e-4, "they can be told apart"
    assert bool(found[1].isfinite().all())


@pytest.mark.parametrize(("predictor", "least"), [("linear", 0.2), ("mlp", 0.95)])
def test_predictors_read_labels_although_a_few_rows_are_huge(predictor, least):
    """A `StandardScaler` leaves nothing to read: R² of 0. For a linear predictor, the huge rows keep much weight."""
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 3))
    labels = features @ [1.0, -2, 0.5]
    features[:4] *= [[1e20], [1e15], [1e12], [1e9]]
    tasks = np.array([f"{n % 20}" for n in range(400)])
    model = PREDICTORS[predictor](Problem(features, labels, tasks, False, 0))
    errors = model.predict(features[4:]) - labels[4:]
    assert 1 - errors.var() / labels[4:].var() > least
