"""The commands that evaluate encoders of weights on a zoo: benchmark, leaderboard."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rnn_zoos.cli.console import Revision
from rnn_zoos.progress import progress_bar


def benchmark(
    zoo: Annotated[
        str, typer.Option(help="Directory of a zoo, or its name on the Hugging Face Hub.", metavar="DIR|OWNER/NAME")
    ],
    out: Annotated[
        Path, typer.Option(help="Directory for the results: one JSON file per encoder and seed.", metavar="OUT")
    ],
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of an encoder, or module:Class of your own. Repeat it for several.",
            metavar="NAME",
            show_default="all that fit the zoo",
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="Preset: quick (minutes per encoder and seed), cpu (the leaderboard) or paper.",
            metavar="quick|cpu|paper",
        ),
    ] = "cpu",
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Number of seeds (0, 1, ...) with which each encoder is trained.",
            metavar="N",
            min=1,
            show_default="1 with --preset quick, else 3",
        ),
    ] = None,
    controls: Annotated[
        bool | None,
        typer.Option(
            "--controls/--no-controls",
            help="Also evaluate controls, and references that read labels.",
            show_default="not with --preset quick",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Directory of results to compare the encoders with.",
            metavar="DIR",
            show_default="the results in the checkout",
        ),
    ] = None,
    biases: Annotated[
        str,
        typer.Option(
            help="Keep the two bias vectors (apart), or replace them by their sum (merged): their difference "
            "identifies a run.",
            metavar="apart|merged",
        ),
    ] = "apart",
    transfer: Annotated[
        str | None,
        typer.Option(
            help="For a zoo of several architectures: train on LSTMs and test on other cells (cells), or train on at "
            "most 32 units and test on more (sizes). The split ood then has the others.",
            metavar="cells|sizes",
            show_default="no transfer",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Number of results computed in parallel.", metavar="N", min=1, show_default="one per core; 1 on a GPU"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where encoders are trained.", metavar="cpu|cuda")] = "cpu",
    revision: Revision = None,
) -> None:
    """Train encoders by emulation, and evaluate what their embeddings reveal.

    Each encoder is trained together with an emulator; then predictors of tasks,
    accuracies and other labels are trained on its embeddings. Prints how the
    encoders stand among other results. Existing results are kept: if it was
    interrupted, the same command resumes.

    \b
    Examples:
      rnn-zoos benchmark --zoo zoos/formal-languages --out results \\
          --encoder my_module:MyModule --preset quick
      rnn-zoos benchmark --zoo zoos/formal-languages --out results \\
          --encoder statistics --seeds 1
      rnn-zoos benchmark --zoo zoos/mixed --out results --transfer cells \\
          --encoder self-rollout --encoder interactive
    """
    from rnn_zoos.baselines.benchmark.comparable import comparable_results, how_to_compare, shared_entries
    from rnn_zoos.baselines.benchmark.presets import preset_of
    from rnn_zoos.baselines.benchmark.schedule import BenchmarkWork, Job, make_results
    from rnn_zoos.baselines.downstream.controls import controls_of
    from rnn_zoos.baselines.emulation.data import benchmark_of, check_biases
    from rnn_zoos.baselines.emulation.references import REFERENCES, references_of
    from rnn_zoos.baselines.encoders.own_module import try_module
    from rnn_zoos.baselines.encoders.registry import make_encoder, usable_encoders

    chosen = preset_of(preset)
    plan = BenchmarkWork(zoo, out, preset, revision, check_biases(biases), device, transfer)
    data = plan.load()
    encoders = list(dict.fromkeys(encoder or usable_encoders(data.architectures, benchmark_of(data.zoo.manifest.zoo))))
    for name in {*encoders} - {*REFERENCES}:  # what cannot work is reported at once, not after an hour
        try_module(make_encoder(name, data.architectures, **chosen.sizes_of(name, data.zoo.manifest.zoo)))
    shared = shared_entries(data, preset)
    others = comparable_results(shared, encoders, against)
    quick = preset == "quick"
    with_controls = not quick if controls is None else controls
    references = references_of(data.zoo.manifest.zoo) if biases == "apart" else []  # they read no biases
    names = [*encoders, *(references if with_controls else ())]
    jobs = [Job(name, seed) for seed in range(seeds or (1 if quick else 3)) for name in names]
    jobs += [Job(control, None) for control in controls_of(plan.biases, data.architectures) if with_controls]
    made: dict[Job, Path] = {}

    def finished(job: Job, path: Path) -> None:
        print(f"{job}: {path}", flush=True)
        made[job] = path

    with progress_bar(f"{len(jobs)} results") as progress:
        make_results(plan, jobs, workers, finished, progress)
    new = [json.loads(made[job].read_text()) for job in jobs if job.seed is not None]
    if others:
        print(_standing(new, others))
    elif encoder:  # not after a benchmark of all encoders: the leaderboard compares them
        print(how_to_compare(shared))
    print(f"All results are complete. Show them with: rnn-zoos leaderboard {out}")


def _standing(new: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    """Return how the encoders of new results stand among other results."""
    from rnn_zoos.baselines.benchmark.comparison import rank_report

    return rank_report([result for result in new if result["information"] != "labels"], others)


def leaderboard(
    directory: Annotated[Path, typer.Argument(help="Directory that `rnn-zoos benchmark` wrote.", metavar="DIR")],
    check_only: Annotated[
        bool, typer.Option("--check", help="Only validate the result files; the exit status is 1 if one is invalid.")
    ] = False,
    protocol: Annotated[
        str,
        typer.Option(
            help="Training rows of the predictors: strict (split train) or paper (also half of split ood).",
            metavar="strict|paper",
        ),
    ] = "strict",
    predictor: Annotated[
        str,
        typer.Option(
            help="Predictor: linear or mlp (on frozen embeddings), or end-to-end (encoders trained on the labels).",
            metavar="linear|mlp|end-to-end",
        ),
    ] = "linear",
    split: Annotated[str, typer.Option(help="Split that is evaluated.", metavar="validation|test|ood")] = "test",
    brief: Annotated[bool, typer.Option("--brief", help="Print fewer columns.")] = False,
    overview: Annotated[
        bool,
        typer.Option("--overview", help="Print one table for all folders of results below DIR: encoders by folders."),
    ] = False,
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Also draw figures into this directory, of the default protocol, predictor and split.",
            metavar="OUT",
            show_default="no figures",
        ),
    ] = None,
) -> None:
    """Print a Markdown table of benchmark results, and optionally draw them.

    \b
    Examples:
      rnn-zoos leaderboard results --figures results/figures
      rnn-zoos leaderboard results --predictor mlp --split ood
      rnn-zoos leaderboard results --overview
      rnn-zoos leaderboard results --check
    """
    from rnn_zoos.baselines.benchmark import leaderboard as tables
    from rnn_zoos.baselines.benchmark import overview as overviews
    from rnn_zoos.baselines.benchmark.result_files import read_results

    if check_only:
        if overview or brief or figures is not None or (protocol, predictor, split) != ("strict", "linear", "test"):
            raise typer.BadParameter("--check only validates the files. Leave out the other options.")
        _check_results(directory)
        return
    if overview:
        if figures is not None or brief or (protocol, predictor) != ("strict", "linear"):
            raise typer.BadParameter(
                "--overview shows losses of emulation alone; of the other options it takes --split."
            )
        print(overviews.overview(overviews.result_folders(directory), split), end="")
        return
    results = read_results(directory)
    print(tables.leaderboard(results, protocol, predictor, split, brief), end="")
    if figures is not None:
        from rnn_zoos.baselines.benchmark.figures.draw import draw_results

        for path in draw_results(results, figures):
            print(path, file=sys.stderr)


def _check_results(directory: Path) -> None:
    from rnn_zoos.baselines.benchmark.overview import result_folders
    from rnn_zoos.baselines.benchmark.result_format import check_result

    paths = sorted(directory.rglob("*.json"))
    findings = [f"{path}: {line}" for path in paths for line in check_result(path)]
    for finding in findings:
        print(finding)
    if findings:
        raise typer.Exit(1)
    folders = result_folders(directory)  # results of different folders need not be comparable
    print(f"{directory}: {sum(map(len, folders.values()))} results, all valid.")
