"""The `moon` command: nightly product embeddings, stage by stage or as a whole.

Commands are in `jobs.commands`, one module per topic. Heavy imports are inside the commands, so that ``moon --help``
starts fast.
"""

import logging
import os
import sys

import typer
from rich.console import Console
from rich.logging import RichHandler

from jobs.commands import (
    analyst,
    damage,
    evaluation,
    images,
    migrate,
    nightly,
    operate,
    products,
    reports,
    rollout,
    serving,
    source,
    status,
    training,
)
from jobs.commands.output import print_error, print_line
from jobs.errors import EXIT_INTERRUPTED, EXIT_USAGE, REPORT_NOTE, MoonError
from jobs.log_file import LogFile, ShortFormatter, start_log_file
from jobs.parent_process import IS_SUBMITTED, end_with_parent

app = typer.Typer(
    name="moon",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Nightly multimodal product embeddings (MOON): from a catalogue to a searchable Milvus collection. "
    "Start with [bold]moon check-source[/], then [bold]moon nightly[/]. Every option is also a setting MOON_*.",
)
for module in (
    nightly,
    reports,
    analyst,
    source,
    serving,
    status,
    products,
    images,
    operate,
    damage,
    migrate,
    rollout,
    training,
    evaluation,
):
    module.register(app)


OWN_PACKAGES = ("jobs", "moon_model", "validation", "schemas", "demo_shop", "dags")
"""Packages whose messages are for a person. Those of libraries, and Python's warnings, are in the log file only."""


INTERRUPTED = (
    "interrupted: what was committed stays, and readers keep what is served. Run the same command again; it continues "
    "where it was"
)


def start_logging() -> LogFile:
    """Send our messages to stderr, without tracebacks, and all messages to the log file; return the log file.

    On stderr they are coloured in a terminal, and plain lines elsewhere.
    """
    console = Console(stderr=True)
    handler: logging.Handler = (
        RichHandler(console=console, show_path=False) if sys.stderr.isatty() else logging.StreamHandler()
    )
    handler.setFormatter(
        ShortFormatter("%(message)s" if sys.stderr.isatty() else "%(asctime)s %(levelname)s %(name)s %(message)s")
    )
    handler.addFilter(lambda record: record.name.partition(".")[0] in OWN_PACKAGES)
    logging.captureWarnings(capture=True)
    log_file = start_log_file()
    logging.basicConfig(level=logging.INFO, handlers=[handler, log_file], force=True)
    for noisy in ("py4j", "pymilvus", "great_expectations", "milvus_lite", "httpx", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return log_file


def main() -> None:
    """Run the command line; a failure prints one message, without a traceback, and exits with its status."""
    log_file = start_logging()
    if IS_SUBMITTED in os.environ:
        end_with_parent()
    try:
        app()
    except SystemExit as error:
        if error.code == EXIT_INTERRUPTED:
            print_error(INTERRUPTED)
        raise
    except MoonError as error:
        if error.exit_status != EXIT_USAGE:
            log_file.keep_traceback(str(error), error)
        print_error(str(error))
        print_report_place(error)
        sys.exit(error.exit_status)
    except Exception as error:
        if message := describe_settings_error(error):  # its traceback has the values
            print_error(message)
            sys.exit(EXIT_USAGE)
        from jobs.commands.failures import describe_failure

        message, status = describe_failure(error)
        log_file.keep_traceback(message, error)
        print_error(f"{message}. Details: {log_file.path}" if log_file.path else message)
        print_report_place(error)
        sys.exit(status)


def print_report_place(error: BaseException) -> None:
    """Print where the page of the run is that an error ended, if there is one."""
    for note in getattr(error, "__notes__", ()):
        if note.startswith(REPORT_NOTE):
            print_line(note, stderr=True)


def describe_settings_error(error: Exception) -> str | None:
    """Return the problems of settings by name, without their values; None for other errors."""
    pydantic = sys.modules.get("pydantic")  # imported if settings were read; not by `moon --help`
    if pydantic is None or not isinstance(error, pydantic.ValidationError) or error.title != "Settings":
        return None
    faults = (
        f"MOON_{'_'.join(map(str, fault['loc'])).upper()}: {fault.get('ctx', {}).get('error') or fault['msg']}"
        for fault in error.errors()
    )
    return f"a setting cannot be used (environment, .env or an option): {'; '.join(faults)}"


if __name__ == "__main__":
    main()
