"""Strings that language networks write themselves, and the arrangement of what they answer along them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.families.language_strings import BOS, EOS, NUM_SYMBOLS
from rnn_zoos.networks.stack import NetworkStack

LETTER_A = 0


@torch.no_grad()
def continue_prefixes(stack: NetworkStack, prefixes: tuple[int, ...], steps: int) -> Tensor:
    """Return the output distributions [M, N, T, V] of M networks that continue N prefixes for T steps in all.

    Prefix n is BOS and `prefixes[n]` times the letter a. Then a network reads its own most likely symbol.
    """
    one_hot = torch.eye(NUM_SYMBOLS).to(stack.weights["linear.bias"])  # device and precision of the networks
    lengths = torch.tensor(prefixes, device=one_hot.device)
    inputs = one_hot[BOS].expand(stack.num_networks, len(prefixes), -1)  # [M, N, V], of one step
    state, distributions = None, []
    for step in range(steps):
        outputs, state = stack(inputs.unsqueeze(2), state)
        distributions.append(outputs[:, :, 0].softmax(dim=-1))
        prediction = one_hot[distributions[-1].argmax(dim=-1)]
        inputs = torch.where((lengths > step)[:, None], one_hot[LETTER_A], prediction)
    return torch.stack(distributions, dim=2)


@torch.no_grad()
def most_likely_branches(stack: NetworkStack, branches: int, steps: int) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [M, N, T, V] of M networks along N strings of their own, and these strings [M, N, T].

    The first string is the greedy one. Each further string branches off where the prefix up to a step, and the
    runner-up at this step, are most likely; no string branches off where another one has, or after EOS.
    """
    networks, device = stack.num_networks, stack.weights["linear.bias"].device
    forced = torch.full((networks, 1), BOS, device=device)
    lengths = torch.ones(networks, dtype=torch.long, device=device)
    log_probs, strings, scores = list[Tensor](), list[Tensor](), list[Tensor]()
    for _ in range(branches):
        answers, read = _continue(stack, forced, lengths, steps)
        log_probs.append(answers)
        strings.append(read)
        scores.append(_branching_scores(answers, read, lengths))
        best = torch.stack(scores, dim=1).flatten(1).argmax(dim=1)
        string, step = best // steps, best % steps
        chosen = torch.stack(strings, dim=1)[torch.arange(networks, device=device), string]
        answers = torch.stack(log_probs, dim=1)[torch.arange(networks, device=device), string]
        runner_up = answers.topk(2, dim=-1).indices[torch.arange(networks, device=device), step, 1]
        for number, score in enumerate(scores):  # from here on, this step is taken
            score[(string == number).nonzero()[:, 0], step[string == number]] = -torch.inf
        forced = torch.cat([chosen, chosen[:, :1]], dim=1).scatter(1, step[:, None] + 1, runner_up[:, None])
        lengths = step + 2
    return torch.stack(log_probs, dim=1), torch.stack(strings, dim=1)


def _continue(stack: NetworkStack, forced: Tensor, lengths: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Let M networks read the first `lengths` [M] symbols of `forced` [M, *], then their own most likely symbols.

    Returns log-probabilities [M, T, V], and what was read [M, T].
    """
    one_hot = torch.eye(NUM_SYMBOLS).to(stack.weights["linear.bias"])
    symbols, state, log_probs, read = forced[:, 0], None, list[Tensor](), list[Tensor]()
    for step in range(steps):
        read.append(symbols)
        outputs, state = stack(one_hot[symbols][:, None, None], state)
        log_probs.append(outputs[:, 0, 0].log_softmax(dim=-1))
        following = forced[:, min(step + 1, forced.shape[1] - 1)]
        symbols = torch.where(lengths > step + 1, following, log_probs[-1].argmax(dim=-1))
    return torch.stack(log_probs, dim=1), torch.stack(read, dim=1)


def _branching_scores(log_probs: Tensor, read: Tensor, lengths: Tensor) -> Tensor:
    """Return the log-probability of leaving a string after each step, [M, T]; -inf where it shares its beginning.

    That is the probability of what was read up to the step, times that of the runner-up.
    """
    of_read = log_probs[:, :-1].gather(2, read[:, 1:, None])[..., 0].cumsum(dim=1)
    prefix = F.pad(of_read, (1, 0))  # the probability of BOS is 1
    score = prefix + log_probs.topk(2, dim=-1).values[..., 1]
    steps = torch.arange(read.shape[1], device=read.device)
    closed = (steps < lengths[:, None] - 1) | ((read == EOS).cumsum(dim=1) > 0)
    return score.masked_fill(closed | (steps == read.shape[1] - 1), -torch.inf)


def read_by_continuing(distributions: Tensor, prefixes: tuple[int, ...]) -> Tensor:
    """Return the symbols that networks have read while they continued prefixes, [M, N, T].

    Args:
        distributions: What `continue_prefixes` returned, [M, N, T, V].
        prefixes: The prefix lengths, N of them.
    """
    written = F.pad(distributions.argmax(dim=-1)[:, :, :-1], (1, 0), value=BOS)
    steps = torch.arange(written.shape[2], device=written.device)
    lengths = torch.tensor(prefixes, device=written.device)[:, None]
    return torch.where((steps > 0) & (steps <= lengths), LETTER_A, written)


def by_runs(answers: Tensor, read: Tensor, longest: int) -> Tensor:
    """Arrange answers by the symbol that was read and its place in a run of equal symbols: [M, N, V R, C + 1].

    Where b follows five times b, the answer stands at b, place 5, no matter at which step that was. So a network that
    counts in a known way after an unknown beginning gives known features. Places beyond R are left out.

    Args:
        answers: [M, N, T, C].
        read: Symbols that were read, [M, N, T].
        longest: R, the number of places per symbol.

    Returns:
        The answers, 0 where nothing was read, with one more channel that is 1 where something was.
    """
    starts = F.pad(read[:, :, 1:] != read[:, :, :-1], (1, 0), value=True)
    steps = torch.arange(read.shape[2], device=read.device).expand_as(read)
    place = steps - torch.where(starts, steps, 0).cummax(dim=2).values
    slots = NUM_SYMBOLS * longest
    slot = torch.where(place < longest, read * longest + place, slots)[..., None]
    channels = F.pad(answers, (0, 1), value=1.0)
    arranged = channels.new_zeros(*read.shape[:2], slots + 1, channels.shape[-1])
    return arranged.scatter_(2, slot.expand_as(channels), channels)[:, :, :slots]
