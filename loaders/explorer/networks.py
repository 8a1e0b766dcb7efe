"""The networks whose weights are inside a page, so that they run where the zoo itself is not served."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from rnn_zoos.format.files import Array
from rnn_zoos.loaders.explorer.data_files import Arrays
from rnn_zoos.loaders.zoo import Zoo
from rnn_zoos.networks.weights import flatten

_PER_RUN = 3  # snapshots of a chosen run: the first, the one in the middle, the last


def choose_networks(index: pa.Table, count: int) -> Array:
    """Return the rows of at most `count` networks, ascending, spread over splits, tasks, architectures and steps.

    Every split has a share of the runs, evenly among its runs in the order of architecture and task. Each run has its
    first, middle and last snapshot, and more of them if all runs have these.

    Args:
        index: Rows of the index, [R].
        count: Number of networks; 0 chooses none.
    """
    runs = index["run"].to_numpy()
    steps = index["step"].to_numpy()
    chosen: list[int] = []
    per_run = max(1, min(_PER_RUN, len(np.unique(steps))))
    for run in _spread_runs(index, -(-count // per_run)):
        rows = np.flatnonzero(runs == run)
        rows = rows[np.argsort(steps[rows], kind="stable")]
        wanted = np.unique(np.linspace(0, len(rows) - 1, min(per_run, len(rows))).round().astype(int))
        chosen += rows[wanted[::-1]].tolist()  # the last one first, should `count` end within this run
    others = np.setdiff1d(np.arange(len(index)), chosen)
    more = min(count - len(chosen), len(others))
    if more > 0:
        chosen += others[np.linspace(0, len(others) - 1, more).round().astype(int)].tolist()
    return np.sort(np.array(chosen[:count], np.int64))


def _spread_runs(index: pa.Table, count: int) -> list[int]:
    """Return `count` runs, or all if there are fewer: a share of each split, evenly over its runs in order of tasks."""
    names = ["split", *(["architecture"] if "architecture" in index.column_names else []), "task", "run"]
    first: dict[int, tuple[Any, ...]] = {row["run"]: tuple(row.values()) for row in index.select(names).to_pylist()}
    by_split: dict[str, list[int]] = {}
    for key in sorted(first.values()):
        by_split.setdefault(key[0], []).append(key[-1])
    shares = _shares({split: len(runs) for split, runs in by_split.items()}, count)
    # The middles of equal stretches of the list.
    return [
        runs[int((place + 0.5) * len(runs) / shares[split])]
        for split, runs in by_split.items()
        for place in range(shares[split])
    ]


def _shares(sizes: dict[str, int], count: int) -> dict[str, int]:
    """Divide `count` among splits in proportion to their sizes: each gets one before any gets two."""
    shares = dict.fromkeys(sizes, 0)
    for _ in range(min(count, sum(sizes.values()))):
        open_splits = [split for split in sizes if shares[split] < sizes[split]]
        neediest = max(open_splits, key=lambda split: (shares[split] == 0, sizes[split] / max(1, shares[split])))
        shares[neediest] += 1
    return shares


def pack_networks(zoo: Zoo, index: pa.Table, rows: Array, arrays: Arrays) -> dict[str, Any]:
    """Add the weights of some rows of an index to `arrays`, flat and float32, in the order of `rows`.

    Args:
        zoo: The zoo.
        index: Rows of its index.
        rows: Positions in `index`, ascending.
        arrays: Where the weights go.

    Returns:
        `rows`, and for each of them the `places` of its weights in the block.
    """
    chosen = index.take(pa.array(rows))
    flat: dict[int, Array] = {}
    for positions, stack in zoo.stacks(chosen):
        weights = flatten(stack.architecture, stack.weights).numpy()
        flat |= dict(zip(positions.tolist(), weights, strict=True))
    return {"rows": rows.tolist(), "places": [arrays.add(flat[place]) for place in range(len(rows))]}
