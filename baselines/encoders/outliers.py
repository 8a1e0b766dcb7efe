"""Robust scaling: networks with exploded weights are left out of means and deviations.

In zoos whose runs draw their hyperparameters (preset `diverse`), the weights of some runs grow by many powers of ten.
Means and deviations of all training networks would be those of the few largest, and all others would look the same.
So only usual networks count for them, and what is far outside is compressed. Zoos without such networks get exactly the
numbers that they would get without this module.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

UNUSUAL = 10.0
"""Vectors longer than this multiple of the median are left out of means and deviations."""
LINEAR = 25.0
"""Size up to which standardised values stay as they are."""


def inlier_rows(features: Tensor, quantile: float = 0.5) -> Tensor:
    """Return which rows of features [N, F] are not much longer than the median, or another quantile, bool [N]."""
    return _inliers(features.square().sum(dim=1).sqrt(), quantile)


def inlier_networks(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the stacked weights, name -> [N, *shape], of those networks that are not much larger than the median."""
    squares = [tensor.flatten(1).square().sum(dim=1) for tensor in weights.values()]
    usual = _inliers(torch.stack(squares).sum(dim=0).sqrt())
    if bool(usual.all()):
        return dict(weights)
    return {name: tensor[usual] for name, tensor in weights.items()}


def _inliers(lengths: Tensor, quantile: float = 0.5) -> Tensor:
    """Return which lengths [N] are at most 10 times a quantile: of those that occur, the next smaller one."""
    usual = lengths.kthvalue(1 + int(quantile * (len(lengths) - 1))).values  # with 0.5, as `median`
    return (lengths <= UNUSUAL * usual) | (usual == 0)


def soft_clip(standardised: Tensor) -> Tensor:
    """Return standardised values; sizes s beyond L = `LINEAR` become L (2 - L / s), which is less than 2 L."""
    if standardised.is_cpu:  # one pass, without a copy: nearly all zoos need no more; asking a GPU would wait for it
        lowest, highest = standardised.aminmax()
        if bool((lowest >= -LINEAR) & (highest <= LINEAR)):
            return standardised
    sizes = standardised.abs()
    compressed = LINEAR * (2 - LINEAR / sizes.clamp(min=LINEAR))
    return torch.where(sizes > LINEAR, standardised.sign() * compressed, standardised)
