"""Errors a user can act on. The command line prints each in one line and exits with its code."""

from __future__ import annotations

from pathlib import Path


class NoisybenchError(Exception):
    """Base of every error raised on purpose. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class InputError(NoisybenchError):
    """The user's input cannot be used as it stands; nothing was written."""

    exit_code = 2


class SuiteError(InputError):
    """A suite file says something that cannot be run. Names file, line, key and remedy.

    >>> str(SuiteError("unknown key; did you mean 'epochs'?", file="a.yaml", line=3, key="training.epoch"))
    "a.yaml:3: training.epoch: unknown key; did you mean 'epochs'?"
    """

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        self.message, self.file, self.line, self.key = message, file, line, key
        place = str(file) if file is not None else ""
        if line is not None:
            place = f"{place or 'line '}{':' if place else ''}{line}"
        super().__init__(": ".join(part for part in (place, key, message) if part))


class ParameterError(InputError):
    """A component does not take this parameter or this value.

    ``key`` is the dotted path of the offending parameter inside the component ("" for the component itself).
    """

    def __init__(self, message: str, *, key: str = "") -> None:
        self.message, self.key = message, key
        super().__init__(f"{key}: {message}" if key else message)


class UnknownName(ParameterError):
    """A name that nobody registered."""


class DataError(InputError):
    """A data set is missing, damaged, or not what it claims to be."""


class MissingExtra(InputError):
    """An optional package is needed. The message names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package '{package}'; install it with: pip install 'noisybench[{extra}]'")


class StoreError(NoisybenchError):
    """The results folder cannot be read or written, or holds something that must not be mixed with this run."""


class StaleData(InputError):
    """A settled record was made from other data than the suite names now."""


class PlanConflict(InputError):
    """The results folder holds a different plan under the same suite name and version."""
