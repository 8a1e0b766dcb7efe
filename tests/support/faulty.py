"""Ways to disturb a generation, and what has to hold afterwards. `tests/faults.sh` does it often, CI a few times."""

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
"""How often the faults at random moments are tried; 0 is a few, for CI."""

TALLY: dict[str, Counter[str]] = defaultdict(Counter)
"""What happened, for the summary: kind of fault -> what -> how often."""

# A few seconds of work for two processes, in shards that are finished one after the other.
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


def often(few: int, many: int = 50) -> int:
    """How often to try: `few` in CI; `many` of every 50 that the long run is asked for."""
    return few if TIMES == 0 else max(1, TIMES * many // 50)


def generate_command(preset: Path, out: Path, *options: str) -> list[str]:
    """The command that makes the zoo with two processes."""
    command = [sys.executable, "-m", "rnn_zoos", "generate", "formal-languages", "--preset", str(preset)]
    return [*command, "--out", str(out), "--workers", "2", *options]


def start(preset: Path, out: Path, *options: str, **how) -> subprocess.Popen:
    """Start it in a session of its own."""
    command = generate_command(preset, out, *options)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **how
    )


def errors_of(process: subprocess.Popen, seconds: float = 120) -> str:
    """Wait for its end, and return what it said on stderr; one that does not end in time is killed, and is an error."""
    try:
        return process.communicate(timeout=seconds)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        own = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return own + [other for child in own for other in descendants(child)]


def workers_of(pid: int) -> list[int]:
    """Its worker processes: without multiprocessing's own tracker."""
    return [child for child in descendants(pid) if "spawn_main" in command_line(child)]


def command_line(pid: int) -> str:
    """The command line of a process, "" if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid: int) -> bool:
    """Whether a process runs: a dead one that nobody has waited for does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds: float = 60):
    """Wait until a condition holds, and return what it gave; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not (held := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return held


def assert_nothing_runs(processes: list[int], seconds: float = 15) -> None:
    """Nothing may be left of a process that has ended."""
    wait_for(lambda: not any(map(alive, processes)), seconds)


def recorded(out: Path) -> dict[str, tuple[int, int]]:
    """The shards that count as finished: name -> inode and time of the weights' file, which change when it is made."""
    found = {}
    for record in (out / "unfinished").glob("*-*.json"):
        for path in (out / "shards").glob(f"{record.stem}-of-*"):
            status = path.stat()
            found[record.stem] = (status.st_ino, status.st_mtime_ns)
    return found


def resume_and_compare(kind: str, preset: Path, out: Path, expected: dict[str, bytes], *options: str) -> None:
    """Run the same command again: the zoo is the undisturbed one, and no finished shard was made twice."""
    before = recorded(out)
    subprocess.run(generate_command(preset, out, *options), check=True, capture_output=True)
    shards = {path.name.partition("-of-")[0]: path.stat() for path in (out / "shards").iterdir()}
    repeated = [name for name, status in before.items() if (shards[name].st_ino, shards[name].st_mtime_ns) != status]
    TALLY[kind]["finished shards kept"] += len(before) - len(repeated)
    TALLY[kind]["finished shards repeated"] += len(repeated)
    assert not repeated
    assert_undisturbed(out, expected)
    TALLY[kind]["survived"] += 1


def assert_undisturbed(out: Path, expected: dict[str, bytes]) -> None:
    """The same bytes as without a fault, nothing else, and all in order."""
    assert contents(out) == expected
    assert not list(out.rglob("*.tmp")) and check_zoo(out) == []


def moments(kind: str, number: int, longest: float) -> list[float]:
    """Random seconds at which to disturb; other ones in every long run, printed so that they can be had again."""
    seed = 0 if TIMES == 0 else int(os.environ.get("RNN_ZOOS_FAULT_SEED", time.time_ns()))
    print(f"{kind}: RNN_ZOOS_FAULT_SEED={seed}")
    generator = random.Random(f"{kind} {seed}")
    return [generator.uniform(0.2, 1) * longest for _ in range(number)]


def stop(process: subprocess.Popen, how: int) -> None:
    """Send a signal: Ctrl-C goes to the whole group, all else to the process."""
    (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
