"""The `moon` command: nightly product embeddings, stage by stage or as a whole.

Commands live in `jobs.commands`, one module a theme; heavy imports happen inside them, so that ``moon --help`` is
instant.
"""

import logging
import sys

import typer
from rich.console import Console
from rich.logging import RichHandler

from jobs.commands import analyst, evaluation, nightly, operate, rollout, serving, source, training
from jobs.errors import MoonError

app = typer.Typer(
    name="moon",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Nightly multimodal product embeddings (MOON): from a catalogue to a searchable Milvus collection. "
    "Start with [bold]moon check-source[/], then [bold]moon nightly[/]. Every option is also a setting MOON_*.",
)
for module in (nightly, analyst, source, serving, operate, rollout, training, evaluation):
    module.register(app)


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
    for noisy in ("py4j", "pymilvus", "great_expectations", "milvus_lite", "httpx", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def main() -> None:
    """Run the command line; an expected failure ends with its message and exit status."""
    log_to_stderr()
    try:
        app()
    except MoonError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]moon:[/] {error}", markup=True)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
