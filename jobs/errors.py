"""Errors for the user of the command line; their messages say what happened and what to do."""

EXIT_FAULT = 1
"""A machine, a store or the code failed: retry."""
EXIT_USAGE = 2
"""The command line or a setting cannot be used: correct it; a retry changes nothing."""
EXIT_INPUT = 3
"""A gate, a breaker or the input stopped the run: look at the message; a retry changes nothing."""
EXIT_TEMPORARY = 75
"""The process was asked to stop, or something is temporarily not available (EX_TEMPFAIL): retry."""
EXIT_INTERRUPTED = 130
"""Ctrl-C ended the command (128 + SIGINT, as typer exits); it may be run again."""


class MoonError(RuntimeError):
    """An expected failure; the command prints its message without a traceback and exits with `exit_status`.

    Args:
        message: what happened, what it means for what is served, and which command continues.
        facts: texts for the record of the run (`runs.details`), such as what stopped it in a few words.
    """

    exit_status = EXIT_FAULT

    def __init__(self, message: str = "", **facts: str) -> None:
        super().__init__(message)
        self.facts = facts


STOPPED_BY, VERDICT, LIFT = "stopped_by", "verdict", "lift"
"""Names of facts: what stopped a run, why in one short sentence, and the options that let it pass."""

BY_GATE, BY_BREAKER = "the gate", "a breaker"
"""Values of the fact `STOPPED_BY`."""

REPORT_NOTE = "Report: "
"""Begin of the note on an error that names the page of the run that it ended."""


class NightStoppedError(MoonError):
    """A gate, a breaker or a refused input stopped the run, before bad data was served.

    Its exit status tells a scheduler not to retry.
    """

    exit_status = EXIT_INPUT


class PhotosUnreachableError(MoonError):
    """Too many photos cannot be reached: nothing was served, and a retry may find them."""

    exit_status = EXIT_TEMPORARY


class UsageError(MoonError):
    """Options that cannot be combined; nothing was started."""

    exit_status = EXIT_USAGE


class StoppedError(MoonError):
    """The process received SIGTERM and stopped in a consistent state; the same command continues.

    Its exit status is that of a temporary failure (EX_TEMPFAIL), which can be retried.
    """

    exit_status = EXIT_TEMPORARY


class SchemaVersionError(MoonError):
    """A table on disk was written by another version of the schemas; a retry does not help."""

    exit_status = EXIT_USAGE


class OutdatedLakeError(SchemaVersionError):
    """An earlier release wrote a table: `moon migrate` moves the lake to this one."""


class JavaMissingError(MoonError):
    """There is no Java that Spark can run on."""


class JavaDiedError(MoonError):
    """The Java process of the Spark session ended while it was needed: a retry may pass."""


class DamageError(MoonError):
    """A file of the lake, a file of Milvus Lite or a collection is damaged; a retry meets the same damage.

    The message names the file or object, the consequence and the remedy.
    """

    exit_status = EXIT_INPUT


class FenceError(MoonError):
    """A fenced commit failed because another writer had changed the counter."""
