"""The commands that measure: encoders on a zoo, and the speed of this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rnn_zoos.cli.console import JsonFile, Revision, print_table
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.progress import progress_bar

speed = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


def benchmark(
    zoo: Annotated[str, typer.Option(help="directory of a zoo, or its name on the Hub", metavar="DIR|OWNER/NAME")],
    out: Annotated[Path, typer.Option(help="folder for the results, one JSON for every encoder and seed")],
    encoder: Annotated[
        list[str] | None, typer.Option(help="a name, or module:Class of your own (may be repeated) [default: all]")
    ] = None,
    preset: Annotated[str, typer.Option(help="cpu (minutes an encoder and seed on 2 cores) or paper")] = "cpu",
    seeds: Annotated[int, typer.Option(help="seeds 0, 1, ... of every encoder", min=1)] = 3,
    biases: Annotated[
        str, typer.Option(help="apart, or merged: without the fingerprint of a run in b_ih - b_hh")
    ] = "apart",
    workers: Annotated[
        int | None, typer.Option(help="results made side by side [default: one a core, one on a GPU]", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda (never run on a GPU yet)")] = "cpu",
    revision: Revision = None,
) -> None:
    """Train encoders by emulation, then read tasks, accuracy and more from their embeddings. Goes on where it stopped.

    Examples:

    rnn-zoos benchmark --zoo zoos/formal-languages --encoder statistics --seeds 1 --out results

    rnn-zoos benchmark --zoo zoos/formal-languages --encoder my_module:MyEncoder --out results
    """
    from rnn_zoos.baselines.benchmark.results import preset_of
    from rnn_zoos.baselines.benchmark.schedule import Benchmark, Work, make_results
    from rnn_zoos.baselines.downstream.controls import controls_of
    from rnn_zoos.baselines.emulation.data import check_device, to_biases
    from rnn_zoos.baselines.encoders.registry import make_encoder, usable_encoders

    preset_of(preset)
    planned = Benchmark(zoo, out, preset, revision, to_biases(biases), check_device(device))
    architecture = planned.data().architecture
    encoders = encoder or usable_encoders(architecture)
    for name in encoders:
        make_encoder(name, architecture)  # what cannot be made is said at once, not after an hour
    wanted = [Work(name, seed) for seed in range(seeds) for name in encoders]
    wanted += [Work(control, None) for control in controls_of(planned.biases)]
    with progress_bar(f"{len(wanted)} results") as progress:
        make_results(planned, wanted, workers, lambda work, path: print(f"{work}: {path}", flush=True), progress)
    print(f"All results are there: rnn-zoos leaderboard {out}")


def leaderboard(
    directory: Annotated[Path, typer.Argument(help="the --out of `rnn-zoos benchmark`", metavar="DIR")],
    check_only: Annotated[bool, typer.Option("--check", help="only say what is wrong with the results")] = False,
    protocol: Annotated[str, typer.Option(help="strict: trained on train; paper: and on half of ood")] = "strict",
    predictor: Annotated[str, typer.Option(help="linear or mlp, on frozen embeddings; or end-to-end")] = "linear",
    split: Annotated[str, typer.Option(help="what is read on: validation, test or ood")] = "test",
    brief: Annotated[bool, typer.Option("--brief", help="fewer columns")] = False,
    figures: Annotated[Path | None, typer.Option(help="also draw figures into this folder", metavar="DIR")] = None,
) -> None:
    """Print the table of all results in a folder, in markdown, and draw them.

    Examples:

    rnn-zoos leaderboard results --figures results/figures

    rnn-zoos leaderboard results --predictor mlp --split ood
    """
    from rnn_zoos.baselines.benchmark import leaderboard as board
    from rnn_zoos.baselines.benchmark import reading
    from rnn_zoos.baselines.benchmark.results import TESTED
    from rnn_zoos.baselines.downstream.predictors import PROTOCOLS

    if check_only:
        paths = sorted(directory.rglob("*.json"))
        findings = [f"{path}: {line}" for path in paths for line in reading.check_result(path)]
        for finding in findings:
            print(finding)
        if findings:
            raise typer.Exit(1)
        print(f"{directory}: {len(reading.read_results(directory))} results, all in order.")
        return
    choices = {"protocol": (protocol, PROTOCOLS), "predictor": (predictor, reading.READINGS)}
    for what, (given, known) in {**choices, "split": (split, TESTED)}.items():
        if given not in known:
            raise UnknownNameError.among(what, given, known)
    results = reading.read_results(directory)
    print(board.leaderboard(results, protocol, predictor, split, brief), end="")
    if figures is not None:
        from rnn_zoos.baselines.benchmark.figures import draw_results

        for path in draw_results(results, figures):
            print(path, file=sys.stderr)


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
    from rnn_zoos.format.files import write_json
    from rnn_zoos.generation.measuring.trainer_speed import measure_generation
    from rnn_zoos.generation.trainers.backends import CPU_BACKENDS, choose_backend

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
    from rnn_zoos.format.files import write_json
    from rnn_zoos.generation.measuring.loading_speed import measure

    measured = measure(directory, runs, batch, repeats, scratch)
    if out is not None:
        write_json(out, measured)
    for title in ("machine", "zoo", "index"):
        print_table(title, [{"what": key, "value": value} for key, value in measured[title].items()])
    print_table(f"weights of the training split, random batches of {batch}", measured["results"])


@speed.command("engines")
def speed_engines(
    updates: Annotated[int, typer.Option(help="updates of every run", min=100)] = 1000,
    repeats: Annotated[int, typer.Option(help="rounds, of which the medians count", min=1)] = 3,
    backend: Annotated[str, typer.Option(help="what trains: auto, native, loop")] = "auto",
    out: JsonFile = None,
) -> None:
    """Measure what Ray costs: the local engine beside a local Ray, and clusters of one and two nodes of one core.

    Example: rnn-zoos speed engines --repeats 5 --json engines.json
    """
    from rnn_zoos.format.files import write_json
    from rnn_zoos.generation.measuring.engine_speed import measure_engines
    from rnn_zoos.generation.trainers.backends import choose_backend
    from rnn_zoos.machine import describe_machine
    from rnn_zoos.processes import available_cores

    results = measure_engines(updates, repeats, choose_backend(backend)[0])
    if out is not None:
        machine = describe_machine() | {"cores": available_cores()}
        write_json(out, {"machine": machine, "repeats": repeats, "updates": updates, "results": results})
    print_table("updates of LSTMs of the paper's size", results)


@speed.command("scale")
def speed_scale(
    runs: Annotated[int, typer.Option(help="runs of the plan that is made", min=1)] = 1_000_000,
    shards: Annotated[int, typer.Option(help="shards of the simulated zoo", min=1)] = 20_000,
    scratch: Annotated[Path | None, typer.Option(help="folder for the simulated zoo", metavar="DIR")] = None,
    out: JsonFile = None,
) -> None:
    """Measure the bookkeeping of very large zoos: a plan, a manifest, a check; weights are random, not trained.

    Example: rnn-zoos speed scale --shards 2000
    """
    from rnn_zoos.format.files import write_json
    from rnn_zoos.generation.measuring.scale import measure_scale
    from rnn_zoos.machine import describe_machine

    results = measure_scale(runs, shards, scratch)
    if out is not None:
        write_json(out, {"machine": describe_machine(), "results": results})
    print_table("bookkeeping", results)


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
    from rnn_zoos.baselines.benchmark.encoder_speed import measure_encoders
    from rnn_zoos.baselines.encoders.registry import ENCODERS
    from rnn_zoos.format.files import write_json
    from rnn_zoos.machine import describe_machine

    results = measure_encoders(encoder or list(ENCODERS), repeats)
    if out is not None:
        write_json(out, {"machine": describe_machine(), "repeats": repeats, "results": results})
    print_table("an update of 64 networks", results)
