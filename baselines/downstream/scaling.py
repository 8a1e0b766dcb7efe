"""Standardised features for predictors; some networks may have features that are many powers of ten larger."""

from __future__ import annotations

import torch
from sklearn.preprocessing import StandardScaler

from rnn_zoos.baselines.encoders.outliers import inlier_rows, soft_clip
from rnn_zoos.format.files import Array

_QUANTILE = 0.9
"""Rows much longer than this quantile are unusual. The median of a feature such as the accuracy may be almost 0."""


class FeatureScaler:
    """A `StandardScaler` that is fitted to usual rows, and compresses what is far outside; see `outliers`.

    Embeddings have length 1: for them, and for all features without such rows, it is a `StandardScaler`.
    """

    def __init__(self) -> None:
        self._scaler = StandardScaler()

    def fit(self, features: Array, labels: Array | None = None) -> FeatureScaler:
        """Compute means and deviations of features [R, F]."""
        usual = inlier_rows(torch.from_numpy(features).double(), _QUANTILE).numpy()
        self._scaler.fit(features if usual.all() else features[usual])
        return self

    def transform(self, features: Array) -> Array:
        """Return standardised features [R, F]."""
        scaled: Array = soft_clip(torch.from_numpy(self._scaler.transform(features))).numpy()
        return scaled

    def fit_transform(self, features: Array, labels: Array | None = None) -> Array:
        """Return `fit(features).transform(features)`."""
        return self.fit(features).transform(features)
