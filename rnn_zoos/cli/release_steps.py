"""The steps of a release: which commands it consists of, in an order that leaves nothing half visible."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rnn_zoos.generation.plan import Plan

UPLOAD = "Upload"
"""The phase before which nothing has left this machine."""


@dataclass(frozen=True)
class Command:
    """A command of a release.

    Attributes:
        arguments: Those of `rnn-zoos`.
        note: Says what it would do, without the network and without a trace.
        output: File for what it prints; None for the terminal.
    """

    arguments: Sequence[str]
    note: Callable[[], str]
    output: Path | None = None

    def __str__(self) -> str:
        line = shlex.join(["rnn-zoos", *self.arguments])
        return line if self.output is None else f"{line} > {shlex.quote(str(self.output))}"

    def run(self) -> None:
        """Run the command in this process. Raises ZooError, and Exit if its exit status is not 0."""
        from rnn_zoos.cli.app import app
        from rnn_zoos.format.files import write_atomically

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed) if self.output else contextlib.nullcontext():
            status = app(list(self.arguments), standalone_mode=False)
        if status:
            raise typer.Exit(int(status))
        if self.output is not None and not _holds(self.output, printed.getvalue()):
            write_atomically(self.output, printed.getvalue().encode())


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


@dataclass(frozen=True)
class Release:
    """The options of a release, and the commands that follow from them."""

    zoos: Sequence[str]
    namespace: str
    preset: str
    out: Path
    tag: str
    private: bool
    spaces: bool
    verified_runs: int
    benchmark: str
    encoders: Sequence[str]
    generate_options: Sequence[str]
    benchmark_options: Sequence[str]
    digits: Sequence[str]
    workers: Sequence[str]
    hub: Sequence[str]

    def repo(self, zoo: str) -> str:
        """Return OWNER/NAME of a zoo: zoos of other presets than `paper` have the preset in their names."""
        from rnn_zoos.generation.presets import preset_name

        preset = preset_name(self.preset)
        return f"{self.namespace}/{zoo}" + ("" if preset == "paper" else f"-{preset}")

    def space(self, zoo: str) -> str | None:
        """Return OWNER/NAME of the Space of a zoo, None without Spaces."""
        return f"{self.repo(zoo)}-explorer" if self.spaces else None

    def directory(self, zoo: str) -> Path:
        """Return the directory of a zoo."""
        return self.out / zoo

    def results(self, zoo: str) -> Path | None:
        """Return the folder of the benchmark of a zoo, None without a benchmark."""
        return None if self.benchmark == "none" else self.out / "benchmark" / zoo

    def commands(self) -> Iterator[tuple[str, list[Command]]]:
        """Yield the phases in order, each with its commands: a phase is done for all zoos before the next begins."""
        yield "Generate", [self._generate(zoo) for zoo in self.zoos]
        yield "Check and verify", [command for zoo in self.zoos for command in self._checks(zoo)]
        if self.benchmark != "none":
            yield "Benchmark", [self._benchmark(zoo) for zoo in self.zoos]
            yield "Leaderboard and figures", [self._leaderboard(zoo) for zoo in self.zoos]
        note = "writes card, figures and Parquet files, and checks everything that will be uploaded"
        yield "Prepare", [self._publish(zoo, ["--dry-run", *self._shown(zoo)], note) for zoo in self.zoos]
        note = "uploads all files in one commit; a new repository is private"
        yield UPLOAD, [self._publish(zoo, ["--private", *self._shown(zoo), *self.hub], note) for zoo in self.zoos]
        note = f"uploads nothing new, and gives the commit the tag {self.tag}"
        tagged = ["--tag", self.tag, *self.hub]  # without the Space: the card keeps its link
        yield "Tag", [self._publish(zoo, tagged, note) for zoo in self.zoos]
        if not self.private:
            note = "makes the repository public" if not self.spaces else "makes the repository and its Space public"
            yield "Show", [self._publish(zoo, [*tagged, *self._shown(zoo), "--public"], note) for zoo in self.zoos]

    def _generate(self, zoo: str) -> Command:
        where = ["--preset", self.preset, "--out", str(self.directory(zoo))]
        arguments = ["generate", zoo, *where, *self.generate_options, *self.digits, *self.workers]
        return Command(arguments, lambda: self._generation(zoo))

    def _checks(self, zoo: str) -> Iterator[Command]:
        directory = str(self.directory(zoo))
        yield Command(["check", directory], lambda: "reads every file")
        runs = ["--runs", str(self.verified_runs), "--seed", "0"]
        note = f"trains {self.verified_runs} runs again, and compares them"
        yield Command(["verify", directory, *runs, *self.digits, *self.workers], lambda: note)

    def _benchmark(self, zoo: str) -> Command:
        where = ["--zoo", str(self.directory(zoo)), "--out", str(self.out / "benchmark")]
        encoders = [argument for name in self.encoders for argument in ("--encoder", name)]
        options = ["--preset", self.benchmark, *encoders, *self.benchmark_options, *self.workers]
        folder = self.out / "benchmark" / zoo
        return Command(["benchmark", *where, *options], lambda: f"{len([*folder.glob('*.json')])} results are there")

    def _leaderboard(self, zoo: str) -> Command:
        folder = self.out / "benchmark" / zoo
        note = "writes the table and the figures"
        return Command(["leaderboard", str(folder), "--figures", str(folder)], lambda: note, folder / "leaderboard.md")

    def _publish(self, zoo: str, options: Sequence[str], note: str) -> Command:
        results = self.results(zoo)
        given = [] if results is None else ["--results", str(results)]
        arguments = ["publish", str(self.directory(zoo)), "--repo", self.repo(zoo), *given, *options]
        return Command(arguments, lambda: note)

    def _shown(self, zoo: str) -> list[str]:
        return option("--space", self.space(zoo))

    def plan(self, zoo: str) -> Plan:
        """Return the plan of a zoo, with the backend of what is there."""
        from rnn_zoos.generation.plan import make_plan
        from rnn_zoos.generation.presets import default_digits
        from rnn_zoos.generation.writing.directory import OutputPaths
        from rnn_zoos.generation.writing.identity import read_identity

        stored = read_identity(OutputPaths(self.directory(zoo))) or {}
        digits = self.digits[1] if self.digits else default_digits(self.preset)
        return make_plan(zoo, self.preset, backend=stored.get("backend", "loop"), mnist=digits)

    def _generation(self, zoo: str) -> str:
        """Return what `generate` would do. Raises PlanMismatchError and FormatError as it would."""
        from rnn_zoos.generation.writing.directory import OutputPaths

        plan, paths = self.plan(zoo), OutputPaths(self.directory(zoo))
        about = f"{plan.settings.runs} runs of {plan.settings.num_updates:,} updates in {len(plan.shards)} shards"
        if paths.manifest.is_file():
            return f"{about}: finished"
        finished = len(paths.existing_records())
        return f"{about}: {finished} are finished" if finished else about

    def is_published(self) -> bool:
        """Tell whether every zoo is finished and published as it is, with its tag. Raises HubError.

        Never with Spaces: to compare a page, it has to be made.
        """
        from rnn_zoos.format.manifest import MANIFEST, read_manifest
        from rnn_zoos.generation.publishing.preparing import prepared_before, prepared_space
        from rnn_zoos.generation.publishing.publish import is_published
        from rnn_zoos.generation.publishing.results import LEADERBOARD

        if self.spaces:
            return False
        for zoo in self.zoos:
            directory, results = self.directory(zoo), self.results(zoo)
            if not (directory / MANIFEST).is_file() or (results is not None and not (results / LEADERBOARD).is_file()):
                return False
            if read_manifest(directory).runs != self.plan(zoo).settings.runs:
                return False
            publication = prepared_before(directory, self.repo(zoo), results, prepared_space(directory))
            if publication is None:
                return False
            if not is_published(publication, self.repo(zoo), self.tag, not self.private, self._endpoint):
                return False
        return True

    def check(self) -> None:
        """Raise the errors of wrong options now, not after hours of training."""
        from rnn_zoos.baselines.benchmark.presets import PRESETS, preset_of
        from rnn_zoos.baselines.encoders.registry import check_encoder
        from rnn_zoos.cli.engine_options import backend_for_all
        from rnn_zoos.errors import HubError, UnknownNameError
        from rnn_zoos.generation.writing.workspace import Workspace
        from rnn_zoos.loaders.hub import HUB_NAME

        if self.benchmark not in (*PRESETS, "none"):
            raise UnknownNameError.among("preset of the benchmark", self.benchmark, (*PRESETS, "none"))
        for zoo in self.zoos:
            plan = self.plan(zoo)
            for encoder in () if self.benchmark == "none" else self.encoders:
                preset_of(self.benchmark).sizes_of(encoder, zoo)
                check_encoder(encoder, plan.architectures)
            if not HUB_NAME.fullmatch(self.repo(zoo)):
                raise HubError(f"{self.repo(zoo)!r} is not a name on the Hub. Give --namespace a user or organisation.")
            if self.digits and self.digits[1] not in ("hub", "embedded"):
                plan.identity()  # reads the digits of a directory
            backend = self.generate_options[1] if self.generate_options else "auto"
            backend_for_all(backend, "local", plan.architectures, ())
            Workspace(self.directory(zoo), plan).check_directory()

    def check_repositories(self) -> None:
        """Raise HubError if a tag has other files, or a dataset or Space has something else; nothing is changed."""
        from rnn_zoos.generation.publishing.preparing import prepare_publication, prepared_space
        from rnn_zoos.generation.publishing.publish import check_dataset, check_tag
        from rnn_zoos.generation.publishing.space import check_space

        for zoo in self.zoos:
            directory, space = self.directory(zoo), self.space(zoo)
            if space is not None:
                check_space(space, self._endpoint)
            check_dataset(self.repo(zoo), self._endpoint)
            linked = space or prepared_space(directory)
            publication = prepare_publication(directory, self.repo(zoo), self.results(zoo), linked)
            check_tag(publication, self.repo(zoo), self.tag, self._endpoint)

    @property
    def _endpoint(self) -> str | None:
        return self.hub[1] if self.hub else None


def option(name: str, value: object | None) -> list[str]:
    """Return an option of a command with its value; nothing for None."""
    return [] if value is None else [name, str(value)]
