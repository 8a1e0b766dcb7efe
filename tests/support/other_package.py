"""The family that docs/extending.md writes down, and how a package of its own makes it known."""

from pathlib import Path

from documents import DOCUMENTS, code_blocks

from rnn_zoos.families.registry import GROUP

PAGE = DOCUMENTS["docs/extending.md"]
FAMILY = next(block for block in code_blocks(PAGE, "python") if "class Counting" in block)
(PRESET,) = (block for block in code_blocks(PAGE, "yaml") if block.startswith("counting:"))


def install(folder: Path, name: str, value: str) -> None:
    """Write what pip would install for a package `other` with one entry point."""
    about = folder / "other-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n")
