"""What `rnn-zoos speed loading` measures on: a zoo, and the same weights as others ship them, in a scratch folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from rnn_zoos.errors import StorageError
from rnn_zoos.generation.publish import export_parquet
from rnn_zoos.generation.random_zoo import write_random_zoo
from rnn_zoos.loaders.speed import Places, measure_loading, write_copies
from rnn_zoos.machine import describe_machine
from rnn_zoos.workers import available_cores


def measure(directory: Path | None, runs: int, batch: int, repeats: int, scratch: Path | None) -> dict[str, Any]:
    """Return the machine and what `measure_loading` finds on a zoo; without one, on `runs` runs of random weights.

    Copies, and the zoo, go to a temporary folder in `scratch` (None: the system's) and are removed at the end.
    Raises StorageError if there is no such folder or no room.
    """
    if scratch is not None and not scratch.is_dir():
        raise StorageError(f"{scratch} is not a directory. Give --scratch one with room for copies of the weights.")
    with (
        tempfile.TemporaryDirectory(prefix="rnn-zoos-", dir=scratch) as temporary,
        Console(stderr=True).status("starting") as status,
    ):
        places = Places(directory or Path(temporary, "zoo"), Path(temporary, "copies"))
        if directory is None:
            status.update(f"writing a zoo of {runs:,} runs")
            write_random_zoo(places.zoo, runs)
        status.update("writing copies of its weights")
        write_copies(places, export_parquet)
        status.update("reading")
        machine = {"cores": available_cores(), **describe_machine()}
        return {"machine": machine, "batch": batch, "repeats": repeats, **measure_loading(places, batch, repeats)}
