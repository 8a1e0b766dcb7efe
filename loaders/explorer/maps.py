"""Maps of networks: numbers per snapshot, turned so that the first two show most of the differences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.embeddings import read_embeddings
from rnn_zoos.loaders.explorer.data_files import Arrays
from rnn_zoos.loaders.zoo import Zoo

_KEPT = 16  # principal components of each network, for distances
_SPARE, _ITERATIONS = 16, 6  # of subspace iteration: further directions make it converge fast
_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class MapFeatures:
    """Numbers that describe each network of a zoo.

    Attributes:
        name: A short name, unique among those of a page.
        title: What they are, in a few words.
        values: Finite numbers, [R, F] in the order of the zoo's index.
    """

    name: str
    title: str
    values: Array


def embedding_features(zoo: Zoo, path: Path) -> MapFeatures:
    """Return the embeddings of a zoo that `rnn-zoos embed` wrote to a file.

    Raises:
        FormatError: It is not such a file, is of another zoo, or lacks rows.
    """
    embeddings = read_embeddings(path, zoo.identity)
    index = zoo.index()
    values = embeddings.column(index).flatten().to_numpy().reshape(len(index), embeddings.size)
    title = f"embeddings by {embeddings.encoder}, seed {embeddings.seed}"
    return MapFeatures(f"{embeddings.encoder}.{embeddings.seed}", title, values)


def principal_components(values: Array, kept: int = _KEPT) -> tuple[Array, Array]:
    """Return principal components [R, K] of numbers [R, F], and the fraction of the variance that each explains [K].

    K is at most `kept`. Distances between rows are those between the rows of `values`, up to what components that were
    left out explain, in units of the root mean square distance from the mean. The largest loading of each component is
    positive, so that equal values give equal signs.
    """
    centred = (values - values.mean(axis=0, dtype=np.float64)).astype(np.float32)
    total = float(np.square(centred, dtype=np.float64).sum())
    centred /= np.float32(np.sqrt(total / max(1, len(values))) or 1.0)
    directions = _leading_directions(centred, kept)
    largest = np.abs(directions).argmax(axis=0)
    components = centred @ (directions * np.where(directions[largest, range(directions.shape[1])] < 0, -1.0, 1.0))
    return components, (components**2).sum(axis=0) / max(1, len(values))


def _leading_directions(centred: Array, kept: int) -> Array:
    """Return the leading right singular vectors [F, K] of rows [R, F], the largest singular value first.

    Subspace iteration from a fixed start (Halko et al., 2011, algorithm 4.4): thousands of features take a second, all
    of their singular vectors would take minutes. A last step finds the singular vectors within the subspace.
    """
    features = centred.shape[1]
    start = np.random.default_rng(0).normal(size=(features, min(features, kept + _SPARE))).astype(np.float32)
    basis, _ = np.linalg.qr(start)
    for _ in range(_ITERATIONS):
        basis, _ = np.linalg.qr(centred.T @ (centred @ basis))
    _, _, turned = np.linalg.svd(centred @ basis, full_matrices=False)
    return np.asarray((basis @ turned.T)[:, :kept])


def pack_map(features: MapFeatures, rows: Array, arrays: Arrays) -> dict[str, Any]:
    """Add the map of some rows to `arrays`, float16 [R, K], and describe it.

    Args:
        features: Numbers for all rows of the index.
        rows: Which rows the page has.
        arrays: Where the map goes.

    Returns:
        `name`, `title`, `size` K, the fractions of variance that the first two components `explain`, and the place of
        the values.

    Raises:
        FormatError: A value is not finite.
    """
    chosen = features.values[rows]
    if not np.isfinite(chosen).all():
        raise FormatError(f"The features {features.name} have values that are not finite. Leave them out.")
    components, explained = principal_components(chosen)
    if components.shape[1] < 2:
        components = np.pad(components, ((0, 0), (0, 2 - components.shape[1])))
    place = arrays.add(components.clip(-_HALF, _HALF).astype(np.float16))
    explain = [round(float(part), 4) for part in explained[:2]]
    return {"name": features.name, "title": features.title, "size": components.shape[1], "explain": explain, **place}
