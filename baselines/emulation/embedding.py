"""An encoder on a zoo: the embeddings of its rows."""

from __future__ import annotations

import torch
from torch import Tensor

from rnn_zoos.baselines.emulation.data import SplitData, ZooData
from rnn_zoos.baselines.encoders.encoder import Encoder, FeatureEncoder, unit_length
from rnn_zoos.baselines.encoders.fixed_probes import CANDIDATES
from rnn_zoos.baselines.encoders.registry import checked, embeddings_of
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.symmetry.signed import SignedPermutation

SEEDS_APART = 1_000_003  # between the streams of two seeds: more than any number of updates
_ROWS_AT_ONCE = 256  # networks that are embedded together when nothing is learned


class Embedder:
    """Embeds rows of a zoo's splits. The encoder looks at the training rows first; features that stay are kept."""

    def __init__(self, data: ZooData, encoder: Encoder, seed: int) -> None:
        self.data, self.encoder = data, encoder.to(data.device)
        self._kept: dict[str, Tensor] = {}
        encoder.fit_inputs(data.splits["train"].weights, self._sequences_to_ask(seed))

    def embed(self, split: str, rows: Tensor, augment: torch.Generator | None = None) -> Tensor:
        """Return embeddings [M, Z] of rows [M] of a split.

        With `augment`, an encoder that wants it sees a signed permutation of every network, drawn from it.
        """
        if isinstance(self.encoder, FeatureEncoder):
            return unit_length(checked(self.encoder, self.encoder.read(self._features(split)[rows]), len(rows)))
        architecture, weights = self.data.architecture, self.data.splits[split].weights_of(rows)
        if augment is not None and self.encoder.augmented:
            drawn = SignedPermutation.sample(architecture, len(rows), generator=augment)
            weights = drawn.to(self.data.device).apply(architecture, weights)
        return embeddings_of(self.encoder, weights, NetworkStack(architecture, weights))

    @torch.no_grad()
    def embeddings(self, split: str) -> Tensor:
        """Return the embeddings [R, Z] of all rows of a split."""
        return torch.cat([self.embed(split, rows) for rows in chunks(self.data.splits[split])])

    @torch.no_grad()
    def _features(self, split: str) -> Tensor:
        """Return the features [R, F] of all rows of a split, computed once."""
        assert isinstance(self.encoder, FeatureEncoder)
        if split not in self._kept:
            stacks = [self.data.splits[split].stack(rows) for rows in chunks(self.data.splits[split])]
            self._kept[split] = torch.cat([self.encoder.features(stack.weights, stack) for stack in stacks])
        return self._kept[split]

    def _sequences_to_ask(self, seed: int) -> Tensor | None:
        """Return sequences [N, T, I] that training networks have read, for an encoder that may use data."""
        if self.encoder.information != "data":
            return None
        train, generator = self.data.splits["train"], torch.Generator().manual_seed((seed + 1) * SEEDS_APART - 1)
        rows = torch.randperm(len(train), generator=generator)[:CANDIDATES]
        which = torch.randint(train.num_rollouts, (len(rows), 1), generator=generator)
        return train.behaviour(rows, which).inputs.flatten(0, 1)


def chunks(split: SplitData) -> list[Tensor]:
    """Return the rows of a split, in parts that fit in memory together with what an encoder makes of them."""
    return list(torch.arange(len(split)).split(_ROWS_AT_ONCE))
