"""Encoders on the labels themselves: heads answer what they were taught, and labels of other rows play no part."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from rnn_zoos.baselines.downstream.end_to_end import EndToEndSettings, Head, train_end_to_end
from rnn_zoos.baselines.downstream.targets import TARGETS
from rnn_zoos.baselines.emulation.data import SplitData, load_data
from rnn_zoos.errors import EncoderError

SETTINGS = EndToEndSettings(updates=60, networks=32, hidden=12, learning_rate=0.01)


class Says(torch.nn.Module):
    def __init__(self, answers: torch.Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return self.answers


@pytest.mark.parametrize(
    ("kind", "labels"),
    [("number", [0.5, -3, 7, 7]), ("classes", [100.0, -2, 0, -2]), ("angle", [0.0, 90, 359, 181.5])],
)
def test_a_head_that_says_its_targets_answers_the_labels(kind, labels):
    labels = np.array(labels)
    head = Head(kind, labels, 6, 5)
    targets = head.targets(labels)
    if kind == "classes":
        head.read = Says(50.0 * torch.nn.functional.one_hot(targets, 3).float())
    else:
        head.read = Says(targets)
    assert head.answer(torch.zeros(4, 6)) == pytest.approx(labels, abs=1e-4)
    assert head.loss(torch.zeros(4, 6), targets) < 1e-6
    if kind == "classes":
        head.read = Says(torch.zeros(4, 3))
        assert head.loss(torch.zeros(4, 6), targets).item() == pytest.approx(1)


def planted(edited_zoo, name: str):
    """A zoo whose accuracy, in the index, is the factor by which the weights of a row were made larger."""
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
    told = train_end_to_end(data, "statistics", 1, settings, {}, 5, lambda update, loss: losses.append(loss))
    return losses, told


@pytest.mark.parametrize("name", ["formal-languages", "sequential-mnist"])
def test_what_is_planted_is_learned_and_labels_of_other_rows_are_not_looked_at(name, edited_zoo):
    data = planted(edited_zoo, name)
    losses, told = trained(data)
    assert set(told) == set(TARGETS[name]) and set(told["step"]) == {"validation", "test", "ood"}
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5]) and len(losses) == SETTINGS.updates
    before = told["accuracy"]["test"]["r_squared"]
    assert before["value"] > 0.3 and before["low"] <= before["value"] <= before["high"]
    relabel(data.splits["test"], np.random.default_rng(0).normal(size=len(data.splits["test"])))
    again, otherwise = trained(data)
    assert again == losses and otherwise["accuracy"]["ood"] == told["accuracy"]["ood"]
    assert otherwise["accuracy"]["test"]["r_squared"]["value"] < 0.2


def test_what_is_not_finite_is_an_error(edited_zoo):
    data = planted(edited_zoo, "formal-languages")
    with pytest.raises(EncoderError, match="StatisticsEncoder returned values that are not finite. .* lower its rate"):
        trained(data, EndToEndSettings(updates=9, networks=4, hidden=5, learning_rate=1e30))
    relabel(data.splits["train"], np.full(len(data.splits["train"]), np.nan))
    with pytest.raises(EncoderError, match="The loss of StatisticsEncoder is nan at update 0"):
        trained(data)
