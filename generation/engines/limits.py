"""What the numbers of an engine may be."""

from __future__ import annotations

from rnn_zoos.errors import WorkerError


def check_numbers(workers: int | None, runs_at_once: int | None, silence_limit: float) -> None:
    """Raise WorkerError for a number of workers, of runs at once or of seconds with which nothing could be made."""
    if workers is not None and workers < 1:
        raise WorkerError(f"The number of workers is {workers}; expected at least 1, or None: one per core.")
    if runs_at_once is not None and runs_at_once < 1:
        raise WorkerError(f"The runs at once are {runs_at_once}; expected at least 1, or None: what suits the device.")
    if not silence_limit > 0:
        raise WorkerError(f"Workers may be silent for {silence_limit:g} seconds; expected a number above 0.")
