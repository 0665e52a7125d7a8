"""The `moon` command: nightly product embeddings, stage by stage or as a whole.

Commands are in `jobs.commands`, one module per topic. Heavy imports are inside the commands, so that ``moon --help``
starts fast.
"""

import logging
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
    rollout,
    serving,
    source,
    training,
)
from jobs.commands.output import print_error
from jobs.errors import EXIT_USAGE, MoonError

app = typer.Typer(
    name="moon",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Nightly multimodal product embeddings (MOON): from a catalogue to a searchable Milvus collection. "
    "Start with [bold]moon check-source[/], then [bold]moon nightly[/]. Every option is also a setting MOON_*.",
)
for module in (nightly, analyst, source, serving, images, operate, damage, migrate, rollout, training, evaluation):
    module.register(app)


PY4J_MODULES = ("java_gateway", "clientserver")
"""Modules of py4j that log tracebacks of errors that they raise as well, partly on the root logger."""


def log_to_stderr() -> None:
    """Send logs to stderr: coloured in a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    handler: logging.Handler = (
        RichHandler(console=console, show_path=False) if sys.stderr.isatty() else logging.StreamHandler()
    )
    logging.basicConfig(
        level=logging.INFO,
        handlers=[handler],
        format="%(message)s" if sys.stderr.isatty() else "%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    handler.addFilter(lambda record: record.module not in PY4J_MODULES)
    for noisy in ("py4j", "pymilvus", "great_expectations", "milvus_lite", "httpx", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def main() -> None:
    """Run the command line; an expected failure prints its message and exits with its status."""
    log_to_stderr()
    try:
        app()
    except MoonError as error:
        print_error(str(error))
        sys.exit(error.exit_status)
    except Exception as error:
        if (message := describe_settings_error(error)) is None:
            raise
        print_error(message)
        sys.exit(EXIT_USAGE)


def describe_settings_error(error: Exception) -> str | None:
    """Return the problems of settings by name, without their values; None for other errors."""
    pydantic = sys.modules.get("pydantic")  # imported if settings were read; not by `moon --help`
    if pydantic is None or not isinstance(error, pydantic.ValidationError) or error.title != "Settings":
        return None
    faults = (f"MOON_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors())
    return f"a setting cannot be used (environment, .env or an option): {'; '.join(faults)}"


if __name__ == "__main__":
    main()
