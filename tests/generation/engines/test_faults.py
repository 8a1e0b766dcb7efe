"""The real command is disturbed from outside: it gives the bytes of an undisturbed run, or reports why not."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import contents
from faults import (
    PRESET,
    TALLY,
    assert_nothing_runs,
    assert_same_zoo,
    descendants,
    finished_shards,
    generate_command,
    random_delays,
    repetitions,
    resume_and_compare,
    send_signal,
    start_generation,
    stderr_of,
    wait_for,
    workers_of,
)

from rnn_zoos.format.check import check_zoo
from rnn_zoos.generation.engines import local
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.writing.directory import repair
from rnn_zoos.loaders.zoo import open_zoo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "faults.yaml"
    path.write_text(PRESET)
    return path


@pytest.fixture(scope="module")
def undisturbed(preset, tmp_path_factory) -> tuple[dict[str, bytes], float]:
    """The bytes of the zoo, and the seconds that it takes."""
    out = tmp_path_factory.mktemp("undisturbed") / "zoo"
    started = time.monotonic()
    subprocess.run(generate_command(preset, out), check=True, capture_output=True)
    return contents(out), time.monotonic() - started


def test_kill_9_of_the_driver_loses_nothing(preset, undisturbed, tmp_path):
    expected, seconds = undisturbed
    for number, moment in enumerate(random_delays("kill -9 of the driver", repetitions(1), seconds)):
        out = tmp_path / str(number)
        process = start_generation(preset, out)
        time.sleep(moment)
        family = descendants(process.pid)
        process.kill()
        process.communicate()
        TALLY["kill -9 of the driver"]["tried"] += 1
        assert_nothing_runs(family)
        if out.is_dir():
            repair(out)
            assert not list(out.rglob("*.tmp"))
        resume_and_compare("kill -9 of the driver", preset, out, expected)


def test_the_driver_replaces_workers_that_are_killed(preset, undisturbed, tmp_path):
    """Kills one worker, or both; at the end the command is run once more, to see that nothing is left to do."""
    expected, seconds = undisturbed
    kind = "kill -9 of a worker"
    for number, moment in enumerate(random_delays(kind, repetitions(1), seconds)):
        out = tmp_path / str(number)
        process = start_generation(preset, out)
        time.sleep(moment)
        found = workers_of(process.pid)
        family = descendants(process.pid)
        TALLY[kind]["tried"] += 1
        for worker in random.Random(number).sample(found, min(len(found), 1 + number % 2)):
            os.kill(worker, signal.SIGKILL)
            TALLY[kind]["workers killed"] += 1
        errors = stderr_of(process)
        assert process.returncode == 0, errors
        TALLY[kind]["shards begun again"] += errors.count("the task is started again")
        assert_nothing_runs(family)
        assert_same_zoo(out, expected)
        resume_and_compare(kind, preset, out, expected)


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_at_random_moments_lose_nothing(how, preset, undisturbed, tmp_path):
    expected, seconds = undisturbed
    kind = how.name
    for number, moment in enumerate(random_delays(kind, repetitions(1, 10), seconds)):
        out = tmp_path / str(number)
        process = start_generation(preset, out)
        time.sleep(moment)
        family, done = descendants(process.pid), (out / "zoo.json").is_file()
        send_signal(process, how)
        errors = stderr_of(process, 60)
        TALLY[kind]["tried"] += 1
        # -how: before the command had started, or after it had ended.
        assert process.returncode in (130, -how, *([0] if done else [])), errors
        if process.returncode == 130:
            TALLY[kind]["said how to go on"] += errors.rstrip().endswith("run the same command again to resume.")
            assert "Traceback" not in errors
        assert_nothing_runs(family)
        resume_and_compare(kind, preset, out, expected)


@pytest.fixture
def disk(tmp_path):
    """A small file system, if this user may mount one: a function from mount options to its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def mount(options: str) -> Path:
        remount = "remount," if mounted else ""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", remount + options, "tmpfs", str(folder)], capture_output=True
        )
        if done.returncode:
            pytest.skip("this user may not mount a small disk: " + done.stderr.decode().strip())
        mounted.append(options)
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_at_random_points_is_reported_and_loses_nothing(preset, undisturbed, disk):
    expected, _ = undisturbed
    kind, size = "full disk", sum(map(len, expected.values()))
    for number, fraction in enumerate(random_delays(kind, repetitions(1, 20), 0.95)):
        folder = disk(f"size={max(4096, int(size * fraction)) // 4096 * 4096}")
        out = folder / str(number)
        done = subprocess.run(generate_command(preset, out), capture_output=True, text=True)
        TALLY[kind]["tried"] += 1
        assert done.returncode == 1, done.stderr
        assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
        assert not list(out.rglob("*.tmp"))
        disk("size=64m")
        resume_and_compare(kind, preset, out, expected)
        subprocess.run(["rm", "-rf", str(out)], check=True)


def test_a_read_only_output_directory_is_reported(preset, disk, undisturbed):
    folder = disk("size=64m")
    disk("ro,size=64m")
    done = subprocess.run(generate_command(preset, folder / "zoo"), capture_output=True, text=True)
    assert done.returncode == 1 and "Read-only file system. Choose another --out directory." in done.stderr
    TALLY["read-only output"].update(tried=1, said=1)


def test_a_worker_that_hangs_is_killed_and_its_shard_is_started_again(preset, undisturbed, tmp_path):
    """The worker is stopped, as by a debugger: it exists, but does nothing."""
    expected, seconds = undisturbed
    kind = "hanging worker"
    for number, moment in enumerate(random_delays(kind, repetitions(1, 5), seconds)):
        process = start_generation(preset, tmp_path / str(number), "--timeout", "10")
        wait_for(lambda process=process: workers_of(process.pid))
        time.sleep(moment / 2)
        family = descendants(process.pid)
        for worker in workers_of(process.pid)[:1]:
            os.kill(worker, signal.SIGSTOP)
            TALLY[kind]["tried"] += 1
        errors = stderr_of(process)
        assert process.returncode == 0, errors
        TALLY[kind]["said"] += "sent no heartbeat for 10 seconds; the task is started again (attempt 2 of 3)" in errors
        assert_nothing_runs(family)
        assert_same_zoo(tmp_path / str(number), expected)
        TALLY[kind]["survived"] += 1


@pytest.mark.long
def test_no_worker_is_considered_hung_because_the_machine_was_suspended(preset, undisturbed, tmp_path):
    """All processes are stopped for longer than the time-out of a worker."""
    process = start_generation(preset, tmp_path / "zoo", "--timeout", "10")
    wait_for(lambda: len(workers_of(process.pid)) == 2)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(14)
    os.killpg(process.pid, signal.SIGCONT)
    errors = stderr_of(process)
    assert process.returncode == 0 and "started again" not in errors, errors
    assert_same_zoo(tmp_path / "zoo", undisturbed[0])
    TALLY["sleeping machine"].update(tried=1, survived=1)


def test_of_two_generators_at_once_one_is_refused(preset, undisturbed, tmp_path):
    expected, _ = undisturbed
    kind = "two generators"
    for number in range(repetitions(1, 5)):
        out = tmp_path / str(number)
        processes = [start_generation(preset, out), start_generation(preset, out)]
        errors = [stderr_of(process) for process in processes]
        codes = sorted(process.returncode for process in processes)
        TALLY[kind]["tried"] += 1
        assert codes == [0, 1], errors
        assert sum("is being written by another process" in text for text in errors) == 1
        assert_same_zoo(out, expected)
        TALLY[kind]["survived"] += 1


JUMPING = """
import random, time
_true, _jump = time.time, random.Random(0)
time.time = lambda: _true() + _jump.choice((-1e6, 0, 3600, 1e6))
time.time_ns = lambda: int(time.time() * 1e9)
"""


@pytest.mark.long
def test_a_clock_that_jumps_disturbs_nothing(preset, undisturbed, tmp_path):
    """It jumps by hours and weeks, forwards and backwards, in all processes."""
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    process = start_generation(
        preset, tmp_path / "zoo", "--timeout", "30", env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    errors = stderr_of(process)
    assert process.returncode == 0 and "started again" not in errors, errors
    assert_same_zoo(tmp_path / "zoo", undisturbed[0])
    TALLY["jumping clock"].update(tried=1, survived=1)


@pytest.mark.long
def test_diverged_runs_are_kept_across_a_kill(preset, tmp_path):
    wild = tmp_path / "wild.yaml"
    wild.write_text(PRESET.replace("{0: 0.01, 1000: 0.003}", "{0: 1.0e+30}"))
    subprocess.run(generate_command(wild, tmp_path / "whole"), check=True, capture_output=True)
    assert check_zoo(tmp_path / "whole") == []
    rows = open_zoo(tmp_path / "whole").index().to_pylist()
    assert all(row["diverged"] for row in rows) and {row["step"] for row in rows} == {0}
    process = start_generation(wild, tmp_path / "killed")
    wait_for(lambda: finished_shards(tmp_path / "killed"))
    process.kill()
    process.communicate()
    TALLY["divergence"]["tried"] += 1
    resume_and_compare("divergence", wild, tmp_path / "killed", contents(tmp_path / "whole"))


_make_job = local.make_job


def starve(plan, directory, job, worker):
    """Make a shard as `make_job` does, but the first worker to call this has hardly any memory left."""
    import resource

    flag = directory.parent / "starved"
    if not flag.exists():
        flag.touch()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), used + (1 << 20)))
        bytearray(64 << 20)
    _make_job(plan, directory, job, worker)


def test_a_worker_without_memory_is_replaced(preset, undisturbed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(local, "make_job", starve)
    generate(make_plan("formal-languages", str(preset), backend="native"), tmp_path / "zoo", LocalEngine(2))
    assert "ran out of memory; the task is started again (attempt 2 of 3)" in capsys.readouterr().err
    assert_same_zoo(tmp_path / "zoo", undisturbed[0])
    TALLY["memory pressure"].update(tried=1, survived=1)
