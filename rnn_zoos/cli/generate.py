"""The commands that make zoos, on one machine or many, and show that they can be made again."""

from __future__ import annotations

import re
import signal
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnn_zoos.cli.console import print_json_rows, print_table
from rnn_zoos.errors import UnknownNameError

if TYPE_CHECKING:
    from rnn_zoos.generation.engines.engine import Engine
    from rnn_zoos.generation.plan import Plan

_SHOWN_RUNS = 1000  # of a plan, in a table for people

Zoo = Annotated[str, typer.Argument(help="formal-languages or sequential-mnist", metavar="ZOO")]
Preset = Annotated[str, typer.Option(help="demo, small, paper, or the path of a YAML file like them")]
Runs = Annotated[int | None, typer.Option(help="number of runs, instead of the preset's", min=1)]
Seed = Annotated[int | None, typer.Option(help="seed of the zoo, instead of the preset's", min=0)]
Mnist = Annotated[
    str | None,
    typer.Option(
        help="digits: hub, a directory of IDX files, or embedded (5,000) [default: embedded for demo, else hub]"
    ),
]
Timeout = Annotated[
    float, typer.Option(help="seconds without a sign of life after which a worker is stopped and its shard begun again")
]


def plan(
    zoo: Zoo,
    preset: Preset,
    runs: Runs = None,
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show what would be trained: every run with its split, shard, task and hyperparameters.

    Example: rnn-zoos plan formal-languages --preset demo
    """
    from rnn_zoos.generation.plan import make_plan

    made = make_plan(zoo, preset, runs=runs, seed=seed)
    if as_json:
        print_json_rows({"zoo": zoo, "settings": made.settings_data()}, "runs", made.run_rows())
        return
    count = made.settings.runs
    shown = list(islice(made.run_rows(), _SHOWN_RUNS))
    more = f" (the first {len(shown)}; --json prints all)" if count > len(shown) else ""
    print_table(f"{zoo}, preset {preset}: {count} runs in {len(made.shards)} shards{more}", shown)
    print_table("settings", [{"key": key, "value": value} for key, value in made.settings_data().items()])


def generate(
    zoo: Zoo,
    preset: Preset,
    out: Annotated[Path, typer.Option(help="directory to make, finish or extend the zoo in", metavar="DIR")],
    runs: Runs = None,
    seed: Seed = None,
    workers: Annotated[int | None, typer.Option(help="worker processes (default: one per core)", min=1)] = None,
    backend: Annotated[str, typer.Option(help="what trains: auto, native (C++), loop, stacked, triton")] = "auto",
    mnist: Mnist = None,
    engine: Annotated[
        str, typer.Option(help="what makes shards: local, or ray (a cluster, or this machine)")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of a running Ray [default: one is started here]", metavar="ADDR")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="URL (s3://..., file:///...) to which Ray's workers write the shards, not DIR", metavar="URL"
        ),
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="make only every N-th shard, from the K-th: for `rnn-zoos merge`", metavar="K/N")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="GPU for triton or stacked (may be repeated) [default: all]", metavar="cuda:0"),
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(help="runs that a GPU trains at once; fewer take less memory", min=1)
    ] = None,
    timeout: Timeout = 1800.0,
) -> None:
    """Train a zoo. Stop it when you like: the same command goes on where it was, and a larger --runs extends a zoo.

    Examples:

    rnn-zoos generate formal-languages --preset demo --out zoos/formal-languages

    rnn-zoos generate sequential-mnist --preset small --mnist hub --out zoos/sequential-mnist

    rnn-zoos generate formal-languages --preset paper --out zoos/paper --engine ray --address head:6379
    """
    from rnn_zoos.generation.engines.engine import generate as generate_zoo

    chosen_part = _part(part)
    made = _announced_plan(zoo, preset, runs, seed, backend, mnist, engine)
    chosen_engine = _engine(engine, workers, address, store, device, at_once, timeout)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops like Ctrl-C
    try:
        manifest = generate_zoo(made, out, chosen_engine, chosen_part)
    except KeyboardInterrupt:
        print("Stopped. Finished shards are kept: run the same command again to go on.", file=sys.stderr)
        raise typer.Exit(130) from None
    if manifest is None:
        print(f"{out}: part {part} of the zoo is there. When all are: rnn-zoos merge DIR... --out DIR")
        return
    rows = sum(split["rows"] for split in manifest.splits.values())
    print(f"{out}: {manifest.runs} runs, {rows} snapshots of {manifest.architecture.num_parameters:,} weights each.")


def _announced_plan(
    zoo: str, preset: str, runs: int | None, seed: int | None, backend: str, mnist: str | None, engine: str
) -> Plan:
    """Make the plan; nothing is announced before all that can be wrong was looked at."""
    from rnn_zoos.generation.plan import make_plan
    from rnn_zoos.generation.trainers.backends import BACKENDS, choose_backend

    if engine == "ray" and backend in BACKENDS:
        chosen, reason = backend, "as asked for"  # the nodes have to have it, not this machine
    else:
        chosen, reason = choose_backend(backend)
    source = mnist or ("embedded" if preset == "demo" else "hub")
    made = make_plan(zoo, preset, runs=runs, seed=seed, backend=chosen, mnist=source)
    made.identity()  # loads the digits
    print(f"Backend {chosen}: {reason}.", file=sys.stderr)
    return made


def _part(part: str | None) -> tuple[int, int]:
    """Return (k, n) of "K/N"."""
    if part is None:
        return 1, 1
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", part)
    k, n = (int(number) for number in match.groups()) if match else (0, 0)
    if not 1 <= k <= n:
        raise typer.BadParameter(
            f"{part!r} is no part; expected K/N such as 2/3, with K from 1 to N", param_hint="--part"
        )
    return k, n


def _engine(
    name: str,
    workers: int | None,
    address: str | None,
    store: str | None,
    device: list[str] | None,
    at_once: int | None,
    timeout: float,
) -> Engine:
    if name == "ray":
        from rnn_zoos.generation.engines.ray_engine import RayEngine
        from rnn_zoos.generation.writing.store import Store

        if device:
            raise typer.BadParameter("Ray deals its GPUs itself", param_hint="--device")
        return RayEngine(address, workers, at_once, timeout, None if store is None else Store(store))
    if name != "local":
        raise UnknownNameError.among("engine", name, ("local", "ray"))
    for option, value in (("--address", address), ("--store", store)):
        if value is not None:
            raise typer.BadParameter("it is for --engine ray alone", param_hint=option)
    from rnn_zoos.generation.engines.local import LocalEngine

    return LocalEngine(workers, tuple(device) if device else None, at_once, timeout)


def merge(
    directories: Annotated[list[Path], typer.Argument(help="zoos, or parts of one", metavar="DIR...")],
    out: Annotated[Path, typer.Option(help="new directory for the whole zoo", metavar="DIR")],
    mnist: Mnist = None,
) -> None:
    """Bring zoos of one plan together that were generated apart: parts (generate --part K/N), other machines.

    Examples:

    rnn-zoos generate formal-languages --preset paper --out part1 --part 1/2    (the other machine: part2, --part 2/2)

    rnn-zoos merge part1 part2 --out zoos/formal-languages
    """
    from rnn_zoos.generation.writing.merge import merge as merge_zoos

    for line in merge_zoos(directories, out, mnist):
        print(line)


def verify(
    directory: Annotated[Path, typer.Argument(help="directory of a zoo", metavar="DIR")],
    runs: Annotated[int, typer.Option(help="runs to train again", min=1)] = 3,
    seed: Annotated[int | None, typer.Option(help="of the choice of runs [default: another choice each time]")] = None,
    workers: Annotated[int | None, typer.Option(help="worker processes (default: one per core)", min=1)] = None,
    backend: Annotated[str | None, typer.Option(help="another than the zoo's: then equal up to rounding")] = None,
    mnist: Mnist = None,
) -> None:
    """Train some runs of a zoo again and compare: can it be reproduced? Exit status 1 if not.

    On a machine like that of the zoo every bit has to be equal. Elsewhere, training ends with other networks (rounding
    grows): there, initial weights have to be equal, and labels those of the stored weights.

    Example: rnn-zoos verify zoos/formal-languages --runs 5
    """
    from rnn_zoos.generation.writing.verify import verify as verify_zoo

    verdict = verify_zoo(directory, runs, seed, workers, backend, mnist)
    print(f"{directory}: {verdict.claim}")
    print_table(f"{len(verdict.rows)} snapshots of runs {', '.join(map(str, verdict.runs))}", verdict.rows)
    for line in verdict.findings:
        print(line)
    if verdict.findings:
        raise typer.Exit(1)
    print("Reproduced, bit for bit." if verdict.exact else "Sound, as far as can be told here.")
