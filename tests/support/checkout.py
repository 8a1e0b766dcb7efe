"""The files of this checkout, for tests of what is built and installed from them."""

import subprocess
from pathlib import Path

from conftest import ROOT


def tracked_files() -> list[str]:
    """Return the files of the checkout that git tracks, or would after `git add`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in listed if (ROOT / path).is_file()]


def copy_tracked_files(folder: Path) -> Path:
    """Copy these files into a folder, in which a build leaves nothing behind in the checkout; return the folder."""
    for path in tracked_files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes((ROOT / path).read_bytes())
    return folder
