"""Everything for the day a GPU is there, in slices of at most ten minutes: run the same command until nothing is left.

It needs an NVIDIA GPU, a checkout, and a Python with torch, numpy and triton; nothing is installed.

Examples:
  python generation/check_gpu.py --list
  python generation/check_gpu.py --out gpu --mnist ~/mnist
  python generation/check_gpu.py --out gpu --steps gradients,training,speed
  python generation/check_gpu.py --out gpu --carry-mb 60 --steps carry

OUT/state.json has all results. OUT/raw/ZOO has the trained runs, OUT/carry/ZOO the first of them, compressed: where
rnn-zoos is installed, `rnn-zoos assemble OUT/raw/ZOO --out DIR` makes a zoo of them. The last line says what is left.
Exit status: 0; 1 if a result is wrong or failed, or for an error; 2 for invalid options.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_zoos.errors import ZooError

if TYPE_CHECKING:
    from rnn_zoos.generation.measuring.gpu_work import State, Step


def _parser() -> argparse.ArgumentParser:
    about, _, examples = (__doc__ or "").partition("Examples:")
    parser = argparse.ArgumentParser(
        prog="check_gpu.py",
        description=about,
        epilog="Examples:" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("gpu"), help="directory for all files (default: gpu)")
    add("--minutes", type=float, default=9.5, help="start nothing that would take longer than this (default: 9.5)")
    add("--steps", help="only these steps, separated by commas")
    add("--list", action="store_true", help="list the steps and what is done of them")
    add("--zoo", action="append", help="only this zoo; repeat it for several (default: both)")
    add("--mnist", default="embedded", help="directory with the four files of MNIST, for the zoo sequential-mnist")
    add("--runs", type=int, default=1000, help="runs whose speed is measured (default: 1000)")
    add("--carry-mb", type=float, default=60, help="megabytes of the files to carry, together (default: 60)")
    add("--carry-file-mb", type=float, default=16, help="megabytes of one such file, at most (default: 16)")
    add("--encoder", action="append", help="only this encoder; repeat it for several (default: the paper's six)")
    add("--device", default="cuda", help="torch device (default: cuda); cpu for trying it out, with `stacked`")
    add("--methods", help="only these training methods: triton tf32x3, triton ieee, stacked")
    add("--settings", type=Path, help="JSON with other sizes than those of the preset `paper`, for trying it out")
    add("--retry", action="store_true", help="do units again that failed")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Work for some minutes, print the results, and say what is left."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        raise SystemExit(_work(options, parser))
    except ZooError as error:
        raise SystemExit(f"Error: {error}") from error


def _work(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from rnn_zoos.baselines.benchmark.on_device import PAPER_ENCODERS
    from rnn_zoos.cli.gpu_day import METHODS, GpuDay, read_sizes
    from rnn_zoos.generation.measuring.gpu_work import Clock, State, work_through
    from rnn_zoos.generation.measuring.gpu_zoos import PAPER

    options.encoder = options.encoder or list(PAPER_ENCODERS)
    options.zoo = options.zoo or list(PAPER)
    _refuse_unknown(parser, "zoo", options.zoo, list(PAPER))
    options.methods = _names(options.methods) or (["stacked"] if options.device == "cpu" else [])
    _refuse_unknown(parser, "method", options.methods, METHODS)
    clock = Clock(60 * options.minutes)
    sizes, _ = read_sizes(options.settings)
    about = {
        "settings": {zoo: sizes[zoo].settings() for zoo in options.zoo},
        "runs": options.runs,
        "mnist": options.mnist,
        "device": options.device,
    }
    state = State.open(options.out, about, _machine(options.device))
    day = GpuDay(options, clock, state)
    steps = day.steps()
    if options.list:
        _list(steps, state)
        return 0
    names = [step.name for step in steps]
    chosen = _names(options.steps) or names
    _refuse_unknown(parser, "step", chosen, names)
    next(iter(day.methods.values()))()  # raises DeviceError without a GPU
    if options.retry:
        state.forget_failures()
    left = work_through([step for step in steps if step.name in chosen], state, clock)
    return _report(steps, state, left)


def _names(option: str | None) -> list[str]:
    return [name.strip() for name in option.split(",")] if option else []


def _refuse_unknown(parser: argparse.ArgumentParser, what: str, given: Sequence[str], known: Sequence[str]) -> None:
    """End with a message and the status of invalid options unless all given names are known."""
    if unknown := [name for name in given if name not in known]:
        parser.error(f"there is no {what} {', '.join(unknown)}; {what}s: {', '.join(known)}")


def _machine(device: str) -> dict[str, Any]:
    """Return what the results depend on: processor, GPU, versions, commit."""
    import torch

    from rnn_zoos.machine import describe_machine, existing_device

    if device == "cpu" or not torch.cuda.is_available():
        return describe_machine()
    return {**describe_machine(), "gpu": torch.cuda.get_device_name(existing_device(device))}


def _list(steps: Sequence[Step], state: State) -> None:
    for step in steps:
        print(f"{step.name:<10} {step.about}; done: {len(state.results.get(step.name, {}))} units")


def _report(steps: Sequence[Step], state: State, left: dict[str, str]) -> int:
    """Print all tables, wrong results, and what is left; return the exit status."""
    from rnn_zoos.generation.measuring.gpu_work import is_wrong, print_table

    for step in steps:
        if rows := state.rows(step.name):
            print_table(step.name, rows)
    wrong = [row for step in steps for row in state.rows(step.name) if is_wrong(row)]
    print_table("WRONG OR FAILED" if wrong else "All results are right.", wrong)
    print(f"\nResults: {state.path}")
    if left:
        names = [f"{step} ({unit})" if unit else step for step, unit in left.items()]
        print(f"Left: {', '.join(names)}. Run the same command again: {' '.join(['python', *sys.argv])}")
    else:
        print("Nothing is left.")
    return int(bool(wrong))


if __name__ == "__main__":
    main()
