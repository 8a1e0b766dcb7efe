"""Training by emulation: losses, emulator, data, continuation from checkpoints, errors; clones of networks."""

import copy
import math
import shutil
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from conftest import ZOOS
from old_zoos import remove_labels

from rnn_zoos.baselines.downstream.clones import STRINGS, clone_fidelity
from rnn_zoos.baselines.emulation import data as emulation_data
from rnn_zoos.baselines.emulation.checkpoint import load_checkpoint
from rnn_zoos.baselines.emulation.data import SplitData, check_biases, load_data
from rnn_zoos.baselines.emulation.embedding import Embedder
from rnn_zoos.baselines.emulation.losses import mean_over_steps, reverse_kl, total_variation
from rnn_zoos.baselines.emulation.optimisation import Optimisation, one_cycle
from rnn_zoos.baselines.emulation.settings import EmulationSettings
from rnn_zoos.baselines.emulation.tensor_file import write_tensor_file
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.baselines.encoders.weights.statistics import StatisticsEncoder
from rnn_zoos.errors import DeviceError, EncoderError, FormatError, PlanMismatchError, PresetError, UnknownNameError
from rnn_zoos.families.language_strings import BOS, EOS, LENGTH, before_padding, training_strings
from rnn_zoos.loaders.dataset import load_dataset
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.symmetry.biases import bias_differences
from rnn_zoos.symmetry.signed import SignedPermutation

SMALL = {"sequences": 2, "steps": 7, "hidden": 24}
SIZES = {"interactive": SMALL, "non-interactive": SMALL, "self-rollout": {"hidden": 24}, "dws": {"channels": 6}}


@pytest.fixture(scope="module")
def data(edited_zoo):
    """A tiny zoo with rows in every split, whose last snapshots have learned something."""
    edits = {"runs: 7": "runs: 16", "runs: 5": "runs: 12", "11]": "120]", "8]": "20]"}
    return lru_cache(lambda name: load_data(edited_zoo(name, edits)))


def settings(**changes) -> EmulationSettings:
    values = {"updates": 6, "evaluate_every": 4, "networks": 5, "sequences": 2, "hidden": 12, "layers": 1}
    return EmulationSettings(**{**values, **changes})


def distributions(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)


def test_losses_match_hand_computed_values_and_their_definitions():
    one, other = torch.tensor([0.5, 0.25, 0.25]).log(), torch.tensor([0.25, 0.25, 0.5]).log()
    assert total_variation(one, other).item() == pytest.approx(0.25)
    assert reverse_kl(one, other).item() == pytest.approx(0.5 * math.log(2) + 0.25 * math.log(0.5))
    p, q = distributions(0), distributions(1)
    subsets = torch.tensor([[(subset >> bit) & 1 for bit in range(5)] for subset in range(32)]).float()
    largest = ((p.exp() - q.exp()) @ subsets.T).amax(-1)  # the largest difference in the probability of an event
    assert torch.allclose(total_variation(p, q), largest, atol=1e-6)
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    assert torch.allclose(reverse_kl(p, q), expected, atol=1e-6)


def test_padding_begins_after_the_first_eos_that_is_read():
    string = torch.tensor([[BOS, 0, 1, EOS, EOS, 2], [BOS, EOS, 0, 0, 0, 0], [BOS, 0, 0, 0, 0, 0]])
    expected = [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert before_padding(string).int().tolist() == expected
    losses = torch.arange(15.0).view(3, 5)
    assert mean_over_steps(losses, before_padding(string)).item() == pytest.approx((0 + 1 + 2 + 5 + 60) / 9)
    assert mean_over_steps(losses).item() == 7


@pytest.mark.parametrize("name", ZOOS)
def test_the_behaviour_of_networks_equals_the_rollouts_of_load_dataset(name, data):
    train = data(name).splits["train"]
    loaded = load_dataset(data(name).zoo.source.folder, split="train", rollouts=True)
    rows, numbers = torch.tensor([3, 0, 17]), torch.tensor([[1, 0], [2, 2], [3, 1]])
    behaviour = train.behaviour(rows, numbers)
    assert train.labels("accuracy")[3] == loaded[3]["accuracy"]
    for place, (row, picked) in enumerate(zip(rows.tolist(), numbers.tolist(), strict=True)):
        expected = loaded[row]
        for key, tensor in train.stack(rows).weights.items():
            assert torch.equal(tensor[place], expected["weights"][key])
        rollouts = expected["rollouts"]
        sequences = rollouts["sequences"][picked]
        if name == "formal-languages":
            assert torch.equal(behaviour.inputs[place].argmax(-1), sequences[:, :-1].long())
            assert torch.equal(behaviour.log_probs[place], rollouts["log_probs"][picked].float())
            assert torch.equal(behaviour.unpadded[place], before_padding(sequences))
        else:
            assert torch.equal(behaviour.inputs[place], sequences) and behaviour.unpadded.all()
            logits = rollouts["logits"][picked].float()
            assert torch.allclose(behaviour.log_probs[place], logits.log_softmax(-1))


@pytest.mark.parametrize("encoder", ["interactive", "flat", "self-rollout"])
def test_an_interrupted_training_continues_to_the_same_bits(encoder, data, tmp_path):
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
    losses = [[{**entry, "seconds": 0} for entry in run.history] for run in (again, whole)]
    assert losses[0] == losses[1] and len(whole.history) == 2
    continued, reference = (safetensors.torch.load_file(run.checkpoint) for run in (again, whole))
    assert continued.keys() == reference.keys()
    assert all(torch.equal(continued[name], reference[name]) for name in continued)
    assert again.seconds > 0
    assert torch.equal(again.embedder.embeddings("ood"), whole.embedder.embeddings("ood"))
    other = EmulationRun(zoo, encoder, 4, settings(), tmp_path / "other", sizes)
    assert not torch.equal(other.embedder.embeddings("ood"), whole.embedder.embeddings("ood"))
    with pytest.raises(PlanMismatchError, match="was made with another seed, settings. Use another folder"):
        EmulationRun(zoo, encoder, 4, settings(updates=7), tmp_path / "whole", sizes)
    whole.checkpoint.write_bytes(whole.checkpoint.read_bytes()[:-1])
    with pytest.raises(FormatError, match="is not a checkpoint .*Delete it to start again"):
        EmulationRun(zoo, encoder, 3, settings(), tmp_path / "whole", sizes)


def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(tmp_path):
    with pytest.raises(FormatError, match="cannot be read: .*Is a directory.*Fix its permissions"):
        load_checkpoint(tmp_path, {})


@pytest.mark.parametrize("text", ["{}", "[3]", '{"identity": 3, "update": 1, "best": 1, "history": [], "seconds": 1}'])
def test_a_checkpoint_without_its_entries_is_explained(text, tmp_path):
    write_tensor_file(tmp_path / "checkpoint", {"current.a": torch.zeros(1)}, {"run": text})
    with pytest.raises(FormatError, match="is not a checkpoint .*Delete it to start again"):
        load_checkpoint(tmp_path / "checkpoint", {"seed": 3})


@pytest.mark.parametrize("name", ZOOS)
@pytest.mark.parametrize("encoder", ["statistics", "non-interactive", "dws"])
def test_losses_of_a_split_are_means_over_its_networks_in_both_zoos(name, encoder, data, tmp_path):
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
        assert losses["total_variation_unpadded"] == pytest.approx(tv[behaviour.unpadded].mean().item(), rel=1e-4)


def test_the_state_with_the_lowest_validation_loss_is_kept(data, tmp_path):
    run = EmulationRun(data("formal-languages"), "statistics", 0, settings(), tmp_path)
    first = {name: tensor.clone() for name, tensor in run.modules.state_dict().items()}
    run.best_loss = 0.0  # as if the initial state had been perfect
    run.train()
    assert len(run.history) == 2 and all(torch.equal(run.modules.state_dict()[name], first[name]) for name in first)
    other = EmulationRun(data("formal-languages"), "statistics", 0, settings(), tmp_path / "other")
    other.train()
    best = min(losses["total_variation"] for losses in other.history)
    assert other.losses("validation")["total_variation"] == best == other.best_loss


@pytest.mark.slow
def test_interactive_probing_learns_to_distinguish_networks(data, tmp_path):
    """It overfits a tiny zoo: its loss falls below that of the mean output distribution of all networks."""
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


def test_a_loss_that_is_not_finite_is_reported(data, tmp_path):
    run = EmulationRun(data("formal-languages"), "statistics", 0, settings(), tmp_path)
    with torch.no_grad():
        run.emulator.out.bias[0] = torch.nan
    with pytest.raises(EncoderError, match="loss of statistics with seed 0 is nan at update 0. Lower"):
        run.step()


def test_one_update_is_adamw_with_the_gradient_of_each_part_clipped_on_its_own():
    """Compared with a plain torch loop: after two updates all parameters are equal."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = [torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)]
    reference, chosen = copy.deepcopy(parts), settings(clip=0.05, learning_rate=0.01, weight_decay=0.2)
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    optimisation = Optimisation(parts, chosen, "test")
    adamw = torch.optim.AdamW([*reference[0].parameters(), *reference[1].parameters()], weight_decay=0.2)
    for update in range(2):
        loss = optimisation.step(parts[1](parts[0](inputs)).square().sum(), update)
        adamw.zero_grad()
        expected = reference[1](reference[0](inputs)).square().sum()
        expected.backward()
        for part in reference:
            assert torch.nn.utils.clip_grad_norm_(part.parameters(), 0.05) > 0.05
        adamw.param_groups[0]["lr"] = chosen.rate(update)
        adamw.step()
        assert loss == pytest.approx(expected.item(), rel=1e-6)  # the fused AdamW rounds differently
    for part, other in zip(parts, reference, strict=True):
        assert torch.allclose(part.weight, other.weight) and torch.allclose(part.bias, other.bias)


class Means(torch.nn.Module):
    """An own encoder without parameters: the mean of each network's recurrent weights."""

    def forward(self, weights):
        return weights["lstm.weight_hh_l0"].mean((1, 2))[:, None].expand(-1, 16)


def test_an_encoder_without_parameters_is_trained_like_any_other(data, tmp_path):
    run = EmulationRun(data("formal-languages"), f"{__name__}:Means", 0, settings(), tmp_path)
    before = run.emulator.out.bias.clone()
    run.step()
    assert not torch.equal(run.emulator.out.bias, before)


def test_the_learning_rate_rises_for_a_tenth_of_the_updates_and_falls_for_the_others():
    rates = [one_cycle(2.0, 50, update) for update in range(50)]
    assert rates[4] == max(rates) == 2 and rates[-1] == min(rates) == pytest.approx(0.08)
    assert rates[:5] == sorted(rates[:5]) and rates[4:] == sorted(rates[4:], reverse=True)


def test_a_zoo_without_rows_in_every_split_is_refused(edited_zoo):
    with pytest.raises(FormatError, match="has no rows in .*validation.*Use a zoo with more runs"):
        load_data(edited_zoo("formal-languages", {"runs: 7": "runs: 2"}))


@pytest.mark.parametrize("encoder", ["flat", "transformer", "dws", "non-interactive"])
def test_only_augmented_encoders_see_signed_permutations_and_only_in_training(encoder, data):
    zoo = data("formal-languages")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        embedder = Embedder(zoo, make_encoder(encoder, zoo.architecture), 0)
    train, rows = zoo.splits["train"], torch.tensor([2, 0, 7])
    weights, plain = train.stack(rows).weights, embedder.embed("train", rows)
    drawn = SignedPermutation.sample(zoo.architecture, 3, generator=torch.Generator().manual_seed(4))
    moved = drawn.apply(zoo.architecture, weights) if encoder in ("flat", "transformer") else weights
    expected = embeddings_of(embedder.encoder, moved, NetworkStack(zoo.architecture, moved))
    permutation = embedder.draw_permutation(3, torch.Generator().manual_seed(4))
    assert torch.allclose(embedder.embed("train", rows, permutation), expected, atol=1e-5)
    assert ((expected - plain).norm(dim=1) > 1e-3).all() == (encoder in ("flat", "transformer"))
    assert torch.allclose(embedder.embeddings("train")[rows], plain, atol=1e-5)


class AugmentedStatistics(StatisticsEncoder):
    augmented = True


def test_features_that_are_computed_once_are_not_said_to_be_augmented(data):
    zoo = data("formal-languages")
    with pytest.raises(EncoderError, match="AugmentedStatistics is `augmented`, but its features are computed once"):
        Embedder(zoo, AugmentedStatistics(zoo.architecture), 0)


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: 0} for name in ("updates", "evaluate_every", "networks", "sequences", "hidden", "layers")),
        *({name: 0} for name in ("embedding_size", "evaluated_sequences", "learning_rate", "clip")),
        {"weight_decay": -3},
        {"learning_rate": math.nan},
    ],
)
def test_settings_that_no_training_can_have_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(PresetError, match=f"{name} is {value}; expected"):
        settings(**wrong)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_predictors_cannot_use_are_refused_before_the_training(seed, data, tmp_path):
    with pytest.raises(PresetError, match=f"The seed is {seed}; expected a whole number from 0"):
        EmulationRun(data("formal-languages"), "statistics", seed, settings(), tmp_path)


class TooWide(StatisticsEncoder):
    def read(self, features: torch.Tensor) -> torch.Tensor:
        return super().read(features).repeat(1, 2)


def test_wrong_embeddings_from_kept_features_are_reported(data, tmp_path, monkeypatch):
    monkeypatch.setattr("rnn_zoos.baselines.encoders.weights.statistics.StatisticsEncoder", TooWide)
    run = EmulationRun(data("formal-languages"), "statistics", 0, settings(), tmp_path)
    with pytest.raises(EncoderError, match=r"TooWide returned \(5, 32\) for 5 networks; expected a tensor \(5, 16\)"):
        run.step()


@pytest.mark.parametrize("name", ZOOS)
def test_merged_biases_give_the_same_networks_without_identifying_the_run(name, data):
    zoo, merged = data(name), load_data(data(name).zoo.source.folder, biases="merged")
    rows, inputs = torch.arange(5), torch.randn(2, 6, zoo.architecture.input_size)
    assert (bias_differences(zoo.architecture, zoo.splits["train"].weights) != 0).any()
    weights = merged.splits["train"].weights
    assert not any(tensor.any() for key, tensor in weights.items() if "bias_hh" in key)
    one, other = (each.splits["train"].stack(rows)(inputs)[0] for each in (zoo, merged))
    assert torch.allclose(one, other, atol=1e-5)
    for refuses in (check_biases, lambda name: load_data(zoo.zoo.source.folder, biases=name)):
        with pytest.raises(UnknownNameError, match="Unknown kind of biases 'gone'; known: apart, merged"):
            refuses("gone")
    for device in ("tpu", "cudaish", "meta"):
        with pytest.raises(DeviceError, match=f"There is no device '{device}' here"):
            load_data(zoo.zoo.source.folder, device=device)


def test_a_device_that_is_neither_a_cpu_nor_an_nvidia_gpu_is_refused(data, monkeypatch):
    monkeypatch.setattr(emulation_data, "existing_device", torch.device)  # as if this machine had one
    with pytest.raises(DeviceError, match="Encoders cannot be trained on 'mps'; expected cpu, or cuda"):
        load_data(data("formal-languages").zoo.source.folder, device="mps")


@pytest.mark.parametrize("name", ZOOS)
def test_a_label_that_does_not_exist_is_not_one_that_the_zoo_lacks(name, data, tmp_path):
    with pytest.raises(UnknownNameError, match="Unknown label 'acuracy'.*Did you mean 'accuracy'"):
        data(name).splits["test"].labels("acuracy")
    old = remove_labels(shutil.copytree(data(name).zoo.source.folder, tmp_path / "zoo"), "accuracy")
    with pytest.raises(FormatError, match="lacks the labels accuracy, which are needed here; `rnn-zoos relabel`"):
        load_data(old).splits["test"].labels("accuracy")


class Clones(torch.nn.Module):
    """Replaces an emulator: performs the task of every network with the accuracy that the index gives for it."""

    def __init__(self, split: SplitData) -> None:
        super().__init__()
        self.split = split

    def sample_strings(self, embeddings: torch.Tensor, uniforms: torch.Tensor, bos: int) -> torch.Tensor:
        assert bos == BOS
        written = torch.zeros(*uniforms.shape[:2], LENGTH, dtype=torch.uint8)  # aaa...: in none of the languages
        for row, accuracy in enumerate(self.split.labels("accuracy")):
            offsets = tuple(self.split.labels(name)[row] for name in ("m_b", "m_c", "m_d"))
            written[row, : round(accuracy * written.shape[1])] = training_strings(offsets)[3]
        return written

    def forward(self, embeddings: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        networks, count = inputs.shape[:2]
        behaviour = self.split.behaviour(torch.arange(networks), torch.arange(count).expand(networks, -1))
        assert (behaviour.classes[:, :, :-1] == -1).all(), "the last step counts"
        classes = behaviour.classes[:, :, -1]
        predicted = (classes + 1) % 10
        for row, accuracy in enumerate(self.split.labels("accuracy")):
            right = round(accuracy * count)
            predicted[row, :right] = classes[row, :right]
        steps = torch.stack([(predicted + 5) % 10] * (inputs.shape[2] - 1) + [predicted], dim=2)
        return torch.nn.functional.one_hot(steps, 10).float()


@pytest.mark.parametrize("name", ZOOS)
def test_clone_fidelity_is_the_accuracy_of_the_clones_on_the_task(name, data, tmp_path):
    zoo = load_data(data(name).zoo.source.folder)
    train = zoo.splits["train"]
    count = STRINGS if name == "formal-languages" else train.num_rollouts
    planted = pa.array([row % (count + 1) / count for row in range(len(train))])
    train.index = train.index.set_column(train.index.column_names.index("accuracy"), "accuracy", planted)
    run = EmulationRun(zoo, "statistics", 0, settings(evaluated_sequences=99), tmp_path)
    assert abs(clone_fidelity(run, "train")[0]["correlation"]) < 0.9
    run.emulator = Clones(train)
    fidelity, _ = clone_fidelity(run, "train")
    assert fidelity["accuracy"] == pytest.approx(np.mean(planted)) == pytest.approx(fidelity["accuracy_of_originals"])
    assert fidelity["correlation"] == pytest.approx(1) and fidelity["kendall_tau"] == pytest.approx(1)
    if name == "sequential-mnist":
        behaviour = train.behaviour(torch.arange(len(train)), torch.arange(count).expand(len(train), -1))
        clones = run.emulator(torch.zeros(len(train), 1), behaviour.inputs)[:, :, -1].argmax(-1)
        assert fidelity["agreement"] == pytest.approx(
            (clones == behaviour.log_probs[:, :, -1].argmax(-1)).double().mean()
        )
