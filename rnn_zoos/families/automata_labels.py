"""Labels of the family `automata` beyond accuracy and loss: hard strings, and automata inside the hidden states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.families.automaton import LENGTH, SYMBOLS, Automaton, random_strings
from rnn_zoos.families.named_automata import automaton_of
from rnn_zoos.families.sampler import one_hot
from rnn_zoos.randomness import Purpose, random_bits, to_uniform

if TYPE_CHECKING:
    from rnn_zoos.families.automata import Automata
    from rnn_zoos.families.labels import Snapshot

_HARD, _TRACED = 0, 1  # counters of Purpose.FURTHER_LABELS
_RIDGE = 0.01
_CLUSTERS_PER_STATE = 2
_CLUSTERING_STEPS = 10


@torch.no_grad()
def hard_accuracy(_family: Automata, snapshot: Snapshot) -> float:
    """Return the fraction of right answers at the end of pairs of strings, of which the automaton accepts one each.

    It is 0.5, as without knowledge, if no such pair was found: where no single symbol matters, only the length.
    """
    automaton = automaton_of(snapshot.task)
    words = snapshot.evaluation.hard_pairs * (LENGTH + 1)
    bits = random_bits(snapshot.seed, [snapshot.run], Purpose.FURTHER_LABELS, [_HARD], words)
    accepted, rejected = hard_pairs(automaton, to_uniform(bits).view(-1, LENGTH + 1))
    if not len(accepted):
        return 0.5
    says_yes = [
        snapshot.network(one_hot(strings, SYMBOLS[-1]))[:, -1].argmax(dim=-1) == 1 for strings in (accepted, rejected)
    ]
    return float(says_yes[0].double().mean() + 1 - says_yes[1].double().mean()) / 2


def hard_pairs(automaton: Automaton, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Return strings that an automaton accepts, and for each a string that it rejects and that differs in one symbol.

    Args:
        automaton: A minimal automaton.
        uniforms: Numbers in [0, 1), [N, 41].

    Returns:
        Accepted strings, drawn uniformly from those of the greatest length up to 40 that has any, and rejected ones,
        drawn uniformly from the neighbours of each: int64 [N', T] each. Accepted strings without a rejected neighbour
        are left out, so N' <= N.
    """
    accepted = _accepted_strings(automaton, uniforms[:, :-1])
    transitions, accepting = automaton.tables
    before = F.pad(automaton.walk(accepted)[:, :-1], (1, 0))  # the state before each symbol
    neighbours = torch.zeros(*accepted.shape, automaton.num_symbols, dtype=torch.bool)
    leads_to_yes = accepting.expand(len(accepted), -1)  # of each state, by the symbols from t on
    for t in reversed(range(accepted.shape[1])):
        neighbours[:, t] = ~leads_to_yes.gather(1, transitions[before[:, t]])
        leads_to_yes = leads_to_yes.gather(1, transitions[:, accepted[:, t]].T)
    count = neighbours.flatten(1).sum(dim=1)
    kept = count > 0
    wanted = (uniforms[:, -1] * count).long()  # which of the neighbours
    place = (neighbours.flatten(1).cumsum(dim=1) > wanted[:, None]).int().argmax(dim=1)
    position, symbol = place // automaton.num_symbols, place % automaton.num_symbols
    rejected = accepted.scatter(1, position[:, None], symbol[:, None])
    return accepted[kept], rejected[kept]


def _accepted_strings(automaton: Automaton, uniforms: Tensor) -> Tensor:
    """Draw accepted strings of the greatest possible length T <= 40 uniformly: int64 [N, T], from uniforms [N, 40]."""
    transitions, accepting = automaton.tables
    fractions = [accepting.double()]  # [t][s]: the fraction of strings of t symbols that are accepted from state s
    for _ in range(LENGTH):
        fractions.append(fractions[-1][transitions].mean(dim=1))
    length = max(t for t, fraction in enumerate(fractions) if fraction[0] > 0)
    state, symbols = torch.zeros(len(uniforms), dtype=torch.int64), []
    for t in range(length):
        weights = fractions[length - t - 1][transitions[state]].cumsum(dim=1)
        below = weights <= uniforms[:, t, None] * weights[:, -1:]
        symbols.append(below.sum(dim=1))
        state = transitions[state, symbols[-1]]
    return torch.stack(symbols, dim=1)


@torch.no_grad()
def state_accuracy(_family: Automata, snapshot: Snapshot) -> float:
    """Return the fraction of states of the automaton that a linear probe reads from the last layer's hidden state.

    The probe is a ridge regression on indicators of the states, fitted to the first half of the strings.
    """
    automaton = automaton_of(snapshot.task)
    strings, hidden = _traced(automaton, snapshot)
    states, half = automaton.walk(strings), len(strings) // 2
    features = F.pad(hidden.double(), (0, 1), value=1.0)
    fitted = features[:half].flatten(0, 1)
    wanted = F.one_hot(states[:half].flatten(), automaton.num_states).double()
    penalty = _RIDGE * torch.eye(fitted.shape[1], dtype=torch.float64)
    probe = torch.linalg.solve(fitted.T @ fitted + penalty, fitted.T @ wanted)
    return float(((features[half:] @ probe).argmax(dim=-1) == states[half:]).double().mean())


@torch.no_grad()
def extracted_agreement(_family: Automata, snapshot: Snapshot) -> float:
    """Return the fraction of the network's answers that an automaton extracted from its hidden states gives, too.

    Extraction is by clustering (Omlin and Giles, "Extraction of rules from discrete-time recurrent neural networks",
    1996), here k-means with two clusters per state of the true automaton, on the first half of the strings.
    """
    automaton = automaton_of(snapshot.task)
    strings, hidden = _traced(automaton, snapshot)
    answers = snapshot.network.linear(hidden).argmax(dim=-1) == 1
    half = len(strings) // 2
    clusters = cluster(hidden[:half].flatten(0, 1), _CLUSTERS_PER_STATE * automaton.num_states).view(half, LENGTH)
    extracted = extract(strings[:half], clusters, answers[:half], automaton.num_symbols)
    return float((extracted.answers(strings[half:]) == answers[half:]).double().mean())


def cluster(points: Tensor, count: int) -> Tensor:
    """Return the cluster 0..count-1 of each of points [N, H] by k-means; clusters may be empty.

    The first centre is the first point, every other one the point that is farthest from those before.
    """
    centres = points[:1]
    for _ in range(count - 1):
        farthest = torch.cdist(points, centres).amin(dim=1).argmax()
        centres = torch.cat([centres, points[farthest, None]])
    for _ in range(_CLUSTERING_STEPS):
        indicators = F.one_hot(torch.cdist(points, centres).argmin(dim=1), count).to(points.dtype)
        sizes = indicators.sum(dim=0)[:, None]
        centres = torch.where(sizes > 0, indicators.T @ points / sizes.clamp(min=1), centres)
    return torch.cdist(points, centres).argmin(dim=1)


def extract(strings: Tensor, clusters: Tensor, answers: Tensor, num_symbols: int) -> Automaton:
    """Return the automaton that follows the majority of what a network did.

    Args:
        strings: int64 [N, T].
        clusters: The cluster of the hidden state after every symbol, int64 [N, T].
        answers: The network's answers, bool [N, T].
        num_symbols: V.

    Returns:
        An automaton with the clusters as states 1, 2, ..., and a start before them. A symbol that was never read in a
        state does not change it.
    """
    after = clusters + 1
    before = F.pad(after[:, :-1], (1, 0))
    size = int(after.max()) + 1
    places = (before * num_symbols + strings) * size + after
    counts = torch.bincount(places.flatten(), minlength=size * num_symbols * size).view(size, num_symbols, size)
    stay = torch.arange(size)[:, None].expand(-1, num_symbols)
    transitions = torch.where(counts.sum(dim=-1) > 0, counts.argmax(dim=-1), stay)
    votes = torch.bincount(after.flatten(), (2.0 * answers - 1).flatten(), minlength=size)
    return Automaton(tuple(map(tuple, transitions.tolist())), tuple((votes > 0).tolist()))


def _traced(automaton: Automaton, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
    """Return random strings [N, T], the same for all snapshots of a run, and the last layer's hidden states."""
    count = snapshot.evaluation.traced_strings
    strings = random_strings(automaton, snapshot.seed, snapshot.run, Purpose.FURTHER_LABELS, _TRACED, (count, LENGTH))
    recurrent = snapshot.network.get_submodule(snapshot.network.architecture.cell)
    hidden, _ = recurrent(one_hot(strings, SYMBOLS[-1]))
    return strings, hidden
