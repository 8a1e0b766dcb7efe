"""The command `rnn-zoos study`: searches and ablations of the benchmark."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rnn_zoos.progress import progress_bar


def study(
    name: Annotated[str | None, typer.Argument(help="Name of a study.", show_default="list all studies")] = None,
    zoo: Annotated[
        str | None,
        typer.Option(help="Directory of a zoo, or its name on the Hugging Face Hub.", metavar="DIR|OWNER/NAME"),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Directory for the results: one JSON file per variant and seed.", metavar="OUT")
    ] = Path("baselines/studies"),
    workers: Annotated[
        int | None,
        typer.Option(help="Number of trainings in parallel.", metavar="N", min=1, show_default="one per core"),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="Also draw the results into this directory.", metavar="OUT", show_default="no figure"),
    ] = None,
) -> None:
    """Train encoders by emulation in variants that differ in one thing at a time.

    Without --zoo, the results in --out are printed as a Markdown table. Existing
    results are kept: if it was interrupted, the same command resumes.

    \b
    Examples:
      rnn-zoos study
      rnn-zoos study emulator-languages --zoo zoos/formal-languages
      rnn-zoos study emulator-languages --figures figures
    """
    from rnn_zoos.baselines.benchmark.schedule import make_results
    from rnn_zoos.baselines.benchmark.studies import StudyRuns, study_of, study_table
    from rnn_zoos.baselines.benchmark.study_list import STUDIES

    if name is None:
        if zoo is not None or figures is not None or workers is not None:
            raise typer.BadParameter("Give the name of a study, too; without options, `rnn-zoos study` lists them.")
        for known, one in STUDIES.items():
            print(f"{known}: {one.question} ({len(one.variants)} variants, zoo {one.zoo})")
        return
    study_of(name)
    if workers is not None and zoo is None:
        raise typer.BadParameter("--workers is the number of trainings in parallel. Give --zoo, too.")
    if zoo is not None:
        work = StudyRuns(name, zoo, out)
        jobs = work.jobs()
        with progress_bar(f"{len(jobs)} trainings") as progress:
            make_results(work, jobs, workers, lambda job, path: print(f"{job}: {path}", flush=True), progress)
    print(study_table(out / name), end="")
    if figures is not None:
        from rnn_zoos.baselines.benchmark.figures.studies import draw_study

        for path in draw_study(out / name, figures):
            print(path, file=sys.stderr)
