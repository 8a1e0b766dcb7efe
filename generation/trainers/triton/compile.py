"""Compiles the Triton kernel for sm_90 (H100, H200) without a GPU, and reports its registers, spills and memory.

    python -m rnn_zoos.generation.trainers.triton.compile --json compiled.json

Every cell, every kind of input, both precisions, the sizes in `HIDDEN`; inputs, outputs and steps are those of the
zoos, and for dense inputs the largest that are supported. The exit status is 1 if a variant does
not compile in time, needs more shared memory than a program can have, or spills more than `LARGEST_SPILL_SHARE`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler.errors import CompilationError

from rnn_zoos.generation.trainers.occupancy import H100, Device, programs_per_multiprocessor
from rnn_zoos.generation.trainers.triton.kernel import train_runs
from rnn_zoos.generation.trainers.triton.machine_code import MachineCode
from rnn_zoos.generation.trainers.triton.shape import (
    DENSE,
    IMAGES,
    LARGEST,
    PRECISIONS,
    SYMBOLS,
    KernelShape,
)
from rnn_zoos.networks.architecture import GATES

SHARED_LIMIT = 227 * 1024
"""Bytes of shared memory that a program can have on sm_90."""
HIDDEN: Mapping[str, tuple[int, ...]] = {"tf32x3": (16, 32, 64), "ieee": (32,)}
"""Hidden units of the stored table, by precision: every tile; for ieee the largest that is supported."""
LARGEST_SPILL_SHARE = 0.02
"""Share of the instructions in the loops over steps and rows that may read or write spilled registers.

Such an instruction takes an issue slot like any other, and 4 bytes per thread that mostly stay in the caches; so spills
within the bound cost about as much as their share, a fiftieth of the time. Spills outside these loops happen once per
update, in which each loop runs dozens of times.
"""

# Inputs, outputs and steps: formal-languages, sequential-mnist, and the largest that are supported.
_SIZES = {SYMBOLS: (6, 6, 41), IMAGES: (16, 10, 50), DENSE: (LARGEST, LARGEST, 50)}
_IMAGE = 785  # stored pixels
_FLOATS = ("parameters", "first_moments", "second_moments", "gradients", "losses", "scratch", "weight_decay", "rates")
_TYPES = {"diverged_at": "*i64", "targets": "*i32", "images": "*u8", "tables": "*i32", "s": "constexpr"}
_DRAWN = {SYMBOLS: "*u8", IMAGES: "*i32", DENSE: "*fp32"}
_SPILLS = ("STL", "LDL")


@dataclass(frozen=True)
class Compiled:
    """Resources of one compiled variant.

    Attributes:
        cell, mode, hidden, precision, num_warps: The variant.
        registers: Registers per thread.
        stack: Bytes per thread of spilled registers.
        spill_stores, spill_loads, matrix_instructions, barriers: Instructions of these kinds in the machine code.
        loop_instructions, loop_spills: Instructions in the loops over steps and rows, and spills among them.
        shared: Bytes of shared memory per program.
        programs_per_multiprocessor: Programs that run on a multiprocessor at the same time.
        scratch: Bytes of global memory per run for the scratch buffer.
    """

    cell: str
    mode: str
    hidden: int
    precision: str
    num_warps: int
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    loop_instructions: int
    loop_spills: int
    shared: int
    matrix_instructions: int
    barriers: int
    programs_per_multiprocessor: int
    scratch: int

    @property
    def usable(self) -> bool:
        """Whether it fits into shared memory and spills within the bound."""
        return self.shared <= SHARED_LIMIT and self.loop_spills <= LARGEST_SPILL_SHARE * self.loop_instructions


def paper_shape(cell: str, mode: str, precision: str, hidden: int = 32) -> KernelShape:
    """Return the shape of a kernel at the sizes of the preset `paper`: 2 layers, 32 sequences; any `hidden`."""
    inputs, outputs, steps = _SIZES[mode]
    return KernelShape(cell, 2, inputs, hidden, outputs, 32, steps, mode, precision, _IMAGE if mode == IMAGES else 1)


def compile_kernel(shape: KernelShape, num_warps: int | None = None, device: Device = H100) -> Compiled:
    """Compile one variant for a device and read the machine code. Raises triton's CompilationError."""
    options = shape.options(num_warps)
    kernel = triton.compile(kernel_source(shape), target=GPUTarget("cuda", device.capability, 32), options=options)
    code = MachineCode.of(kernel.asm["cubin"])
    inner = code.inner_loops()
    warps, shared = options["num_warps"], kernel.metadata.shared
    return Compiled(
        cell=shape.cell,
        mode=shape.mode,
        hidden=shape.hidden,
        precision=shape.precision,
        num_warps=warps,
        registers=code.registers,
        stack=code.stack,
        spill_stores=code.count("STL"),
        spill_loads=code.count("LDL"),
        loop_instructions=len(inner.instructions),
        loop_spills=inner.count(*_SPILLS),
        shared=shared,
        matrix_instructions=code.count("HMMA", "HGMMA"),
        barriers=code.count("BAR"),
        programs_per_multiprocessor=programs_per_multiprocessor(device, code.registers, shared, warps),
        scratch=4 * shape.scratch,
    )


def kernel_source(shape: KernelShape) -> ASTSource:
    """Return the kernel with the types of its parameters, as a launch would specialise it."""
    names = train_runs.arg_names
    types = dict.fromkeys(_FLOATS, "*fp32") | _TYPES | {"drawn": _DRAWN[shape.mode]}
    signature = {name: types.get(name, "i32") for name in names}
    # Memory from torch is aligned, and the launcher tells the compiler so.
    aligned = {(number,): [["tt.divisibility", 16]] for number, name in enumerate(names) if "*" in signature[name]}
    return ASTSource(train_runs, signature, {(names.index("s"),): shape}, aligned)


class _OutOfTime(BaseException):
    """The time limit of a variant is over. No Exception: triton would take it for an error in the kernel."""


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """Raise _OutOfTime in the block after some seconds, or as soon as a pass of the compiler returns."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _OutOfTime(f"not compiled after {seconds} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile the chosen variants and print a table; return the exit status."""
    chosen = _parser().parse_args(arguments)
    rows: list[dict[str, Any]] = []
    failed = False
    names = product(chosen.cell or GATES, chosen.mode or _SIZES, chosen.precision or PRECISIONS)
    for cell, mode, precision, hidden in (
        (*variant, hidden) for variant in names for hidden in chosen.hidden or HIDDEN[variant[2]]
    ):
        try:
            with _time_limit(chosen.seconds):
                compiled = compile_kernel(paper_shape(cell, mode, precision, hidden), chosen.num_warps)
        except (CompilationError, _OutOfTime) as error:
            print(f"{cell} {mode} {hidden} {precision} does not compile: {error}", file=sys.stderr)
            failed = True
            continue
        row = asdict(compiled)
        if not rows:
            print(*row)
        print(*row.values(), flush=True)
        rows.append(row)
        failed |= not compiled.usable
        if chosen.json:  # after each, so that an interruption loses none
            table = {"triton": triton.__version__, "target": "sm_90", "kernels": rows}
            chosen.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compile the Triton kernel for sm_90, without a GPU.")
    for option, choices in (("--cell", GATES), ("--mode", _SIZES), ("--precision", PRECISIONS)):
        parser.add_argument(option, choices=list(choices), action="append", help="only this one (may be repeated)")
    parser.add_argument("--hidden", type=int, action="append", help="only this many hidden units (may be repeated)")
    parser.add_argument("--num-warps", type=int, help="instead of the best known number")
    parser.add_argument("--seconds", type=int, default=300, help="time limit for one variant (default: 300)")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
