"""The commands that generate zoos, on one machine or many, and verify them: plan, generate, merge, verify."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

import typer

from rnn_zoos.cli.console import (
    MNIST_HELP,
    AsJson,
    Directory,
    Workers,
    print_json_rows,
    print_properties,
    print_summary,
    print_table,
    resumable,
)
from rnn_zoos.cli.engine_options import EngineOptions, backend_for_all

_MAX_TABLE_ROWS = 1000  # of a plan that is printed as a table

Zoo = Annotated[
    str, typer.Argument(help="Name of the zoo: formal-languages, sequential-mnist or automata.", metavar="ZOO")
]
Preset = Annotated[
    str,
    typer.Option(
        help="Preset: demo, small, medium, paper, mixed, diverse, or the path of a YAML file like them.",
        metavar="NAME|FILE",
    ),
]
Runs = Annotated[
    int | None, typer.Option(help="Number of runs.", metavar="N", min=1, show_default="that of the preset")
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of the zoo.", metavar="N", min=0, show_default="that of the preset")
]


def plan(zoo: Zoo, preset: Preset, runs: Runs = None, seed: Seed = None, as_json: AsJson = False) -> None:
    """Show what `generate` would train: every run with its task and hyperparameters.

    Prints the split, shard, task and weight decay of each run, and all
    settings. Nothing is trained or written.

    \b
    Examples:
      rnn-zoos plan formal-languages --preset demo
      rnn-zoos plan sequential-mnist --preset paper --runs 100 --json
    """
    from rnn_zoos.generation.plan import make_plan

    zoo_plan = make_plan(zoo, preset, runs=runs, seed=seed)
    if as_json:
        print_json_rows({"zoo": zoo, "settings": zoo_plan.settings_data()}, "runs", zoo_plan.run_rows())
        return
    count = zoo_plan.settings.runs
    rows = [_shortened(row) for row in islice(zoo_plan.run_rows(), _MAX_TABLE_ROWS)]
    note = f" (the first {len(rows)}; --json prints all)" if count > len(rows) else ""
    print_table(f"{zoo}, preset {preset}: {count} runs in {len(zoo_plan.shards)} shards{note}", rows)
    print_properties("settings", zoo_plan.settings_data(), "setting")


def _shortened(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a table with the beginnings of long texts."""
    return {name: shorten(value, 40) if isinstance(value, str) else value for name, value in row.items()}


def generate(
    zoo: Zoo,
    preset: Preset,
    out: Annotated[Path, typer.Option(help="Directory in which to generate, resume or extend the zoo.", metavar="DIR")],
    runs: Runs = None,
    seed: Seed = None,
    workers: Workers = None,
    backend: Annotated[
        str, typer.Option(help="Trainer: auto, native (C++), loop, stacked or triton (GPU).", metavar="NAME")
    ] = "auto",
    mnist: Annotated[
        str | None,
        typer.Option(help=MNIST_HELP, metavar="hub|DIR|embedded", show_default="embedded for preset demo, else hub"),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Where shards are trained: processes of this machine, or a Ray cluster.", metavar="local|ray"
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            help="Running Ray cluster; for --engine ray.",
            metavar="HOST:PORT",
            show_default="Ray is started on this machine",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Where Ray's workers write the shards (s3://..., file:///...); for --engine ray.",
            metavar="URL",
            show_default="DIR",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="Generate only every N-th shard, starting with the K-th; `rnn-zoos merge` joins the parts.",
            metavar="K/N",
            show_default="all shards",
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="GPU for the backends triton and stacked, such as cuda:0. Repeat it for several.",
            metavar="DEVICE",
            show_default="all GPUs",
        ),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            help="Number of runs that one GPU trains together. Fewer need less memory.",
            metavar="N",
            min=1,
            show_default="chosen by the backend",
        ),
    ] = None,
    rehash: Annotated[
        bool,
        typer.Option(
            "--rehash", help="Hash all finished files again, not only those with a new size or modification time."
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            help="Stop a worker that sends no heartbeat for this long, and train its shard again.", metavar="SECONDS"
        ),
    ] = 1800.0,
) -> None:
    """Train a zoo, or resume or extend one.

    It can be interrupted at any time, by Ctrl-C or otherwise: the same command
    resumes it, and loses at most the shards that were being trained. The same
    command with a larger --runs extends a finished zoo.

    \b
    Examples:
      rnn-zoos generate formal-languages --preset demo --out zoos/formal-languages
      rnn-zoos generate sequential-mnist --preset small --mnist hub \\
          --out zoos/sequential-mnist
      rnn-zoos generate formal-languages --preset paper --out zoos/paper \\
          --engine ray --address head:6379
    """
    from rnn_zoos.format.columns import relabel_hint
    from rnn_zoos.generation.engines.engine import generate as generate_zoo
    from rnn_zoos.generation.plan import make_plan
    from rnn_zoos.generation.presets import default_digits

    chosen_part = _parse_part(part)
    digits = mnist or default_digits(preset)
    zoo_plan = make_plan(zoo, preset, runs=runs, seed=seed, mnist=digits)
    chosen, reason = backend_for_all(backend, engine, zoo_plan.architectures, device or ())
    zoo_plan = replace(zoo_plan, backend=chosen)
    zoo_plan.identity()  # loads the digits: errors in the input are reported before anything else is printed
    print(f"Backend {chosen}: {reason}.", file=sys.stderr)
    chosen_engine = EngineOptions(engine, workers, address, store, device, at_once, timeout).engine(chosen)
    with resumable():
        manifest = generate_zoo(zoo_plan, out, chosen_engine, chosen_part, rehash)
    if manifest is None:
        print(f"{out}: part {part} of the zoo is complete. Join all parts with: rnn-zoos merge DIR... --out DIR")
        return
    print_summary(out, manifest)
    for line in relabel_hint(out, manifest, zoo_plan.family):
        print(line)


def _parse_part(part: str | None) -> tuple[int, int]:
    """Return (K, N) of "K/N"; (1, 1), the whole zoo, of None."""
    if part is None:
        return 1, 1
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", part)
    k, n = (int(number) for number in match.groups()) if match else (0, 0)
    if not 1 <= k <= n:
        raise typer.BadParameter(
            f"{part!r} is not a part; expected K/N such as 2/3, with K from 1 to N", param_hint="--part"
        )
    return k, n


def merge(
    directories: Annotated[list[Path], typer.Argument(help="Zoos, or parts of a zoo.", metavar="DIR...")],
    out: Annotated[Path, typer.Option(help="Directory for the whole zoo.", metavar="DIR")],
    mnist: Annotated[
        str | None,
        typer.Option(help=MNIST_HELP, metavar="hub|DIR|embedded", show_default="that of the parts"),
    ] = None,
) -> None:
    """Join parts of a zoo that were generated separately into one.

    The parts must have been generated with the same settings: by
    `generate --part K/N`, or as zoos with different numbers of runs. They are
    not changed. Prints which shards are missing, if any.

    \b
    Examples:
      rnn-zoos generate formal-languages --preset paper --part 1/2 --out part1
      rnn-zoos generate formal-languages --preset paper --part 2/2 --out part2
      rnn-zoos merge part1 part2 --out zoos/formal-languages
    """
    from rnn_zoos.generation.writing.merge import merge as merge_zoos

    for line in merge_zoos(directories, out, mnist):
        print(line)


def verify(
    directory: Directory,
    runs: Annotated[int, typer.Option(help="Number of runs to train again.", metavar="N", min=1)] = 3,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the selection of runs.", metavar="N", show_default="a different selection each time"
        ),
    ] = None,
    workers: Workers = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Another backend; its networks are only compared up to rounding.",
            metavar="NAME",
            show_default="that of the zoo",
        ),
    ] = None,
    mnist: Annotated[
        str | None,
        typer.Option(help=MNIST_HELP, metavar="hub|DIR|embedded", show_default="that of the zoo"),
    ] = None,
) -> None:
    """Train some runs of a zoo again, and compare them with the stored ones.

    On a machine like the one that generated the zoo, every bit must be equal.
    On others, rounding differences grow during training; there, the initial
    weights must be equal, and the stored labels must be those of the stored
    weights. The exit status is 1 if something differs.

    \b
    Examples:
      rnn-zoos verify zoos/formal-languages
      rnn-zoos verify zoos/formal-languages --runs 5 --seed 0
    """
    from rnn_zoos.generation.writing.verify import verify as verify_zoo

    verdict = verify_zoo(directory, runs, seed, workers, backend, mnist)
    print(f"{directory}: {verdict.criterion}")
    print_table(f"{len(verdict.rows)} snapshots of runs {', '.join(map(str, verdict.runs))}", verdict.rows)
    for line in verdict.findings:
        print(line)
    if verdict.findings:
        raise typer.Exit(1)
    print("Reproduced bit for bit." if verdict.exact else "Consistent, as far as this machine can verify.")
