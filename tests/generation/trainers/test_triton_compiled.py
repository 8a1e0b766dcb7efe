"""The compiled Triton kernel, without a GPU: its key in triton's caches, its registers and spills, its occupancy."""

import ast
import json
from pathlib import Path

import pytest
from conftest import CELLS, ROOT
from trainer_comparison import run_without_interpreter

pytest.importorskip("triton", reason="triton exists only for Linux on x86-64")

from rnn_zoos.generation.trainers.occupancy import H100, Device, programs_per_multiprocessor, whole_waves
from rnn_zoos.generation.trainers.triton import compile as compiling
from rnn_zoos.generation.trainers.triton import shape as shapes
from rnn_zoos.generation.trainers.triton import trainer as trainers
from rnn_zoos.generation.trainers.triton.machine_code import MachineCode
from rnn_zoos.generation.trainers.triton.shape import LARGEST_HIDDEN, PRECISIONS, KernelShape, source_hash

STORED = json.loads((ROOT / "generation" / "results" / "triton-sm90-spills.json").read_text())
NAMES = ("cell", "mode", "precision", "hidden")
VARIANTS = [
    (cell, mode, precision, hidden)
    for cell in CELLS
    for mode in compiling._SIZES
    for precision in PRECISIONS
    for hidden in compiling.HIDDEN[precision]
]
IN_CI = [("rnn", "symbols", "tf32x3", 16), ("gru", "symbols", "tf32x3", 64), ("lstm", "images", "tf32x3", 32)]
KEYS = """
import triton.language as tl
from triton import JITFunction
from rnn_zoos.generation.trainers.triton import cells, compile, kernel, layers, memory, shape
from rnn_zoos.generation.trainers.triton.shape import KernelShape

modules = (cells, layers, memory, kernel)

def key():
    for module in modules:
        for member in vars(module).values():
            if isinstance(member, JITFunction):
                member.hash, member.used_global_vals = None, {}  # as in a new process
    return compile.kernel_source(compile.paper_shape("lstm", "images", "tf32x3")).hash()

def changed(owner, name, value):
    before = getattr(owner, name)
    setattr(owner, name, value)
    print(name, key())
    setattr(owner, name, before)

print("unchanged", key())
changed(shape, "_ALIGNED", 64)
changed(KernelShape, "readout_rows", property(lambda self: 32))
changed(KernelShape, "buffer", property(lambda self: 2 * self.rows * self.hidden_tile))
changed(KernelShape, "num_warps", property(lambda self: 2))
changed(shape, "_SOURCE", {"lstm": (1, 0, 2, 3)})
for module in modules:
    for name, value in list(vars(module).items()):
        if isinstance(value, tl.constexpr):
            changed(module, name, tl.constexpr(value.value * 2))
print("again", key())
"""


def test_geometry_and_captured_globals_are_part_of_the_key_of_tritons_cache():
    done = run_without_interpreter("-c", KEYS)
    assert done.returncode == 0, done.stderr
    keys = dict(line.split() for line in done.stdout.splitlines())
    assert {"_ALIGNED", "_MEAN", "_STD", "_NEW1", "_OLD2", "_NEW2", "_EPSILON", "_CHUNK"} <= set(keys)
    assert keys.pop("again") == keys["unchanged"] and len(set(keys.values())) == len(keys), keys


def test_shapes_of_another_layout_differ(monkeypatch):
    before = compiling.paper_shape("gru", "dense", "ieee")
    row = before.row
    assert before == compiling.paper_shape("gru", "dense", "ieee")
    monkeypatch.setattr(shapes, "_ALIGNED", 1000)
    after = compiling.paper_shape("gru", "dense", "ieee")
    assert after.row != row and after != before and str(after) != str(before)


def test_the_source_of_the_kernel_is_part_of_the_shape(tmp_path, monkeypatch):
    """It holds what triton's key leaves out, such as the order of the fields of a NamedTuple."""
    folder = Path(shapes.__file__).parent
    for file in folder.glob("*.py"):
        (tmp_path / file.name).write_text(file.read_text())
    before = compiling.paper_shape("rnn", "symbols", "tf32x3")
    assert source_hash(tmp_path) == source_hash()
    text = (tmp_path / "memory.py").read_text()
    swapped = text.replace("targets: tl.tensor\n    images: tl.tensor", "images: tl.tensor\n    targets: tl.tensor")
    assert swapped != text
    (tmp_path / "memory.py").write_text(swapped)
    source_hash.cache_clear()
    assert source_hash(tmp_path) != source_hash()
    monkeypatch.setattr(shapes, "source_hash", lambda: source_hash(tmp_path))
    assert compiling.paper_shape("rnn", "symbols", "tf32x3").fingerprint != before.fingerprint


def test_the_kernel_reads_only_fields_and_properties_of_its_shape():
    """What it reads is in the key; a method, or the name of another variable, would not be."""
    known = set(compiling.paper_shape("rnn", "symbols", "ieee").geometry()) | set(KernelShape.__dataclass_fields__)
    for name in ("kernel", "layers", "cells", "memory"):
        tree = ast.parse((Path(shapes.__file__).parent / f"{name}.py").read_text())
        read = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "s"
        }
        assert read and read <= known, read - known


def test_spills_in_the_inner_loops_are_told_from_others():
    code = MachineCode(
        32,
        16,
        (
            (0x00, "STL [R1], R2"),  # once per launch
            (0x10, "LDL.64 R2, [R1]"),  # once per update
            (0x20, "LDL.LU R2, [R1]"),  # once per step
            (0x30, "FFMA R3, R2, R2, R3"),
            (0x40, "@P0 BRA 0x20"),
            (0x50, "STL.128 [R1], R4"),
            (0x60, "@!P1 BRA P2, 0x10"),
            (0x70, "BRA 0x80"),
        ),
    )
    assert code.loops() == [(0x10, 0x60), (0x20, 0x40)]
    inner = code.inner_loops()
    assert (len(inner.instructions), inner.count("STL", "LDL"), code.count("STL", "LDL")) == (3, 1, 4)


def test_the_stored_table_has_every_supported_kernel_and_all_are_within_the_bound():
    kernels = {(row["cell"], row["mode"], row["precision"], row["hidden"]): row for row in STORED["kernels"]}
    assert list(kernels) == VARIANTS, "made by: python -m rnn_zoos.generation.trainers.triton.compile --json FILE"
    for variant, row in kernels.items():
        assert compiling.Compiled(**row).usable, variant
        assert row["programs_per_multiprocessor"] >= (1 if row["hidden"] > 32 else 2), variant
        assert row["programs_per_multiprocessor"] == programs_per_multiprocessor(
            H100, row["registers"], row["shared"], row["num_warps"]
        )
    for precision, largest in LARGEST_HIDDEN.items():
        assert max(hidden for *_, of, hidden in kernels if of == precision) == largest


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(variant, id="-".join(map(str, variant)), marks=[pytest.mark.long] * (variant not in IN_CI))
        for variant in VARIANTS
    ],
)
def test_kernels_compile_as_in_the_stored_table(variant, tmp_path):
    cell, mode, precision, hidden = variant
    path, module = tmp_path / "compiled.json", "rnn_zoos.generation.trainers.triton.compile"
    options = ("--cell", cell, "--mode", mode, "--precision", precision, "--hidden", str(hidden), "--json", str(path))
    done = run_without_interpreter("-m", module, *options, TRITON_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr + done.stdout
    table = json.loads(path.read_text())
    (row,) = table["kernels"]
    assert compiling.Compiled(**row).usable
    if table["triton"] == STORED["triton"]:  # another version has another compiler, which must keep the bound
        (stored,) = (kernel for kernel in STORED["kernels"] if variant == tuple(kernel[name] for name in NAMES))
        assert row == stored


@pytest.mark.slow
def test_a_variant_that_is_not_compiled_in_time_is_a_failure(tmp_path):
    options = ("--cell", "lstm", "--mode", "symbols", "--precision", "ieee", "--hidden", "64", "--seconds", "1")
    module = "rnn_zoos.generation.trainers.triton.compile"
    done = run_without_interpreter("-m", module, *options, TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 1 and "lstm symbols 64 ieee does not compile: not compiled after 1 s" in done.stderr


@pytest.mark.parametrize(
    ("registers", "shared", "warps", "programs"),
    [(168, 69_632, 4, 3), (162, 69_632, 4, 3), (255, 40_960, 4, 2), (255, 147_456, 8, 1), (32, 1_000, 1, 64),
     (32, 120_000, 4, 1), (255, 0, 16, 0), (40, 227 * 1024, 4, 1), (40, 228 * 1024, 4, 0)],
)  # fmt: skip
def test_programs_of_a_multiprocessor_are_limited_by_registers_shared_memory_and_warps(
    registers, shared, warps, programs
):
    assert programs_per_multiprocessor(H100, registers, shared, warps) == programs


@pytest.mark.parametrize(
    ("resident", "wanted", "runs"),
    [(396, 1000, 1188), (264, 1000, 1056), (132, 1000, 1056), (324, 1000, 972), (5000, 1000, 5000), (7, 1, 7)],
)
def test_groups_fill_a_device_a_whole_number_of_times(resident, wanted, runs):
    assert whole_waves(resident, wanted) == runs and runs % resident == 0


def test_the_runs_of_a_group_follow_from_the_compiled_kernel_and_the_device(monkeypatch):
    small = Device(multiprocessors=50, registers=65536, shared=100 * 1024, warps=48, capability=86)
    seen = []

    def stored(shape, num_warps, device):
        seen.append((num_warps, device))
        (row,) = (
            row
            for row in STORED["kernels"]
            if tuple(row[name] for name in NAMES) == (shape.cell, shape.mode, shape.precision, shape.hidden)
        )
        fitting = programs_per_multiprocessor(device, row["registers"], row["shared"], row["num_warps"])
        return compiling.Compiled(**{**row, "programs_per_multiprocessor": fitting})

    monkeypatch.setattr(trainers, "compile_kernel", stored)
    lstm, large = (compiling.paper_shape("lstm", "symbols", "tf32x3", hidden) for hidden in (32, 64))
    assert trainers.fitting_runs(lstm, H100) == 1188
    assert trainers.fitting_runs(large, H100) == 1056
    assert trainers.fitting_runs(lstm, small, 4) == 1000
    assert seen == [(None, H100), (None, H100), (4, small)]
