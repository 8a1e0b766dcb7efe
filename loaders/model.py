"""One network of a zoo."""

from __future__ import annotations

from pathlib import Path

from rnn_zoos.loaders.zoo import LocalZoo
from rnn_zoos.model import RecurrentNetwork


def load_model(name_or_dir: str | Path, run: int, step: int) -> RecurrentNetwork:
    """Return the network of a run after `step` updates, in evaluation mode.

    It is a torch module: `network(inputs)` maps [B, T, I] to logits [B, T, O]; the recurrent part is `network.lstm`
    (`.gru`, `.rnn`), the readout `network.linear`. Raises FormatError for a directory that is no zoo, UnknownNameError
    for a run or step that it does not hold, IntegrityError for damaged files.

        network = load_model("zoos/formal-languages", run=17, step=1500)
    """
    zoo = LocalZoo(name_or_dir)
    return RecurrentNetwork(zoo.manifest.architecture, zoo.weights(zoo.row(run, step))).eval()
