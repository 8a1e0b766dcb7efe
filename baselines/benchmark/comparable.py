"""Which stored results new results can be compared with: those of the same zoo, or a copy, and the same settings."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.baselines.benchmark.loss_details import by_run
from rnn_zoos.baselines.benchmark.presets import preset_of
from rnn_zoos.baselines.benchmark.result_files import Result, is_same_plan, only_one_zoo, same_settings
from rnn_zoos.baselines.benchmark.result_format import check_result
from rnn_zoos.baselines.downstream.protocols import EVALUATED_SPLITS
from rnn_zoos.baselines.emulation.data import ZooData, zoo_reference
from rnn_zoos.baselines.emulation.zoo_embeddings import STORED
from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import read_error
from rnn_zoos.format.manifest import zoo_title
from rnn_zoos.loaders.zoo import Zoo


def shared_entries(data: ZooData, preset: str) -> dict[str, Any]:
    """Return the entries of result files in which results must agree to be compared.

    They are zoo, biases, preset, settings and transfer; of `by_run`, runs and tasks, without losses.
    """
    manifest = data.zoo.manifest
    entries = {
        "zoo": zoo_reference(data.zoo),
        "biases": data.biases,
        "preset": preset,
        "settings": asdict(preset_of(preset).settings_of(manifest.zoo)),
        "transfer": data.transfer,
        "by_run": _runs({split: data.splits[split].index for split in EVALUATED_SPLITS}),
    }
    return dict(json.loads(json.dumps(entries)))  # tuples become lists, as in files


def comparable_results(shared: Result, names: Collection[str], directory: Path | None) -> list[Result]:
    """Return the results of other encoders below a directory that new results can be compared with.

    They are of the same zoo by its hash; if there are none, of a copy of it (see `is_same_plan`).

    Args:
        shared: The `shared_entries` of the new results.
        names: Names of the encoders that are new, which are left out.
        directory: Folder of result files; None is that of the project, which may have none.

    Raises:
        FormatError: The given directory has no comparable result, or a comparable one is not valid.
    """
    found: list[Result] = []
    for path, result in _results_below(STORED if directory is None else directory):
        if _agree(result, shared) and result["encoder"] not in names:
            problems = check_result(path)
            if problems:
                raise FormatError(f"{path}: {problems[0]} Delete the file, or make it again.")
            if is_same_plan(result, shared):
                found.append(result)
    found = only_one_zoo(found, shared["zoo"])
    if directory is not None and not found:
        raise FormatError(
            f"{directory} has no results of other encoders on the zoo {zoo_title(shared['zoo'])} with preset "
            f"{shared['preset']}, biases {shared['biases']} and the same settings. Make some with `rnn-zoos "
            "benchmark`, or leave out --against."
        )
    return found


def plan_entries(zoo: Zoo) -> dict[str, Any]:
    """Return what `is_same_plan` compares of a zoo: the entries `zoo` and `by_run` of results on it, without losses."""
    index = zoo.index()
    rows = {split: index.filter(pc.equal(index["split"], split)) for split in EVALUATED_SPLITS}
    return {"zoo": zoo_reference(zoo), "by_run": _runs(rows)}


def stored_results_on(zoo: Zoo) -> Path | None:
    """Return the folder of the project's results on a zoo; if there is none, on a copy of it (see `is_same_plan`).

    None if there are no such results. An installed package has none at all. Results of a transfer are left out.
    """
    plan = plan_entries(zoo)
    copies = []
    for folder in sorted(STORED.glob(f"*/{zoo.manifest.zoo}")):
        result = next((result for _, result in _results_below(folder) if "by_run" in result), None)
        if result is not None and result.get("transfer") is None and is_same_plan(result, plan):
            copies.append((result["zoo"]["sha256"] != zoo.identity, folder))
    return min(copies)[1] if copies else None


def how_to_compare(shared: Result) -> str:
    """Return one line for new results without comparable stored ones: which command makes some."""
    preset = shared["preset"]
    return (
        f"There are no stored results on the zoo {zoo_title(shared['zoo'])} with preset {preset} to compare with. To "
        f"make some: rnn-zoos benchmark --zoo DIR --preset {preset} --out OTHER; then repeat this command with "
        "--against OTHER."
    )


def _agree(result: Result, shared: Result) -> bool:
    """Tell whether a JSON object is the result of an encoder on a zoo of the same preset, with the same settings."""
    zoo = result.get("zoo")
    return (
        "encoder" in result
        and isinstance(zoo, dict)
        and all(zoo.get(key) == shared["zoo"][key] for key in ("name", "preset"))
        and same_settings(result, shared)
    )


def _runs(indexes: Mapping[str, pa.Table]) -> dict[str, dict[str, list[Any]]]:
    """Return the entry `by_run` of results on some rows, split -> columns `run` and `task`, without losses."""
    runs = {}
    for split, index in indexes.items():
        runs[split] = by_run(np.zeros((len(index), 1)), index["run"].to_numpy(), index["task"].to_numpy())
        del runs[split]["total_variation"]
    return runs


def _results_below(directory: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the JSON objects below a directory; other files are not results, and are left out. Raises StorageError."""
    for path in sorted(directory.rglob("*.json")):
        if path.is_dir():
            continue
        try:
            content = json.loads(path.read_text())
        except OSError as error:
            raise read_error(path, error) from error
        except ValueError:
            continue
        if isinstance(content, dict):
            yield path, content
