"""A pool of processes: every task once, losses mended and said, errors passed on, nothing left."""

import multiprocessing
import os
import signal
import time

import pytest
from faulty import wait_for

from rnn_zoos.errors import WorkerError
from rnn_zoos.processes import WorkerPool


def square(base, task, worker):
    worker.report(task)
    return base + task * task


def drain(pool, tasks):
    return {task: future.result() for task, future in pool.work_through(tasks)}


def test_every_task_is_done_once_and_its_work_counted():
    done = []
    with WorkerPool(3, square, 100, advance=lambda task, units: done.append(units)) as pool:
        assert drain(pool, range(11)) == {task: 100 + task * task for task in range(11)}
        assert pool.idle == 3 and pool.busy == 0
    assert sum(done) == sum(range(11))
    assert not multiprocessing.active_children()


def fragile(folder, task, worker):
    """Task 1 dies at its first try, task 2 hangs, task 3 has no memory; task 4 always dies; task 5 is wrong."""
    first = not (folder / str(task)).exists()
    (folder / str(task)).touch()
    worker.report(10)
    if (task == 1 and first) or task == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 2 and first:
        time.sleep(1000)
    if task == 3 and first:
        raise MemoryError
    if task == 5:
        raise ValueError("five")
    return task


def test_what_is_lost_is_done_again_and_said(tmp_path):
    said, units = [], []
    options = {"silence_limit": 10, "say": said.append, "advance": lambda task, new: units.append(new)}
    with WorkerPool(2, fragile, tmp_path, **options) as pool:
        assert drain(pool, range(4)) == {task: task for task in range(4)}
    again = "; the work is begun again (2 of 3)."
    gone, hung = "died or was out of memory", "gave no sign of life for 10 seconds"
    assert sorted(said) == [f"The worker process at {at} {how}{again}" for at, how in [(1, gone), (2, hung), (3, gone)]]
    assert sum(units) == 40, "what was lost is not counted twice"


def test_a_task_that_loses_every_worker_is_an_error_and_others_are_stopped(tmp_path):
    lost = pytest.raises(WorkerError, match=r"at 4 died or was out of memory, 3 times.*--workers than 2")
    with lost, WorkerPool(2, fragile, tmp_path, silence_limit=1000) as pool:
        drain(pool, [2, 4])
    wait_for(lambda: not multiprocessing.active_children(), 10)


def test_an_error_of_the_work_is_passed_on(tmp_path):
    with pytest.raises(ValueError, match="five"), WorkerPool(1, fragile, tmp_path) as pool:
        drain(pool, [5])


def test_a_worker_that_died_while_idle_is_replaced():
    said = []
    with WorkerPool(1, square, 0, say=said.append) as pool:
        assert drain(pool, [3]) == {3: 9}
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        assert drain(pool, [4]) == {4: 16}


def test_a_worker_that_hangs_while_idle_holds_up_nobody():
    with WorkerPool(2, square, 0) as pool:
        assert drain(pool, [3, 4]) == {3: 9, 4: 16}
        left = multiprocessing.active_children()
        os.kill(left[0].pid, signal.SIGSTOP)
    assert len(left) == 2
    wait_for(lambda: not multiprocessing.active_children(), 10)
