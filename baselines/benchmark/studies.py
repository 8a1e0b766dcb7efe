"""Studies: trainings by emulation that differ in one thing at a time, for searches, ablations and low-data curves.

A study trains every variant with several seeds and writes a small JSON file for each, `OUT/STUDY/VARIANT.SEED.json`.
Searches evaluate on `validation` only, so that nothing is chosen on `test` or `ood`.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rnn_zoos.baselines.benchmark.presets import preset_of
from rnn_zoos.baselines.benchmark.result_files import read_entries
from rnn_zoos.baselines.benchmark.runner import is_finished
from rnn_zoos.baselines.benchmark.tables import markdown
from rnn_zoos.baselines.emulation.data import ZooData, load_data, zoo_reference
from rnn_zoos.baselines.emulation.settings import EmulationSettings
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.baselines.encoders.encoder import count_parameters
from rnn_zoos.errors import FormatError, PlanMismatchError, UnknownNameError
from rnn_zoos.format.files import write_json
from rnn_zoos.machine import describe_machine

FORMAT = 1
"""Version of the format of a file of a study."""

# What a file of a study must have to be read.
_ENTRIES = {
    *("study", "variant", "encoder", "sizes", "settings", "seed", "zoo"),
    *("losses", "history", "parameters", "seconds"),
}


@dataclass(frozen=True)
class Variant:
    """One of the things that a study compares.

    Attributes:
        encoder: Name of the encoder.
        sizes: Keyword arguments of the encoder, in addition to those of the preset.
        settings: Settings of emulation that replace those of the study.
    """

    encoder: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """Variants that are trained on one zoo.

    Attributes:
        question: What the study is to find out.
        zoo: Name of the zoo.
        seeds: Number of seeds of each variant.
        splits: The splits that variants are evaluated on.
        settings: Settings of emulation that replace those of the preset `cpu`, for all variants.
        variants: Name -> variant.
    """

    question: str
    zoo: str
    seeds: int
    splits: Sequence[str]
    settings: Mapping[str, Any]
    variants: Mapping[str, Variant]


@dataclass(frozen=True)
class StudyJob:
    """One training of a study: a variant and a seed."""

    variant: str
    seed: int

    def __str__(self) -> str:
        return f"{self.variant}, seed {self.seed}"


@dataclass(frozen=True)
class StudyRuns:
    """The trainings of a study on a zoo; work for `rnn_zoos.baselines.benchmark.schedule.make_results`."""

    study: str
    zoo: str
    out: Path
    device: str = "cpu"

    def load(self) -> ZooData:
        """Open the zoo. Raises PlanMismatchError if it is not the zoo of the study."""
        data, expected = load_data(self.zoo, device=self.device), study_of(self.study).zoo
        if data.zoo.manifest.zoo != expected:
            raise PlanMismatchError(
                f"The study {self.study} is about {expected}, but {self.zoo} is {data.zoo.manifest.zoo}. "
                f"Use --zoo with a zoo of {expected}."
            )
        return data

    def jobs(self) -> list[StudyJob]:
        """Return all trainings, the first seed of every variant first."""
        study = study_of(self.study)
        return [StudyJob(name, seed) for seed in range(study.seeds) for name in study.variants]

    def updates(self, data: ZooData, job: StudyJob) -> int:
        """Return the number of updates of a training."""
        return self._settings(job).updates

    def run(self, data: ZooData, job: StudyJob, report: Callable[[int, float], None]) -> Path:
        """Do a training and write its file; an existing file with the same settings is kept."""
        variant, settings = study_of(self.study).variants[job.variant], self._settings(job)
        sizes = {**preset_of("cpu").sizes_of(variant.encoder, data.zoo.manifest.zoo), **variant.sizes}
        identity = {
            "format": FORMAT,
            "study": self.study,
            "variant": job.variant,
            "encoder": variant.encoder,
            "sizes": sizes,
            "settings": asdict(settings),
            "seed": job.seed,
            "zoo": zoo_reference(data.zoo),
        }
        path = self.out / self.study / f"{job.variant}.{job.seed}.json"
        if is_finished(path, identity):
            return path
        run = EmulationRun(data, variant.encoder, job.seed, settings, path.with_suffix(""), sizes)
        run.train(report)
        results = {
            "parameters": count_parameters(run.encoder),
            "queries": run.encoder.num_queries,
            "losses": {split: run.losses(split) for split in study_of(self.study).splits},
            "history": run.history,
            "seconds": run.seconds,
            "made": describe_machine(),
        }
        write_json(path, {**identity, **results})
        shutil.rmtree(run.folder, ignore_errors=True)
        return path

    def _settings(self, job: StudyJob) -> EmulationSettings:
        study = study_of(self.study)
        base = preset_of("cpu").settings_of(study.zoo)
        return replace(base, **{**study.settings, **study.variants[job.variant].settings})


def read_study(folder: Path) -> tuple[str, Study, dict[str, list[dict[str, Any]]]]:
    """Return name and study of a folder's files, and the results of every variant that has some, in order.

    Raises FormatError if the folder has none, or has files that cannot be compared.
    """
    results = [read_entries(path) for path in sorted(folder.glob("*.json"))]
    if not results or not all(set(result) >= _ENTRIES for result in results):
        raise FormatError(
            f"{folder} has no results of a study, or other files. Expected what this command makes: "
            f"rnn-zoos study {folder.name} --zoo DIR --out {folder.parent}"
        )
    _check_comparable(folder, results)
    name = str(results[0]["study"])
    study = study_of(name)
    groups = {variant: [result for result in results if result["variant"] == variant] for variant in study.variants}
    return name, study, {variant: group for variant, group in groups.items() if group}


def study_losses(group: Sequence[Mapping[str, Any]], split: str) -> list[float]:
    """Return the total variation per step on a split, of every seed of a variant."""
    return [result["losses"][split]["total_variation"] for result in group]


def study_table(folder: Path) -> str:
    """Return a Markdown table of a study's files: losses (mean and deviation over seeds), parameters, seconds.

    Raises FormatError if the folder has none.
    """
    name, study, groups = read_study(folder)
    lines = [["variant", "seeds", *(f"TV per step, {split}" for split in study.splits), "parameters", "seconds"]]
    for variant, group in groups.items():
        losses = [_spread(study_losses(group, split)) for split in study.splits]
        seconds = statistics.mean(result["seconds"] for result in group)
        lines.append([variant, str(len(group)), *losses, f"{group[0]['parameters']:,}", f"{seconds:.0f}"])
    return f"### {name}: {study.question}\n\n{markdown(lines)}\n"


def _check_comparable(folder: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Raise FormatError unless all files are of one study and zoo, and each of another training of its variant."""
    seen, chosen = set(), dict[str, Any]()
    for result in results:
        training = (result["variant"], result["seed"])
        form = [result["encoder"], result["sizes"], result["settings"]]
        expected = chosen.setdefault(result["variant"], form)
        same = all(result[key] == results[0][key] for key in ("study", "zoo")) and form == expected
        if training in seen or not same:
            raise FormatError(
                f"The file of {result['variant']}, seed {result['seed']}, in {folder} is of another study, zoo, sizes "
                "or settings than the others, or a copy of one. Use a folder for each study of a zoo."
            )
        seen.add(training)


def _spread(values: Sequence[float]) -> str:
    text = f"{statistics.mean(values):.4f}"
    return f"{text} ± {statistics.stdev(values):.4f}" if len(values) > 1 else text


def study_of(name: str) -> Study:
    """Return a study by name. Raises UnknownNameError."""
    from rnn_zoos.baselines.benchmark.study_list import STUDIES

    if name not in STUDIES:
        raise UnknownNameError.among("study", name, STUDIES)
    return STUDIES[name]
