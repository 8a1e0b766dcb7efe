"""The paper's .npy layout: bit-exact round trips, known defects repaired and counted, everything else rejected."""

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ZOOS, generate_in_process
from damage import edit_index, edit_manifest

from rnn_zoos import load_dataset, load_model
from rnn_zoos.cli import app as cli
from rnn_zoos.errors import FormatError, IntegrityError, StorageError, UnknownNameError
from rnn_zoos.families.language_strings import BOS, EOS, judge
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import CARD, read_manifest
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.publishing.export import export_parquet
from rnn_zoos.loaders.paper.exporting import export_paper
from rnn_zoos.loaders.paper.importing import findings, import_paper
from rnn_zoos.loaders.views.figures import draw_zoo
from rnn_zoos.loaders.views.info import zoo_info
from rnn_zoos.loaders.views.sample import sample_network
from rnn_zoos.loaders.zoo import open_zoo


@pytest.fixture(scope="module")
def exported(zoo, tmp_path_factory):
    """Return a folder with the tiny zoos in the paper's layout, by name; read-only."""
    folder = tmp_path_factory.mktemp("paper")
    for name in ZOOS:
        export_paper(zoo(name), folder / name)
    return folder


@pytest.fixture
def source(exported, tmp_path):
    """Return a function that copies an export as the paper's code writes it: args.json lacks our entries."""

    def copy(name: str, to: str = "source") -> Path:
        made = shutil.copytree(exported / name, tmp_path / to)
        arguments = json.loads((made / "args.json").read_text())
        sizes = {key: arguments[key] for key in ("rnn_hidden_size", "rnn_num_layers")}
        (made / "args.json").write_text(json.dumps({"seed": -1, "use_cuda": 1, **sizes}))
        return made

    return copy


def change(directory: Path, name: str, edit) -> None:
    array = np.load(directory / f"{name}.npy")
    edited = edit(array)
    np.save(directory / f"{name}.npy", array if edited is None else edited)


@pytest.mark.parametrize("name", ZOOS)
def test_export_and_import_restore_a_zoo_bit_for_bit(name, zoo, exported, tmp_path):
    manifest = import_paper(exported / name, tmp_path / "back")
    assert check_zoo(tmp_path / "back") == [] and findings(manifest) == []
    original, restored = load_dataset(zoo(name), rollouts=True), load_dataset(tmp_path / "back", rollouts=True)
    assert original.keys() == restored.keys()
    same = {"run", "step", "split", "task", "weight_decay", "loss", "angle", "m_b", "m_c", "m_d", "eval_loss"}
    for split in original:
        assert len(original[split]) == len(restored[split])
        for before, after in zip(original[split], restored[split], strict=True):
            assert all(before[key] == after[key] for key in same & before.keys())
            assert after["original_step"] == after["step"] and after["original_run"] == after["run"]
            for key in {"sequences", "log_probs", "logits"} & before["rollouts"].keys():
                assert torch.equal(before["rollouts"][key], after["rollouts"][key])
            for key, tensor in before["weights"].items():
                assert torch.equal(tensor, after["weights"][key])
    export_paper(tmp_path / "back", tmp_path / "again")
    for path in sorted((exported / name).glob("*.npy")):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", ZOOS)
def test_exported_files_have_the_dtypes_and_shapes_of_the_papers_code(name, zoo, exported):
    rows = open_zoo(zoo(name)).index().sort_by([("run", "ascending"), ("step", "ascending")]).to_pylist()
    arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in (exported / name).glob("*.npy")}
    kinds = {key: (str(array.dtype), array.shape) for key, array in arrays.items()}
    if name == "formal-languages":
        assert kinds == {
            "parameters": ("float32", (21, 916)),
            "sequences": ("int16", (21, 4, 42)),
            "logits": ("float16", (21, 4, 41, 6)),
            "tasks": ("int64", (21, 4)),
            "num_step_correct": ("int64", (21, 3)),
        }
        assert arrays["tasks"].tolist() == [[0, row["m_b"], row["m_c"], row["m_d"]] for row in rows]
    else:
        assert kinds == {
            "parameters": ("float32", (15, 1000)),
            "sequences": ("float16", (15, 6, 50, 16)),
            "logits": ("float16", (15, 6, 50, 10)),
            "tasks": ("float64", (15, 1)),
            "num_step": ("int64", (15, 2)),
            "accuracy_losses": ("float64", (15, 4)),
        }
        labels = ("accuracy", "train_loss", "eval_loss", "weight_decay")
        assert arrays["accuracy_losses"].tolist() == [[row[label] for label in labels] for row in rows]
    steps = arrays.get("num_step", arrays.get("num_step_correct"))
    assert steps[:, :2].tolist() == [[row["run"], row["step"]] for row in rows]
    for place in (0, 7):  # `parameters` has the order of `torch.nn.Module.parameters`
        network = load_model(zoo(name), rows[place]["run"], rows[place]["step"])
        flat = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        assert torch.equal(flat, torch.from_numpy(arrays["parameters"][place].copy()))


@pytest.mark.parametrize("name", ZOOS)
def test_all_readers_work_on_an_imported_zoo(name, source, tmp_path):
    """The paper's step s is after s+1 updates."""
    import_paper(source(name), tmp_path / "zoo")
    assert check_zoo(tmp_path / "zoo") == []
    steps = read_manifest(tmp_path / "zoo").snapshots
    assert steps == ([1, 3, 12] if name == "formal-languages" else [1, 4, 9])
    row = load_dataset(tmp_path / "zoo", split="train", steps=steps[-1])[0]
    assert row["original_step"] == steps[-1] - 1 and "test_accuracy" not in row
    assert load_model(tmp_path / "zoo", row["run"], steps[-1])
    assert zoo_info(open_zoo(tmp_path / "zoo"))["zoo"]["imported"] == "paper"
    exported = export_parquet(tmp_path / "zoo", tmp_path / "parquet")
    card = (tmp_path / "parquet" / CARD).read_text()
    assert "rnn-zoos import" in card
    licenses = yaml.safe_load(card.split("---")[1])["license"]
    assert licenses == ["unknown"] + ["cc-by-sa-3.0"] * (name == "sequential-mnist"), (
        "the authors' data, and the pixels of MNIST"
    )
    assert len(exported) > 4 and not (tmp_path / "parquet" / "preset.yaml").exists(), "it has no preset"
    assert len(sample_network(tmp_path / "zoo", row["run"], None, 3)[1]) == 3
    assert all(path.is_file() for path in draw_zoo(tmp_path / "zoo", tmp_path / "figures"))


def test_labels_are_measured_on_the_stored_strings_and_the_authors_accuracy_is_kept(source, tmp_path):
    directory = source("formal-languages")
    change(directory, "num_step_correct", lambda a: a.__setitem__((slice(None), 2), np.arange(len(a)) * 40))
    import_paper(directory, tmp_path / "zoo")
    for split in load_dataset(tmp_path / "zoo", rollouts=True).values():
        for row in split:
            verdict = judge(row["rollouts"]["sequences"], (row["m_b"], row["m_c"], row["m_d"]))
            assert row["finished"] == verdict.finished.float().mean() and row["accuracy"] <= row["count_accuracy"]
            assert row["original_accuracy"] == np.float32(row["original_row"] * 40 / 1000)


def test_strings_that_lost_their_bos_are_repaired_and_counted(source, tmp_path, monkeypatch, capsys):
    directory = source("formal-languages")
    change(directory, "sequences", lambda a: a.__setitem__(slice(1, None, 5), np.minimum(a[1::5], BOS)))  # no EOS
    whole = (directory / "sequences.npy").read_bytes()
    unfinished = (np.load(directory / "sequences.npy") != EOS).all(axis=-1)
    change(directory, "sequences", lambda a: a.__setitem__((*np.nonzero(unfinished), 0), EOS))
    monkeypatch.setattr(sys, "argv", ["rnn-zoos", "import", str(directory), "--out", str(tmp_path / "zoo")])
    with pytest.raises(SystemExit):
        cli.main()
    out = capsys.readouterr().out
    assert unfinished.sum() == 4 * 4 and "16 sequences of networks that did not finish began with EOS" in out
    assert 16 in read_manifest(tmp_path / "zoo").imported["counts"].values()
    assert check_zoo(tmp_path / "zoo") == []
    export_paper(tmp_path / "zoo", tmp_path / "again")
    assert (tmp_path / "again" / "sequences.npy").read_bytes() == whole


@pytest.mark.parametrize("folders", [True, False])
def test_runs_of_parts_that_all_count_from_0_are_kept_apart(folders, source, tmp_path):
    """Parts as folders, or concatenated into one folder, which is how the paper's training script reads them."""
    parts = [source("sequential-mnist", f"parts/seed_{number}") for number in (1, 2)]
    if not folders:
        for path in parts[0].glob("*.npy"):
            np.save(path, np.concatenate([np.load(part / path.name) for part in parts]))
    import_paper(tmp_path / "parts" if folders else parts[0], tmp_path / "zoo")
    assert check_zoo(tmp_path / "zoo") == [] and read_manifest(tmp_path / "zoo").runs == 10
    rows = sorted(open_zoo(tmp_path / "zoo").index().to_pylist(), key=lambda row: row["original_row"])
    assert [row["original_row"] for row in rows] == list(range(30))
    assert [row["run"] for row in rows] == [run for run in range(10) for _ in range(3)]
    assert [row["original_run"] for row in rows] == [run % 5 for run in range(10) for _ in range(3)]


def test_diverged_runs_are_truncated_and_unfinished_runs_left_out_and_both_counted(source, tmp_path):
    directory = source("sequential-mnist")
    change(directory, "parameters", lambda a: a.__setitem__((1, 4), np.nan))  # run 0 from its second snapshot on
    change(directory, "accuracy_losses", lambda a: a.__setitem__((8, 2), np.inf))  # run 2 at its last
    for path in directory.glob("*.npy"):
        np.save(path, np.load(path)[:-1])  # run 4 was stopped
    manifest = import_paper(directory, tmp_path / "zoo")
    assert check_zoo(tmp_path / "zoo") == [] and manifest.runs == 4
    assert [line.split(" runs")[0] for line in findings(manifest)] == ["2", "1"]
    rows = open_zoo(tmp_path / "zoo").index().to_pylist()
    assert {(row["run"], row["diverged"]) for row in rows} == {(0, True), (1, False), (2, True), (3, False)}
    assert len(rows) == 1 + 3 + 2 + 3


def test_an_angle_keeps_its_precision(source, tmp_path):
    directory = source("sequential-mnist")
    angle = 360 * 0.1234567891234
    change(directory, "tasks", lambda a: a.__setitem__((slice(3), 0), angle))
    import_paper(directory, tmp_path / "zoo")
    assert check_zoo(tmp_path / "zoo") == []
    row = open_zoo(tmp_path / "zoo").row(0, 1)
    assert row["angle"] == angle and row["task"] == "44.444444 degrees"


def objects(directory: Path) -> None:
    np.save(directory / "tasks.npy", np.array([{"a": 1}] * 21, object), allow_pickle=True)


def header(directory: Path, shape: str) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    data = b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text + b"\n"
    (directory / "parameters.npy").write_bytes(data)


def cut(directory: Path, name: str, count: int) -> None:
    path = directory / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:count])


LANGUAGE_FAULTS = [
    (lambda d: (d / "logits.npy").unlink(), r"logits\.npy cannot be read: No such file.*Expected float16"),
    (lambda d: (d / "num_step_correct.npy").unlink(), "has neither num_step_correct.npy"),
    (lambda d: (d / "parameters.npy").unlink(), "has no parameters.npy"),
    (
        lambda d: np.save(d / "num_step.npy", np.zeros((21, 2), int)),
        "has both num_step_correct.npy .* and num_step.npy",
    ),
    (objects, r"tasks\.npy holds object \[21\]; expected integers \[rows, 4\]. Objects are never unpickled"),
    (lambda d: header(d, "(2000000000000, 916)"), r"parameters\.npy has .* bytes; its header announces"),
    (lambda d: header(d, f"({2**64}, 916)"), r"parameters\.npy has .* bytes; its header announces"),
    (lambda d: header(d, "(-21, 916)"), r"parameters\.npy has .* bytes"),
    (lambda d: header(d, "(" * 2000), r"parameters\.npy is not a .npy file"),
    (lambda d: header(d, "(21, 916"), r"parameters\.npy is not a .npy file"),
    (lambda d: header(d, "(" + "1," * 6000 + ")"), r"parameters\.npy is not a .npy file"),
    (lambda d: cut(d, "sequences", -1), r"sequences\.npy has .* bytes; its header announces.*truncated"),
    (lambda d: cut(d, "sequences", 30), r"sequences\.npy is not a .npy file"),
    (lambda d: cut(d, "sequences", 0), r"sequences\.npy is not a .npy file"),
    (lambda d: (d / "tasks.npy").write_bytes(b"<html>quota exceeded</html>"), r"tasks\.npy is not a .npy file"),
    (lambda d: change(d, "logits", lambda a: a[:-1]), r"logits\.npy has 20 rows, parameters\.npy has 21"),
    (
        lambda d: change(d, "logits", lambda a: a[:, :-1]),
        r"logits\.npy has 3 rollouts per snapshot, sequences\.npy has 4",
    ),
    (lambda d: change(d, "logits", lambda a: a.astype(np.float64)), r"logits\.npy holds float64"),
    (lambda d: change(d, "logits", lambda a: a.swapaxes(2, 3)), r"logits\.npy holds float16 \[21, 4, 6, 41\]"),
    (lambda d: change(d, "sequences", lambda a: a[..., :22]), r"sequences\.npy holds int16 \[21, 4, 22\]; expected"),
    (lambda d: change(d, "sequences", lambda a: a.__setitem__((5, 1, 7), 6)), "row 5 holds symbols 0 to 6"),
    (lambda d: change(d, "sequences", lambda a: a.__setitem__((5, 1, 0), 2)), "row 5 .*not begin with BOS"),
    (lambda d: change(d, "logits", lambda a: a.__setitem__((5, 1, 0, 0), 2)), r"logits\.npy: row 5 is above 0"),
    (lambda d: change(d, "tasks", lambda a: a.__setitem__((5, 1), 3)), r"tasks\.npy: row 5 holds .*from -3 to 2"),
    (lambda d: change(d, "tasks", lambda a: a.__setitem__((5, 0), 1)), r"tasks\.npy: row 5 holds .*0 in column 0"),
    (
        lambda d: change(d, "num_step_correct", lambda a: a.__setitem__((5, 2), 1001)),
        "row 5 .*0 to 1000 strings with the right counts",
    ),
    (lambda d: change(d, "num_step_correct", lambda a: a.__setitem__((5, 1), -1)), "row 5 .*a run and a step"),
    (lambda d: change(d, "num_step_correct", lambda a: a.astype(float)), r"holds float64 \[21, 3\]"),
    (lambda d: change(d, "num_step_correct", lambda a: a[np.argsort(a[:, 1], kind="stable")]), "have the same steps"),
    (lambda d: change(d, "parameters", lambda a: a[:, ::-1] * 9), "from the outputs of a network with the weights"),
    (
        lambda d: (d / "args.json").unlink(),
        r"parameters\.npy holds float32 \[21, 916\]; expected float32 \[rows, 13766",
    ),
    (lambda d: (d / "args.json").write_text("[1]"), "args.json holds list"),
    (lambda d: (d / "args.json").write_text("{"), "args.json is not readable JSON"),
    (lambda d: (d / "args.json").write_text('{"rnn_num_layers": 1000000000}'), "rnn_num_layers is 1000000000"),
]
DIGIT_FAULTS = [
    (lambda d: change(d, "sequences", lambda a: a.__setitem__((3, 1, 0, 0), 1)), "row 3 holds inputs that are not"),
    (lambda d: change(d, "sequences", lambda a: a.__setitem__((3, 1, 4, 5), 1.234)), "row 3 holds inputs that are not"),
    (
        lambda d: change(d, "sequences", lambda a: a.__setitem__((3, 1, 4, 5), np.nan)),
        "row 3 holds inputs that are not",
    ),
    (lambda d: change(d, "tasks", lambda a: a.__setitem__((3, 0), 360)), r"tasks\.npy: row 3 .*below 360 degrees"),
    (lambda d: change(d, "tasks", lambda a: a.__setitem__((3, 0), np.nan)), r"tasks\.npy: row 3"),
    (lambda d: change(d, "accuracy_losses", lambda a: a.__setitem__((3, 0), 1.5)), "row 3 .*accuracy from 0 to 1"),
    (lambda d: change(d, "accuracy_losses", lambda a: a.__setitem__((3, 1), -1)), "row 3 .*losses of at least 0"),
    (lambda d: change(d, "accuracy_losses", lambda a: a.__setitem__((3, 3), np.nan)), "row 3 .*weight decay"),
    (lambda d: (d / "accuracy_losses.npy").unlink(), r"accuracy_losses\.npy cannot be read"),
]


@pytest.mark.parametrize(
    ("name", "fault", "message"),
    [
        *(("formal-languages", *fault) for fault in LANGUAGE_FAULTS),
        *(("sequential-mnist", *fault) for fault in DIGIT_FAULTS),
    ],
)
def test_malformed_files_are_rejected_and_nothing_is_left_behind(name, fault, message, source, tmp_path):
    directory = source(name)
    fault(directory)
    with pytest.raises(FormatError, match=message):
        import_paper(directory, tmp_path / "zoo")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_damaged_header_is_always_a_format_error(source, tmp_path):
    """Replace random bytes of a header by random bytes."""
    directory = source("formal-languages")
    whole = (directory / "num_step_correct.npy").read_bytes()
    random = np.random.default_rng(0)
    for place, byte in zip(random.integers(0, 128, 150), random.integers(256, size=150), strict=True):
        damaged = whole[:place] + bytes([byte]) + whole[place + 1 :]
        (directory / "num_step_correct.npy").write_bytes(damaged)
        try:
            same = np.array_equal(np.load(io.BytesIO(damaged)), np.load(io.BytesIO(whole)))
        except Exception:  # noqa: BLE001 - numpy has many
            same = False
        if not same:
            with pytest.raises(FormatError, match="num_step_correct"):
                import_paper(directory, tmp_path / "zoo")


def test_an_existing_directory_is_not_changed(zoo, source, tmp_path):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "mine").write_text("")
    for write in (
        lambda: import_paper(source("formal-languages"), tmp_path / "zoo"),
        lambda: export_paper(zoo("formal-languages"), tmp_path / "zoo"),
    ):
        with pytest.raises(StorageError, match="already exists; nothing was changed"):
            write()
    assert [path.name for path in (tmp_path / "zoo").iterdir()] == ["mine"]


def test_zoos_that_the_layout_cannot_hold_are_rejected(zoo, tiny_preset, tmp_path):
    with pytest.raises(FormatError, match="of the cell gru; the paper's layout holds only lstm"):
        export_paper(zoo("formal-languages", "gru"), tmp_path / "out")
    path = tmp_path / "wild.yaml"
    path.write_text(Path(tiny_preset()).read_text().replace("0: 0.01", "0: 1.0e+38").replace("[0, 2, 11]", "[11]"))
    generate_in_process(tmp_path / "wild", make_plan("formal-languages", str(path)))
    with pytest.raises(FormatError, match="has no snapshots, so there is nothing to export"):
        export_parquet(tmp_path / "wild", tmp_path / "parquet")
    assert not (tmp_path / "parquet").exists()
    with pytest.raises(FormatError, match="has no snapshots"):
        export_paper(tmp_path / "wild", tmp_path / "out")
    damaged = shutil.copytree(zoo("formal-languages"), tmp_path / "damaged")
    shard = next((damaged / "rollouts").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=shard.name):
        export_paper(damaged, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def left_out(summary: str) -> set[str]:
    """Return the columns that an export says it cannot hold."""
    return {*summary.partition("cannot hold ")[2].partition(";")[0].split(", ")}


@pytest.mark.parametrize("name", ZOOS)
def test_an_export_of_an_imported_zoo_says_what_it_leaves_out_and_what_it_holds(name, zoo, source, exported, tmp_path):
    import_paper(exported / name, tmp_path / "zoo")
    assert "original_accuracy" in read_manifest(tmp_path / "zoo").columns or name == "sequential-mnist"
    summary = export_paper(tmp_path / "zoo", tmp_path / "out")
    held = {"run", "step", "weight_decay", "accuracy", "original_accuracy", "original_step"}
    assert left_out(summary) & held == ({"accuracy"} if name == "formal-languages" else set())
    assert {"split", "original_run", "original_row"} <= left_out(summary) and "rounded" not in summary
    generated = export_paper(zoo(name), tmp_path / "again")
    assert left_out(generated) & {"weight_decay", "count_accuracy", "train_loss"} == set()


@pytest.mark.parametrize("name", ZOOS)
def test_the_command_reports_what_the_layout_cannot_hold(name, zoo, tmp_path, monkeypatch, capsys):
    arguments = ["export", str(zoo(name)), "--to", "paper", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["rnn-zoos", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out = capsys.readouterr().out
    assert not stop.value.code and out.count("\n") == 1 and "cannot hold split" in out
    assert (tmp_path / "out" / "parameters.npy").is_file()


def test_check_finds_wrong_entries_in_an_imported_index(source, tmp_path):
    import_paper(source("formal-languages"), tmp_path / "zoo")
    edit_index(tmp_path / "zoo", "train", lambda rows: rows[0].update(m_b=7))
    assert any("the task columns do not describe a task" in finding for finding in check_zoo(tmp_path / "zoo"))
    edit_index(tmp_path / "zoo", "train", lambda rows: rows[0].update(m_b=rows[1]["m_b"], task="b+0 c+0 d+0"))
    assert any("its task columns determine" in finding for finding in check_zoo(tmp_path / "zoo"))
    with pytest.raises(UnknownNameError):
        load_model(tmp_path / "zoo", 0, 0)
    edit_index(tmp_path / "zoo", "train", lambda rows: [row.update(run=99) for row in rows[-3:]])
    assert any("expected numbers of the 7 runs" in finding for finding in check_zoo(tmp_path / "zoo"))


def test_check_finds_more_runs_in_a_split_of_an_imported_zoo_than_are_counted(source, tmp_path):
    import_paper(source("formal-languages"), tmp_path / "zoo")
    runs = read_manifest(tmp_path / "zoo").splits["train"]["runs"]

    def move(data):
        data["splits"]["train"]["runs"] -= 1
        data["splits"]["test"]["runs"] += 1

    edit_manifest(tmp_path / "zoo" / "zoo.json", move)
    expected = f"zoo.json counts {runs - 1} runs of train; index/train.parquet has {runs}."
    assert check_zoo(tmp_path / "zoo") == [expected]
