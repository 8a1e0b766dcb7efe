"""Write the tables of the documents again: run this after results were added.

    python docs/tables.py

A table stands between a comment with the command that prints it, such as `<!-- rnn-zoos leaderboard DIR -->`, and
`<!-- end -->`. The README's short table, after `<!-- leaderboard -->`, has the encoders of the leaderboard alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rnn_zoos.baselines import leaderboard, read_results

ROOT = Path(__file__).resolve().parents[1]
LEADERBOARD = ROOT / "baselines" / "results" / "cpu" / "formal-languages"
COMMAND = re.compile(r"<!-- rnn-zoos ((?:leaderboard|study) [^\n]*) -->\n.*?<!-- end -->", re.S)
"""A table with its command."""
_SHORT = re.compile(r"<!-- leaderboard -->\n.*?<!-- end -->", re.S)


def printed(command: str) -> str:
    """Return what an `rnn-zoos` command prints in the root of the repository."""
    words = [sys.executable, "-m", "rnn_zoos", *command.split()]
    return subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def filled(text: str, printed: Callable[[str], str] = printed) -> str:
    """Return a document with every table as its command prints it now."""
    text = COMMAND.sub(lambda found: f"<!-- rnn-zoos {found[1]} -->\n{printed(found[1])}<!-- end -->", text)
    return _SHORT.sub(lambda _: f"<!-- leaderboard -->\n{_encoders_alone()}<!-- end -->", text)


def _encoders_alone() -> str:
    """Return the brief leaderboard without references and controls."""
    lines = leaderboard(read_results(LEADERBOARD), brief=True).splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith("|") and not line.startswith(("| reference", "| control")))


if __name__ == "__main__":
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        before = path.read_text()
        after = filled(before)
        if after != before:
            path.write_text(after)
            print(f"{path.relative_to(ROOT)}: tables written")
