"""Runs the command `rnn-zoos` in the process of the tests: a new process would take seconds to import torch."""

import contextlib
import io
from dataclasses import dataclass

import pytest

from rnn_zoos.cli import app


@dataclass
class Finished:
    """A command that has finished: its exit status and what it printed."""

    status: int
    out: str
    err: str


def run_command(*arguments: object) -> Finished:
    """Run `rnn-zoos` with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr("sys.argv", ["rnn-zoos", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            app.main()
    return Finished(int(stop.value.code or 0), out.getvalue(), err.getvalue())
