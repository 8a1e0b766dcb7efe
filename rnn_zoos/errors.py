"""All exceptions that rnn-zoos raises on purpose.

Each is about something that the user can change; its message names the given value, the expected one and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def shortened(names: Iterable[object], most: int) -> str:
    """Return at most so many names, separated by commas, and how many there are if that is more."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f", ... ({len(texts)} in all)" if len(texts) > most else "")


class ZooError(Exception):
    """Base class of all errors that this package raises on purpose.

    Catch it to handle all of them. The command line prints the message without a traceback and exits with status 1.

    Example:
        >>> from rnn_zoos import ZooError, open_zoo
        >>> try:
        ...     zoo = open_zoo("nowhere")
        ... except ZooError as error:
        ...     message = str(error)
    """


class UnknownNameError(ZooError, LookupError):
    """A zoo, preset, cell, backend, split, run, step or other name does not exist.

    The message lists the known names and suggests the closest one.
    """

    @classmethod
    def among(cls, what: str, given: object, known: Iterable[object]) -> UnknownNameError:
        """Return the error for the name `given`, listing the `known` names; `what` is the kind of name."""
        names = [str(name) for name in known]
        close = get_close_matches(str(given), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return cls(f"Unknown {what} {given!r}; known: {shortened(names, 30) or 'none'}.{hint}")


class PresetError(ZooError, ValueError):
    """A preset has a missing, unknown or invalid value. Correct the value that the message names."""


class PlanMismatchError(ZooError):
    """An output directory, result or checkpoint was made with other settings than the given ones.

    Use the settings that it was started with, or choose another output directory.
    """


class FamilyError(ZooError, ImportError):
    """A task family of another package cannot be used. Repair or update that package."""


class MergeError(ZooError):
    """Directories cannot be merged: they have different bytes for the same runs.

    Leave one of the directories out. The message says by which machine and versions each was made.
    """


class BusyError(ZooError):
    """Another process is writing to the output directory. Wait for it, or stop it."""


class FormatError(ZooError, ValueError):
    """A file, directory, tensor or manifest does not have the expected format or shape.

    The message names the difference. Damaged files have to be downloaded or made again.
    """


class IntegrityError(ZooError):
    """A file is missing or its bytes differ from those in the manifest. Download it again, or make it again."""


class DigitsError(ZooError):
    """MNIST digits are missing, unreachable, damaged or not MNIST.

    Provide the MNIST files, or use the embedded digits (`--mnist embedded`).
    """


class StorageError(ZooError, OSError):
    """A file could not be written or read. Free disk space, or get the permissions; the message says which."""


class HubError(ZooError, OSError):
    """A repository or file on the Hub is missing, private, gated or unreachable.

    Depending on the message: correct the name, log in, accept the terms, or try again later.
    """


class BackendError(ZooError):
    """A training backend cannot be used on this machine or for these networks. Choose another backend."""


class WorkerError(ZooError):
    """A worker process died or hung repeatedly, or could not do its work.

    Finished work is kept. Run the same command again, with fewer workers if memory was short.
    """


class ClusterError(ZooError):
    """A Ray cluster is unreachable, failed, or has nodes that cannot make this zoo.

    Finished shards are kept. Repair the cluster and run the same command again, or use `--engine local`.
    """


class DeviceError(ZooError):
    """The requested device, such as a GPU, does not exist on this machine. Choose another device."""


class EncoderError(ZooError):
    """An encoder cannot be used for these networks, or its embeddings or loss are not valid.

    The message names the encoder and the problem: an import that fails, a wrong shape, missing gradients, or values
    that are not finite.
    """


class LeakError(ZooError):
    """Rows for evaluation share a run or a task with the rows for training. Split rows by run and by task."""


class MissingExtraError(ZooError, ImportError):
    """An optional dependency is not installed. Install the extra that the message names."""

    @classmethod
    def of(cls, extra: str, error: ImportError) -> MissingExtraError:
        """Return the error for a failed import of a package that is installed with `extra`."""
        return cls(f"{error.name!r} is not installed. Install it with: pip install 'rnn-zoos[{extra}]'")
