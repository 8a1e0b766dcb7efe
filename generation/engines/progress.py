"""The progress of a generation: a bar on a terminal, otherwise a plain line every ten seconds."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

_PLAIN_INTERVAL = 10.0  # seconds between lines when stderr is not a terminal


class Progress:
    """Counts updates and runs, and shows them on stderr. Use it as a context manager.

    Args:
        runs: the number of runs to be written in all.
        finished_runs: how many of them were written before.
        updates: the number of updates that this call has to do.
    """

    def __init__(self, runs: int, finished_runs: int, updates: int) -> None:
        self.runs, self.runs_done = runs, finished_runs
        self.updates, self.updates_done = updates, 0
        # The clock starts with the first report, because workers take seconds to start.
        self._started: float | None = None
        self._updates_before_start = 0
        self._last_line = time.monotonic()
        console = Console(file=sys.stderr)
        self._bar = RichProgress(
            TextColumn("{task.fields[runs]} runs"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("left {task.fields[status]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._status = ""
        self._task = self._bar.add_task("", total=updates, runs=f"{finished_runs}/{runs}", rate="starting", status="")

    def __enter__(self) -> Progress:
        self._bar.start()
        self._print_plain(force=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
        self._print_plain(force=True)

    def advance(self, updates: int) -> None:
        """Count updates; a negative number takes lost ones back."""
        if self._started is None and updates:
            self._started, self._updates_before_start = time.monotonic(), updates
        self.updates_done += updates
        self._show()

    def finished(self, runs: int) -> None:
        """Count runs whose shard has been written."""
        self.runs_done += runs
        self._show()

    def set_status(self, text: str) -> None:
        """Show a text after the numbers, such as the nodes of a cluster."""
        self._status = text
        self._show()

    def print_line(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def rate(self) -> float:
        """Updates per second of all workers together; 0 as long as it is unknown."""
        if self._started is None:
            return 0
        done = max(0, self.updates_done - self._updates_before_start)  # those of a lost worker are taken back
        return done / max(time.monotonic() - self._started, 1e-9)

    def _show(self) -> None:
        runs = f"{self.runs_done}/{self.runs}"
        rate = f"{self.rate:,.0f} updates/s" if self.rate else "starting"
        self._bar.update(self._task, completed=self.updates_done, runs=runs, rate=rate, status=self._status)
        self._print_plain()

    def _print_plain(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if self._bar.disable and (force or now - self._last_line >= _PLAIN_INTERVAL):
            self._last_line = now
            line = f"{self.runs_done}/{self.runs} runs written"
            if self.rate:
                fraction = self.updates_done / self.updates
                left = timedelta(seconds=round((self.updates - self.updates_done) / self.rate))
                line += f", {fraction:.0%} of updates, {self.rate:,.0f} updates/s, {left} left"
            print(line + (f" ({self._status})" if self._status else ""), file=sys.stderr, flush=True)
