"""Scenarios that test_hub.py runs in separate processes, because clients read HF_ENDPOINT when they are imported.

`python hub_client.py NAME JSON` calls the function NAME with the arguments JSON, and prints its result as JSON.
"""

import hashlib
import io
import json
import os
import pickle
import sys
import urllib.parse
import urllib.request
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import datasets
import torch
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from rnn_zoos import Weights, load_dataset, load_model, stack_weights
from rnn_zoos.cli import app as cli
from rnn_zoos.errors import ZooError
from rnn_zoos.loaders import downloads, hub
from rnn_zoos.loaders.source import map_file
from rnn_zoos.loaders.zoo import open_zoo

downloads._FIRST_WAIT = 0.01
UNREACHABLE = "http://127.0.0.1:9"


def step(name):
    """Report to the loopback Hub which step of the scenario begins."""
    urllib.request.urlopen(f"{os.environ['HF_ENDPOINT']}/_step/{urllib.parse.quote(name)}").read()


def digest(rows):
    """Return a hash of every label and every bit of every tensor."""
    hashed = hashlib.sha256()
    for row in rows:
        for name, value in sorted({**row, **row["weights"], **row.get("rollouts", {})}.items()):
            if name not in ("weights", "rollouts"):
                hashed.update(name.encode())
                hashed.update(value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())
    return hashed.hexdigest()


def digests(name, **arguments):
    """Return split -> digest of a zoo."""
    return {split: digest(rows) for split, rows in load_dataset(name, **arguments).items()}


def error(call, *arguments, **named):
    """Return the type and message of the ZooError that a call raises."""
    try:
        call(*arguments, **named)
    except ZooError as raised:
        return f"{type(raised).__name__}: {raised}"
    return "no error"


def command(*arguments):
    """Run `rnn-zoos` in this process; return its exit status, stdout and stderr."""
    sys.argv, out, err = ["rnn-zoos", *arguments], io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code or 0, out.getvalue(), err.getvalue()


def same_rows(kept):
    """Load everything in every way, and write a pickled dataset to the file `kept` for another process."""
    found = {name: digests(f"owner/{name}", rollouts=True) for name in ("languages", "digits")}
    train = load_dataset("owner/languages", split="train")
    Path(kept).write_bytes(pickle.dumps(train))
    stream = load_dataset("owner/languages", split="train", streaming=True)
    nodes = [[(row["run"], row["step"]) for row in split_dataset_by_node(stream, rank, 2)] for rank in (0, 1)]
    batches = list(DataLoader(train, batch_size=len(train), num_workers=2))
    expected = stack_weights(train[:]["weights"])
    network, row = load_model("owner/languages", train[-1]["run"], train[-1]["step"]), train[-1]
    return {
        **found,
        "pickled": Path(kept).stat().st_size,
        "stream": digest(stream) == digest(train),
        "nodes": sorted(nodes[0] + nodes[1]) == [(row["run"], row["step"]) for row in train] and all(nodes),
        "workers": all(torch.equal(batches[0]["weights"][name], tensor) for name, tensor in expected.items()),
        "model": all(torch.equal(network.state_dict()[name], value) for name, value in row["weights"].items()),
    }


def pushed(directory):
    """Push rows by `datasets` itself, and load them from the Hub."""
    before = load_dataset(directory, rollouts=True)
    before.push_to_hub("owner/pushed")
    after = datasets.load_dataset("owner/pushed")
    streamed = datasets.load_dataset("owner/pushed", split="train", streaming=True)
    places = after["train"].cast_column("weights", Weights(decode=False))
    return {
        "before": {split: digest(rows) for split, rows in before.items()},
        "after": {split: digest(rows) for split, rows in after.items()},
        "streamed": digest(streamed),
        "zoos": list({row["zoo"] for row in places["weights"]}),
    }


def without_network(kept, commit):
    """Load the same from the cache, without hashing any file again."""

    def fail(path, *_):
        raise AssertionError(f"{path} was hashed again")

    hub.check_bytes = fail
    return {
        "languages": digests("owner/languages", rollouts=True),
        "commit": digests("owner/languages", revision=commit, rollouts=True),
        "pickled": digest(pickle.loads(Path(kept).read_bytes())),  # noqa: S301 - written by `same_rows`
        "train": digest(load_dataset("owner/languages", split="train")),
        "errors": [
            error(load_dataset, name, revision=revision)
            for name, revision in (("owner/other", None), ("owner/languages", "v2"))
            if os.environ.get("HF_HUB_OFFLINE")  # without it and without a network, the client retries for 23 s
        ],
    }


def commits(commit, steps):
    """Open the main branch and then a commit, after each of some steps; return what was found and the warnings."""
    found = {}
    for name in steps:
        if os.environ["HF_ENDPOINT"] != UNREACHABLE:
            step(name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            opened = open_zoo("owner/languages").source.commit
            messages = [f"{warning.filename}: {warning.message}" for warning in caught]
            open_zoo("hf://datasets/owner/languages", revision=commit)
        found[name] = opened, messages, len(caught)
    return found


def only_what_is_needed(run):
    """Load parts of zoos, one after another, starting with an empty cache."""
    step("info")
    found = {"info": command("info", "owner/languages")}
    step("one split")
    load_dataset("owner/languages", split="ood")
    step("one run")
    load_dataset("owner/languages", split="train", where=[("run", "==", run)], steps=[0, 11])
    step("stream")
    stream = iter(load_dataset("owner/languages", split="train", streaming=True))
    step("first row of a stream")
    next(stream)
    step("rest of a stream")
    list(stream)
    step("model")
    load_model("owner/digits", 0, 8)
    step("rollouts")
    load_dataset("owner/digits", where=[("run", "==", 0)], steps=8, rollouts=True)
    step("sample")
    found["sample"] = command("sample", "owner/languages", "--run", "2", "--revision", "v1")
    return found


def versions(commit):
    """Open a branch, which then moves, and open it again."""
    before = load_dataset("owner/moving", split="train")
    first = digest(before)
    step("move")
    map_file.cache_clear()
    return {
        "first": first,
        "held": digest(before),
        "pickled": digest(pickle.loads(pickle.dumps(before))),  # noqa: S301 - written in this line
        "tag": digest(load_dataset("owner/moving", split="train", revision="v1")),
        "commit": digest(load_dataset("owner/moving", split="train", revision=commit)),
        "moved": digest(load_dataset("owner/moving", split="train")),
    }


def faults():
    """Load while requests fail temporarily or permanently, and with damaged files in the cache."""
    step("passing")
    found = {"passing": digests("owner/languages", rollouts=True)}
    step("staying")
    found["staying"] = [error(load_dataset, "owner/digits", split=split) for split in ("train", "ood", "validation")]
    step("cleared")
    zoo = open_zoo("owner/languages")
    shards = [zoo.source.path(path, zoo.manifest.files[path]) for path in zoo.manifest.paths("shards", "train")]
    shards[0].resolve().write_bytes(bytes([1]) + shards[0].read_bytes()[1:])
    shards[1].resolve().write_bytes(shards[1].read_bytes()[:-1])
    (shards[0].parents[1] / "zoo.json").resolve().write_bytes(b"{}")
    map_file.cache_clear()
    found["healed"] = digests("owner/languages", rollouts=True)
    shards[0].resolve().write_bytes(bytes([1]) + shards[0].read_bytes()[1:])
    step("nothing is given")
    found["not healed"] = error(load_dataset, "owner/languages", split="train")
    step("cleared again")
    hub.cached_assets_path = lambda *_: Path("/dev/null")  # nothing can be written there
    found["not remembered"] = digests("owner/languages", rollouts=True)
    return found


def refusals():
    """Load what does not exist, is not accessible, or is not a zoo."""
    scenarios = {
        "missing": {},
        "languages": {"revision": "v9"},
        "empty": {},
        "hostile": {},
        "lacking": {"split": "train"},
    }
    found = {name: error(load_dataset, f"owner/{name}", **arguments) for name, arguments in scenarios.items()}
    found["gated"] = error(load_dataset, "owner/gated")
    found["private"] = [error(load_dataset, "owner/private", token=token) for token in (None, "hf_bad_1", "hf bad_2\n")]
    rows = load_dataset("owner/private", split="train", token="hf_good", streaming=True)
    found["good token"] = digest(rows)
    found["pickled token"] = b"hf_good" in pickle.dumps(rows) or "hf_good" in repr(open_zoo("owner/private").source)
    os.environ["HF_TOKEN"] = "hf_bad_3"
    found["command"] = command("info", "owner/secret")
    return found


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
