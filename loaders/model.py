"""`load_model`: one network of a zoo as a torch module."""

from __future__ import annotations

from pathlib import Path

from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.model import RecurrentNetwork


def load_model(
    name_or_dir: str | Path, run: int, step: int, revision: str | None = None, token: str | None = None
) -> RecurrentNetwork:
    """Load the network of one snapshot, in evaluation mode.

    From a zoo on the Hub, only the index and one shard are downloaded.

    Args:
        name_or_dir: directory of a zoo, or OWNER/NAME of a dataset repository on the Hub.
        run: number of the run.
        step: number of updates done.
        revision: branch, tag or commit hash on the Hub; None is the main branch.
        token: Hub access token; None uses that of `hf auth login` or HF_TOKEN.

    Returns:
        A torch module that maps inputs [B, T, I] to logits [B, T, O]. Its recurrent part is `network.lstm` (`.gru`,
        `.rnn`), its readout `network.linear`.

    Raises:
        FormatError: if the directory or repository is not a zoo.
        UnknownNameError: for a run or step that the zoo does not have.
        IntegrityError: if a file is missing or damaged.
        HubError: if the Hub denies access, cannot be reached, or lacks the repository or revision.
        StorageError: if a downloaded file cannot be stored.

    Example:
        >>> import torch
        >>> from rnn_zoos import load_dataset, load_model
        >>> row = load_dataset("zoos/formal-languages", split="train")[-1]
        >>> network = load_model("zoos/formal-languages", run=row["run"], step=row["step"])
        >>> logits = network(torch.zeros(1, 7, 6))
    """
    zoo = open_zoo(name_or_dir, revision, token)
    return RecurrentNetwork(zoo.manifest.architecture, zoo.weights(zoo.row(run, step))).eval()
