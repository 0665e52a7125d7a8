"""Errors that are for the person at the command line: the message says what happened and what to do about it."""


class MoonError(RuntimeError):
    """An expected failure; the command prints its message without a traceback and exits with `exit_status`."""

    exit_status = 1


class NightStoppedError(MoonError):
    """A gate, a breaker or a refused input stopped the run. Nothing was served that should not be.

    Its exit status tells a scheduler that a retry changes nothing.
    """

    exit_status = 3


class SchemaVersionError(MoonError):
    """A table on disk was written by another version of the schemas."""


class JavaMissingError(MoonError):
    """No Java that Spark can run on."""


class FenceError(MoonError):
    """A fenced commit found that another writer had moved the fence."""
