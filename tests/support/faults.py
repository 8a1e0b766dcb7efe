"""Fault injection: starts a generation, disturbs it, and checks the result after it was resumed.

CI disturbs a few times, `tests/faults.sh` many times.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from conftest import contents

from rnn_zoos.format.check import check_zoo

TIMES = int(os.environ.get("RNN_ZOOS_FAULTS", "0"))
"""How often faults at random times are injected by `tests/faults.sh`; 0 in CI, which injects a few."""

TALLY: dict[str, Counter[str]] = defaultdict(Counter)
"""Counts for the summary: kind of fault -> what happened -> how often."""

# Takes two processes a few seconds; the shards are finished one after another.
PRESET = """\
formal-languages:
  seed: 13
  runs: 24
  runs_per_shard: 2
  cell: lstm
  num_layers: 2
  hidden_size: 7
  batch_size: 3
  snapshots: [0, 2, 1500]
  learning_rate: {0: 0.01, 1000: 0.003}
  weight_decay: [0.0001]
  evaluation: {strings: 13, rollouts: 4}
"""


def repetitions(few: int, many: int = 50) -> int:
    """Return how often to inject a fault: `few` times in CI, else `many` times for each 50 of TIMES."""
    return few if TIMES == 0 else max(1, TIMES * many // 50)


def generate_command(preset: Path, out: Path, *options: str) -> list[str]:
    """Return the command that generates the zoo with two worker processes."""
    command = [sys.executable, "-m", "rnn_zoos", "generate", "formal-languages", "--preset", str(preset)]
    return [*command, "--out", str(out), "--workers", "2", *options]


def start_generation(preset: Path, out: Path, *options: str, **arguments) -> subprocess.Popen:
    """Start `generate_command` in a new session; `arguments` go to Popen."""
    command = generate_command(preset, out, *options)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **arguments
    )


def stderr_of(process: subprocess.Popen, seconds: float = 120) -> str:
    """Wait until a process ends and return its stderr. After `seconds` it is killed, and TimeoutExpired is raised."""
    try:
        return process.communicate(timeout=seconds)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return children + [pid for child in children for pid in descendants(child)]


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a process; multiprocessing's resource tracker is not one."""
    return [child for child in descendants(pid) if "spawn_main" in command_line(child)]


def command_line(pid: int) -> str:
    """Return the command line of a process, or "" if the process does not exist."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds: float = 60):
    """Wait until `condition()` is true and return its value; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.05)
    return value


def assert_nothing_runs(processes: list[int], seconds: float = 15) -> None:
    """Assert that all processes end within `seconds`."""
    wait_for(lambda: not any(map(alive, processes)), seconds)


def finished_shards(out: Path) -> dict[str, tuple[int, int]]:
    """Return the finished shards: name -> inode and time of its weights file, which change if it is written again."""
    found = {}
    for record in (out / "unfinished").glob("*-*.json"):
        for path in (out / "shards").glob(f"{record.stem}-of-*"):
            status = path.stat()
            found[record.stem] = (status.st_ino, status.st_mtime_ns)
    return found


def resume_and_compare(kind: str, preset: Path, out: Path, expected: dict[str, bytes], *options: str) -> None:
    """Run the same command again; assert that the zoo is as expected and no finished shard was trained again."""
    before = finished_shards(out)
    subprocess.run(generate_command(preset, out, *options), check=True, capture_output=True)
    shards = {path.name.partition("-of-")[0]: path.stat() for path in (out / "shards").iterdir()}
    repeated = [name for name, status in before.items() if (shards[name].st_ino, shards[name].st_mtime_ns) != status]
    TALLY[kind]["finished shards kept"] += len(before) - len(repeated)
    TALLY[kind]["finished shards repeated"] += len(repeated)
    assert not repeated
    assert_same_zoo(out, expected)
    TALLY[kind]["survived"] += 1


def assert_same_zoo(out: Path, expected: dict[str, bytes]) -> None:
    """Assert that a zoo has the bytes of an undisturbed one, no temporary files, and conforms to format 1."""
    assert contents(out) == expected
    assert not list(out.rglob("*.tmp")) and check_zoo(out) == []


def random_delays(kind: str, number: int, longest: float) -> list[float]:
    """Return random delays in seconds after which to inject a fault.

    They are the same every time in CI. For `tests/faults.sh` they differ; the printed seed reproduces them.
    """
    seed = 0 if TIMES == 0 else int(os.environ.get("RNN_ZOOS_FAULT_SEED", time.time_ns()))
    print(f"{kind}: RNN_ZOOS_FAULT_SEED={seed}")
    generator = random.Random(f"{kind} {seed}")
    return [generator.uniform(0.2, 1) * longest for _ in range(number)]


def send_signal(process: subprocess.Popen, number: int) -> None:
    """Send a signal to a process; SIGINT goes to its whole group, as Ctrl-C does."""
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
