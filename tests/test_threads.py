"""Work in threads: results in order, the error of the first item, and no more items than needed after it."""

import threading
import time

import pytest

from rnn_zoos import threads
from rnn_zoos.threads import map_in_threads


def test_results_are_in_the_order_of_the_items_whatever_ends_first():
    def late(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    assert map_in_threads(late, range(23), "squares", lambda number: number, threads=4) == [n * n for n in range(23)]
    assert map_in_threads(late, [], "squares", lambda number: number) == []


def test_several_items_are_worked_on_at_the_same_time():
    barrier = threading.Barrier(3, timeout=20)
    assert len(map_in_threads(lambda item: barrier.wait(), range(3), "meeting", lambda item: 0, threads=3)) == 3


def test_the_error_is_that_of_the_first_item_and_the_rest_is_not_started():
    started = []

    def fail(number: int) -> None:
        started.append(number)
        if number >= 5:
            time.sleep(0.05 if number == 5 else 0)  # later items fail earlier
            raise ValueError(str(number))

    with pytest.raises(ValueError, match="^5$"):
        map_in_threads(fail, range(1000), "failing", lambda number: 0, threads=2)
    assert len(started) < 30


def test_progress_is_shown_for_large_amounts_only(monkeypatch):
    shown = []

    class Bar:
        def __enter__(self):
            return shown.append

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(threads, "progress_bar", lambda title: Bar())
    map_in_threads(lambda size: None, [1, 2, 3], "few", lambda size: size)
    assert shown == []
    map_in_threads(lambda size: None, [1 << 29, 1 << 28, 1 << 28], "many", lambda size: size)
    assert shown == [0.5, 0.75, 1.0]
