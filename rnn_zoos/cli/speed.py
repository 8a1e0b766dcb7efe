"""The commands `rnn-zoos speed ...`, which measure speed on this machine; the measurements are defined elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnn_zoos.cli.console import MNIST_HELP, JsonFile, print_properties, print_table

speed = typer.Typer(
    help="""Measure the speed of training, loading, and encoders on this machine.

\b
Examples:
  rnn-zoos speed generation
  rnn-zoos speed loading zoos/formal-languages --json loading.json
""",
    no_args_is_help=True,
)

Repeats = Annotated[int, typer.Option(help="Number of measurements; the median is reported.", metavar="N", min=1)]
Scratch = Annotated[
    Path | None,
    typer.Option(
        help="Existing directory for temporary files.",
        metavar="DIR",
        show_default="the system's temporary directory",
        exists=True,
        file_okay=False,
    ),
]


@speed.command("generation")
def speed_generation(
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="Trainer to measure: native, loop, stacked or triton. Repeat it for several.",
            metavar="NAME",
            show_default="all for CPUs",
        ),
    ] = None,
    updates: Annotated[int, typer.Option(help="Updates per measurement.", metavar="N", min=1)] = 500,
    repeats: Repeats = 5,
    out: JsonFile = None,
) -> None:
    """Measure every trainer, compared with a bare PyTorch loop and a matrix product.

    All methods are measured interleaved, on the same data.

    \b
    Examples:
      rnn-zoos speed generation
      rnn-zoos speed generation --backend native --repeats 9 --json speed.json
    """
    from rnn_zoos.format.files import write_json
    from rnn_zoos.generation.measuring.trainer_speed import measure_generation
    from rnn_zoos.generation.trainers.backends import CPU_BACKENDS, choose_backend

    measured = measure_generation([choose_backend(name)[0] for name in backend or CPU_BACKENDS], updates, repeats)
    print_table(", ".join(f"{key} {value}" for key, value in measured["machine"].items()), measured["results"])
    if out is not None:
        write_json(out, measured)


@speed.command("architectures")
def speed_architectures(
    zoo: Annotated[str, typer.Argument(help="Task family.", metavar="ZOO")] = "formal-languages",
    backend: Annotated[str, typer.Option(help="Trainer to measure.", metavar="NAME")] = "native",
    updates: Annotated[int, typer.Option(help="Updates per measurement.", metavar="N", min=1)] = 200,
    repeats: Repeats = 3,
    out: JsonFile = None,
) -> None:
    """Measure a trainer on 27 architectures, one by one and in one mixed zoo.

    \b
    Examples:
      rnn-zoos speed architectures
      rnn-zoos speed architectures automata --repeats 5 --json speed.json
    """
    from rnn_zoos.format.files import write_json
    from rnn_zoos.generation.measuring.architecture_speed import measure_architectures

    measured = measure_architectures(zoo, backend, updates, repeats)
    *rows, mixture = measured["results"]
    print_table(", ".join(f"{key} {value}" for key, value in measured["machine"].items()), rows)
    print_properties("A zoo of all of them", mixture)
    if out is not None:
        write_json(out, measured)


@speed.command("loading")
def speed_loading(
    directory: Annotated[
        Path | None,
        typer.Argument(help="Directory of a zoo.", metavar="DIR", show_default="a new zoo with random weights"),
    ] = None,
    runs: Annotated[int, typer.Option(help="Runs of the new zoo, with 9 snapshots each.", metavar="N", min=1)] = 1000,
    batch: Annotated[int, typer.Option(help="Rows per random batch.", metavar="N", min=1)] = 64,
    repeats: Repeats = 5,
    scratch: Scratch = None,
    out: JsonFile = None,
) -> None:
    """Measure how fast weights are loaded, compared with other storage formats.

    The same weights are also read from a numpy memmap, from one torch file per
    network, and from Parquet by `datasets`. The copies take 4 times the space
    of the weights.

    \b
    Examples:
      rnn-zoos speed loading
      rnn-zoos speed loading zoos/formal-languages --repeats 9 --json loading.json
    """
    from rnn_zoos.format.files import write_json
    from rnn_zoos.generation.measuring.loading_speed import measure_loading

    measured = measure_loading(directory, runs, batch, repeats, scratch)
    for title in ("machine", "zoo", "index"):
        print_properties(title, measured[title])
    print_table(f"weights of the training split, random batches of {batch}", measured["results"])
    if out is not None:
        write_json(out, measured)


@speed.command("engines")
def speed_engines(
    updates: Annotated[int, typer.Option(help="Updates per run.", metavar="N", min=100)] = 1000,
    repeats: Repeats = 3,
    backend: Annotated[str, typer.Option(help="Trainer: auto, native or loop.", metavar="NAME")] = "auto",
    out: JsonFile = None,
) -> None:
    """Measure the overhead of Ray, compared with the local engine.

    Ray is measured on this machine, and as clusters of one and of two nodes
    with one core each.

    \b
    Examples:
      rnn-zoos speed engines
      rnn-zoos speed engines --repeats 5 --json engines.json
    """
    from rnn_zoos.format.files import write_json
    from rnn_zoos.generation.measuring.engine_speed import measure_engines
    from rnn_zoos.generation.trainers.backends import choose_backend
    from rnn_zoos.machine import describe_machine
    from rnn_zoos.processes import available_cores

    results = measure_engines(updates, repeats, choose_backend(backend)[0])
    print_table("training of LSTMs of the paper's size", results)
    if out is not None:
        machine = describe_machine() | {"cores": available_cores()}
        write_json(out, {"machine": machine, "repeats": repeats, "updates": updates, "results": results})


@speed.command("labels")
def speed_labels(
    directory: Annotated[Path, typer.Argument(help="Directory of a zoo.", metavar="DIR")],
    runs: Annotated[int, typer.Option(help="Runs whose snapshots are measured.", metavar="N", min=1)] = 5,
    updates: Annotated[int, typer.Option(help="Updates per measurement of training.", metavar="N", min=1)] = 500,
    repeats: Repeats = 5,
    backend: Annotated[
        str, typer.Option(help="Trainer to compare with: auto, native or loop.", metavar="NAME")
    ] = "auto",
    mnist: Annotated[str | None, typer.Option(help=MNIST_HELP, metavar="DIR", show_default="those of the zoo")] = None,
    out: JsonFile = None,
) -> None:
    """Measure what each label of a snapshot costs, compared with training.

    Labels are measured again on networks of the zoo, on one core, as they are
    when a zoo is generated. Nothing is changed.

    \b
    Examples:
      rnn-zoos speed labels zoos/formal-languages
      rnn-zoos speed labels zoos/sequential-mnist --runs 2 --json labels.json
    """
    from rnn_zoos.format.files import write_json
    from rnn_zoos.generation.measuring.label_speed import measure_label_costs
    from rnn_zoos.generation.trainers.backends import choose_backend

    measured = measure_label_costs(directory, runs, updates, repeats, choose_backend(backend)[0], mnist)
    print_properties(f"training, {measured['backend']}", measured["training"])
    print_table(f"labels of {measured['zoo']['zoo']}, preset {measured['zoo']['preset']}", measured["results"])
    if out is not None:
        write_json(out, measured)


@speed.command("scale")
def speed_scale(
    runs: Annotated[int, typer.Option(help="Runs of the plan.", metavar="N", min=1)] = 1_000_000,
    shards: Annotated[int, typer.Option(help="Shards of the simulated zoo.", metavar="N", min=1)] = 20_000,
    scratch: Scratch = None,
    out: JsonFile = None,
) -> None:
    """Measure the bookkeeping for very large zoos: plan, resume, index, check, merge.

    The zoo is simulated: nothing is trained. Its shards have the size of the
    paper's, in sparse files, which take hardly any space on the disk.

    \b
    Examples:
      rnn-zoos speed scale
      rnn-zoos speed scale --shards 2000 --json scale.json
    """
    from rnn_zoos.format.files import write_json
    from rnn_zoos.generation.measuring.scale import measure_scale
    from rnn_zoos.machine import describe_machine

    measured = measure_scale(runs, shards, scratch)
    print_properties("simulated zoo", measured["zoo"])
    print_table("bookkeeping", measured["results"])
    if out is not None:
        write_json(out, {"machine": describe_machine(), **measured})


@speed.command("encoders")
def speed_encoders(
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of an encoder, or module:Class of your own. Repeat it for several.",
            metavar="NAME",
            show_default="all that fit the formal languages",
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Preset of the benchmark: its sizes and batches.", metavar="quick|cpu|paper")
    ] = "cpu",
    repeats: Repeats = 15,
    out: JsonFile = None,
) -> None:
    """Measure a training update of every encoder, compared with the emulator alone.

    Networks are those of the formal languages.

    \b
    Examples:
      rnn-zoos speed encoders
      rnn-zoos speed encoders --preset paper --encoder interactive --encoder my_module:MyEncoder
    """
    from rnn_zoos.baselines.benchmark.encoder_speed import measure_encoders
    from rnn_zoos.format.files import write_json
    from rnn_zoos.machine import describe_machine

    results = measure_encoders(encoder, repeats, preset)
    print_table(f"one update, preset {preset}", results)
    if out is not None:
        write_json(out, {"machine": describe_machine(), "preset": preset, "repeats": repeats, "results": results})
