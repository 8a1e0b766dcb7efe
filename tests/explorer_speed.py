"""Measures the explorer's page in Chromium: time until the first picture, until a network runs, networks per second.

Example: python tests/explorer_speed.py zoos/formal-languages --repeats 5 --json explorer.json
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).with_name("support")))  # pytest does it for tests: see pyproject.toml

from browser import Browser, chromium

from rnn_zoos.cli.explorer_page import make_page
from rnn_zoos.loaders.explorer.server import ExplorerServer
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.machine import describe_machine

LOOK = """
const done = arguments[arguments.length - 1], field = document.getElementById("run-0"), started = performance.now();
const observer = new MutationObserver(() => { observer.disconnect(); done(performance.now() - started); });
observer.observe(document.getElementById("live-0"), {childList: true});
field.value = arguments[0];
field.dispatchEvent(new Event("change"));
"""
RUN = """
const done = arguments[arguments.length - 1];
window.addEventListener("measured", (event) => done(event.detail), {once: true});
const script = document.createElement("script");
script.type = "module";
script.textContent = `
import { readEntry, Dataset } from "explorer/dataset";
import { Network } from "explorer/network";
import { Weights } from "explorer/weights";
const data = new Dataset(await readEntry("zoo")), inside = await readEntry("networks");
const weights = new Weights(data, inside), rows = inside.head.rows, size = data.architecture(rows[0]).input_size;
const inputs = new Float32Array(41 * size), started = performance.now();
for (const row of rows) new Network(data.architecture(row), await weights.tensors(row)).run(inputs, 41);
const detail = (1000 * rows.length) / (performance.now() - started);
window.dispatchEvent(new CustomEvent("measured", { detail }));`;
document.head.append(script);
"""


def main() -> None:
    """Measure a page that is served beside its zoo; print medians, and write all values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path, help="directory of a zoo")
    parser.add_argument("--repeats", type=int, default=5, help="times that Chromium is started (default: 5)")
    parser.add_argument("--json", type=Path, help="file for the values")
    options = parser.parse_args()
    opened = open_zoo(options.zoo)
    page = make_page(opened, None, zoo_is_served=True)
    measured: dict[str, list[float]] = {
        "first picture, ms": [],
        "ready, ms": [],
        "network live, ms": [],
        "networks/s": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        page.write(Path(folder, "page"))
        with ExplorerServer(Path(folder, "page"), options.zoo, port=0) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            for number in range(options.repeats):
                with chromium(str(Path(folder, f"profile-{number}"))) as browser:
                    measure(browser, server.url, opened.manifest.runs, measured)
            server.shutdown()
    results = {
        "machine": describe_machine(),
        "page": {"snapshots": page.rows, "data, bytes": page.data_bytes, "bytes": page.bytes},
        "measured": {name: [round(value, 1) for value in values] for name, values in measured.items()},
    }
    for name, values in results["measured"].items():
        print(f"{name}: median {statistics.median(values):.0f}, {min(values):.0f} to {max(values):.0f}")
    print(f"{page.rows:,} snapshots, {page.data_bytes / 1e6:.1f} MB of data")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(browser: Browser, url: str, runs: int, measured: dict[str, list[float]]) -> None:
    """Measure once in a new browser, whose cache is empty."""
    browser.open(url)
    marks = dict(browser.run("return performance.getEntriesByType('mark').map((own) => [own.name, own.startTime])"))
    measured["first picture, ms"].append(marks["first picture"])
    measured["ready, ms"].append(marks["ready"])
    for part in (0.2, 0.5, 0.9):
        measured["network live, ms"].append(browser.driver.execute_async_script(LOOK, str(int(runs * part))))
    measured["networks/s"].append(browser.driver.execute_async_script(RUN))


if __name__ == "__main__":
    main()
