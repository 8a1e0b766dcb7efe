"""Results of the benchmark that are published with their zoo: files, and their section of the card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rnn_zoos.errors import FormatError
from rnn_zoos.loaders.zoo import Zoo

RESULTS = "benchmark"
"""Folder of the repository with the results."""
LEADERBOARD = "leaderboard.md"
_PUBLISHED = (".json", ".safetensors", ".png", ".md")


def result_files(zoo: Zoo, folder: Path | None) -> dict[str, Path]:
    """Return path in the repository -> file, for the results of a zoo; nothing without a folder.

    Args:
        zoo: The zoo.
        folder: Folder with leaderboard.md, figures, and the files of `rnn-zoos benchmark` for this zoo alone.

    Raises FormatError if there is no leaderboard.md, or a JSON file is no result, or one of another zoo.
    """
    if folder is None:
        return {}
    found = [path for path in sorted(folder.glob("*")) if path.suffix in _PUBLISHED and path.is_file()]
    files = {f"{RESULTS}/{path.name}": path for path in found}
    if f"{RESULTS}/{LEADERBOARD}" not in files:
        raise FormatError(
            f"{folder} has no {LEADERBOARD}. Make it with: rnn-zoos leaderboard {folder} --figures {folder} > "
            f"{folder / LEADERBOARD}"
        )
    for path in files.values():
        if path.suffix == ".json" and _zoo_of(path) != zoo.identity:
            raise FormatError(f"{path} is a result of another zoo. Run the benchmark on this one, into a new folder.")
    return files


def _zoo_of(path: Path) -> str:
    """Return the sha256 of the zoo of a result. Raises FormatError if the file is not one."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["zoo"]["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{path} is not a result of `rnn-zoos benchmark` ({error!r}). All JSON files of the folder would be "
            "published: move it elsewhere."
        ) from error


def results_section(files: Mapping[str, Path]) -> str:
    """Return the section of the card with leaderboard and figures; empty without results."""
    if not files:
        return ""
    table = files[f"{RESULTS}/{LEADERBOARD}"].read_text(encoding="utf-8").strip()
    pictures = "\n".join(f"![{Path(path).stem}]({path})" for path in files if path.endswith(".png"))
    about = (
        f"Made by `rnn-zoos benchmark` on this zoo. `{RESULTS}/` has every result as a JSON file, and the trained "
        "encoders as safetensors files for `rnn-zoos embed`."
    )
    return "\n\n".join(part for part in ("## Benchmark", about, table, pictures) if part) + "\n"
