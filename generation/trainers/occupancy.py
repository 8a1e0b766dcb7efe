"""How many programs run on a GPU at the same time, and how many runs to train together so that none of it is idle.

Pure arithmetic on properties of a device and of a compiled kernel, so that it can be tested without a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

_RESERVED = 1024  # bytes of shared memory that CUDA adds to every program
_REGISTERS_STEP = 8  # registers per thread are allocated in multiples of this
_THREADS = 32  # of a warp


@dataclass(frozen=True)
class Device:
    """What a GPU has.

    Attributes:
        multiprocessors: Their number.
        registers, shared, warps: Of one multiprocessor: 32-bit registers, bytes of shared memory, resident warps.
        capability: Compute capability, such as 90.
    """

    multiprocessors: int
    registers: int
    shared: int
    warps: int
    capability: int


H100 = Device(multiprocessors=132, registers=65536, shared=228 * 1024, warps=64, capability=90)
"""An H100 or H200 with SXM."""


def programs_per_multiprocessor(device: Device, registers: int, shared: int, warps: int) -> int:
    """Return how many programs of a kernel run on one multiprocessor at the same time; 0 if none fits.

    Args:
        device: The GPU.
        registers: Registers per thread of the kernel.
        shared: Bytes of shared memory per program.
        warps: Warps per program.
    """
    allocated = -(-registers // _REGISTERS_STEP) * _REGISTERS_STEP * _THREADS * warps
    return min(device.registers // allocated, device.shared // (shared + _RESERVED), device.warps // warps)


def whole_waves(resident: int, wanted: int) -> int:
    """Return the multiple of `resident` that is nearest to `wanted`, at least one.

    Programs run in waves of as many as the device holds, and a launch ends with its last program. So 1,000 runs on a
    device that holds 396 take three waves, as long as 1,188 do.

    Args:
        resident: Programs that the device runs at the same time, at least 1.
        wanted: About how many runs to train together.
    """
    return max(1, round(wanted / resident)) * resident
