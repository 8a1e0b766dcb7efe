"""Runs a notebook as Jupyter does, with IPython in this process, without a kernel and its sockets.

By hand, to store a notebook with the outputs of a zoo that is in the current folder:
    python tests/support/notebooks.py docs/examples/tour.ipynb docs/examples/tour.ipynb
"""

import io
import json
import os
import re
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

_KEPT = ("text/html", "image/png", "text/plain")  # the first that there is, as Jupyter shows only one
_INLINE = "module://matplotlib_inline.backend_inline"  # the figures of a cell become its outputs, as in Jupyter


def sources(notebook):
    """Return the source of every code cell."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook):
    """Return all outputs of all cells."""
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def run(notebook):
    """Run the cells from top to bottom, and store their outputs in the notebook. Raises what a cell raises."""
    from IPython.core.displayhook import CapturingDisplayHook
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.display_pub = CapturingDisplayPublisher()
    shell.display_trap.hook = CapturingDisplayHook(shell, shell.display_pub.outputs)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        shell.display_pub.outputs.clear()
        printed, warned = io.StringIO(), io.StringIO()
        with redirect_stdout(printed), redirect_stderr(warned):
            done = shell.run_cell("".join(cell["source"]), store_history=True)
        done.raise_error()
        streams = {"stdout": printed.getvalue(), "stderr": warned.getvalue()}
        cell["execution_count"] = number
        cell["outputs"] = [_stream(name, text) for name, text in streams.items() if text]
        cell["outputs"] += [_shown(output["data"]) for output in shell.display_pub.outputs]


def _stream(name, text):
    return {"name": name, "output_type": "stream", "text": text.splitlines(keepends=True)}


def _shown(data):
    """Return what a cell shows in its richest form, without addresses in memory, which differ from run to run."""
    kind = next(kind for kind in _KEPT if kind in data)
    content = re.sub(r" at 0x[0-9a-f]+", "", data[kind]).strip()
    return {"data": {kind: content.splitlines(keepends=True)}, "metadata": {}, "output_type": "display_data"}


def main(path, stored):
    """Run the notebook at `path` and write it to `stored`."""
    os.environ["MPLBACKEND"] = _INLINE
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder  # not the settings of whoever runs this
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
        run(notebook)
    Path(stored).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
