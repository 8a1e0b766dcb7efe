"""Soak test: one process generates a zoo repeatedly while its workers are killed; its memory and handles are recorded.

Example: python tests/soak.py --minutes 60 --json soak.json --figure soak.png
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).with_name("support")))  # pytest does it for tests: see pyproject.toml

from conftest import contents
from faults import PRESET, workers_of

from rnn_zoos.errors import WorkerError
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.plan import make_plan

_KILL_INTERVAL = (4.0, 15.0)  # seconds, shortest and longest
_SAMPLE_INTERVAL = 10.0  # seconds


def main() -> None:
    """Run the soak test; write its samples after every generation, and draw them at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="duration (default: 60)")
    parser.add_argument("--json", type=Path, required=True, help="file for the samples")
    parser.add_argument("--figure", type=Path, help="file for the figure (.png)")
    options = parser.parse_args()
    soak = Soak(options.minutes * 60)
    with tempfile.TemporaryDirectory() as folder:
        soak.run(Path(folder), options.json)
    if options.figure:
        draw(json.loads(options.json.read_text()), options.figure)


class Soak:
    """The soak test and its counts and samples."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.started = seconds, time.monotonic()
        self.zoos = self.kills = self.given_up = 0
        self.samples: list[dict[str, float]] = []
        self.random = random.Random(0)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def run(self, folder: Path, results: Path) -> None:
        """Generate the same zoo until the time is over, and compare its bytes with those of the first."""
        preset = folder / "soak.yaml"
        preset.write_text(PRESET)
        plan = make_plan("formal-languages", str(preset), backend="native")
        generate(plan, folder / "first", LocalEngine(2))
        expected = contents(folder / "first")
        for loop in (self.kill_workers, self.take_samples):
            threading.Thread(target=loop, daemon=True).start()
        while self.elapsed < self.seconds:
            try:
                generate(plan, folder / "zoo", LocalEngine(2))
            except WorkerError:  # a shard has lost three workers: resume, as a user would
                self.given_up += 1
                continue
            assert contents(folder / "zoo") == expected, "the zoo has different bytes"
            shutil.rmtree(folder / "zoo")
            self.zoos += 1
            counts = {"zoos": self.zoos, "kills": self.kills, "given up and resumed": self.given_up}
            results.write_text(json.dumps({**counts, "samples": self.samples}) + "\n")

    def kill_workers(self) -> None:
        """Kill a random worker at random times, forever."""
        while True:
            time.sleep(self.random.uniform(*_KILL_INTERVAL))
            if workers := workers_of(os.getpid()):
                os.kill(self.random.choice(workers), signal.SIGKILL)
                self.kills += 1

    def take_samples(self) -> None:
        """Record memory, open handles and threads of this process, forever."""
        while True:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.samples.append(
                {
                    "minutes": self.elapsed / 60,
                    "MB": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
                    "handles": len(os.listdir("/proc/self/fd")),
                    "threads": threading.active_count(),
                }
            )
            time.sleep(_SAMPLE_INTERVAL)


def draw(measured: dict, path: Path) -> None:
    """Draw memory and handles against time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    memory, handles = figure.subplots(2, 1, sharex=True)
    minutes = [sample["minutes"] for sample in measured["samples"]]
    memory.plot(minutes, [sample["MB"] for sample in measured["samples"]])
    memory.set_ylabel("memory, MB")
    handles.plot(minutes, [sample["handles"] for sample in measured["samples"]], label="open handles")
    handles.plot(minutes, [sample["threads"] for sample in measured["samples"]], label="threads")
    for axes in (memory, handles):
        axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
        axes.grid(alpha=0.3)
    handles.legend(loc="center right", bbox_to_anchor=(1, 0.38), ncols=2)
    handles.set_xlabel("minutes")
    memory.set_title(f"One process, {measured['zoos']} generations, {measured['kills']} workers killed")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
