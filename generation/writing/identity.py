"""The identity of a plan in an output directory: stored there, read back, and compared with the requested plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnn_zoos.errors import IntegrityError, PlanMismatchError
from rnn_zoos.format.hashed_json import read_hashed_json, write_hashed_json
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.presets import max_runs_per_shard
from rnn_zoos.generation.settings import Settings
from rnn_zoos.generation.writing.directory import OutputPaths
from rnn_zoos.generation.writing.records import read_record


def write_identity(paths: OutputPaths, plan: Plan, store_url: str | None, finished_runs: int) -> None:
    """Store a plan as that of the directory; `finished_runs` are those of the zoo that it extends, 0 if it is new."""
    about = {"preset": plan.preset, "store": store_url, "finished_runs": finished_runs}
    write_hashed_json(paths.plan, {**plan.identity(), **about})


def identity_in_record(plan: Plan, store_url: str | None) -> dict[str, Any]:
    """Return the identity of a plan as every record has it: with the store, if the files of the shards are in one."""
    return plan.identity() if store_url is None else {**plan.identity(), "store": store_url}


def read_identity(paths: OutputPaths) -> dict[str, Any] | None:
    """Return the identity of the plan that a directory was started with, None if it holds none.

    It is in plan.json; if that is lost or damaged, in every record; for a finished zoo, in zoo.json. Raises
    IntegrityError if plan.json is damaged and there is no record.
    """
    try:
        if paths.plan.is_file():
            return read_hashed_json(paths.plan, "Choose another --out directory.")
    except IntegrityError:
        if not paths.existing_records():
            raise
    for path in paths.existing_records():
        return read_record(path).plan
    if paths.manifest.is_file():
        manifest = read_manifest(paths.root)
        made = {"zoo": manifest.zoo, "backend": manifest.made["backend"], "digits": manifest.digits}
        return {**made, **manifest.settings, "preset": manifest.preset, "store": manifest.made.get("store")}
    return None


def with_stored_shards(plan: Plan, stored: Mapping[str, Any]) -> Plan:
    """Return a plan with the shards of the directory, if the bound on their size made them smaller in the plan.

    Versions before 0.2 knew no such bound: what they began is continued with the number of runs per shard that it has.
    """
    settings = plan.settings
    bound = max_runs_per_shard(settings, plan.family)
    if settings.runs_per_shard == bound and stored.get("runs_per_shard", 0) > bound:
        return replace(plan, settings=settings.model_copy(update={"runs_per_shard": stored["runs_per_shard"]}))
    return plan


def check_identity(directory: Path, stored: Mapping[str, Any], plan: Plan, store_url: str | None) -> None:
    """Raise PlanMismatchError, with all differences, unless a plan may go on in a directory with this identity."""
    differences = list(_differences(stored, plan.identity(), store_url))
    if differences:
        raise PlanMismatchError(
            f"{directory} was started with another plan; nothing was changed:\n"
            + "\n".join(f"  {difference}" for difference in differences)
            + "\nChoose another --out directory, or the settings that this one was started with."
        )


def _differences(stored: Mapping[str, Any], requested: Mapping[str, Any], store_url: str | None) -> Iterator[str]:
    optional = [key for key in Settings.model_fields if key in stored]  # left out where they have no value
    for key in dict.fromkeys([*requested, *optional]):
        if key != "runs" and requested.get(key) != stored.get(key):
            yield f"{key}: {stored.get(key)!r} in the directory, {requested.get(key)!r} requested"
    finished_runs = stored.get("finished_runs")
    if requested["runs"] < stored["runs"] and requested["runs"] != finished_runs:
        choice = f", or go back to {finished_runs}" if finished_runs else ", not shrink"
        yield f"runs: {stored['runs']} in the directory, only {requested['runs']} requested (a zoo can grow{choice})"
    if stored.get("store") != store_url:
        yield f"store: {stored.get('store')} in the directory, {store_url} requested"
    elif store_url is not None and requested["runs"] != stored["runs"]:
        yield (f"runs: {stored['runs']} in the directory, {requested['runs']} requested (a zoo in a store cannot grow)")
