"""`sample_network`: what one network does with a few inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rnn_zoos.families.registry import task_family
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork


def sample_network(
    name_or_dir: str | Path, run: int, step: int | None, count: int, revision: str | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """Run one network on a few inputs: write strings, classify digits that no network was trained on, judge strings.

    Args:
        name_or_dir: directory of a zoo, or OWNER/NAME of a dataset repository on the Hub.
        run: number of the run.
        step: number of updates done; None is the last snapshot of the run.
        count: number of inputs.
        revision: branch, tag or commit hash on the Hub; None is the main branch.

    Returns:
        A title, and `count` table rows, or one for each of the digits if there are fewer. The first column, `verdict`,
        is "right" or "wrong".

    Raises:
        FormatError: if the directory or repository is not a zoo.
        UnknownNameError: for a run or step that the zoo does not have.
        IntegrityError: if a file is missing or damaged.
        HubError: if the Hub denies access, cannot be reached, or lacks the repository or revision.

    Example:
        >>> from rnn_zoos.loaders import sample_network
        >>> title, rows = sample_network("zoos/formal-languages", run=0, step=None, count=5)
    """
    zoo = open_zoo(name_or_dir, revision)
    if step is None:
        steps = zoo.index(where=[("run", "==", run)])["step"].to_pylist()
        step = max(steps or zoo.manifest.snapshots[-1:])
    row = zoo.row(run, step)
    weights = zoo.weights(row)
    network = RecurrentNetwork(Architecture.of(weights), weights).eval()
    title = f"run {run}, step {step}, task {row['task']}"
    if "accuracy" in row:  # zoos may lack any label
        title += f", accuracy {row['accuracy']:.3f}"
    with torch.no_grad():
        about, rows = task_family(zoo.manifest.zoo).samples(network, zoo.manifest.seed, row, count)
    return f"{title}; {about}", rows
