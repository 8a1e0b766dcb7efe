"""The command that makes a zoo of runs that a machine with a GPU trained: assemble."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnn_zoos.cli.console import Workers, print_summary, resumable


def assemble(
    source: Annotated[
        Path, typer.Argument(help="Directory raw/ZOO or carry/ZOO that check_gpu.py wrote.", metavar="SOURCE")
    ],
    out: Annotated[Path, typer.Option(help="Directory in which to make or resume the zoo.", metavar="DIR")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="Preset that the runs were trained with.", metavar="NAME|FILE", show_default="that of the runs"
        ),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(help="Number of runs of the zoo.", metavar="N", min=1, show_default="all that are there"),
    ] = None,
    workers: Workers = None,
    mnist: Annotated[
        str | None,
        typer.Option(
            help="MNIST digits that the runs were trained on: hub, a directory of IDX files, or embedded.",
            metavar="hub|DIR|embedded",
            show_default="embedded if they were, else hub",
        ),
    ] = None,
) -> None:
    """Build a zoo from runs that generation/check_gpu.py trained on a GPU.

    Measures every snapshot here, and writes a regular zoo, with the provenance
    of the machine that trained the runs. If it was interrupted, the same
    command resumes.

    \b
    Examples:
      rnn-zoos assemble gpu/raw/formal-languages --out zoos/formal-languages
      rnn-zoos assemble gpu/carry/sequential-mnist --mnist hub --out zoos/some
    """
    from rnn_zoos.generation.engines.engine import generate
    from rnn_zoos.generation.engines.trained import TrainedEngine, check_source
    from rnn_zoos.generation.plan import digits_source, make_plan
    from rnn_zoos.generation.writing.raw_runs import read_raw

    raw = read_raw(source)
    digits = digits_source(raw.digits, mnist)
    plan = make_plan(raw.zoo, preset or raw.preset, runs=runs or len(raw.runs), backend=raw.backend, mnist=digits)
    check_source(source, raw, plan)
    with resumable():
        manifest = generate(plan, out, TrainedEngine(source, workers))
    assert manifest is not None, "all parts were made"
    print_summary(out, manifest)
