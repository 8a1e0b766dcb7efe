"""What becomes of native code when memory is short, in a process with a limit."""

import os
import subprocess
import sys
from textwrap import dedent

_SCRIPT = """
import resource
import numpy as np
{imports}

def mapped():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

make({small})  # whatever is loaded or allocated once
free = {free} << 20
resource.setrlimit(resource.RLIMIT_AS, (mapped() + free,) * 2)
for _ in range(20):
    try:
        make({large})
    except MemoryError as error:
        message = str(error)
    else:
        raise SystemExit("a network beyond the limit was allocated")
    make({medium})
print(message)
"""


def assert_failed_allocations_are_freed(
    imports_and_make: str, small: int, medium: int, large: int, megabytes: int
) -> None:
    """Check that `make(large)` is a MemoryError, many times, and that `make(medium)` still works in between.

    Args:
        imports_and_make: Code that defines `make(size)`.
        small: A size that always fits.
        medium: A size that takes most of the megabytes, so that little of an earlier failure can have been left.
        large: A size that takes more than the megabytes, in several buffers.
        megabytes: What the process may map beyond what it has when it has made a small one.
    """
    script = _SCRIPT.format(imports=dedent(imports_and_make), small=small, medium=medium, large=large, free=megabytes)
    # Under tests/sanitize.sh, the process runs without sanitizers: they map terabytes.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr + found.stdout
    assert "MB for a network could not be allocated" in found.stdout
