"""Compiles the Triton kernel for sm_90 (H100, H200) without a GPU, and reports its registers, spills and memory.

    python -m rnn_zoos.generation.trainers.triton.compile --json compiled.json

Every cell, the data of both zoos, both precisions, at the sizes of the preset `paper`. The exit status is 1 if a
variant does not compile or needs more shared memory than a program can have.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler.errors import CompilationError

from rnn_zoos.generation.trainers.triton.kernel import train_runs
from rnn_zoos.generation.trainers.triton.shape import IMAGES, PRECISIONS, SYMBOLS, KernelShape
from rnn_zoos.networks.architecture import GATES, Architecture

SHARED_LIMIT = 227 * 1024
"""Bytes of shared memory that a program can have on sm_90."""
_SHARED, _REGISTERS, _WARPS = 228 * 1024, 65536, 64  # of a multiprocessor
_RESERVED = 1024  # bytes of shared memory per program

_SIZES = {SYMBOLS: (6, 6, 41), IMAGES: (16, 10, 50)}  # inputs, outputs, steps: formal-languages, sequential-mnist
_IMAGE = 785  # stored pixels
_FLOATS = ("parameters", "first_moments", "second_moments", "gradients", "losses", "scratch", "weight_decay", "rates")
_TYPES = {"diverged_at": "*i64", "targets": "*i32", "images": "*u8", "tables": "*i32", "s": "constexpr"}
_DRAWN = {SYMBOLS: "*u8", IMAGES: "*i32"}


@dataclass(frozen=True)
class Compiled:
    """Resources of one compiled variant.

    Attributes:
        cell, mode, precision, num_warps: The variant.
        registers: Registers per thread.
        stack: Bytes per thread.
        spill_stores, spill_loads, matrix_instructions, barriers: Instructions of these kinds in the machine code.
        shared: Bytes of shared memory per program.
        programs_per_multiprocessor: Programs that run on a multiprocessor at the same time.
        scratch: Bytes of global memory per run for the scratch buffer.
    """

    cell: str
    mode: str
    precision: str
    num_warps: int
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int
    matrix_instructions: int
    barriers: int
    programs_per_multiprocessor: int
    scratch: int


def paper_shape(cell: str, mode: str, precision: str, hidden: int = 32) -> KernelShape:
    """Return the shape of a kernel at the sizes of the preset `paper`: 2 layers, 32 sequences."""
    inputs, outputs, steps = _SIZES[mode]
    architecture = Architecture(cell, 2, inputs, hidden, outputs)
    return KernelShape.of(architecture, 32, steps, mode, precision, _IMAGE if mode == IMAGES else 1)


def compile_kernel(shape: KernelShape, num_warps: int | None = None) -> Compiled:
    """Compile one variant for sm_90 and read the machine code. Raises triton's CompilationError."""
    options = shape.options(num_warps)
    kernel = triton.compile(_source(shape), target=GPUTarget("cuda", 90, 32), options=options)
    usage, code = _disassembled(kernel.asm["cubin"])
    registers, stack = (int(number) for number in re.findall(r"REG:(\d+) STACK:(\d+)", usage)[0])
    warps, shared = options["num_warps"], kernel.metadata.shared
    fitting = _SHARED // (shared + _RESERVED), _REGISTERS // (-(-registers // 8) * 8 * 32 * warps), _WARPS // warps
    return Compiled(
        cell=shape.cell,
        mode=shape.mode,
        precision=shape.precision,
        num_warps=warps,
        registers=registers,
        stack=stack,
        spill_stores=len(re.findall(r"\bSTL\b", code)),
        spill_loads=len(re.findall(r"\bLDL\b", code)),
        shared=shared,
        matrix_instructions=len(re.findall(r"\bHMMA\b", code)),
        barriers=len(re.findall(r"\bBAR\b", code)),
        programs_per_multiprocessor=min(fitting),
        scratch=4 * shape.scratch,
    )


def _source(shape: KernelShape) -> ASTSource:
    """Return the kernel with the types of its parameters, as a launch would specialise it."""
    names = train_runs.arg_names
    types = dict.fromkeys(_FLOATS, "*fp32") | _TYPES | {"drawn": _DRAWN[shape.mode]}
    signature = {name: types.get(name, "i32") for name in names}
    # Memory from torch is aligned, and the launcher tells the compiler so.
    aligned = {(number,): [["tt.divisibility", 16]] for number, name in enumerate(names) if "*" in signature[name]}
    return ASTSource(train_runs, signature, {(names.index("s"),): shape}, aligned)


def _disassembled(cubin: bytes) -> tuple[str, str]:
    """Return the resource usage and the assembly of machine code, as printed by the cuobjdump that triton includes."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, code = (
            subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True).stdout
            for option in ("-res-usage", "-sass")
        )
    return usage, code


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile the chosen variants and print a table; return the exit status."""
    chosen = _parser().parse_args(arguments)
    rows: list[dict[str, Any]] = []
    failed = False
    for cell, mode, precision, warps in product(
        chosen.cell or GATES, chosen.mode or _SIZES, chosen.precision or PRECISIONS, chosen.num_warps or [None]
    ):
        try:
            row = asdict(compile_kernel(paper_shape(cell, mode, precision, chosen.hidden), warps))
        except CompilationError as error:
            print(f"{cell} {mode} {precision} does not compile: {error}", file=sys.stderr)
            failed = True
            continue
        if not rows:
            print(*row)
        print(*row.values(), flush=True)
        rows.append(row)
        failed |= row["shared"] > SHARED_LIMIT
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compile the Triton kernel for sm_90, without a GPU.")
    for option, choices in (("--cell", GATES), ("--mode", _SIZES), ("--precision", PRECISIONS)):
        parser.add_argument(option, choices=list(choices), action="append", help="only this one (may be repeated)")
    parser.add_argument("--num-warps", type=int, action="append", help="instead of the best known number")
    parser.add_argument("--hidden", type=int, default=32, help="hidden units")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
