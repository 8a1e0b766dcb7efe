"""End-to-end training: heads predict the labels that they were trained on; labels of other splits are not used."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from rnn_zoos.baselines.downstream.end_to_end import EndToEndSettings, Head, train_end_to_end
from rnn_zoos.baselines.downstream.predictors import predictor_scores
from rnn_zoos.baselines.downstream.protocols import PROTOCOLS, outlier_threshold, protocol_rows, row_numbers
from rnn_zoos.baselines.downstream.targets import Target, family_targets
from rnn_zoos.baselines.emulation.data import SplitData, load_data
from rnn_zoos.baselines.encoders.weights.statistics import StatisticsEncoder
from rnn_zoos.errors import EncoderError

SETTINGS = EndToEndSettings(updates=60, networks=32, hidden=12, learning_rate=0.01)


class Constant(torch.nn.Module):
    def __init__(self, outputs: torch.Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return self.outputs


@pytest.mark.parametrize(
    ("kind", "labels"),
    [("number", [0.5, -3, 7, 7]), ("classes", [100.0, -2, 0, -2]), ("angle", [0.0, 90, 359, 181.5])],
)
def test_a_head_whose_outputs_are_its_targets_predicts_the_labels(kind, labels):
    labels = np.array(labels)
    head = Head(kind, labels, 6, 5)
    targets = head.targets(labels)
    if kind == "classes":
        head.mlp = Constant(50.0 * torch.nn.functional.one_hot(targets, 3).float())
    else:
        head.mlp = Constant(targets)
    assert head.predict(torch.zeros(4, 6)) == pytest.approx(labels, abs=1e-4)
    assert head.loss(torch.zeros(4, 6), targets) < 1e-6
    if kind == "classes":
        head.mlp = Constant(torch.zeros(4, 3))
        assert head.loss(torch.zeros(4, 6), targets).item() == pytest.approx(1)


def planted(edited_zoo, name: str):
    """Return a zoo in which the accuracy of a row is the factor by which its weights were multiplied."""
    edits = {"runs: 7": "runs: 60", "runs: 5": "runs: 40", "strings: 13, rollouts: 4": "strings: 3, rollouts: 2"}
    edits |= {"[0, 2, 11]": "[0, 1, 2]", "[0, 3, 8]": "[0, 1, 2]", "num_layers: 3": "num_layers: 1"}
    data = load_data(edited_zoo(name, edits))
    random = np.random.default_rng(3)
    for split in data.splits.values():
        factors = random.uniform(0.5, 2, len(split))
        for tensor in split.weights.values():
            tensor.mul_(torch.from_numpy(factors).float().view(-1, *[1] * (tensor.dim() - 1)))
        relabel(split, factors)
    return data


def relabel(split: SplitData, accuracies: np.ndarray) -> None:
    place = split.index.column_names.index("accuracy")
    split.index = split.index.set_column(place, "accuracy", pa.array(accuracies))


def trained(data, settings: EndToEndSettings = SETTINGS) -> tuple[list[float], dict]:
    losses: list[float] = []
    scores = train_end_to_end(data, "statistics", 1, settings, {}, 5, lambda update, loss: losses.append(loss))
    return losses, scores


@pytest.mark.parametrize("name", [pytest.param("formal-languages", marks=pytest.mark.long), "sequential-mnist"])
def test_planted_labels_are_learned_and_labels_of_other_splits_are_not_used(name, edited_zoo):
    data = planted(edited_zoo, name)
    losses, by_protocol = trained(data)
    assert set(by_protocol) == {"strict", "paper"} and len(losses) == 2 * SETTINGS.updates
    assert np.mean(losses[55:60]) < 0.9 * np.mean(losses[:5]) and np.mean(losses[-5:]) < 0.9 * np.mean(losses[60:65])
    scores = by_protocol["strict"]
    assert set(scores) == set(family_targets(name)) and set(scores["step"]) == {"validation", "test", "ood"}
    before = scores["accuracy"]["test"]["r_squared"]
    assert before["value"] > 0.3 and before["low"] <= before["value"] <= before["high"]
    relabel(data.splits["test"], np.random.default_rng(0).normal(size=len(data.splits["test"])))
    again, relabelled = trained(data)
    assert again == losses
    for protocol in PROTOCOLS:
        assert relabelled[protocol]["accuracy"]["ood"] == by_protocol[protocol]["accuracy"]["ood"]
        assert relabelled[protocol]["accuracy"]["test"]["r_squared"]["value"] < 0.2


def test_labels_of_networks_that_exploded_count_as_missing(edited_zoo):
    """In training and in tests: a few labels of 1e30 would decide what is learned, and the score."""
    data = planted(edited_zoo, "sequential-mnist")
    features = {
        split: np.stack([rows.labels("accuracy"), np.arange(len(rows)) % 3], axis=1)
        for split, rows in data.splits.items()
    }
    for split in ("train", "test"):
        labels = data.splits[split].labels("accuracy").copy()
        labels[[2, 5]] = 1e30, -1e9
        relabel(data.splits[split], labels)
    target = family_targets("sequential-mnist")["accuracy"]
    train, tested = protocol_rows(data, features, target)
    assert [len(data.splits[split]) - 2 for split in ("train", "test")] == [
        len(train.labels),
        len(tested["test"].labels),
    ]
    assert train.labels.max() <= 2 and (train.features[:, 0] == train.labels[:, 0]).all()
    assert predictor_scores(data, features, {"a": target})["a"]["test"]["r_squared"]["value"] > 0.99
    losses, scores = trained(data)
    assert max(losses) < 3 and scores["strict"]["accuracy"]["test"]["r_squared"]["value"] > 0.3


class Dropping(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map = torch.nn.Sequential(torch.nn.LazyLinear(16), torch.nn.Dropout(0.5))

    def forward(self, weights):
        return self.map(weights["linear.bias"])


def test_dropout_follows_from_the_seed(edited_zoo):
    data, found = planted(edited_zoo, "sequential-mnist"), []
    for seed in range(2):
        torch.manual_seed(seed)  # what was drawn before
        found.append([])
        report = lambda _, loss, losses=found[-1]: losses.append(loss)  # noqa: E731
        train_end_to_end(data, f"{__name__}:Dropping", 1, replace(SETTINGS, updates=3), {}, 5, report)
    assert len(found[0]) == 6 and found[0] == found[1]


@pytest.mark.parametrize(
    ("target", "labels", "largest"),
    [
        (Target(("x",), "number", ()), [[0.2], [-0.1], [1e9]], 200),
        (Target(("x",), "number", ()), [[0], [0], [1e9]], np.inf),
        (Target(("accuracy", "diverged"), "number", ()), [[0.0001, 0], [0.0001, 1], [0.9, 0]], 1),
        (Target(("x",), "number", (), log=True), [[1e9], [1.0]], np.inf),
        (Target(("x",), "angle", ()), [[300], [0.001], [0.001]], np.inf),
        (Target(("x",), "number", ()), np.zeros((0, 1)), np.inf),
    ],
)
def test_how_large_a_label_may_be(target, labels, largest):
    assert outlier_threshold(target, np.array(labels, float)) == pytest.approx(largest)


def test_under_the_paper_protocol_half_of_the_ood_tasks_are_trained_on_and_the_other_half_is_tested(edited_zoo):
    data = planted(edited_zoo, "formal-languages")
    losses, scores = trained(data)
    rows, ood = row_numbers(data, "paper"), data.splits["ood"]
    for part, changes in ((rows[0]["ood"], True), (rows[1]["ood"], False)):
        before, changed = ood.labels("accuracy"), ood.labels("accuracy").copy()
        changed[part] = np.random.default_rng(0).normal(size=len(part))
        relabel(ood, changed)
        again, relabelled = trained(data)
        assert again[:60] == losses[:60] and (again[60:] != losses[60:]) == changes
        assert relabelled["strict"]["accuracy"]["test"] == scores["strict"]["accuracy"]["test"]
        assert (relabelled["paper"]["accuracy"]["test"] != scores["paper"]["accuracy"]["test"]) == changes
        assert (relabelled["paper"]["accuracy"]["ood"]["r_squared"]["value"] < 0.2) or changes
        relabel(ood, before)


def test_features_that_do_not_change_are_computed_once_for_both_protocols(edited_zoo, monkeypatch):
    data, computed = planted(edited_zoo, "formal-languages"), []
    features = StatisticsEncoder.features

    def counted(self, weights, stack):
        computed.append(len(weights["linear.bias"]))
        return features(self, weights, stack)

    monkeypatch.setattr(StatisticsEncoder, "features", counted)
    trained(data, EndToEndSettings(updates=3, networks=16, hidden=5))
    once = sum(map(len, data.splits.values()))
    assert sum(computed) <= once + len(data.splits["train"])  # fit_inputs computes those of training rows, too


def test_values_that_are_not_finite_are_reported(edited_zoo):
    data = planted(edited_zoo, "formal-languages")
    with pytest.raises(
        EncoderError, match="StatisticsEncoder returned values that are not finite. .* lower its learning rate"
    ):
        trained(data, EndToEndSettings(updates=9, networks=4, hidden=5, learning_rate=1e30))
    relabel(data.splits["train"], np.full(len(data.splits["train"]), np.nan))
    with pytest.raises(EncoderError, match="The loss of statistics with seed 1 is nan at update 0"):
        trained(data)
