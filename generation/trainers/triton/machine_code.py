"""What the machine code of a compiled kernel says: registers, spills, and which of them are in loops."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import triton

_INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,6})\*/\s+(.*?)\s*;")
_JUMP = re.compile(r"\bBRA\b.*?0x([0-9a-f]+)")
_INNER = 2  # depth of the loops over steps and rows; the loop over the updates has depth 1


@dataclass(frozen=True)
class MachineCode:
    """The machine code of a kernel.

    Attributes:
        registers: Registers per thread.
        stack: Bytes per thread of local memory, which holds spilled registers.
        instructions: Address and text of every instruction.
    """

    registers: int
    stack: int
    instructions: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, cubin: bytes) -> MachineCode:
        """Disassemble a cubin with the cuobjdump that triton includes."""
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(cubin)
            file.flush()
            usage, code = (
                subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True).stdout
                for option in ("-res-usage", "-sass")
            )
        registers, stack = (int(number) for number in re.findall(r"REG:(\d+) STACK:(\d+)", usage)[0])
        return cls(registers, stack, tuple((int(at, 16), text) for at, text in _INSTRUCTION.findall(code)))

    def count(self, *names: str) -> int:
        """Return how many instructions have one of these names, such as "STL"."""
        return sum(_is_any(text, names) for _, text in self.instructions)

    def loops(self) -> list[tuple[int, int]]:
        """Return first and last address of every loop: where a backward jump goes, and the last such jump."""
        last: dict[int, int] = {}
        for at, text in self.instructions:
            if (jump := _JUMP.search(text)) and (target := int(jump.group(1), 16)) < at:
                last[target] = at
        return sorted(last.items())

    def inner_loops(self) -> MachineCode:
        """Return only the instructions in the loops over steps or rows, which an update repeats many times."""
        loops = self.loops()
        inside = tuple((at, text) for at, text in self.instructions if sum(a <= at <= b for a, b in loops) >= _INNER)
        return MachineCode(self.registers, self.stack, inside)


def _is_any(instruction: str, names: tuple[str, ...]) -> bool:
    return re.search(rf"\b({'|'.join(names)})\b", instruction) is not None
