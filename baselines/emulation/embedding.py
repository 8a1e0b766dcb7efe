"""Embeddings of the rows of a zoo by an encoder, during training and after it."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from rnn_zoos.baselines.emulation.data import SplitData, ZooData
from rnn_zoos.baselines.emulation.references import ReferenceEncoder
from rnn_zoos.baselines.encoders.encoder import Encoder, check_embeddings, embeddings_of, unchecked_embeddings
from rnn_zoos.baselines.encoders.feature_encoder import FeatureEncoder
from rnn_zoos.baselines.encoders.layers import unit_length
from rnn_zoos.baselines.encoders.probes.fixed_probes import CANDIDATES
from rnn_zoos.errors import EncoderError
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.symmetry.signed import SignedPermutation

SEED_STRIDE = 1_000_003
"""Update u of seed s draws from the generator seeded with s * SEED_STRIDE + u; no training has that many updates."""
_CHUNK = 256  # rows that are evaluated at once


class Embedder:
    """Embeds the rows of a zoo by one encoder.

    Making it calls `encoder.fit_networks` with the training rows. The features of a `FeatureEncoder` are computed once
    per split and kept.

    Attributes:
        data: The zoo.
        encoder: The encoder, on the zoo's device.
    """

    def __init__(self, data: ZooData, encoder: Encoder, seed: int, training_rows: Tensor | None = None) -> None:
        """Fit the encoder's inputs to the rows `training_rows` of split `train`, by default to all."""
        if encoder.augmented and (isinstance(encoder, FeatureEncoder) or len(data.architectures) > 1):
            raise EncoderError(
                f"{type(encoder).__name__} is `augmented`, but its features are computed once, or the networks have "
                "several architectures: then networks are not permuted. Set `augmented` to False."
            )
        self.data, self.encoder = data, encoder.to(data.device)
        self._features: dict[str, Tensor] = {}
        train = data.splits["train"]
        rows = torch.arange(len(train)) if training_rows is None else training_rows
        networks = train.networks if len(rows) == len(train) else train.stack(rows)
        registered = _registered_buffers(encoder)
        encoder.fit_networks(networks, self._training_sequences(rows, seed))
        _check_buffers(encoder, registered)

    def draw_permutation(self, networks: int, generator: torch.Generator) -> SignedPermutation | None:
        """Draw a signed permutation of each of M networks if the encoder is `augmented`, for `embed`; else None."""
        if not self.encoder.augmented:
            return None
        permutation = SignedPermutation.sample(self.data.architecture, networks, generator=generator)
        return permutation.to(self.data.device)

    def embed(
        self, split: str, rows: Tensor, permutation: SignedPermutation | None = None, checked: bool = True
    ) -> Tensor:
        """Return the embeddings [M, Z] of rows [M] of a split.

        Args:
            split: The split.
            rows: Numbers of its rows.
            permutation: Replaces every network by this signed permutation of it.
            checked: Whether to check what the encoder returns, which waits for a GPU.
        """
        if isinstance(self.encoder, FeatureEncoder):
            embeddings = self.encoder.read(self._features_of(split)[rows])
            return unit_length(check_embeddings(self.encoder, embeddings, len(rows)) if checked else embeddings)
        stack = self.data.splits[split].stack(rows)
        if permutation is not None:
            stack = NetworkStack(stack.architecture, permutation.apply(stack.architecture, stack.weights))
        return (embeddings_of if checked else unchecked_embeddings)(self.encoder, stack.weights, stack)

    @torch.no_grad()
    def embeddings(self, split: str) -> Tensor:
        """Return the embeddings [R, Z] of all rows of a split."""
        return torch.cat([self.embed(split, rows) for rows in chunks(self.data.splits[split])])

    @torch.no_grad()
    def _features_of(self, split: str) -> Tensor:
        """Return the features [R, F] of all rows of a split."""
        assert isinstance(self.encoder, FeatureEncoder)
        if split not in self._features and isinstance(self.encoder, ReferenceEncoder):
            self._features[split] = self.encoder.label_features(self.data.splits[split]).to(self.data.device)
        elif split not in self._features:
            stacks = [self.data.splits[split].stack(rows) for rows in chunks(self.data.splits[split])]
            self._features[split] = torch.cat([self.encoder.features(stack.weights, stack) for stack in stacks])
        return self._features[split]

    def _training_sequences(self, rows: Tensor, seed: int) -> Tensor | None:
        """Return inputs [N, T, I] of training networks among `rows`, one sequence each, if the encoder may use data."""
        if self.encoder.information != "data":
            return None
        train, generator = self.data.splits["train"], torch.Generator().manual_seed((seed + 1) * SEED_STRIDE - 1)
        rows = rows[torch.randperm(len(rows), generator=generator)[:CANDIDATES]]
        sequences = torch.randint(train.num_rollouts, (len(rows), 1), generator=generator)
        return train.behaviour(rows, sequences).inputs.flatten(0, 1)


def _registered_buffers(encoder: Encoder) -> set[str]:
    """Return the names of all buffers, also of those that are None."""
    return {f"{path}.{name}".lstrip(".") for path, module in encoder.named_modules() for name in module._buffers}


def _check_buffers(encoder: Encoder, registered: Collection[str]) -> None:
    """Raise EncoderError if an encoder has other buffers than before it was fitted: a saved one could not be read."""
    added = sorted(_registered_buffers(encoder) - {*registered})
    if added:
        raise EncoderError(
            f"{encoder._get_name()} registered the buffer {added[0]} when it was fitted to the training networks. "
            f'Register it in __init__, as None: register_buffer("{added[0]}", None); and assign the tensor to it when '
            "it is fitted. Saved encoders are read into a new encoder."
        )


def chunks(split: SplitData) -> list[Tensor]:
    """Return the row numbers of a split in chunks of 256, so that evaluating all rows fits in memory."""
    return list(torch.arange(len(split)).split(_CHUNK))
