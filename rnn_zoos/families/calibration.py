"""Expected calibration error: how far confidence is from accuracy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BINS = 15


def calibration_error(logits: Tensor, targets: Tensor) -> float:
    """Return the expected calibration error of predictions, 0 to 1; lower is better.

    Predictions are put into 15 bins by their confidence, the largest probability. The error is the mean distance of
    accuracy and mean confidence of a bin, weighted by its predictions (Guo et al., "On calibration of modern neural
    networks", ICML 2017). It is nan if a logit is not finite: outputs of finite weights can overflow.

    Args:
        logits: [N, C].
        targets: Classes, [N].
    """
    if not bool(logits.isfinite().all()):
        return math.nan
    confidence, predicted = logits.double().softmax(dim=-1).max(dim=-1)
    excess = confidence - (predicted == targets).double()
    bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
    sums = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins, excess)
    return (sums.abs().sum() / len(targets)).item()
