"""Emulation learns, goes on where it stopped to the bit, and its losses are what they say."""

import math
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from conftest import ZOOS

from rnn_zoos.baselines.downstream.clones import STRINGS, clone_fidelity
from rnn_zoos.baselines.emulation.data import SplitData, check_device, load_data, to_biases
from rnn_zoos.baselines.emulation.embedding import Embedder
from rnn_zoos.baselines.emulation.emulator import Emulator, before_padding, mean_over_steps, reverse_kl, total_variation
from rnn_zoos.baselines.emulation.training import EmulationRun, EmulationSettings
from rnn_zoos.baselines.encoders.registry import embeddings_of, make_encoder
from rnn_zoos.baselines.encoders.statistics import StatisticsEncoder
from rnn_zoos.errors import BackendError, EncoderError, FormatError, PlanMismatchError, UnknownNameError
from rnn_zoos.families.formal_languages import BOS, EOS, LENGTH, NUM_SYMBOLS, language
from rnn_zoos.loaders.dataset import load_dataset
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.symmetry.biases import bias_differences
from rnn_zoos.symmetry.signed import SignedPermutation

SMALL = {"sequences": 2, "steps": 7, "hidden": 24}
SIZES = {"interactive": SMALL, "non-interactive": SMALL, "self-rollout": {"hidden": 24}, "dws": {"channels": 6}}


@pytest.fixture(scope="module")
def data(edited_zoo):
    """A tiny zoo that has rows in every split; its last snapshots are of networks that learned a little."""
    edits = {"runs: 7": "runs: 16", "runs: 5": "runs: 12", "11]": "120]", "8]": "20]"}
    return lru_cache(lambda name: load_data(edited_zoo(name, edits)))


def settings(**changes) -> EmulationSettings:
    values = {"updates": 6, "evaluate_every": 4, "networks": 5, "sequences": 2, "hidden": 12, "layers": 1}
    return EmulationSettings(**{**values, **changes})


def distributions(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)


def test_losses_by_hand_and_by_their_definitions():
    one, other = torch.tensor([0.5, 0.25, 0.25]).log(), torch.tensor([0.25, 0.25, 0.5]).log()
    assert total_variation(one, other).item() == pytest.approx(0.25)
    assert reverse_kl(one, other).item() == pytest.approx(0.5 * math.log(2) + 0.25 * math.log(0.5))
    p, q = distributions(0), distributions(1)
    subsets = torch.tensor([[(subset >> bit) & 1 for bit in range(5)] for subset in range(32)]).float()
    largest = ((p.exp() - q.exp()) @ subsets.T).amax(-1)  # total variation is the largest difference of any event
    assert torch.allclose(total_variation(p, q), largest, atol=1e-6)
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    assert torch.allclose(reverse_kl(p, q), expected, atol=1e-6)


def test_padding_begins_behind_the_first_eos_that_is_read():
    string = torch.tensor([[BOS, 0, 1, EOS, EOS, 2], [BOS, EOS, 0, 0, 0, 0], [BOS, 0, 0, 0, 0, 0]])
    expected = [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert before_padding(string).int().tolist() == expected
    losses = torch.arange(15.0).view(3, 5)
    assert mean_over_steps(losses, before_padding(string)).item() == pytest.approx((0 + 1 + 2 + 5 + 60) / 9)
    assert mean_over_steps(losses).item() == 7


def test_the_emulator_reads_the_embedding_and_not_the_first_input():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        emulator = Emulator(4, 5, 3, hidden=8, layers=2)
    generator = torch.Generator().manual_seed(1)
    embeddings, inputs = torch.randn(2, 3, generator=generator), torch.randn(2, 3, 6, 4, generator=generator)
    out = emulator(embeddings, inputs)
    assert out.shape == (2, 3, 6, 5) and torch.allclose(out.exp().sum(-1), torch.ones(2, 3, 6))
    other = inputs.clone()
    other[:, :, 0] = 7
    assert torch.equal(emulator(embeddings, other), out)
    other[:, 1, 3] = 7
    changed = emulator(embeddings, other)
    assert torch.equal(changed[:, 1, :3], out[:, 1, :3]) and not torch.allclose(changed[:, 1, 3:], out[:, 1, 3:])
    assert torch.equal(changed[:, [0, 2]], out[:, [0, 2]])
    assert not torch.allclose(emulator(embeddings.flip(0), inputs)[0], out[0])


def test_clones_write_by_the_emulators_distribution():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        emulator = Emulator(NUM_SYMBOLS, NUM_SYMBOLS, 3, hidden=8, layers=2)
    generator = torch.Generator().manual_seed(2)
    embeddings, uniforms = torch.randn(2, 3, generator=generator), torch.rand(2, 4, 9, generator=generator)
    written = emulator.write(embeddings, uniforms)
    assert written.shape == (2, 4, 10) and (written[..., 0] == BOS).all()
    inputs = torch.eye(NUM_SYMBOLS)[written[..., :-1].long()]
    cumulated = emulator(embeddings, inputs).exp().cumsum(-1)
    expected = (cumulated <= uniforms[..., None]).sum(-1).clamp(max=NUM_SYMBOLS - 1)
    assert torch.equal(expected, written[..., 1:].long())


@pytest.mark.parametrize("name", ZOOS)
def test_what_networks_did_is_what_the_loader_says(name, data):
    train = data(name).splits["train"]
    loaded = load_dataset(data(name).zoo.source.folder, split="train", rollouts=True)
    rows, which = torch.tensor([3, 0, 17]), torch.tensor([[1, 0], [2, 2], [3, 1]])
    behaviour = train.behaviour(rows, which)
    assert train.labels("accuracy")[3] == loaded[3]["accuracy"]
    for place, (row, picked) in enumerate(zip(rows.tolist(), which.tolist(), strict=True)):
        expected = loaded[row]
        for key, tensor in train.weights_of(rows).items():
            assert torch.equal(tensor[place], expected["weights"][key])
        sequences = expected["sequences"][picked]
        if name == "formal-languages":
            assert torch.equal(behaviour.inputs[place].argmax(-1), sequences[:, :-1].long())
            assert torch.equal(behaviour.log_probs[place], expected["log_probs"][picked].float())
            assert torch.equal(behaviour.counted[place], before_padding(sequences))
        else:
            assert torch.equal(behaviour.inputs[place], sequences) and behaviour.counted.all()
            logits = expected["logits"][picked].float()
            assert torch.allclose(behaviour.log_probs[place], logits.log_softmax(-1))


@pytest.mark.parametrize("encoder", ["interactive", "flat", "self-rollout"])
def test_a_stopped_training_goes_on_to_the_same_bits(encoder, data, tmp_path):
    zoo, sizes = data("formal-languages"), SIZES.get(encoder)
    whole = EmulationRun(zoo, encoder, 3, settings(), tmp_path / "whole", sizes)
    whole.train()

    def stop(update: int, loss: float) -> None:
        if update == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EmulationRun(zoo, encoder, 3, settings(), tmp_path / "parts", sizes).train(stop)
    again = EmulationRun(zoo, encoder, 3, settings(), tmp_path / "parts", sizes)
    assert again.update == 4
    again.train()
    assert again.history == whole.history and len(whole.history) == 2
    ours, theirs = (safetensors.torch.load_file(run.checkpoint) for run in (again, whole))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.seconds > 0
    assert torch.equal(again.embedder.embeddings("ood"), whole.embedder.embeddings("ood"))
    other = EmulationRun(zoo, encoder, 4, settings(), tmp_path / "other", sizes)
    assert not torch.equal(other.embedder.embeddings("ood"), whole.embedder.embeddings("ood"))
    with pytest.raises(PlanMismatchError, match="was made with another seed, settings. Give another folder"):
        EmulationRun(zoo, encoder, 4, settings(updates=7), tmp_path / "whole", sizes)
    whole.checkpoint.write_bytes(whole.checkpoint.read_bytes()[:-1])
    with pytest.raises(FormatError, match="is no checkpoint .*Delete it"):
        EmulationRun(zoo, encoder, 3, settings(), tmp_path / "whole", sizes)


@pytest.mark.parametrize("name", ZOOS)
@pytest.mark.parametrize("encoder", ["statistics", "non-interactive", "dws"])
def test_both_zoos_and_all_splits_are_measured(name, encoder, data, tmp_path):
    run = EmulationRun(data(name), encoder, 0, settings(updates=2), tmp_path, SIZES.get(encoder))
    run.train()
    for split in ("validation", "test", "ood"):
        losses = run.losses(split)
        assert set(losses) == {"total_variation", "total_variation_unpadded", "reverse_kl", "reverse_kl_unpadded"}
        assert all(0 < loss < 5 for loss in losses.values())
        split_data = data(name).splits[split]
        every = torch.arange(len(split_data))
        behaviour = split_data.behaviour(every, torch.arange(split_data.num_rollouts)[:8].expand(len(every), -1))
        with torch.no_grad():
            tv = total_variation(run.emulator(run.embedder.embeddings(split), behaviour.inputs), behaviour.log_probs)
        assert losses["total_variation"] == pytest.approx(tv.mean().item(), rel=1e-4)
        assert losses["total_variation_unpadded"] == pytest.approx(tv[behaviour.counted].mean().item(), rel=1e-4)


def test_the_state_that_was_best_on_validation_is_kept_and_no_later_one(data, tmp_path):
    run = EmulationRun(data("formal-languages"), "statistics", 0, settings(), tmp_path)
    first = {name: tensor.clone() for name, tensor in run.both.state_dict().items()}
    run.best_loss = 0.0  # as if the first had been perfect
    run.train()
    assert len(run.history) == 2 and all(torch.equal(run.both.state_dict()[name], first[name]) for name in first)
    other = EmulationRun(data("formal-languages"), "statistics", 0, settings(), tmp_path / "other")
    other.train()
    best = min(told["total_variation"] for told in other.history)
    assert other.losses("validation")["total_variation"] == best == other.best_loss


@pytest.mark.slow
def test_interactive_probing_learns_to_tell_networks_apart(data, tmp_path):
    """It overfits a tiny zoo: below the loss of an emulator that knows only the mean of all networks."""
    zoo = data("formal-languages")
    train = zoo.splits["train"]
    every = torch.arange(len(train))
    behaviour = train.behaviour(every, torch.zeros(len(every), 1, dtype=torch.long))
    mean = behaviour.log_probs.exp().mean(dim=(0, 1, 2)).log()
    constant = total_variation(mean.expand_as(behaviour.log_probs), behaviour.log_probs).mean().item()
    chosen = settings(updates=400, evaluate_every=200, networks=16, hidden=32, learning_rate=0.01, clip=1.0)
    run = EmulationRun(zoo, "interactive", 0, chosen, tmp_path, {**SMALL, "hidden": 32})
    losses = []
    run.train(lambda update, loss: losses.append(loss))
    assert sum(losses[-20:]) / 20 < 0.35 * constant, (sum(losses[-20:]) / 20, constant)


def test_a_loss_that_is_not_finite_is_named(data, tmp_path):
    run = EmulationRun(data("formal-languages"), "statistics", 0, settings(), tmp_path)
    with torch.no_grad():
        run.emulator.out.bias[0] = torch.nan
    with pytest.raises(EncoderError, match="loss of statistics, seed 0, is nan at update 0. Lower"):
        run.step()


def test_a_zoo_without_tasks_of_every_split_is_refused(edited_zoo):
    with pytest.raises(FormatError, match="has no rows in .*validation.*Take a zoo of more runs"):
        load_data(edited_zoo("formal-languages", {"runs: 7": "runs: 2"}))


@pytest.mark.parametrize("encoder", ["flat", "transformer", "dws", "non-interactive"])
def test_signed_permutations_are_drawn_in_training_for_those_that_want_them_and_never_else(encoder, data):
    zoo = data("formal-languages")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        embedder = Embedder(zoo, make_encoder(encoder, zoo.architecture), 0)
    train, rows = zoo.splits["train"], torch.tensor([2, 0, 7])
    weights, plain = train.weights_of(rows), embedder.embed("train", rows)
    drawn = SignedPermutation.sample(zoo.architecture, 3, generator=torch.Generator().manual_seed(4))
    moved = drawn.apply(zoo.architecture, weights) if encoder in ("flat", "transformer") else weights
    expected = embeddings_of(embedder.encoder, moved, NetworkStack(zoo.architecture, moved))
    assert torch.allclose(embedder.embed("train", rows, torch.Generator().manual_seed(4)), expected, atol=1e-6)
    assert ((expected - plain).norm(dim=1) > 1e-3).all() == (encoder in ("flat", "transformer"))
    assert torch.allclose(embedder.embeddings("train")[rows], plain, atol=1e-6)


class TooWide(StatisticsEncoder):
    def read(self, features: torch.Tensor) -> torch.Tensor:
        return super().read(features).repeat(1, 2)


def test_wrong_embeddings_of_kept_features_are_named(data, tmp_path, monkeypatch):
    monkeypatch.setattr("rnn_zoos.baselines.encoders.statistics.StatisticsEncoder", TooWide)
    run = EmulationRun(data("formal-languages"), "statistics", 0, settings(), tmp_path)
    with pytest.raises(EncoderError, match=r"TooWide returned \(5, 32\) for 5 networks; expected a tensor \(5, 16\)"):
        run.step()


@pytest.mark.parametrize("name", ZOOS)
def test_merged_biases_are_the_same_networks_without_a_fingerprint(name, data):
    zoo, merged = data(name), load_data(data(name).zoo.source.folder, biases="merged")
    rows, inputs = torch.arange(5), torch.randn(2, 6, zoo.architecture.input_size)
    assert (bias_differences(zoo.architecture, zoo.splits["train"].weights) != 0).any()
    weights = merged.splits["train"].weights
    assert not any(tensor.any() for key, tensor in weights.items() if "bias_hh" in key)
    one, other = (each.splits["train"].stack(rows)(inputs)[0] for each in (zoo, merged))
    assert torch.allclose(one, other, atol=1e-5)
    with pytest.raises(UnknownNameError, match="Unknown kind of biases 'gone'; known: apart, merged"):
        to_biases("gone")
    with pytest.raises(BackendError, match="no device 'tpu' here"):
        check_device("tpu")


class Clones(torch.nn.Module):
    """Stands for an emulator that does the task of every network as often as the index says that the network does."""

    def __init__(self, split: SplitData) -> None:
        super().__init__()
        self.split = split

    def write(self, embeddings: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        written = torch.zeros(*uniforms.shape[:2], LENGTH, dtype=torch.uint8)  # only a: in no language that is tested
        for row, accuracy in enumerate(self.split.labels("accuracy")):
            offsets = tuple(self.split.labels(name)[row] for name in ("m_b", "m_c", "m_d"))
            written[row, : round(accuracy * written.shape[1])] = language(offsets)[3]
        return written

    def forward(self, embeddings: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        networks, count = inputs.shape[:2]
        behaviour = self.split.behaviour(torch.arange(networks), torch.arange(count).expand(networks, -1))
        named = (behaviour.classes + 1) % 10
        for row, accuracy in enumerate(self.split.labels("accuracy")):
            right = round(accuracy * count)
            named[row, :right] = behaviour.classes[row, :right]
        steps = torch.stack([(named + 5) % 10] * (inputs.shape[2] - 1) + [named], dim=2)  # only the last one counts
        return torch.nn.functional.one_hot(steps, 10).float()


@pytest.mark.parametrize("name", ZOOS)
def test_the_fidelity_of_clones_is_how_often_they_do_the_task(name, data, tmp_path):
    zoo = load_data(data(name).zoo.source.folder)
    train = zoo.splits["train"]
    count = STRINGS if name == "formal-languages" else train.num_rollouts
    planted = pa.array([row % (count + 1) / count for row in range(len(train))])
    train.index = train.index.set_column(train.index.column_names.index("accuracy"), "accuracy", planted)
    run = EmulationRun(zoo, "statistics", 0, settings(evaluated_sequences=99), tmp_path)
    assert abs(clone_fidelity(run, "train")["correlation"]) < 0.9
    run.emulator = Clones(train)
    told = clone_fidelity(run, "train")
    assert told["accuracy"] == pytest.approx(np.mean(planted)) == pytest.approx(told["accuracy_of_originals"])
    assert told["correlation"] == pytest.approx(1) and told["kendall_tau"] == pytest.approx(1)
    if name == "sequential-mnist":
        named = train.behaviour(torch.arange(len(train)), torch.arange(count).expand(len(train), -1))
        clones = run.emulator(torch.zeros(len(train), 1), named.inputs)[:, :, -1].argmax(-1)
        assert told["agreement"] == pytest.approx((clones == named.log_probs[:, :, -1].argmax(-1)).double().mean())
