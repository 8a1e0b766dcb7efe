"""WorkerPool runs every task once, replaces and reports lost workers, passes errors on and leaves no process behind."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from faults import wait_for

from rnn_zoos.errors import WorkerError
from rnn_zoos.processes import WorkerPool


def square(base, task, worker):
    worker.report(task)
    return base + task * task


def drain(pool, tasks):
    return {task: future.result() for task, future in pool.map_unordered(tasks)}


def test_every_task_runs_once_and_its_units_are_counted():
    done = []
    with WorkerPool(3, square, 100, advance=lambda task, units: done.append(units)) as pool:
        assert drain(pool, range(11)) == {task: 100 + task * task for task in range(11)}
        assert pool.num_idle == 3 and pool.num_busy == 0
    assert sum(done) == sum(range(11))
    assert not multiprocessing.active_children()


def fragile(folder, task, worker):
    """Fail on the first attempt: task 1 dies, task 2 hangs, task 3 has no memory. Task 4 always dies, task 5 raises."""
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


def test_lost_tasks_are_started_again_and_reported(tmp_path):
    lines, units = [], []
    options = {"silence_limit": 10, "notify": lines.append, "advance": lambda task, new: units.append(new)}
    with WorkerPool(2, fragile, tmp_path, **options) as pool:
        assert drain(pool, range(4)) == {task: task for task in range(4)}
    again = "; the task is started again (attempt 2 of 3)."
    lost, hung = "was killed or ran out of memory", "sent no heartbeat for 10 seconds"
    expected = [f"The worker on {task} {reason}{again}" for task, reason in [(1, lost), (2, hung), (3, lost)]]
    assert sorted(lines) == expected
    assert sum(units) == 40, "lost work must not be counted twice"


def test_a_task_that_loses_every_worker_raises_and_the_other_workers_are_stopped(tmp_path):
    lost = pytest.raises(WorkerError, match=r"on 4 was killed or ran out of memory, 3 times.*--workers than 2")
    with lost, WorkerPool(2, fragile, tmp_path, silence_limit=1000) as pool:
        drain(pool, [2, 4])
    wait_for(lambda: not multiprocessing.active_children(), 10)


def test_a_script_without_a_guard_is_told_about_it(tmp_path):
    """Its workers import it again, and end there."""
    script = tmp_path / "script.py"
    script.write_text(
        "from rnn_zoos.processes import WorkerPool\n"
        "if __name__ == '__mp_main__':\n"
        "    raise SystemExit(3)  # whatever went wrong, the worker has not begun\n"
        "with WorkerPool(1, print) as pool:\n"
        "    list(pool.map_unordered([1]))\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    expected = 'WorkerError: The worker on 1 ended while it was starting, 3 times.* if __name__ == "__main__": every'
    assert re.search(expected, ended.stderr)


def test_an_exception_in_the_work_function_is_passed_on(tmp_path):
    with pytest.raises(ValueError, match="five"), WorkerPool(1, fragile, tmp_path) as pool:
        drain(pool, [5])


def test_a_process_that_cannot_be_started_is_reported(monkeypatch):
    def refused(*arguments):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.popen_spawn_posix.Popen.__init__", refused)
    message = "could not be started: Resource temporarily unavailable.*fewer --workers"
    with pytest.raises(WorkerError, match=message), WorkerPool(1, print) as pool:
        pool.submit("a task")


def test_a_worker_that_died_while_idle_is_replaced():
    with WorkerPool(1, square, 0) as pool:
        assert drain(pool, [3]) == {3: 9}
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        assert drain(pool, [4]) == {4: 16}


def test_a_worker_that_hangs_while_idle_blocks_neither_the_pool_nor_its_exit():
    with WorkerPool(2, square, 0) as pool:
        assert drain(pool, [3, 4]) == {3: 9, 4: 16}
        left = multiprocessing.active_children()
        os.kill(left[0].pid, signal.SIGSTOP)
    assert len(left) == 2
    wait_for(lambda: not multiprocessing.active_children(), 10)
