"""`check_zoo` finds damaged files, and contents that are wrong although their hashes are right."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
from conftest import ZOOS
from damage import edit_index, edit_manifest, edit_tensors, keep_rows

from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import read_manifest


@pytest.mark.parametrize("name", ZOOS)
def test_check_finds_a_flipped_bit_in_any_file_and_missing_and_additional_files(name, zoo, tmp_path):
    out = shutil.copytree(zoo(name), tmp_path / "zoo")
    for path in sorted(read_manifest(out).files):
        whole = (out / path).read_bytes()
        middle = len(whole) // 2
        (out / path).write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        findings = check_zoo(out)
        assert len(findings) == 1 and path in findings[0] and "sha256" in findings[0], path
        (out / path).unlink()
        assert [path in finding and "missing" in finding for finding in check_zoo(out)] == [True]
        (out / path).write_bytes(whole)
    (out / "shards" / "more.safetensors").write_bytes(b"")
    assert check_zoo(out) == ["shards/more.safetensors is not listed in zoo.json."]


@pytest.mark.parametrize(
    ("edit", "messages"),
    [
        (lambda rows: rows[0].update(accuracy=1.5), ["accuracy is 1.5; expected 0 to 1"]),
        (lambda rows: rows[0].update(loss=float("nan")), ["loss is nan"]),
        (lambda rows: rows[0].update(split="test"), ["split is 'test' in index/train.parquet"]),
        (
            lambda rows: rows[0].update(step=1),
            ["step 1: the zoo has no snapshots at this step", "with snapshots at the steps"],
        ),
        (lambda rows: rows[4].update(m_b=rows[4]["m_b"] + 1), ["m_b is"]),
        (lambda rows: rows[4].update(task="b+0 c+0 d+0"), ["task is 'b+0 c+0 d+0'; seed 13 assigns"]),
        (lambda rows: rows[4].update(weight_decay=-1.0), ["weight_decay is -1.0; seed 13 assigns"]),
        (lambda rows: rows[4].update(diverged=True), ["diverged is False and True"]),
        (lambda rows: [row.update(diverged=True) for row in rows], ["diverged is True"]),
        (lambda rows: rows[4].update(loss=-0.5), ["loss is -0.5; expected at least 0"]),
        (
            lambda rows: rows.pop(),
            ["with snapshots at the steps", "refers to the rows", "counts 12 rows of train"],
        ),
        (lambda rows: rows.reverse(), ["not sorted", "refers to the rows"]),
        (
            lambda rows: [row.update(task="b+0 c+0 d+0") for row in rows[:3]],
            ["task is 'b+0 c+0 d+0'; seed 13 assigns"],
        ),
        (lambda rows: rows[0].update(shard=1), ["in several shards", "refers to the rows"]),
        (lambda rows: [row.update(shard=9) for row in rows[-3:]], ["shard is 9; train has 2 shards"]),
        (lambda rows: [row.update(shard=-1) for row in rows[:3]], ["shard is -1; train has 2 shards"]),
        (lambda rows: [row.update(run=7) for row in rows[-3:]], ["to 7; expected numbers of the 7 runs"]),
    ],
)
def test_check_finds_wrong_values_in_an_index(zoo, tmp_path, edit, messages):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    edit_index(out, "train", edit)
    findings = "\n".join(check_zoo(out))
    assert all(message in findings for message in messages), findings


def remove_last_run(out, split):
    """Remove the last run of a split, which is the last of its shard, from every file; return its number."""
    manifest, last = read_manifest(out), read_index(out / "index" / f"{split}.parquet").to_pylist()[-1]
    left = keep_rows(out, split, lambda row: row["run"] != last["run"])
    edit_manifest(out / "zoo.json", lambda data: data["splits"][split].update(rows=left))
    removed = manifest.index_rows(split) - left
    for kind in ("shards", "rollouts"):
        path = manifest.paths(kind, split)[last["shard"]]
        edit_tensors(out, path, lambda tensors: tensors.update({name: t[:-removed] for name, t in tensors.items()}))
    return last["run"]


def test_check_finds_runs_that_are_missing_in_every_file(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    run = remove_last_run(out, "train")
    assert check_zoo(out) == [f"1 of 7 runs have no rows: {run}; expected that of step 0 of every run."]


def test_check_accepts_runs_that_diverged_before_their_first_snapshot(edited_zoo):
    wild = {"[0, 2, 11]": "[2, 11]", "{0: 0.01, 5: 0.003}": "{0: 1.0e+38}"}
    out = edited_zoo("formal-languages", wild)
    rows = sum(counts["rows"] for counts in read_manifest(out).splits.values())
    assert rows < 2 * 7 and check_zoo(out) == []


def test_check_finds_runs_that_are_counted_in_another_split(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    splits = {split: counts["runs"] for split, counts in read_manifest(out).splits.items()}
    other = next(split for split in ("ood", "test", "validation") if splits[split])
    changed = {"train": splits["train"] + 1, other: splits[other] - 1}
    edit_manifest(out / "zoo.json", lambda data: [data["splits"][name].update(runs=n) for name, n in changed.items()])
    assert sorted(check_zoo(out)) == sorted(
        f"zoo.json counts {changed[name]} runs of {name}; seed 13 assigns {splits[name]}." for name in changed
    )


def test_check_finds_a_task_that_leaks_between_splits(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    manifest = read_manifest(out)
    other = next(split for split in ("ood", "test", "validation") if manifest.splits[split]["rows"])
    train = read_index(out / "index" / "train.parquet").to_pylist()
    leaked = {key: train[0][key] for key in ("task", "m_b", "m_c", "m_d")}
    edit_index(out, other, lambda rows: [row.update(leaked) for row in rows])
    assert any("is in several splits" in finding for finding in check_zoo(out))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda t: t.update({"linear.bias": t["linear.bias"] * np.float32("nan")}),
            "linear.bias has values that are not",
        ),
        (lambda t: t.update({"linear.bias": t["linear.bias"].astype(np.float16)}), "linear.bias as float16"),
        (
            lambda t: t.update({"linear.bias": t["linear.bias"][:, :-1]}),
            r"linear.bias as float32 \(6, 5\); expected F32 \(6, 6\)",
        ),
        (lambda t: t.pop("linear.bias"), "contains the tensors"),
        (lambda t: t.update({n: a[:-1] for n, a in t.items()}), "has 5 rows"),
    ],
)
def test_check_finds_wrong_tensors_whose_hashes_are_right(zoo, tmp_path, edit, message):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    path = next(path for path in read_manifest(out).files if path.startswith("shards/train-00000"))
    edit_tensors(out, path, edit)
    findings = check_zoo(out)
    assert findings and any(re.search(message, finding) for finding in findings), findings


def test_check_finds_rollouts_that_refer_to_missing_digits(zoo, tmp_path):
    out = shutil.copytree(zoo("sequential-mnist"), tmp_path / "zoo")
    edit_tensors(out, "digits.safetensors", lambda t: t.update({name: tensor[1:] for name, tensor in t.items()}))
    assert any("refers to digits that are not in digits.safetensors" in finding for finding in check_zoo(out))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data.update(runs=100), "settings.runs is 7; expected 100"),
        (lambda data: data["settings"].update(cell="gru"), "the list of architectures is"),
        (lambda data: data["settings"].update(seed=1), "settings.seed is 1"),
        (lambda data: data.update(seed=1), "seed 1 assigns"),
        (lambda data: data["splits"]["train"].update(runs=99), "the sum of runs over all splits"),
        (lambda data: data["columns"]["accuracy"].update(dtype="float64"), "the column accuracy is"),
        (lambda data: data["rollouts"].pop("log_probs"), "rollouts is"),
        (lambda data: data["settings"].pop("evaluation"), "settings are incomplete or invalid"),
        (lambda data: data["settings"].update(evaluation={"strings": 1}), "settings are incomplete or invalid"),
    ],
)
def test_check_finds_a_manifest_that_contradicts_itself(zoo, tmp_path, edit, message):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    edit_manifest(out / "zoo.json", edit)
    assert any(message in finding for finding in check_zoo(out)), check_zoo(out)


def test_check_finds_digits_that_no_rollouts_need_and_rollouts_without_digits(zoo, tmp_path):
    without, needless = (
        shutil.copytree(zoo(name), tmp_path / name) for name in ("sequential-mnist", "formal-languages")
    )
    shutil.copy(without / "digits.safetensors", needless)
    about = read_manifest(without)
    entry = dataclasses.asdict(about.files["digits.safetensors"])
    edit_manifest(needless / "zoo.json", lambda data: data.update(digits=dict(about.digits)))
    edit_manifest(needless / "zoo.json", lambda data: data["files"].update({"digits.safetensors": entry}))
    (without / "digits.safetensors").unlink()
    edit_manifest(without / "zoo.json", lambda data: data.update(digits=None))
    edit_manifest(without / "zoo.json", lambda data: data["files"].pop("digits.safetensors"))
    assert check_zoo(without) == ["zoo.json: digits is None; expected the origin of its digits."]
    (finding,) = check_zoo(needless)
    assert finding.endswith("; expected none: its rollouts refer to no digits.")


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("formal-languages", lambda t: t["sequences"].__setitem__((0, 0, 5), 200), "unknown symbols"),
        ("formal-languages", lambda t: t["sequences"].__setitem__((0, 0, 0), 1), "do not start with BOS"),
        ("formal-languages", lambda t: t["log_probs"].__setitem__((0, 0, 0, 0), 0.5), "above zero"),
        ("sequential-mnist", lambda t: t["labels"].__setitem__((0, 0), 99), "above 9"),
        ("sequential-mnist", lambda t: t["labels"].__iadd__(t["labels"] < 9), "labels differ from those of the digits"),
    ],
)
def test_check_finds_impossible_rollouts(zoo, tmp_path, name, edit, message):
    out = shutil.copytree(zoo(name), tmp_path / "zoo")
    path = next(path for path in read_manifest(out).files if path.startswith("rollouts/train-00000"))
    edit_tensors(out, path, edit)
    assert any(message in finding for finding in check_zoo(out)), check_zoo(out)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("images"), "contains the tensors"),
        (lambda t: t.update(images=t["images"][:, :27]), "expected U8"),
        (lambda t: t.update(numbers=t["numbers"][::-1]), "numbers are not in ascending order"),
    ],
)
def test_check_finds_wrong_digits(zoo, tmp_path, edit, message):
    out = shutil.copytree(zoo("sequential-mnist"), tmp_path / "zoo")
    edit_tensors(out, "digits.safetensors", edit)
    assert any(message in finding for finding in check_zoo(out)), check_zoo(out)
