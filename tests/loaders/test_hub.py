"""Loading zoos by their Hub name, from a local server that imitates the Hub and injects faults."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from hub_client import digest, digests
from mini_hub import Fault, MiniHub

from rnn_zoos import load_dataset
from rnn_zoos.format.files import write_json
from rnn_zoos.format.manifest import manifest_hash, read_manifest
from rnn_zoos.loaders.zoo import open_zoo

pytestmark = pytest.mark.slow  # every scenario imports torch in its own process

CLIENT = ROOT / "tests" / "support" / "hub_client.py"


@pytest.fixture
def hub(zoo, tmp_path):
    """Return a local Hub with both tiny zoos."""
    with MiniHub(tmp_path / "hub") as hub:
        hub.commits = {
            name: publish(hub, f"owner/{name}", zoo(family), tag="v1")
            for name, family in (("languages", "formal-languages"), ("digits", "sequential-mnist"))
        }
        yield hub


def contents(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def publish(hub, name, directory, tag=None, **access):
    """Store a zoo on the local Hub directly, without a client; return the commit."""
    hub.create(name, **access)
    return hub.commit(name, contents(directory), tag=tag)


def client(hub, home, scenario, /, environment=None, **arguments):
    """Run a scenario of hub_client.py against the Hub in its own process; return its findings and all its output."""
    done = subprocess.run(
        [sys.executable, CLIENT, scenario, json.dumps(arguments)],
        capture_output=True,
        text=True,
        env=hub.environment(home, **(environment or {})),
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_rows_equal_those_of_the_directory_and_stay_available_offline(hub, zoo, tmp_path):
    languages, digits = zoo("formal-languages"), zoo("sequential-mnist")
    kept = str(tmp_path / "train.pickle")
    found, _ = client(hub, tmp_path / "home", "same_rows", kept=kept)
    expected = digests(languages, rollouts=True)
    assert found["languages"] == expected and found["digits"] == digests(digits, rollouts=True)
    assert found["pickled"] < 20_000
    assert found["stream"] and found["nodes"] and found["workers"] and found["model"]
    num_requests, commit = len(hub.log), hub.commits["languages"]
    unreachable = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    for environment in ({"HF_HUB_OFFLINE": "1"}, unreachable):
        again, _ = client(hub, tmp_path / "home", "without_network", environment, kept=kept, commit=commit)
        assert again["languages"] == again["commit"] == expected
        assert again["pickled"] == again["train"] == digest(load_dataset(languages, split="train"))
        assert environment == unreachable or all("HF_HUB_OFFLINE forbids" in message for message in again["errors"])
    assert len(hub.log) == num_requests


@pytest.mark.parametrize("name", ["formal-languages", "sequential-mnist"])
def test_rows_that_datasets_pushes_to_the_hub_carry_their_tensors(name, hub, zoo, tmp_path):
    token = {"HF_TOKEN": "hf_good"}
    found, _ = client(hub, tmp_path / "home", "pushed", token, directory=str(zoo(name)))
    assert found["before"] == found["after"] == digests(zoo(name), rollouts=True)
    assert found["streamed"] == found["before"]["train"]
    assert found["zoos"] == [None], "nothing on the Hub names a directory of this machine"


def test_only_needed_files_are_downloaded(hub, zoo, tmp_path):
    directory = zoo("formal-languages")
    manifest, train = read_manifest(directory), open_zoo(directory).index("train").to_pylist()
    row, places = train[-1], {row["shard"] for row in train}
    found, _ = client(hub, tmp_path / "home", "only_what_is_needed", run=row["run"])
    shards = manifest.paths("shards", "train")
    fetched = hub.fetched()
    assert len(places) > 1 and fetched["info"] == sorted(
        ["zoo.json", *(f"index/{split}.parquet" for split, counts in manifest.splits.items() if counts["rows"])]
    )
    assert fetched["one split"] == sorted(manifest.paths("shards", "ood"))
    assert fetched["one run"] == [shards[row["shard"]]]
    assert fetched["stream"] == []
    assert fetched["first row of a stream"] == [shards[0]]
    assert fetched["rest of a stream"] == sorted(set(shards[1:]) - {shards[row["shard"]]})
    digits = open_zoo(zoo("sequential-mnist"))
    place = digits.row(0, 8)
    number = (
        f"{place['split']}-{place['shard']:05d}-of-{digits.manifest.splits[place['split']]['shards']:05d}.safetensors"
    )
    assert [path for path in fetched["model"] if not path.startswith("index/")] == [f"shards/{number}", "zoo.json"]
    assert fetched["rollouts"] == sorted(["digits.safetensors", f"rollouts/{number}"])
    assert found["info"][0] == found["sample"][0] == 0
    assert "owner/languages" in found["info"][1] and "run 2, step 11" in found["sample"][1]


def test_an_opened_zoo_stays_at_its_commit_when_the_branch_moves(hub, zoo, tmp_path):
    first, second = zoo("formal-languages"), zoo("formal-languages", "gru")
    commit = publish(hub, "owner/moving", first, tag="v1")
    hub.steps["move"] = lambda: hub.commit("owner/moving", contents(second))
    found, _ = client(hub, tmp_path / "home", "versions", commit=commit)
    expected = digest(load_dataset(first, split="train"))
    assert {found[name] for name in ("first", "held", "pickled", "tag", "commit")} == {expected}
    assert found["moved"] == digest(load_dataset(second, split="train")) != expected


def test_a_cached_branch_that_may_be_old_comes_with_a_warning(hub, zoo, tmp_path):
    first, home = hub.commits["languages"], tmp_path / "home"

    def requests(step):
        """Return the requests between a step and the next one."""
        paths = [request.path for request in hub.log]
        after = hub.log[paths.index(f"/_step/{step}") + 1 :]
        number = next((n for n, request in enumerate(after) if request.path.startswith("/_step/")), len(after))
        return [request.method for request in after[:number]]

    hub.steps["busy"] = lambda: hub.faults.append(Fault("HEAD .*/zoo.json", status=503))
    newer = contents(zoo("formal-languages", "gru"))
    hub.steps["moved"] = lambda: hub.commits.update(moved=hub.commit("owner/languages", newer))
    found, _ = client(hub, home, "commits", commit=first, steps=["new", "cached", "busy", "moved", "again"])
    moved = hub.commits["moved"]
    assert {name: commit for name, (commit, *_) in found.items()} == {
        **dict.fromkeys(("new", "cached", "busy"), first),
        **dict.fromkeys(("moved", "again"), moved),
    }
    assert {name: requests(name) for name in found} == {
        "new": ["HEAD", "GET"],
        "cached": ["HEAD"],
        "busy": ["HEAD"],
        "moved": ["HEAD", "HEAD", "GET"],
        "again": ["HEAD"],
    }
    assert [len(messages) for _, messages, _ in found.values()] == [0, 0, 1, 0, 0]
    (warning,) = found["busy"][1]
    assert re.search(
        f"loaders/hub.py: http.* does not say which commit main of owner/languages is now .status 503.. Using commit "
        f"{first} from the cache, downloaded 0 minutes ago; there may be a newer one.*give it as revision",
        warning,
    )
    found, _ = client(hub, home, "commits", {"HF_ENDPOINT": "http://127.0.0.1:9"}, commit=first, steps=["unreachable"])
    commit, (warning,), in_all = found["unreachable"]
    assert commit == moved and in_all == 1 and "(ConnectError)" in warning and moved in warning
    found, _ = client(hub, home, "commits", {"HF_HUB_OFFLINE": "1"}, commit=first, steps=["offline"])
    assert found["offline"] == [moved, [], 0]


def test_transient_faults_are_retried_and_permanent_ones_reported(hub, zoo, tmp_path):
    languages, digits = zoo("formal-languages"), zoo("sequential-mnist")

    def body(directory, path):
        return f"GET /_cdn/{read_manifest(directory).files[path].sha256}"

    paths = [path for path in sorted(read_manifest(languages).files) if path.endswith(".safetensors")]
    passing = [
        Fault("", times=2),
        Fault("", status=503),
        Fault("", status=429, headers={"Retry-After": "0"}),
        Fault("", "cut", after=1000),
        Fault("", "rst", after=1000, times=2),
        Fault("", "corrupt"),
        Fault("", "lost"),
    ]
    for fault, path in zip(passing, paths, strict=False):
        fault.match = body(languages, path)
    passing.append(Fault("HEAD .*/zoo.json", status=503))
    damaged = {split: read_manifest(digits).paths("shards", split)[0] for split in ("train", "ood", "validation")}
    kinds = {"train": "status", "ood": "corrupt", "validation": "rst"}
    staying = [Fault(body(digits, path), kinds[split], after=100, times=99) for split, path in damaged.items()]
    everything = [Fault("resolve|_cdn", times=999)]
    hub.steps |= {"passing": lambda: hub.faults.extend(passing), "staying": lambda: hub.faults.extend(staying)}
    hub.steps |= {"cleared": hub.faults.clear, "cleared again": hub.faults.clear}
    hub.steps["nothing is given"] = lambda: hub.faults.extend(everything)
    found, _ = client(hub, tmp_path / "home", "faults")
    expected = digests(languages, rollouts=True)
    assert found["passing"] == found["healed"] == found["not remembered"] == expected
    assert not any(fault.times for fault in passing)
    status, corrupt, reset = found["staying"]
    assert status.startswith("HubError") and f"{damaged['train']} of owner/digits" in status
    assert "answered with status 500, 5 times. Run the same command again later" in status
    assert (
        corrupt.startswith("IntegrityError")
        and damaged["ood"] in corrupt
        and "downloaded twice from owner/dig" in corrupt
    )
    assert reset.startswith("HubError") and "ReadError" in reset and "5 times" in reset and "network" in reset
    assert found["not healed"].startswith("IntegrityError") and "Downloading it again failed" in found["not healed"]


def test_missing_or_inaccessible_repositories_are_reported_without_printing_a_token(hub, zoo, tmp_path):
    languages = zoo("formal-languages")
    publish(hub, "owner/private", languages, private=True)
    publish(hub, "owner/secret", languages, private=True)
    publish(hub, "owner/gated", languages, gated=True)
    hub.create("owner/empty")
    publish(hub, "owner/hostile", hostile(languages, tmp_path / "hostile"))
    publish(hub, "owner/lacking", languages)
    repo = hub.repos["datasets", "owner/lacking"]
    lost = read_manifest(languages).paths("shards", "train")[0]
    del repo.commits[repo.refs["main"]].files[lost]
    found, output = client(hub, tmp_path / "home", "refusals")
    assert not any(token in output for token in ("hf_good", "hf_bad", "bad_2")), output
    for name, kind, message in (
        ("missing", "HubError", "has no dataset of that name, or it is private.*Check the spelling.*hf auth login"),
        ("languages", "HubError", "owner/languages has no revision 'v9'. Expected a branch, a tag"),
        ("empty", "FormatError", "owner/empty .revision main. is not a zoo: it has no zoo.json"),
        ("hostile", "FormatError", "the file '../escaped' is not inside the zoo"),
        ("lacking", "IntegrityError", f"{lost} is missing from owner/lacking"),
        ("gated", "HubError", "is gated: accept its terms at"),
    ):
        assert re.match(f"{kind}: .*{message}", found[name]), found[name]
    none, bad, awkward = found["private"]
    assert "it is private" in none and "refuses the token" in bad and "characters that no token has" in awkward
    assert found["good token"] == digest(load_dataset(languages, split="train")) and not found["pickled token"]
    status, out, err = found["command"]
    assert status == 1 and out == "" and err.startswith("Error: ") and "refuses the token" in err


def hostile(directory, out):
    """Make a copy of a zoo whose manifest has a valid hash but names a file outside the zoo."""
    shutil.copytree(directory, out)
    data = json.loads((out / "zoo.json").read_text())
    del data["sha256"]
    data["files"]["../escaped"] = {"sha256": "0" * 64, "bytes": 1, "rows": 1}
    write_json(out / "zoo.json", {**data, "sha256": manifest_hash(data)})
    return out
