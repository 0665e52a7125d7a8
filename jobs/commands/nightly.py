"""``moon nightly``, its groups ``prepare``, ``infer`` and ``serve``, and one command for every stage."""

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.commands import options
from jobs.commands.output import make_console, make_table, print_json, print_line
from jobs.commands.session import open_context
from jobs.errors import OutdatedLakeError, UsageError
from jobs.log_file import LOG_FILE

if TYPE_CHECKING:
    from jobs.settings import Settings
    from jobs.stages.runner import RunOutcome
    from jobs.state.run_context import RunContext

log = logging.getLogger(__name__)

STAGE_HELP = {
    "pull": "Read the catalogue of a date into the lake, with image versions but without image bytes.",
    "validate": "Pass the gate (Great Expectations), refuse bad rows with a reason, write canonical products.",
    "fetch": "Fetch photos by URL into the image store as far as they are due, and settle their versions.",
    "plan": "Compare with what Milvus holds and freeze the changes of the date; breakers stop an unlikely plan.",
    "detect": "Find the core region of every image that has none yet.",
    "encode": "Turn new and changed products into vectors.",
    "upsert": "Bring the live collection to the plan's state and verify it.",
    "publish": "Create the alias once, afterwards check it.",
    "report": "Check that no row was lost, write the run's record and a one-page summary.",
}
GROUP_HELP = {
    "prepare": "pull, validate, fetch, plan: what the DAG's first task submits.",
    "infer": "detect, encode: what the DAG's GPU task submits.",
    "serve": "upsert, publish, report: what the DAG's last task submits.",
}


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("nightly", help="Run one whole night in one process: every stage, with progress.")(nightly)
    for names, panel in ((GROUP_HELP, "Groups of stages"), (STAGE_HELP, "Single stages")):
        for name, text in names.items():
            command = fetch if name == "fetch" else _make_stage_command(name)
            app.command(name, help=text, rich_help_panel=panel)(command)


def nightly(
    date: options.DateOption = None,
    catalog: options.CatalogOption = None,
    mapping: options.MappingOption = None,
    lake: options.LakeOption = None,
    milvus: options.MilvusOption = None,
    model: options.ModelOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Stop after the plan: print what the run would do. Photos by URL are fetched, because the plan needs "
            "their versions; the run itself does not fetch them again.",
        ),
    ] = False,
    allow_deletes: options.AllowDeletesOption = None,
    allow_refusals: options.AllowRefusalsOption = None,
    allow_shift: options.AllowShiftOption = None,
    reason: options.OverrideReasonOption = "",
    as_json: options.JsonOption = False,
) -> None:
    """Run all stages of one nightly run in one process."""
    from jobs.settings import Settings
    from jobs.stages.runner import NIGHTLY_STAGES, STAGE_GROUPS

    settings = Settings().replace(catalog=catalog, mapping=mapping, lake=lake, milvus=milvus, model=model)
    stages = STAGE_GROUPS["prepare"] if dry_run else NIGHTLY_STAGES
    night_date = parse_snapshot_date(date, settings)
    outcome = _run(settings, night_date, stages, collect_overrides(allow_deletes, allow_refusals, allow_shift, reason))
    document = build_run_document(night_date, outcome)
    if as_json:
        print_json(document)
    else:
        _print(document, outcome)


def fetch(
    date: options.DateOption = None,
    catalog: options.CatalogOption = None,
    mapping: options.MappingOption = None,
    lake: options.LakeOption = None,
    refetch: Annotated[
        bool, typer.Option("--refetch", help="Ask again for the photos that failed on a date that is fetched.")
    ] = False,
    allow_refusals: options.AllowRefusalsOption = None,
    reason: options.OverrideReasonOption = "",
) -> None:
    """Fetch the photos by URL of a date."""
    from jobs.settings import Settings

    settings = Settings().replace(catalog=catalog, mapping=mapping, lake=lake)
    lifted = {**collect_overrides(None, allow_refusals, None, reason), "refetch": refetch}
    outcome = _run(settings, parse_snapshot_date(date, settings), ["fetch"], lifted)
    result = outcome.results["fetch"]
    words = [f"{count:,} {name.replace('_', ' ')}" for name, count in result.counts.items()]
    print_line(", ".join([*words, *(text for name, text in result.details.items() if name != "estimate")]))


def _make_stage_command(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202  (typer reads the inner signature)
    def command(
        date: options.DateOption = None,
        catalog: options.CatalogOption = None,
        mapping: options.MappingOption = None,
        lake: options.LakeOption = None,
        milvus: options.MilvusOption = None,
        model: options.ModelOption = None,
        allow_deletes: options.AllowDeletesOption = None,
        allow_refusals: options.AllowRefusalsOption = None,
        allow_shift: options.AllowShiftOption = None,
        reason: options.OverrideReasonOption = "",
    ) -> None:
        from jobs.settings import Settings
        from jobs.stages.runner import STAGE_GROUPS

        settings = Settings().replace(catalog=catalog, mapping=mapping, lake=lake, milvus=milvus, model=model)
        stages = STAGE_GROUPS.get(name, (name,))
        lifted = collect_overrides(allow_deletes, allow_refusals, allow_shift, reason)
        _run(settings, parse_snapshot_date(date, settings), stages, lifted)

    return command


def parse_snapshot_date(given: str | None, settings: "Settings") -> str:
    """Return the ISO date of the night: the given one, else today's by the settings.

    Raises:
        typer.BadParameter: the text is no date.
    """
    if given is None:
        return settings.compute_snapshot_date(datetime.now(UTC))
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", given):
            raise ValueError(given)
        return date.fromisoformat(given).isoformat()
    except ValueError as error:
        raise typer.BadParameter(f"{given!r} is no date; write it as 2026-11-22", param_hint="--date") from error


def collect_overrides(
    deletes: float | None, refusals: float | None, shift: float | None, reason: str
) -> dict[str, Any]:
    """Return the lifted breakers and the reason, as fields of `jobs.state.run_context.RunContext`.

    Args:
        deletes, refusals, shift: share up to which each is lifted; None if the setting applies.
        reason: as given.

    Raises:
        UsageError: a breaker is lifted without a reason.
    """
    lifted = {"allow_deletes": deletes, "allow_refusals": refusals, "allow_shift": shift}
    if any(share is not None for share in lifted.values()) and not reason:
        raise UsageError("lifting a breaker needs a reason for the record: add --reason TEXT")
    return {**lifted, "reason": reason}


def build_run_document(night_date: str, outcome: "RunOutcome") -> dict[str, object]:
    """Return the ``--json`` document of a nightly run."""
    last = outcome.results.get("report") or outcome.results["plan"]
    return {
        "run_id": last.details["run_id"],
        "date": night_date,
        "rows": dict(last.counts),
        "seconds": outcome.seconds,
        "model": last.details["model"],
        "collection": last.details["collection"],
    }


def _run(settings: "Settings", night_date: str, stages: Sequence[str], lifted: Mapping[str, Any]) -> "RunOutcome":
    from jobs.commands.preflight import check_catalog
    from jobs.state.metrics import write_metrics

    if "pull" in stages:
        check_catalog(settings, night_date)
    needs_milvus = not {"plan", "upsert", "publish"}.isdisjoint(stages)
    verb = f"{night_date} {' '.join(stages)}"
    with open_context(settings, verb, night_date, needs_milvus=needs_milvus, **lifted) as context:
        try:
            return _run_in_context(context, stages)
        finally:
            write_metrics(context.lake, settings, night_date)


def _run_in_context(context: "RunContext", stages: Sequence[str]) -> "RunOutcome":
    """Run the stages; a lake of an earlier release is migrated first, where the settings allow it."""
    from jobs.stages.runner import run_stages

    try:
        return run_stages(context, stages)
    except OutdatedLakeError as error:
        if not context.settings.auto_migrate:
            raise
        _migrate(context.settings, error)
    # The stages from the first on: what one of them had done before, it finds committed.
    return run_stages(context, stages)


def _migrate(settings: "Settings", cause: OutdatedLakeError) -> None:
    """Move the lake to this release; an upgrade stops no scheduled run.

    Raises:
        MigrationError: the lake cannot be migrated.
        LeaseBusyError: a run of the earlier release still writes.
    """
    from jobs.operations.migrate import keep_served_model, migrate_lake

    log.warning("%s. It is migrated now (MOON_AUTO_MIGRATE=false: such a run stops)", cause)
    migrate_lake(settings)
    if warning := keep_served_model(settings):
        log.warning("%s", warning)


def _print(document: dict[str, object], outcome: "RunOutcome") -> None:
    rows = make_table("rows", "", title=f"Night {document['date']} ({document['run_id']})")
    for name, count in document["rows"].items():  # type: ignore[attr-defined]
        rows.add_row(name, f"{count:,}")
    make_console().print(rows)
    seconds = ", ".join(f"{stage} {taken:.1f}" for stage, taken in outcome.seconds.items())
    print_line(f"Seconds: {seconds}")
    for name, title in (("estimate", "Estimate"), ("page", "Report")):
        for result in outcome.results.values():
            if name in result.details:
                print_line(f"{title}: {result.details[name]}")
    if LOG_FILE.path:
        print_line(f"Log: {LOG_FILE.path}")
