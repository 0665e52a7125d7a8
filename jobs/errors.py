"""Errors that are for the person at the command line: the message says what happened and what to do about it."""


class MoonError(RuntimeError):
    """An expected failure; the command prints its message without a traceback and exits with `exit_status`."""

    exit_status = 1


class NightStoppedError(MoonError):
    """A gate, a breaker or a refused input stopped the run. Nothing was served that should not be.

    Its exit status tells a scheduler that a retry changes nothing.
    """

    exit_status = 3


class StoppedError(MoonError):
    """The process was asked to end (SIGTERM) and did so at a clean point: the same command continues.

    Its exit status is that of a temporary failure (EX_TEMPFAIL), for which a retry is right.
    """

    exit_status = 75


class SchemaVersionError(MoonError):
    """A table on disk was written by another version of the schemas."""


class JavaMissingError(MoonError):
    """No Java that Spark can run on."""


class FenceError(MoonError):
    """A fenced commit found that another writer had moved the fence."""
