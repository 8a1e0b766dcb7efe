"""Progress of a generation: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

_PLAIN_EVERY = 10.0  # seconds between lines when the output is no terminal


class Progress:
    """Counts updates and runs, on stderr. Use it as a context manager.

    `runs` and `runs_before` are of the whole zoo; `updates` are those that this call has to do.
    """

    def __init__(self, runs: int, runs_before: int, updates: int) -> None:
        self.runs, self.runs_done = runs, runs_before
        self.updates, self.updates_done = updates, 0
        # The clock runs from the first report: workers take seconds to start.
        self._started: float | None = None
        self._before_start = 0
        self._last_line = time.monotonic()
        console = Console(file=sys.stderr)
        self._bar = RichProgress(
            TextColumn("{task.fields[runs]} runs"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("left {task.fields[text]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._text = ""
        self._task = self._bar.add_task("", total=updates, runs=f"{runs_before}/{runs}", rate="starting", text="")

    def __enter__(self) -> Progress:
        self._bar.start()
        self._plain(force=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
        self._plain(force=True)

    def advance(self, updates: int) -> None:
        """Count updates done."""
        if self._started is None and updates:
            self._started, self._before_start = time.monotonic(), updates
        self.updates_done += updates
        self._show()

    def finished(self, runs: int) -> None:
        """Count runs whose shard is written."""
        self.runs_done += runs
        self._show()

    def describe(self, text: str) -> None:
        """Show a text beside the numbers: what works at it."""
        self._text = text
        self._show()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def rate(self) -> float:
        """Updates per second, all workers together; 0 while that is not known."""
        if self._started is None:
            return 0
        return (self.updates_done - self._before_start) / max(time.monotonic() - self._started, 1e-9)

    def _show(self) -> None:
        runs = f"{self.runs_done}/{self.runs}"
        rate = f"{self.rate:,.0f} updates/s" if self.rate else "starting"
        self._bar.update(self._task, completed=self.updates_done, runs=runs, rate=rate, text=self._text)
        self._plain()

    def _plain(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if self._bar.disable and (force or now - self._last_line >= _PLAIN_EVERY):
            self._last_line = now
            line = f"{self.runs_done}/{self.runs} runs written"
            if self.rate:
                share = self.updates_done / self.updates
                left = timedelta(seconds=round((self.updates - self.updates_done) / self.rate))
                line += f", {share:.0%} of updates, {self.rate:,.0f} updates/s, {left} left"
            print(line + (f" ({self._text})" if self._text else ""), file=sys.stderr, flush=True)
