"""The command for the day of release: from a preset to published zoos, in an order that never publishes a part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnn_zoos.cli.console import MNIST_HELP, Workers
from rnn_zoos.cli.generate import Preset
from rnn_zoos.cli.release_steps import UPLOAD, Release, option

_ZOOS = ("formal-languages", "sequential-mnist")


def release(
    namespace: Annotated[
        str, typer.Option(help="User or organisation on the Hub that gets the repositories.", metavar="NAME")
    ],
    preset: Preset,
    out: Annotated[Path, typer.Option(help="Directory for zoos and results.", metavar="DIR")] = Path("zoos"),
    tag: Annotated[str, typer.Option(help="Tag of this version.", metavar="TAG")] = "v1",
    zoo: Annotated[
        list[str] | None,
        typer.Option(help="Release only this zoo. Repeat it for several.", metavar="ZOO", show_default="both"),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Leave new repositories private.")] = False,
    spaces: Annotated[
        bool,
        typer.Option("--spaces", help="Publish the explorer of each zoo, too, as the Space NAMESPACE/ZOO-explorer."),
    ] = False,
    benchmark: Annotated[
        str,
        typer.Option(help="Preset of the benchmark, or none.", metavar="quick|cpu|paper|none"),
    ] = "cpu",
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="Encoder of the benchmark. Repeat it for several.", metavar="NAME", show_default="all"),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Seeds of the benchmark.", metavar="N", min=1, show_default="1 for quick, else 3"),
    ] = None,
    controls: Annotated[
        bool | None,
        typer.Option("--controls/--no-controls", help="Controls and references, too.", show_default="not with quick"),
    ] = None,
    verify_runs: Annotated[
        int, typer.Option(help="Runs of each zoo to train again and compare.", metavar="N", min=1)
    ] = 2,
    backend: Annotated[
        str | None, typer.Option(help="Trainer, see generate.", metavar="NAME", show_default="auto")
    ] = None,
    mnist: Annotated[
        str | None,
        typer.Option(
            help=MNIST_HELP,
            metavar="hub|DIR|embedded",
            show_default="embedded for preset demo, else hub",
        ),
    ] = None,
    workers: Workers = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="URL of another Hub.", metavar="URL", show_default="$HF_ENDPOINT or https://huggingface.co"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show every command and what it would do; no network, no files.")
    ] = False,
) -> None:
    """Release the zoos of a preset: generate, check, benchmark, publish, tag.

    Everything is finished and checked here before anything is uploaded. New
    repositories are private until all zoos are uploaded and tagged. It can be
    interrupted at any time: the same command resumes it. Log in first, with
    `hf auth login` or the environment variable HF_TOKEN.

    \b
    Examples:
      rnn-zoos release --namespace me --preset demo --dry-run
      rnn-zoos release --namespace me --preset demo --benchmark none
      rnn-zoos release --namespace rnn-zoos --preset paper --mnist ~/mnist \\
          --benchmark cpu --encoder statistics --encoder interactive --tag v1
    """
    if benchmark == "none" and (encoder or seeds is not None or controls is not None):
        raise typer.BadParameter(
            "--encoder, --seeds and --controls are of the benchmark, which --benchmark none leaves out."
        )
    planned = Release(
        zoos=list(dict.fromkeys(zoo or _ZOOS)),
        namespace=namespace,
        preset=preset,
        out=out,
        tag=tag,
        private=private,
        spaces=spaces,
        verified_runs=verify_runs,
        benchmark=benchmark,
        encoders=encoder or (),
        generate_options=option("--backend", backend),
        benchmark_options=[
            *option("--seeds", seeds),
            *([] if controls is None else ["--controls" if controls else "--no-controls"]),
        ],
        digits=option("--mnist", mnist),
        workers=option("--workers", workers),
        hub=option("--endpoint", endpoint),
    )
    planned.check()
    repos = ", ".join(planned.repo(name) for name in planned.zoos)
    if not dry_run and planned.is_published():
        print(f"{repos}: already published as {tag}. Nothing was changed.")
        return
    for title, commands in planned.commands():
        print(f"== {title}", flush=True)
        if title == UPLOAD and not dry_run:
            planned.check_repositories()
        for command in commands:
            print(f"$ {command}", flush=True)
            if dry_run:
                print(f"  {command.note()}")
            else:
                command.run()
    print("Nothing was written or uploaded." if dry_run else f"Released {repos} as {tag}.")
