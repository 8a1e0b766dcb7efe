"""Work on many files in threads: hashing, comparing and copying release Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from typing import TypeVar

from rnn_zoos.processes import available_cores
from rnn_zoos.progress import progress_bar

Item = TypeVar("Item")
Result = TypeVar("Result")

_LARGE = 1 << 30  # bytes from which on progress is shown
_AHEAD = 4  # items per thread that are started before the result of the first is used


def map_in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    title: str,
    size: Callable[[Item], int],
    threads: int | None = None,
) -> list[Result]:
    """Return the results of a function for some items, in their order.

    If calls fail, the exception is that of the first of these items in order, as in a loop; a few items after it may
    have been worked on. For more than 1 GB, a progress bar is shown on a terminal.

    Args:
        function: Called in threads, for several items at the same time.
        items: The items.
        title: What is done, for the progress bar.
        size: Item -> number of bytes that are read for it.
        threads: Number of threads; None for one per core.
    """
    threads = threads or available_cores()
    total, done, results = sum(map(size, items)), 0, list[Result]()
    pool, waiting, unstarted = ThreadPoolExecutor(threads), deque[Future[Result]](), iter(items)
    try:
        with progress_bar(title) if total >= _LARGE else nullcontext(_ignore) as progress:
            for item in items:
                ahead = islice(unstarted, threads * _AHEAD - len(waiting))
                waiting.extend(pool.submit(function, later) for later in ahead)
                results.append(waiting.popleft().result())
                done += size(item)
                progress(done / max(total, 1))
    finally:
        pool.shutdown(cancel_futures=True)
    return results


def _ignore(fraction: float) -> None:
    """Show no progress."""
