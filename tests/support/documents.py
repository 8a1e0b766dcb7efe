"""README.md and the pages of docs/ as the tests read them: code blocks, commands, tables; and the zoos they load."""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from conftest import ROOT, ZOOS, generate_in_process

from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.trainers.backends import choose_backend

PATHS = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
DOCUMENTS = {path: (ROOT / path).read_text() for path in PATHS}
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
CARD = (ROOT / "DATASET_CARD.md").read_text()
TEXT = "\n".join(DOCUMENTS.values())
PROSE = " ".join(TEXT.split())
"""All documents with every line break replaced by a space: a sentence may be wrapped anywhere."""

# The runs, splits and steps of the preset `demo`, with smaller networks and evaluations: examples written for the zoos
# of `generation/run.sh --preset demo` work on it without changes, and it takes a second to train.
PRESET = """\
formal-languages:
  seed: 4
  runs: 20
  runs_per_shard: 2
  cell: lstm
  num_layers: 2
  hidden_size: 8
  batch_size: 3
  snapshots: [0, 100, 200, 500, 1000]
  learning_rate: {0: 0.01, 500: 0.003, 1000: 0.0003}
  weight_decay: [0.0001]
  evaluation: {strings: 20, rollouts: 10}
sequential-mnist:
  seed: 4
  runs: 16
  runs_per_shard: 2
  cell: lstm
  num_layers: 2
  hidden_size: 8
  batch_size: 3
  snapshots: [0, 100, 200, 500, 1000]
  learning_rate: {0: 0.01, 500: 0.003, 1000: 0.0003}
  weight_decay: [0, 0.001, 0.01, 0.1]
  evaluation: {held_out_digits: 20, fit_digits: 20, test_digits: 20, rollouts: 10}
"""


def make_zoos(folder: Path, names: Iterable[str] = ZOOS) -> Path:
    """Write zoos/formal-languages and zoos/sequential-mnist below a folder, as the documents load them."""
    preset = folder / "documents.yaml"
    preset.write_text(PRESET)
    for name in names:
        plan = make_plan(name, str(preset), backend=choose_backend("auto")[0], mnist="embedded")
        generate_in_process(folder / "zoos" / name, plan)
    preset.unlink()
    return folder


def code_blocks(text: str, language: str) -> list[str]:
    """Return the fenced code blocks of a language, in order; blocks inside lists lose their indentation.

    A block after the comment `<!-- not run: REASON -->` is left out.
    """
    pattern = rf"^(?<!-->\n)( *)```{language}\n(.*?)^\1```$"
    return [re.sub(rf"^{m[1]}", "", m[2], flags=re.M) for m in re.finditer(pattern, text, re.S | re.M)]


def shell_commands(text: str) -> Iterator[list[str]]:
    """Yield every command of the sh blocks as words, without comments, environment variables and continuations."""
    for block in code_blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"\s&&\s|\s\|\s", line):
                words = shlex.split(command, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words.pop(0)
                if words:
                    yield words


def inline_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every `rnn-zoos ...` in running text and tables, where arguments may be placeholders."""
    for code in re.findall(r"(?<!`)`(rnn-zoos [^`]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.S)):
        yield code.split()


def table_rows(first_cell: str) -> list[tuple[str, str]]:
    """Return (document, line) of every table row of any document whose first cell is this text."""
    start = f"| {first_cell} |"
    return [(path, line) for path, text in DOCUMENTS.items() for line in text.splitlines() if line.startswith(start)]


def paragraphs(start: str) -> list[str]:
    """Return, of every document that has a text, what follows it up to the next heading, on one line."""
    found = (text.partition(start)[2] for text in DOCUMENTS.values() if start in text)
    return [" ".join(re.split(r"^#+ ", part, maxsplit=1, flags=re.M)[0].split()) for part in found]
