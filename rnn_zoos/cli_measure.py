"""The commands that measure: encoders on a zoo, and the speed of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnn_zoos.console import JsonFile, Revision, print_table, updates_bar
from rnn_zoos.errors import UnknownNameError

speed = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


def benchmark(
    zoo: Annotated[str, typer.Option(help="directory of a zoo, or its name on the Hub", metavar="DIR|OWNER/NAME")],
    out: Annotated[Path, typer.Option(help="folder for the results, one JSON for every encoder and seed")],
    encoder: Annotated[
        list[str] | None, typer.Option(help="a name, or module:Class of your own (may be repeated) [default: all]")
    ] = None,
    preset: Annotated[str, typer.Option(help="cpu (minutes an encoder and seed on 2 cores) or paper")] = "cpu",
    seeds: Annotated[int, typer.Option(help="seeds 0, 1, ... of every encoder", min=1)] = 3,
    revision: Revision = None,
) -> None:
    """Train encoders by emulation, then read tasks, accuracy and more from their embeddings. Goes on where it stopped.

    Examples:

    rnn-zoos benchmark --zoo zoos/formal-languages --encoder statistics --seeds 1 --out results

    rnn-zoos benchmark --zoo zoos/formal-languages --encoder my_module:MyEncoder --out results
    """
    from rnn_zoos.baselines.benchmark import preset_of, run_control, run_encoder
    from rnn_zoos.baselines.controls import CONTROLS
    from rnn_zoos.baselines.data import load_data
    from rnn_zoos.baselines.registry import usable_encoders

    updates, data = preset_of(preset).settings.updates, load_data(zoo, revision)
    encoders = encoder or usable_encoders(data.architecture)
    pairs = [(name, seed) for seed in range(seeds) for name in encoders]
    for control in CONTROLS:
        print(f"control {control}: {run_control(data, control, out)}", flush=True)
    for number, (name, seed) in enumerate(pairs, start=1):
        with updates_bar(f"{number}/{len(pairs)} {name}, seed {seed}", updates) as report:
            path = run_encoder(data, name, seed, preset, out, report)
        print(f"{name}, seed {seed}: {path}", flush=True)
    print(f"All results are there: rnn-zoos leaderboard {out}")


def leaderboard(
    directory: Annotated[Path, typer.Argument(help="the --out of `rnn-zoos benchmark`", metavar="DIR")],
    check_only: Annotated[bool, typer.Option("--check", help="only say what is wrong with the results")] = False,
    protocol: Annotated[str, typer.Option(help="strict: trained on train; paper: and on half of ood")] = "strict",
    predictor: Annotated[str, typer.Option(help="linear or mlp")] = "linear",
) -> None:
    """Print the table of all results in a folder, in markdown.

    Example: rnn-zoos leaderboard results
    """
    from rnn_zoos.baselines import leaderboard as board
    from rnn_zoos.baselines.downstream import PREDICTORS, PROTOCOLS

    if check_only:
        paths = sorted(directory.rglob("*.json"))
        findings = [f"{path}: {line}" for path in paths for line in board.check_result(path)]
        for finding in findings:
            print(finding)
        if findings:
            raise typer.Exit(1)
        print(f"{directory}: {len(board.read_results(directory))} results, all in order.")
        return
    for what, given, known in (("protocol", protocol, PROTOCOLS), ("predictor", predictor, PREDICTORS)):
        if given not in known:
            raise UnknownNameError.among(what, given, known)
    print(board.leaderboard(board.read_results(directory), protocol, predictor), end="")


@speed.command("generation")
def speed_generation(
    backend: Annotated[list[str] | None, typer.Option(help="only this one (may be repeated)")] = None,
    updates: Annotated[int, typer.Option(help="updates in each measurement", min=1)] = 500,
    repeats: Annotated[int, typer.Option(help="measurements, of which the median counts", min=1)] = 5,
    out: JsonFile = None,
) -> None:
    """Measure every trainer beside a bare torch loop and a matrix product, in turn, on the same data: medians.

    Examples:

    rnn-zoos speed generation

    rnn-zoos speed generation --backend native --repeats 9 --json speed.json
    """
    from rnn_zoos.files import write_json
    from rnn_zoos.generation.backends import CPU_BACKENDS, choose_backend
    from rnn_zoos.generation.speed import measure_generation

    measured = measure_generation([choose_backend(name)[0] for name in backend or CPU_BACKENDS], updates, repeats)
    if out is not None:
        write_json(out, measured)
    print_table(", ".join(f"{key} {value}" for key, value in measured["machine"].items()), measured["results"])


@speed.command("loading")
def speed_loading(
    directory: Annotated[
        Path | None, typer.Argument(help="directory of a zoo (default: one of random weights is made)", metavar="[DIR]")
    ] = None,
    runs: Annotated[int, typer.Option(help="runs of the zoo that is made, 9 snapshots each", min=1)] = 1000,
    batch: Annotated[int, typer.Option(help="rows in a random batch", min=1)] = 64,
    repeats: Annotated[int, typer.Option(help="measurements, of which the median counts", min=1)] = 5,
    scratch: Annotated[
        Path | None, typer.Option(help="folder for copies of the weights, 4 times their size", metavar="DIR")
    ] = None,
    out: JsonFile = None,
) -> None:
    """Measure how fast weights are read, beside a numpy memmap, a torch file per network, and plain datasets: medians.

    Examples:

    rnn-zoos speed loading

    rnn-zoos speed loading zoos/formal-languages --repeats 9 --json loading.json
    """
    from rnn_zoos.files import write_json
    from rnn_zoos.generation.loading import measure

    measured = measure(directory, runs, batch, repeats, scratch)
    if out is not None:
        write_json(out, measured)
    for title in ("machine", "zoo", "index"):
        print_table(title, [{"what": key, "value": value} for key, value in measured[title].items()])
    print_table(f"weights of the training split, random batches of {batch}", measured["results"])


@speed.command("encoders")
def speed_encoders(
    encoder: Annotated[list[str] | None, typer.Option(help="only this one (may be repeated)")] = None,
    repeats: Annotated[int, typer.Option(help="updates of each, of which the median counts", min=1)] = 15,
    out: JsonFile = None,
) -> None:
    """Measure an update with every encoder beside the emulator alone, at the paper's sizes: medians.

    Examples:

    rnn-zoos speed encoders

    rnn-zoos speed encoders --encoder interactive --encoder my_module:MyEncoder --json encoders.json
    """
    from rnn_zoos.baselines.registry import ENCODERS
    from rnn_zoos.baselines.speed import measure_encoders
    from rnn_zoos.files import write_json
    from rnn_zoos.machine import describe_machine

    results = measure_encoders(encoder or list(ENCODERS), repeats)
    if out is not None:
        write_json(out, {"machine": describe_machine(), "repeats": repeats, "results": results})
    print_table("an update of 64 networks", results)
