"""What can go wrong that a user can put right: every error says what was given, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ZooError(Exception):
    """Base of all errors that this package raises on purpose; the command line prints it without a traceback."""


class UnknownNameError(ZooError, LookupError):
    """A name that is not in the list of known names (zoo, preset, cell, backend, split, run, step)."""

    @classmethod
    def among(cls, what: str, given: object, known: Iterable[object]) -> UnknownNameError:
        """Return the error for `given`, listing the `known` names and the closest of them."""
        names = [str(name) for name in known]
        close = get_close_matches(str(given), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        shown = ", ".join(names[:30]) + (f", ... ({len(names)} in all)" if len(names) > 30 else "")
        return cls(f"Unknown {what} {given!r}; known: {shown or 'none'}.{hint}")


class PresetError(ZooError, ValueError):
    """A preset with a missing, unknown or impossible value."""


class PlanMismatchError(ZooError):
    """An output directory that was begun with another plan."""


class MergeError(ZooError):
    """Directories that hold different bytes of the same runs."""


class BusyError(ZooError):
    """An output directory that another process is writing to."""


class FormatError(ZooError, ValueError):
    """A directory or file that is not what format 1, or the layout that it is read as, says."""


class IntegrityError(ZooError):
    """A file whose bytes are not those that the manifest promises."""


class DigitsError(ZooError):
    """MNIST digits that are missing, unreachable or not MNIST."""


class StorageError(ZooError, OSError):
    """A file that could not be written (no space, no permission)."""


class HubError(ZooError, OSError):
    """A repository or file of the Hub that is missing, closed to this user, or out of reach."""


class BackendError(ZooError):
    """A trainer that this machine cannot use."""


class WorkerError(ZooError):
    """A worker process that died, hung, or could not do its work."""


class ClusterError(ZooError):
    """A Ray cluster that is out of reach, or whose nodes cannot make this zoo."""


class DeviceError(ZooError):
    """A device (GPU) that this machine does not have."""


class EncoderError(ZooError):
    """An encoder that cannot take these networks, or whose embeddings are not what embeddings have to be."""


class LeakError(ZooError):
    """Rows that are tested although training saw their run or task."""


class MissingExtraError(ZooError, ImportError):
    """An optional dependency that is not installed."""

    @classmethod
    def of(cls, extra: str, error: ImportError) -> MissingExtraError:
        """Return the error for a failed import of a package that `extra` would bring."""
        return cls(f"{error.name!r} is not installed. Install it with: pip install 'rnn-zoos[{extra}]'")
