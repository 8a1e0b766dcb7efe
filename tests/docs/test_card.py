"""DATASET_CARD.md names every column, tensor and gate that the code has, and nothing else."""

import json
import math
import re

import pytest
import torch
from conftest import ALL_ZOOS, ROOT, ZOOS

from rnn_zoos.families.columns import ORIGIN_COLUMNS
from rnn_zoos.families.registry import task_family
from rnn_zoos.generation.presets import load_preset
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.cells import network_step

CARD = (ROOT / "DATASET_CARD.md").read_text()
KINDS = {"int32": int, "float32": float, "float64": float, "string": str, "bool": bool}


def table_rows(heading: str) -> list[list[str]]:
    """Cells of all table rows of a section, without header rows."""
    section = re.split(r"^#+ ", CARD.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.M)[0]
    assert section, heading
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line[1:-1])] for line in lines]
    return [row for row, following in zip(rows, [*rows[1:], [""]], strict=True) if "---" not in row[0] + following[0]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_columns_are_those_of_the_code():
    documented = {(name, row[1]) for row in table_rows("Columns") for name in names(row[0])}
    expected = {(name, column.dtype) for zoo in ALL_ZOOS for name, column in task_family(zoo).columns.items()}
    assert documented == expected


@pytest.mark.parametrize("zoo", ALL_ZOOS)
def test_units_are_those_of_the_code(zoo):
    units = {name: row[2] for row in table_rows("Columns") for name in names(row[0])}
    for name, column in task_family(zoo).columns.items():
        if column.unit:
            assert units[name] == column.unit, name


def test_imported_columns_are_described():
    documented = {(name, row[1]) for row in table_rows("Imported zoos") for name in names(row[0])}
    families = [task_family(zoo) for zoo in ZOOS]
    columns = {(name, column.dtype) for family in families for name, column in family.imported_columns.items()}
    own = {(name, column.dtype) for family in families for name, column in family.columns.items()}
    assert columns - own <= documented <= columns | own
    assert {(name, column.dtype) for name, column in ORIGIN_COLUMNS.items()} <= documented


def test_shapes_of_weights_are_those_of_the_presets():
    rows = table_rows("Weights")
    for place, zoo in enumerate(ALL_ZOOS, start=2):
        architecture = load_preset("paper", zoo).architecture(task_family(zoo))
        shapes = {
            name: tuple(json.loads(row[place])) for row in rows if row[1] for name in names(row[0]) if "." in name
        }
        assert shapes == architecture.parameter_shapes
        assert next(row for row in rows if row[0] == "all")[place] == f"{architecture.num_parameters:,}"
    gates = {names(row[0])[0]: int(row[1]) for row in rows if row[1].isdigit()}
    assert gates == dict(GATES)
    assert Architecture("gru", 2, 3, 5, 7).parameter_shapes["gru.weight_ih_l1"] == (3 * 5, 5), (
        "[G H, H] as the table says"
    )


def gate_of_block(cell: str, block: int) -> str:
    """Name the gate that a block of rows belongs to, by what a large negative bias in it does to one unit."""
    architecture = Architecture(cell, 1, 1, 1, 1)
    weights = {name: torch.zeros(shape) for name, shape in architecture.parameter_shapes.items()}
    weights["linear.weight"][:] = 1
    weights[f"{cell}.bias_hh_l0"][2] = 2  # the candidate of both cells, if the order is right
    weights[f"{cell}.bias_ih_l0"][block] = -50
    state = [(torch.ones(1, 1),) * (2 if cell == "lstm" else 1)]
    outputs, ((hidden, *rest),) = network_step(architecture, weights, torch.zeros(1, 1), state)
    assert outputs == hidden
    if cell == "lstm":
        candidate = math.tanh(2)
        effects = {"input gate": 0.5, "forget gate": 0.5 * candidate, "cell candidate": 0, "output gate": None}
        found = None if hidden.item() < 1e-6 and rest[0].item() > 0.9 else rest[0].item()
    else:
        effects = {"reset gate": 0.5, "update gate": math.tanh(1), "candidate": 0}
        found = hidden.item()
    names = [name for name, effect in effects.items() if found == effect or found == pytest.approx(effect, abs=1e-6)]
    assert len(names) == 1
    return names[0]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_blocks_of_gate_matrices_have_the_order_of_the_code(cell):
    row = next(row for row in table_rows("Weights") if row[0] == f"`{cell}`")
    documented = row[2].partition(" (")[0].split(", ")
    assert documented == [gate_of_block(cell, block) for block in range(GATES[cell])]


def test_rollouts_are_those_of_the_presets():
    dtypes = {"U8": "uint8", "I32": "int32", "F16": "float16"}
    documented = {(row[0], names(row[1])[0], row[2]) for row in table_rows("Rollouts")}
    expected = set()
    for zoo in ALL_ZOOS:
        family, settings = task_family(zoo), load_preset("paper", zoo)
        for name, (dtype, shape) in family.rollout_shapes(settings.evaluation_sizes(family)).items():
            expected.add((zoo, name, f"{dtypes[dtype]} {list(shape)}"))
    assert documented == expected


def test_the_example_row_has_the_columns_and_types_of_a_row():
    example = json.loads(re.search(r"```json\n(.*?)```", CARD, re.S)[1])
    columns = task_family("formal-languages").columns
    assert example.keys() == columns.keys()
    assert all(type(example[name]) is KINDS[column.dtype] for name, column in columns.items())


def test_sections_have_the_order_of_the_hub():
    order = ["Dataset details", "Uses", "Dataset structure", "Dataset creation", "Bias, risks and limitations"]
    sections = [line[3:] for line in CARD.splitlines() if line.startswith("## ")]
    assert [section for section in sections if section in order] == order
    assert sections.index("What differs from the paper's code, and why") == sections.index("Citation") - 1
